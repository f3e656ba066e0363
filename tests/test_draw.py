"""README's pictures come from the small tables beside them, and say what their data are."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import draw
from geoutils import tables
from geoutils.artifacts import ROOT
from geoutils.evaluation import accuracy
from geoutils.methods import predictions
from geoutils.views import plots
from geoutils.views.canvas import save
from makers.scores import told

README = (ROOT / "README.md").read_text()
ALIKE = 2.5  # of 255: what another machine's fonts may change in the mean of a tile


def difference(one: Path, other: Path) -> float:
    """Return the largest difference of the mean colours of 20 x 20 tiles of two pictures."""
    tiles = (Image.open(path).convert("RGB").resize((20, 20), Image.Resampling.BOX) for path in (one, other))
    return np.abs(np.subtract(*(np.asarray(picture, dtype=float) for picture in tiles))).max()


def test_pictures_can_be_drawn_again_from_the_tables_beside_them(tmp_path):
    for path in draw.redraw(ROOT / "figures", tmp_path):
        assert difference(path, ROOT / "figures" / path.name) < ALIKE, f"{path.name}: run `make figures`"


@pytest.mark.parametrize("change", ["rows reversed", "accuracy", "no watermark"])
def test_a_changed_picture_is_noticed(change, tmp_path):
    table, origin = pd.read_csv(ROOT / "figures/table1.csv", keep_default_na=False, na_values=[""]), "SYNTHETIC: x"
    counts = pd.read_csv(ROOT / "figures/confusion.csv", index_col=0, keep_default_na=False)
    measured = ["accuracy", "ci_low", "ci_high"]
    changed = {"rows reversed": table[::-1], "accuracy": table.assign(**table[measured] + 0.03)}
    other = "photographs: own" if change == "no watermark" else origin
    save(plots.table1(table, origin=origin), tmp_path / "a.png")
    save(plots.table1(changed.get(change, table), origin=other), tmp_path / "b.png")
    assert difference(tmp_path / "a.png", tmp_path / "b.png") > ALIKE
    save(plots.confusion_matrix(counts, origin=origin), tmp_path / "a.png")
    counts = counts[::-1] if change == "rows reversed" else counts
    save(plots.confusion_matrix(counts, origin=other), tmp_path / "b.png")
    assert change == "accuracy" or difference(tmp_path / "a.png", tmp_path / "b.png") > ALIKE


def test_a_real_runs_tables_stand_beside_the_samples_under_its_name(tmp_path):
    cities = pd.DataFrame({"city_id": [1, 2], "city": ["A", "B"], "country": "NA", "latitude": [0, 9], "longitude": 0})
    run, found = tmp_path / "own", {}
    for protocol in ("photo", "place"):
        ids = [f"{i}" for i in range(80)]
        split = np.repeat(["val", "test"], 40)
        scores = np.random.default_rng(len(found)).random((80, 2))
        table = predictions.predictions_table(ids, np.resize([1, 2], 80), scores, [1, 2], split)
        sidecar = told("svm", protocol, class_ids=[1, 2])
        predictions.write_predictions(table, scores, sidecar, run / "predictions", f"svm-x-{protocol}")
        found[protocol] = table
    row = {**told(), "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n_test": 40, "paper": np.nan}
    tables.write_csv(pd.DataFrame([row]), run / "results/table1.csv")
    tables.write_csv(accuracy.per_city(found["photo"], cities), run / "results/per_city.csv")
    tables.write_csv(accuracy.confusion(found["photo"], cities).reset_index(), run / "results/confusion.csv")
    drawn = {path.name for path in draw.draw(run, tmp_path / "figures")}
    names = {f"own_{name}.png" for name in ("table1", "accuracy_map", "confusion_photo", "confusion_place")}
    assert drawn == names | {"cities.png"}
    assert all((tmp_path / "figures" / name).exists() for name in drawn)
    for protocol, table in found.items():
        counts = pd.read_csv(tmp_path / f"figures/own_confusion_{protocol}.csv", index_col=0)
        assert (counts.to_numpy() == accuracy.confusion(table, cities).to_numpy()).all()
    assert (found["photo"]["predicted"] != found["place"]["predicted"]).any()


def test_every_picture_of_readme_is_there_and_described():
    pictures = re.findall(r"!\[([^]]+)\]\((figures/[^)]+)\)", README)
    assert len(pictures) >= 3
    for alt, path in pictures:
        assert alt
        assert "Description" in Image.open(ROOT / path).info, path


def test_real_numbers_in_readme_are_those_of_the_table():
    table = pd.read_csv(ROOT / "figures/landmarks7_table1.csv", keep_default_na=False, na_values=[""])
    section = README[README.index("### A real run") : README.index("### The default run")]
    for row in table[table["method"] != "chance"].itertuples():
        interval = f" ({100 * row.ci_low:.1f}–{100 * row.ci_high:.1f})" if row.protocol != "place" else ""
        assert f"{100 * row.accuracy:.1f} %{interval}" in section, row


def test_made_up_numbers_in_readme_are_those_of_the_table_and_named_so():
    table = pd.read_csv(ROOT / "figures/table1.csv", keep_default_na=False, na_values=[""])
    section = README[README.index("### The default run") : README.index("## How it works")]
    assert table["origin"].str.startswith("SYNTHETIC").all()
    assert "say nothing about real photographs" in section
    for row in table.itertuples():
        assert f"{100 * row.accuracy:.1f} %" in section, row
