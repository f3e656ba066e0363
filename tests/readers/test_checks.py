"""Each bad row has its reason, and every row is in one of the two tables."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from geoutils import images, readers, tables
from geoutils.readers import checks
from geoutils.readers.checks import check_rows
from makers.corpus_files import reasons


def write(path, text: str, encoding: str = "utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def raw(**columns: list) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    defaults = {"photo_id": [f"p{i}" for i in range(rows)], "latitude": [1.0] * rows, "longitude": [2.0] * rows}
    return pd.DataFrame(defaults | columns).assign(source="own")


POSITIONS = [
    ("90", "180", None),
    ("-90", "-180", None),
    (" 1.5 ", "+3", None),
    (None, "2", checks.NO_POSITION),
    ("1", float("nan"), checks.NO_POSITION),
    ("NaN", "2", checks.UNREADABLE_POSITION),
    ("48,85", "2,35", checks.UNREADABLE_POSITION),
    ("1.5\0", "2", checks.UNREADABLE_POSITION),
    ("48° 51' N", "2", checks.UNREADABLE_POSITION),
    ("9" * 9_000, "2", checks.UNREADABLE_POSITION),
    ("1e308", "2", checks.OUT_OF_RANGE),
    ("inf", "2", checks.OUT_OF_RANGE),
    ("1", "180.1", checks.OUT_OF_RANGE),
    ("181", "2", checks.OUT_OF_RANGE),
    ("139.69", "35.68", checks.SWAPPED),
    ("-122.4", "37.8", checks.SWAPPED),
    ("139.69", "135.68", checks.OUT_OF_RANGE),
    ("0", "0.0", checks.NULL_ISLAND),
    ("0", "0.1", None),
]


def test_each_bad_position_has_its_reason():
    latitude, longitude, expected = zip(*POSITIONS, strict=True)
    reading = check_rows(raw(latitude=list(latitude), longitude=list(longitude)))
    assert reading.rows_in == len(POSITIONS)
    assert reasons(reading) == {f"p{i}": reason for i, reason in enumerate(expected) if reason}


def test_nothing_is_mended():
    reading = check_rows(raw(latitude=["139.69", "35.68"], longitude=["35.68", "139.69"]))
    assert reading.photos[["latitude", "longitude"]].to_numpy().tolist() == [[35.68, 139.69]]
    assert reading.rejected["detail"].tolist() == ["139.69 35.68"]


def test_the_first_usable_photo_of_an_id_is_kept():
    reading = check_rows(
        raw(photo_id=["a", "a", "a", "b"], latitude=["0", "5", "6", "7"], longitude=["0", "1", "1", "1"])
    )
    assert reading.photos[["photo_id", "latitude"]].to_numpy().tolist() == [["a", 5.0], ["b", 7.0]]
    assert reading.rejected["reason"].tolist() == [checks.NULL_ISLAND, checks.DUPLICATE]


def test_partition_spellings_are_normalised_and_others_rejected():
    spellings = ["train", "Training", "VAL", "validation", "dev", "test", None, "trian"]
    reading = check_rows(raw(partition=spellings))
    assert reading.photos["partition"].fillna("-").tolist() == ["train", "train", "val", "val", "val", "test", "-"]
    assert reasons(reading) == {"p7": checks.UNKNOWN_PARTITION}


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a/../../x.jpg", "a\0.jpg", ".", ""])
def test_paths_that_leave_the_root_are_rejected(tmp_path, path):
    reading = check_rows(raw(path=[path]), image_root=tmp_path / "root", check_images=False)
    assert reading.rejected["reason"].tolist() == [checks.OUTSIDE_ROOT]


@pytest.mark.parametrize("path", ["a.jpg", "./b/../a.jpg", "..a.jpg"])
def test_paths_inside_the_root_become_absolute(tmp_path, path):
    reading = check_rows(
        raw(path=[path, str(tmp_path / path)], photo_id=["x", "y"]), image_root=tmp_path, check_images=False
    )
    assert set(reading.photos["path"]) == {str((tmp_path / path).resolve())}


def test_faults_of_files_are_reasons(tmp_path, crops):
    crops[0].save(tmp_path / "good.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:-900])
    (tmp_path / "text.jpg").write_text("no image")
    names = ["good.jpg", "cut.jpg", "text.jpg", "absent.jpg", None]
    reading = check_rows(raw(path=names), image_root=tmp_path)
    assert reading.photos["photo_id"].tolist() == ["p0", "p4"]
    assert reasons(reading) == {"p1": images.TRUNCATED, "p2": images.UNREADABLE, "p3": images.MISSING_FILE}


def test_one_file_under_two_ids_is_a_duplicate(tmp_path):
    names = ["a.jpg", "./a.jpg", str(tmp_path / "a.jpg"), "b.jpg", None, None]
    reading = check_rows(raw(path=names), image_root=tmp_path, check_images=False)
    assert reading.photos["photo_id"].tolist() == ["p0", "p3", "p4", "p5"]
    assert reasons(reading) == {"p1": checks.DUPLICATE, "p2": checks.DUPLICATE}


def test_a_copy_of_a_file_is_a_duplicate_and_of_equal_size_alone_is_not(tmp_path, crops):
    for name, shade in (("a.bmp", 1), ("same_size.bmp", 2), ("copy.bmp", 1)):
        Image.new("L", (20, 20), shade).save(tmp_path / name)
    crops[0].save(tmp_path / "other.jpg")
    table = raw(path=["a.bmp", "same_size.bmp", "copy.bmp", "other.jpg"])
    reading = check_rows(table, image_root=tmp_path)
    assert reading.rejected.to_numpy().tolist() == [["p2", checks.DUPLICATE, "repeats p0"]]
    assert len(check_rows(table, image_root=tmp_path, check_images=False).photos) == 4


def test_only_files_of_equal_size_are_read_for_copies(tmp_path, crops, monkeypatch):
    hashed = []
    monkeypatch.setattr(images, "file_sha256", lambda path: hashed.append(path) or "digest")
    for number in range(5):
        crops[number].save(tmp_path / f"{number}.jpg")
    (tmp_path / "4.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    check_rows(raw(path=[f"{number}.jpg" for number in range(5)]), image_root=tmp_path)
    assert sorted(Path(path).name for path in hashed) == ["0.jpg", "4.jpg"]


def test_rejected_rows_do_not_name_an_owner(tmp_path):
    owner = "97324495@N00"
    body = f"1,2,a,{owner},some nickname\n0,0,x/1_a_2_{owner}.jpg,{owner}\n95,9,x/7_a_2_{owner}.jpg,\n"
    path = write(tmp_path / "p.csv", "lat,lon,path,owner\n" + body)
    rejected = readers.read(path, check_images=False).rejected
    assert rejected["reason"].tolist() == [checks.BROKEN, checks.NULL_ISLAND, checks.SWAPPED]
    assert rejected.iloc[0].tolist() == ["p.csv:2", checks.BROKEN, "5 fields for 4"]
    assert not rejected.to_csv().count("97324495") + rejected.to_csv().count("nickname")


def test_no_rows_give_an_empty_valid_table():
    reading = check_rows(raw(latitude=[]), image_root="somewhere")
    assert reading.rows_in == 0
    assert list(reading.photos.columns) == list(tables.PHOTO_COLUMNS)


def test_owners_are_hashed_and_equal_owners_stay_equal():
    reading = check_rows(raw(user_id=["Ann", "Bob", "Ann ", None]))
    hashed = reading.photos["user_id"]
    assert hashed[0] == hashed[2] != hashed[1]
    assert not hashed.dropna().isin(["Ann", "Bob"]).any()
    assert pd.isna(hashed[3])


def test_impossible_times_become_null():
    times = ["2005-07-21 14:41:58.0", "2005-07-21T14:41:58+02:00", "0000-00-00 00:00:00", "9999-01-01", "1", "x", None]
    found = check_rows(raw(taken_at=times)).photos["taken_at"]
    assert found[:2].tolist() == [pd.Timestamp("2005-07-21 14:41:58"), pd.Timestamp("2005-07-21 12:41:58")]
    assert found[2:].isna().all()
