"""The schemas hold, reading gives back what was written, the ledger adds up."""

import pandas as pd
import pytest

from geoutils import tables
from geoutils.artifacts import write_json
from makers.scores import told

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
        ("predictions", {**PREDICTION, "latitude": -91.0, "longitude": 0.0}, "latitude"),
        ("labels", {"photo_id": "a", "city_id": "Rome"}, "city_id"),
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


def test_predictions_of_an_older_form_are_refused_by_what_they_lack(tmp_path):
    tables.write_table(pd.DataFrame([PREDICTION]), tmp_path / "knn.parquet", "predictions")
    older = told("knn")
    del older["title"], older["kind"]
    write_json(tmp_path / "knn.json", older)
    with pytest.raises(ValueError, match=r"knn.json lacks \['title', 'kind', 'class_ids'\]: run the notebook"):
        tables.read_predictions(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"knn.npy is not there"):
        tables.read_scores(tmp_path, "knn")


def test_predictions_without_a_sidecar_do_not_count(tmp_path):
    tables.write_table(pd.DataFrame([PREDICTION]), tmp_path / "half.parquet", "predictions")
    assert tables.read_predictions(tmp_path) == {}


def test_what_a_killed_write_left_is_not_read(tmp_path):
    tables.write_table(pd.DataFrame([PREDICTION]), tmp_path / "knn.parquet", "predictions")
    write_json(tmp_path / "knn.json", told("knn", class_ids=[1, 2]))
    tables.write_ledger([tables.ledger_row("read", 1, 1)], tmp_path, "01_photos")
    (tmp_path / ".knn.1a2b3c4d.json").write_text("{")
    (tmp_path / "ledger" / ".01_photos.1a2b3c4d.csv").write_text("step,rows_in\n")
    assert list(tables.read_predictions(tmp_path)) == ["knn"]
    assert tables.read_ledger(tmp_path)["notebook"].tolist() == ["01_photos"]


def test_labels_are_a_city_or_none_and_speak_of_the_very_photos(tmp_path):
    photos = tables.conform(pd.DataFrame([{**PHOTO, "photo_id": name} for name in "abc"]), "photos")
    labels = photos.assign(city_id=pd.array([7, None, 7], dtype="Int64")).sample(frac=1, random_state=0)
    tables.write_table(labels, tmp_path / "labels.parquet", "labels")
    read = tables.read_table(tmp_path / "labels.parquet", "labels")
    assert list(read.columns) == ["photo_id", "city_id"]
    joined = tables.join_labels(photos, read)
    assert joined["photo_id"].tolist() == ["a", "b", "c"]
    assert joined["city_id"].tolist() == [7, pd.NA, 7]
    with pytest.raises(ValueError, match="run 02_cities again"):
        tables.join_labels(photos, read[1:])
    with pytest.raises(FileNotFoundError, match="02_cities"):
        tables.read_table(tmp_path / "none.parquet", "labels")


def test_a_sample_keeps_splits_of_any_name_and_says_which_it_has():
    row = {**PHOTO, "city_id": 1, "city": "Aa", "taken_at": "2005-07-21", "split_seed 3": "train", "split_source": None}
    sample = tables.conform(pd.DataFrame([row, {**row, "photo_id": "b", "split_seed 3": "test"}]), "sample")
    assert tables.drawn_protocols(sample) == ["seed 3"]  # nobody drew by source: it left out every photo
    assert tables.split_of(sample, "seed 3").tolist() == ["train", "test"]
    assert sample["taken_at"][0] == pd.Timestamp(2005, 7, 21)
    for protocol in ("source", "user"):
        with pytest.raises(ValueError, match=rf"no split by protocol '{protocol}'.*\['seed 3'\]"):
            tables.split_rows(sample, protocol, "train")
    with pytest.raises(ValueError, match="no val photos under protocol 'seed 3'"):
        tables.split_rows(sample, "seed 3", "val")
    with pytest.raises(ValueError, match="split_seed 3"):
        tables.conform(sample.assign(**{"split_seed 3": "training"}), "sample")


def test_made_up_photos_name_the_origin_even_among_real_ones():
    assert tables.origin(pd.DataFrame({"source": ["own", tables.SYNTHETIC]})).startswith("SYNTHETIC")
    assert tables.origin(pd.DataFrame({"source": ["own", "mp16"]})) == "photographs: mp16, own"
    assert tables.made_up(tables.origin(pd.DataFrame({"source": ["own", "Synthetic"]})))
    assert tables.origin(pd.DataFrame({"source": list("gfedcba")})) == "photographs: a, b, c, d and 3 others"
    told = [tables.origin(pd.DataFrame({"source": ["own", source]})) for source in (tables.SYNTHETIC, "mp16")]
    assert [tables.made_up(origin) for origin in told] == [True, False]


def test_ledger_counts_reasons_and_reads_back_in_order(tmp_path, capsys):
    why = pd.Series(["no position", "no position", "duplicate id"])
    tables.write_ledger([tables.ledger_row("read", 10, 7, why)], tmp_path, "01_photos")
    tables.write_ledger([tables.ledger_row("label", 7, 5, "in no city")], tmp_path, "02_cities")
    ledger = tables.read_ledger(tmp_path)
    assert ledger["why"].tolist() == ["no position: 2; duplicate id: 1", "in no city"]
    assert (ledger["rows_out"].shift().dropna() == ledger["rows_in"][1:]).all()
    assert "read: 10 in, 7 out" in capsys.readouterr().out
