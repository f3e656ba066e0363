"""Every notebook runs headless, stays thin, keeps no outputs in git, and leaves what DESIGN promises."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest

from geoutils import pipeline, tables
from geoutils.artifacts import ROOT, read_json
from geoutils.world import generator

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code(path: Path) -> list[str]:
    return [cell["source"] for cell in nbformat.read(path, as_version=4)["cells"] if cell["cell_type"] == "code"]


def lines(cell: str) -> int:
    """Count lines of code: no blank line, no comment."""
    return sum(bool(line.strip()) and not line.startswith("#") for line in cell.splitlines())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_clean(path):
    notebook, cells = nbformat.read(path, as_version=4), code(path)
    assert sum(map(lines, cells)) <= 60
    assert max(map(lines, cells)) <= 15
    assert not any(re.search(r"^\s*(def|class) ", cell, re.MULTILINE) for cell in cells)
    assert not any(re.search(r"display\(.*save\(\w+\.\w+\(", cell) for cell in cells)  # three calls in one
    assert all(cell.startswith("# ") for cell in cells[2:])  # after parameters and imports each says what it does
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"])
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in notebook["cells"]) == 1
    text = " ".join(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    assert "*In:*" in text
    assert "*Out:*" in text
    assert "## Next" in text


def test_defaults_are_the_sample_profiles():
    """What is run by hand is what `make run` runs; of its several fine-tunings, Lite0's by photo."""
    for step in pipeline.read_profile(ROOT / "profiles" / "sample.yaml").steps:
        known = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{step.notebook}.ipynb"))
        defaults = {name: ast.literal_eval(parameter["default"]) for name, parameter in known.items()}
        if step.notebook != "06_finetune" or step.name == "06_finetune_lite0":
            assert step.parameters.items() <= defaults.items(), step.name


def test_every_notebook_of_the_folder_ran(finished_run):
    executed = {path.stem for path in (finished_run / "notebooks").glob("*.ipynb")}
    for path in NOTEBOOKS:
        assert any(name.startswith(path.stem) for name in executed), path.stem
    for path in (finished_run / "notebooks").glob("*.ipynb"):
        assert read_json(path)["metadata"]["papermill"]["exception"] is None
        assert path.with_suffix(".html").exists()


def test_run_leaves_what_is_promised(finished_run):
    for name in ("photos.parquet", "sample.parquet", "rejected.csv", "results/table1.csv", "index.html"):
        assert (finished_run / name).exists(), name
    for pattern in ("predictions/*.parquet", "figures/*.png", "maps/*.html", "notebooks/*.html", "ledger/*.csv"):
        assert list(finished_run.glob(pattern)), pattern


def test_figures_and_maps_carry_no_notebooks_number(finished_run):
    for folder in ("figures", "maps"):
        assert not [path.name for path in (finished_run / folder).iterdir() if path.name[0].isdigit()]


def test_every_predictions_file_has_all_its_scores(finished_run):
    for name, (table, sidecar) in tables.read_predictions(finished_run / "predictions").items():
        scores, class_ids = tables.read_scores(finished_run / "predictions", name), np.array(sidecar["class_ids"])
        assert (scores.dtype, scores.shape) == (np.float32, (len(table), len(class_ids)))
        assert (class_ids[scores.argmax(axis=1)] == table["predicted"]).all()


def test_table1_has_every_method_and_says_that_photos_are_made_up(finished_run):
    table = pd.read_csv(finished_run / "results/table1.csv", keep_default_na=False)
    assert set(table["method"]) == {"chance", "knn", "svm", "finetune"}
    assert set(table["protocol"]) == {"photo", "user", "place"}
    assert table["origin"].str.startswith("SYNTHETIC").all()
    assert set(table.loc[table["backbone"].str.startswith("places205"), "weights"]) == {"random"}
    assert len(table) == len(list((finished_run / "predictions").glob("*.json")))


def test_ledger_adds_up_from_the_first_photo_to_the_sample(finished_run):
    ledger = tables.read_ledger(finished_run)
    assert (ledger["rows_out"].iloc[:-1].to_numpy() == ledger["rows_in"].iloc[1:].to_numpy()).all()
    assert ledger["rows_in"].iloc[0] - ledger["rows_out"].iloc[0] == len(pd.read_csv(finished_run / "rejected.csv"))
    assert ledger["rows_out"].iloc[-1] == len(tables.read_table(finished_run / "sample.parquet", "sample"))


def test_labels_find_the_planted_cities(finished_run):
    """The generator knows where each photo was taken; labelling has only its position."""
    sample = tables.read_table(finished_run / "sample.parquet", "sample")
    folder = Path(sample["path"][0]).parents[1]
    while not (folder / "truth.csv").exists():
        folder = folder.parent
    truth = generator.read_truth(folder).set_index("photo_id").loc[sample["photo_id"]]
    assert (truth["labelled_city_id"].to_numpy() == sample["city_id"].to_numpy()).mean() == 1.0


@pytest.mark.browser
def test_every_page_of_a_run_opens_offline_without_a_complaint_and_says_that_photos_are_made_up(finished_run, visit):
    pages = [finished_run / "index.html", *finished_run.glob("maps/*.html"), *finished_run.glob("notebooks/*.html")]
    assert len(pages) >= 15
    for path in pages:
        page = visit(path)
        assert path.stat().st_size < 5_000_000, path.name
        assert "No description has been provided" not in path.read_text(), path.name
        real = path.stem == "leading_cities"  # drawn from real positions, whatever the run
        assert real or page.locator(".watermark").count() or path.name == "index.html", path.name
        assert real or "SYNTHETIC" in page.locator("body").inner_text(), path.name
        page.close()


def test_no_page_asks_the_network_for_anything(finished_run):
    loads = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)\s*=\s*["']?(?:https?:)?//""", re.I)
    pages = [finished_run / "index.html", *finished_run.glob("maps/*.html"), *finished_run.glob("notebooks/*.html")]
    for page in pages:
        assert not loads.search(page.read_text()), page.name
