import csv
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corpus_files import write_geotagged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from geoutils import images, photos, tables
from geoutils.photos import checked, csv_batches, read_csv, read_exif_folder

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _own_key(monkeypatch, tmp_path_factory):
    key = tmp_path_factory.getbasetemp() / "user_key"
    monkeypatch.setattr(photos, "hash_users", functools.partial(tables.hash_users, key_file=key))


def write(path, text: str, encoding: str = "utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def raw(**columns: list) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    defaults = {"photo_id": [f"p{i}" for i in range(rows)], "latitude": [1.0] * rows, "longitude": [2.0] * rows}
    return pd.DataFrame(defaults | columns).assign(source="own")


def reasons(reading: tables.Reading) -> dict[str, str]:
    return dict(zip(reading.rejected["record"], reading.rejected["reason"], strict=True))


POSITIONS = [
    ("90", "180", None),
    ("-90", "-180", None),
    (" 1.5 ", "+3", None),
    (None, "2", photos.NO_POSITION),
    ("1", float("nan"), photos.NO_POSITION),
    ("NaN", "2", photos.UNREADABLE_POSITION),
    ("48,85", "2,35", photos.UNREADABLE_POSITION),
    ("1.5\0", "2", photos.UNREADABLE_POSITION),
    ("48° 51' N", "2", photos.UNREADABLE_POSITION),
    ("9" * 9_000, "2", photos.UNREADABLE_POSITION),
    ("1e308", "2", photos.OUT_OF_RANGE),
    ("inf", "2", photos.OUT_OF_RANGE),
    ("1", "180.1", photos.OUT_OF_RANGE),
    ("181", "2", photos.OUT_OF_RANGE),
    ("139.69", "35.68", photos.SWAPPED),
    ("-122.4", "37.8", photos.SWAPPED),
    ("139.69", "135.68", photos.OUT_OF_RANGE),
    ("0", "0.0", photos.NULL_ISLAND),
    ("0", "0.1", None),
]


def test_each_bad_position_has_its_reason():
    latitude, longitude, expected = zip(*POSITIONS, strict=True)
    reading = checked(raw(latitude=list(latitude), longitude=list(longitude)))
    assert reading.rows_in == len(POSITIONS)
    assert reasons(reading) == {f"p{i}": reason for i, reason in enumerate(expected) if reason}


def test_nothing_is_mended():
    reading = checked(raw(latitude=["139.69", "35.68"], longitude=["35.68", "139.69"]))
    assert reading.photos[["latitude", "longitude"]].to_numpy().tolist() == [[35.68, 139.69]]
    assert reading.rejected["detail"].tolist() == ["139.69 35.68"]


def test_the_first_usable_photo_of_an_id_is_kept():
    reading = checked(raw(photo_id=["a", "a", "a", "b"], latitude=["0", "5", "6", "7"], longitude=["0", "1", "1", "1"]))
    assert reading.photos[["photo_id", "latitude"]].to_numpy().tolist() == [["a", 5.0], ["b", 7.0]]
    assert reading.rejected["reason"].tolist() == [photos.NULL_ISLAND, photos.DUPLICATE]


def test_partition_spellings_are_normalised_and_others_rejected():
    spellings = ["train", "Training", "VAL", "validation", "dev", "test", None, "trian"]
    reading = checked(raw(partition=spellings))
    assert reading.photos["partition"].fillna("-").tolist() == ["train", "train", "val", "val", "val", "test", "-"]
    assert reasons(reading) == {"p7": photos.UNKNOWN_PARTITION}


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a/../../x.jpg", "a\0.jpg", ".", ""])
def test_paths_that_leave_the_root_are_rejected(tmp_path, path):
    reading = checked(raw(path=[path]), image_root=tmp_path / "root", check_images=False)
    assert reading.rejected["reason"].tolist() == [photos.OUTSIDE_ROOT]


@pytest.mark.parametrize("path", ["a.jpg", "./b/../a.jpg", "..a.jpg"])
def test_paths_inside_the_root_become_absolute(tmp_path, path):
    reading = checked(
        raw(path=[path, str(tmp_path / path)], photo_id=["x", "y"]), image_root=tmp_path, check_images=False
    )
    assert set(reading.photos["path"]) == {str((tmp_path / path).resolve())}


def test_faults_of_files_are_reasons(tmp_path, crops):
    crops[0].save(tmp_path / "good.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:-900])
    (tmp_path / "text.jpg").write_text("no image")
    names = ["good.jpg", "cut.jpg", "text.jpg", "absent.jpg", None]
    reading = checked(raw(path=names), image_root=tmp_path)
    assert reading.photos["photo_id"].tolist() == ["p0", "p4"]
    assert reasons(reading) == {"p1": images.TRUNCATED, "p2": images.UNREADABLE, "p3": images.MISSING_FILE}


def test_one_file_under_two_ids_is_a_duplicate(tmp_path):
    names = ["a.jpg", "./a.jpg", str(tmp_path / "a.jpg"), "b.jpg", None, None]
    reading = checked(raw(path=names), image_root=tmp_path, check_images=False)
    assert reading.photos["photo_id"].tolist() == ["p0", "p3", "p4", "p5"]
    assert reasons(reading) == {"p1": photos.DUPLICATE, "p2": photos.DUPLICATE}


def test_a_copy_of_a_file_is_a_duplicate_and_of_equal_size_alone_is_not(tmp_path, crops):
    for name, shade in (("a.bmp", 1), ("same_size.bmp", 2), ("copy.bmp", 1)):
        Image.new("L", (20, 20), shade).save(tmp_path / name)
    crops[0].save(tmp_path / "other.jpg")
    table = raw(path=["a.bmp", "same_size.bmp", "copy.bmp", "other.jpg"])
    reading = checked(table, image_root=tmp_path)
    assert reading.rejected.to_numpy().tolist() == [["p2", photos.DUPLICATE, "repeats p0"]]
    assert len(checked(table, image_root=tmp_path, check_images=False).photos) == 4


def test_only_files_of_equal_size_are_read_for_copies(tmp_path, crops, monkeypatch):
    hashed = []
    monkeypatch.setattr(images, "file_sha256", lambda path: hashed.append(path) or "digest")
    for number in range(5):
        crops[number].save(tmp_path / f"{number}.jpg")
    (tmp_path / "4.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    checked(raw(path=[f"{number}.jpg" for number in range(5)]), image_root=tmp_path)
    assert sorted(Path(path).name for path in hashed) == ["0.jpg", "4.jpg"]


def test_rejected_rows_do_not_name_an_owner(tmp_path):
    owner = "97324495@N00"
    body = f"1,2,a,{owner},some nickname\n0,0,x/1_a_2_{owner}.jpg,{owner}\n95,9,x/7_a_2_{owner}.jpg,\n"
    path = write(tmp_path / "p.csv", "lat,lon,path,owner\n" + body)
    rejected = read_csv(path, check_images=False).rejected
    assert rejected["reason"].tolist() == [photos.BROKEN, photos.NULL_ISLAND, photos.SWAPPED]
    assert rejected.iloc[0].tolist() == ["p.csv:2", photos.BROKEN, "5 fields for 4"]
    assert not rejected.to_csv().count("97324495") + rejected.to_csv().count("nickname")


def test_no_rows_give_an_empty_valid_table():
    reading = checked(raw(latitude=[]), image_root="somewhere")
    assert reading.rows_in == 0
    assert list(reading.photos.columns) == list(tables.PHOTO_COLUMNS)


def test_owners_are_hashed_and_equal_owners_stay_equal():
    reading = checked(raw(user_id=["Ann", "Bob", "Ann ", None]))
    hashed = reading.photos["user_id"]
    assert hashed[0] == hashed[2] != hashed[1]
    assert not hashed.dropna().isin(["Ann", "Bob"]).any()
    assert pd.isna(hashed[3])


def test_impossible_times_become_null():
    times = ["2005-07-21 14:41:58.0", "2005-07-21T14:41:58+02:00", "0000-00-00 00:00:00", "9999-01-01", "1", "x", None]
    found = checked(raw(taken_at=times)).photos["taken_at"]
    assert found[:2].tolist() == [pd.Timestamp("2005-07-21 14:41:58"), pd.Timestamp("2005-07-21 12:41:58")]
    assert found[2:].isna().all()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_encodings_give_the_same_table(tmp_path, delimiter, encoding):
    lines = [["IMG_ID", "Lat", "LON", "Author", "Query"], ["ä1", "48.5", "-2.25", "Zoë", "Köln"]]
    text = "\r\n".join(delimiter.join(line) for line in lines) + "\r\n\r\n"
    reading = read_csv(write(tmp_path / "p.csv", text, encoding))
    assert reading.rejected.empty
    row = reading.photos.iloc[0]
    assert (row["photo_id"], row["latitude"], row["longitude"], row["keyword"]) == ("ä1", 48.5, -2.25, "Köln")


def test_named_columns_win_over_synonyms(tmp_path):
    path = write(tmp_path / "p.csv", "id,lat,lon,y,name\n1,9,9,3,b\n")
    reading = read_csv(path, columns={"latitude": "y", "photo_id": "name"})
    assert reading.photos[["photo_id", "latitude", "longitude"]].iloc[0].tolist() == ["b", 3.0, 9.0]


@pytest.mark.parametrize("text", ["", "\n\n", "id,lat\n1,2\n", "1,2,3\n", "\0\0\0"])
def test_a_file_without_positions_says_what_it_found(tmp_path, text):
    with pytest.raises(ValueError, match=r"p\.csv: no column for latitude and longitude among"):
        read_csv(write(tmp_path / "p.csv", text))


def test_a_named_column_that_is_absent_is_named(tmp_path):
    with pytest.raises(ValueError, match="no column for keyword among"):
        read_csv(write(tmp_path / "p.csv", "lat,lon\n1,2\n"), columns={"keyword": "query"})


def test_without_ids_the_path_or_the_line_is_the_id(tmp_path, crops):
    crops[0].save(tmp_path / "a.jpg")
    reading = read_csv(write(tmp_path / "p.csv", "lat,lon,path\n1,2,a.jpg\n3,4,\n"))
    assert reading.photos["photo_id"].tolist() == ["a.jpg", "p.csv:3"]
    assert reading.photos["path"].tolist()[0] == str(tmp_path / "a.jpg")


QUOTED = [
    ('1,2,a,"two\nlines, one record"\n3,4,b,x\n', ["a", "b"], []),
    ('1,2,a,"never closed\n3,4,b,x\n5,6,c,"y"\n', ["a", "b", "c"], []),
    ('1,2,a,"he said "hi" there"\n3,4,b,x\n', ["a", "b"], []),
    ('1,2,a,5" lens\n3,4,b,x\n', ["a", "b"], []),
    ("1,2,a\n3,4,b,x\n1,2,3,4,5\n1,2,c,x,,\n", ["b", "c"], ["p.csv:2", "p.csv:4"]),
    ('"' * 7 + "\n3,4,b,x\n", ["b"], ["p.csv:2"]),
    (f"1,2,a,{'x' * 200_000}\n3,4,b,x\n", ["b"], ["p.csv:2"]),
    (f"{'1,2,a,x,' * 200_000}\n3,4,b,x\n", ["b"], ["p.csv:2"]),
    ('1,2,a,"open\n' * 70, ["a"], [f"p.csv:{i}" for i in ()]),
]


@pytest.mark.parametrize(("body", "kept", "broken"), QUOTED)
def test_a_fault_costs_its_own_line_only(tmp_path, body, kept, broken):
    reading = read_csv(write(tmp_path / "p.csv", "lat,lon,id,title\n" + body))
    assert reading.photos["photo_id"].tolist() == kept
    assert reading.rejected.loc[reading.rejected["reason"] == photos.BROKEN, "record"].tolist() == broken


def test_batches_hold_the_same_records_as_one(tmp_path):
    lines = [f"{i},{i},n{i}\n" if i % 7 else "broken\n" for i in range(100)]
    path = write(tmp_path / "p.csv", "lat,lon,id\n" + "".join(lines))
    batches = list(csv_batches(path, batch_rows=9))
    assert [len(batch) for batch in batches] == [9] * 11 + [1]
    pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), next(csv_batches(path)))


@FUZZ
@given(body=st.binary(max_size=400), header=st.sampled_from([b"lat,lon,id\n", b"\xef\xbb\xbflat;lon;title\r\n", b""]))
def test_random_bytes_are_read_or_refused(tmp_path, body, header):
    (tmp_path / "p.csv").write_bytes(header + body)
    if header:
        read_csv(tmp_path / "p.csv")
    else:
        with pytest.raises(ValueError, match="no column for latitude and longitude"):
            read_csv(tmp_path / "p.csv")


CELL = st.one_of(
    st.floats().map(str), st.sampled_from(["", "1", "0", "-91", "1,5", "\0", '"', "9" * 400]), st.text(max_size=5)
)


@FUZZ
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12))
def test_every_record_is_in_one_of_the_two_tables(tmp_path, rows):
    table = pd.DataFrame(rows, columns=["id", "lat", "lon"], dtype="object")
    table.to_csv(tmp_path / "p.csv", index=False, errors="replace", quoting=csv.QUOTE_ALL)
    reading = read_csv(tmp_path / "p.csv")
    assert reading.rows_in == len(rows)
    position = reading.photos[["latitude", "longitude"]].to_numpy()
    assert np.isfinite(position).all()
    assert reading.photos["photo_id"].is_unique


