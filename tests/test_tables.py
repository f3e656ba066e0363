"""The schemas hold, reading gives back what was written, the ledger adds up, owners are hidden."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

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


def test_hashed_owners_are_stable_secret_and_apart(tmp_path):
    owners = pd.Series(["72399739@N00", " 72399739@N00 ", "someone", None, "  "])
    hashed = tables.hash_users(owners, tmp_path / "key")
    assert hashed[0] == hashed[1] != hashed[2]
    assert hashed[3:].isna().all()
    pd.testing.assert_series_equal(hashed, tables.hash_users(owners, tmp_path / "key"))
    assert tables.hash_users(owners, tmp_path / "other_key")[0] != hashed[0]
    assert "72399739" not in json.dumps(hashed[:3].tolist())


def test_first_callers_at_once_share_one_key_that_only_they_may_read(tmp_path, monkeypatch):
    key, together = tmp_path / "data" / "user_key", Barrier(8)
    make = tables.secrets.token_bytes
    monkeypatch.setattr(tables.secrets, "token_bytes", lambda size: (together.wait(5), make(size))[1])
    with ThreadPoolExecutor(8) as pool:
        found = [hashed[0] for hashed in pool.map(lambda _: tables.hash_users(pd.Series(["Ann"]), key), range(8))]
    assert len(set(found)) == 1
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == ["user_key"]


def test_made_up_photographers_keep_their_names(tmp_path):
    """A split by user of the made-up world must be the same on every machine; real owners are hashed."""
    from geoutils.photos import checked

    row = {"photo_id": "a", "latitude": 1, "longitude": 2, "user_id": "someone"}
    made_up = checked(pd.DataFrame([{**row, "source": tables.SYNTHETIC}])).photos["user_id"]
    real = checked(pd.DataFrame([{**row, "source": "own"}])).photos["user_id"]
    assert made_up[0] == "someone" != real[0]
