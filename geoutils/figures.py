"""README's pictures and the small tables that they are drawn from, so that anyone can draw them again."""

import shutil
from pathlib import Path

import pandas as pd

from geoutils import cities, maps, plots
from geoutils.artifacts import ROOT
from geoutils.display import show

FIGURES = ROOT / "figures"
REAL_POSITIONS = "real positions: 100,000 photos of MP-16"


def draw(run_dir: Path, folder: Path = FIGURES) -> list[Path]:
    """Copy a run's small tables to `folder` and draw README's pictures from them.

    Args:
        run_dir: a finished run.

    Returns:
        The pictures' paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("table1", "per_city", "confusion"):
        source = Path(run_dir) / "results" / f"{name}.csv"
        if not source.exists():
            raise FileNotFoundError(f"{source} is not there; run the profile first: make run")
        shutil.copyfile(source, folder / f"{name}.csv")
    return redraw(folder, folder)


def redraw(tables: Path, folder: Path) -> list[Path]:
    """Draw README's pictures from the small tables alone."""
    table1 = pd.read_csv(tables / "table1.csv", keep_default_na=False, na_values=[""])
    per_city = pd.read_csv(tables / "per_city.csv", keep_default_na=False, na_values={"accuracy": [""]})
    confusion = pd.read_csv(tables / "confusion.csv", index_col=0, keep_default_na=False)
    origin = table1["origin"].iloc[0]
    leading = maps.static_city_map(
        cities.leading_cities(37), origin=REAL_POSITIONS, title="The 37 most photographed cities, from real positions"
    )
    pictures = {
        "cities": leading,
        "table1": plots.table1(table1, origin=origin),
        "accuracy_map": maps.static_accuracy_map(per_city, origin=origin),
        "confusion": plots.confusion_matrix(confusion, origin=origin),
    }
    for name, picture in pictures.items():
        show(picture, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in pictures]