def test_a_folder_tree_gives_positions_and_says_what_it_left_out(tmp_path, crops, capsys):
    write_geotagged(tmp_path / "a.jpg", crops[0])
    write_geotagged(tmp_path / "b" / "c" / "d.PNG", crops[0])
    crops[0].save(tmp_path / "b" / "plain.jpg")
    (tmp_path / "b" / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-700])
    (tmp_path / "b" / "text.jpeg").write_text("no image")
    (tmp_path / "notes.txt").write_text("no record")
    reading = read_exif_folder(tmp_path)
    assert reading.photos["photo_id"].tolist() == ["a.jpg", "b/c/d.PNG"]
    assert reading.photos["longitude"].tolist() == pytest.approx([-2.35, -2.35])
    assert reasons(reading) == {
        "b/cut.jpg": images.TRUNCATED,
        "b/plain.jpg": photos.NO_POSITION,
        "b/text.jpeg": images.UNREADABLE,
    }
    assert "6 in, 5 out (others: ['.txt'])" in capsys.readouterr().out


def test_a_name_that_is_no_utf8_is_rejected_not_fatal(tmp_path, crops):
    write_geotagged(tmp_path / "good.jpg", crops[0])
    (tmp_path / "b\udce4d.jpg").hardlink_to(tmp_path / "good.jpg")
    reading = read_exif_folder(tmp_path)
    assert reading.photos["photo_id"].tolist() == ["good.jpg"]
    assert reading.rejected["reason"].tolist() == [images.MISSING_FILE]


@pytest.mark.realdata
def test_landmarks_read_whole_with_their_partition(real_data):
    reading = read_csv(real_data / "photos" / "landmarks7" / "photos.csv", check_images=False)
    assert reading.rejected.empty
    assert reading.photos["partition"].value_counts().to_dict() == {"train": 7_500, "val": 2_500}
    assert reading.photos["path"].map(lambda path: path.endswith(".jpg")).all()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "rows", "users"), [("yfcc25600", 25_600, 13_018), ("mp16_coordinates_100k", 100_000, 0)]
)
def test_real_positions_read_whole(real_data, name, rows, users):
    reading = read_csv(real_data / "metadata" / f"{name}.csv")
    assert len(reading.photos) == reading.rows_in == rows
    assert reading.photos["user_id"].nunique() == users
