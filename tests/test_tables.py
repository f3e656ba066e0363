"""The schemas hold, reading gives back what was written, the ledger adds up, owners are hidden."""

import pandas as pd
import pytest

from geoutils import tables

PHOTO = {"photo_id": "a", "path": "/x.jpg", "latitude": 1.0, "longitude": 2.0, "source": "own"}

PREDICTION = {
    "photo_id": "a",
    "city_id": 1,
    "predicted": 2,
    "top5": [2, 1],
    "confidence": 0.5,
    "split": "test",
}


def test_photo_table_survives_the_round_trip(tmp_path):
    photos = pd.DataFrame([PHOTO, {**PHOTO, "photo_id": "b", "path": None, "taken_at": "2005-07-21 14:41:58"}])
    written = tables.write_table(photos, tmp_path / "photos.parquet", "photos")
    pd.testing.assert_frame_equal(tables.read_table(tmp_path / "photos.parquet", "photos"), written)
    assert written["path"].isna().tolist() == [False, True]
    assert written["taken_at"][1] == pd.Timestamp(2005, 7, 21, 14, 41, 58)


@pytest.mark.parametrize(
    ("kind", "row", "fault"),
    [
        ("photos", {**PHOTO, "latitude": 91.0}, "latitude"),
        ("photos", {**PHOTO, "longitude": float("nan")}, "longitude"),
        ("photos", {k: v for k, v in PHOTO.items() if k != "source"}, "source"),
        ("predictions", {**PREDICTION, "split": "train"}, "split"),
    ],
)
def test_broken_table_is_refused_by_the_column_s_name(kind, row, fault):
    with pytest.raises(ValueError, match=fault):
        tables.conform(pd.DataFrame([row]), kind)


def test_doubled_id_is_refused():
    with pytest.raises(ValueError, match="photo_id"):
        tables.conform(pd.DataFrame([PHOTO, PHOTO]), "photos")


def test_missing_table_names_the_notebook_that_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="03_sample"):
        tables.read_table(tmp_path / "sample.parquet", "sample")


def test_predictions_keep_order_and_sidecar(tmp_path):
    table = pd.DataFrame([PREDICTION, {**PREDICTION, "photo_id": "b", "top5": [1, 2]}])
    tables.write_predictions(table, {"method": "knn"}, tmp_path, "knn-photo")
    ((name, (read, sidecar)),) = tables.read_predictions(tmp_path).items()
    assert (name, sidecar) == ("knn-photo", {"method": "knn"})
    assert [list(top) for top in read["top5"]] == [[2, 1], [1, 2]]


def test_predictions_without_a_sidecar_do_not_count(tmp_path):
    tables.write_table(pd.DataFrame([PREDICTION]), tmp_path / "half.parquet", "predictions")
    assert tables.read_predictions(tmp_path) == {}


def test_what_a_killed_write_left_is_not_read(tmp_path):
    tables.write_predictions(pd.DataFrame([PREDICTION]), {}, tmp_path, "knn")
    tables.write_ledger([tables.ledger_row("read", 1, 1)], tmp_path, "01_photos")
    (tmp_path / ".knn.1a2b3c4d.json").write_text("{")
    (tmp_path / "ledger" / ".01_photos.1a2b3c4d.csv").write_text("step,rows_in\n")
    assert list(tables.read_predictions(tmp_path)) == ["knn"]
    assert tables.read_ledger(tmp_path)["notebook"].tolist() == ["01_photos"]


def test_predictions_killed_half_way_have_no_older_sidecar(tmp_path, monkeypatch):
    table = pd.DataFrame([PREDICTION])
    tables.write_predictions(table, {"seed": 0}, tmp_path, "knn")
    with pytest.raises(ValueError, match="predictions"):  # what is refused leaves the older pair
        tables.write_predictions(table.drop(columns="split"), {"seed": 1}, tmp_path, "knn")
    assert tables.read_predictions(tmp_path)["knn"][1] == {"seed": 0}
    monkeypatch.setattr(tables, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tables.write_predictions(table, {"seed": 1}, tmp_path, "knn")
    assert tables.read_predictions(tmp_path) == {}


def test_made_up_photos_name_the_origin_even_among_real_ones():
    assert tables.origin(pd.DataFrame({"source": ["own", tables.SYNTHETIC]})).startswith("SYNTHETIC")
    assert tables.origin(pd.DataFrame({"source": ["own", "mp16"]})) == "photographs: mp16, own"


def test_ledger_counts_reasons_and_reads_back_in_order(tmp_path, capsys):
    why = pd.Series(["no position", "no position", "duplicate id"])
    tables.write_ledger([tables.ledger_row("read", 10, 7, why)], tmp_path, "01_photos")
    tables.write_ledger([tables.ledger_row("label", 7, 5, "in no city")], tmp_path, "02_cities")
    ledger = tables.read_ledger(tmp_path)
    assert ledger["why"].tolist() == ["no position: 2; duplicate id: 1", "in no city"]
    assert (ledger["rows_out"].shift().dropna() == ledger["rows_in"][1:]).all()
    assert "read: 10 in, 7 out" in capsys.readouterr().out
