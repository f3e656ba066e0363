"""README's pictures and the small tables that they are drawn from, so that anyone can draw them again.

python figures/draw.py runs/sample
"""

import shutil
import sys
from pathlib import Path

from geoutils import cities
from geoutils.artifacts import ROOT
from geoutils.evaluation import accuracy, findings
from geoutils.tables import read_csv, read_predictions, write_csv
from geoutils.views import maps, plots
from geoutils.views.canvas import save
from geoutils.views.report import origin_of

FIGURES = ROOT / "figures"
REAL_POSITIONS = "real positions: 100,000 photos of MP-16"


def draw(run_dir: Path, folder: Path = FIGURES) -> list[Path]:
    """Copy a run's small tables to `folder`, and draw the pictures of all tables there.

    The name of the run stands before each name, but for the run "sample".

    Args:
        run_dir: a finished run. Of its best method under the split by place the confusion is written too.

    Returns:
        The pictures' paths.

    Raises:
        FileNotFoundError: if the run has no results yet.
    """
    run_dir = Path(run_dir)
    prefix = "" if run_dir.name == "sample" else f"{run_dir.name}_"
    if not (run_dir / "results/confusion.csv").exists():
        raise FileNotFoundError(f"{run_dir / 'results'} is not complete; run the profile first: make run")
    folder.mkdir(parents=True, exist_ok=True)
    found = read_predictions(run_dir / "predictions")
    protocol = found[findings.best_method(found)][1]["protocol"]
    for name in ("table1", "per_city", "confusion"):
        kept = f"{prefix}{name}_{protocol}" if prefix and name == "confusion" else f"{prefix}{name}"
        shutil.copyfile(run_dir / f"results/{name}.csv", folder / f"{kept}.csv")
    if any(sidecar["protocol"] == "place" for _, sidecar in found.values()):
        places = read_csv(run_dir / "results/per_city.csv")
        by_place = {name: both for name, both in found.items() if both[1]["protocol"] == "place"}
        counts = accuracy.confusion(found[findings.best_method(by_place)][0], places)
        write_csv(counts.reset_index(), folder / f"{prefix}confusion_place.csv")
    return redraw(folder, folder)


def redraw(tables: Path, folder: Path) -> list[Path]:
    """Draw README's pictures, of each run whose small tables are there, from these tables alone."""
    title = "The 37 most photographed cities, from real positions"
    drawn = {"cities": maps.city_map(cities.leading_cities(37), origin=REAL_POSITIONS, title=title).picture()}
    for path in sorted(tables.glob("*table1.csv")):
        table, prefix = read_csv(path), path.stem.removesuffix("table1")
        origin = origin_of(table)
        drawn[path.stem] = plots.table1(table, origin=origin)
        for scores in tables.glob(f"{prefix}per_city.csv"):
            drawn[f"{prefix}accuracy_map"] = maps.accuracy_map(read_csv(scores), origin=origin).picture()
        for counts in tables.glob(f"{prefix}confusion*.csv"):
            drawn[counts.stem] = plots.confusion_matrix(read_csv(counts).set_index("true"), origin=origin)
    for name, picture in drawn.items():
        save(picture, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in drawn]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python figures/draw.py RUN, a finished run such as runs/sample")
    print(*draw(Path(sys.argv[1])), sep="\n")
