"""Im2GPS's records and images meet by query and name."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoutils import images
from geoutils.readers import checks
from geoutils.readers.checks import concat_readings
from geoutils.readers.im2gps import read_im2gps
from makers.corpus_files import (
    FUZZ,
    PARIS,
    TOKYO,
    hashed,
    im2gps_name,
    im2gps_record,
    reasons,
    write_im2gps,
    write_jpeg,
)


def test_im2gps_meets_records_with_their_images(tmp_path, crops):
    write_im2gps(tmp_path / "Paris.txt", [im2gps_record(1), im2gps_record(2, owner="5@N01", position=TOKYO)])
    path = write_jpeg(tmp_path / "Paris" / "00001" / im2gps_name(1), crops[0])
    reading = concat_readings(read_im2gps(tmp_path))
    row = reading.photos.iloc[0]
    assert (row["photo_id"], row["keyword"], row["path"]) == ("1", "Paris", str(path))
    assert (row["latitude"], row["longitude"]) == tuple(map(float, PARIS))  # not the one in the title
    assert row["user_id"] == hashed("72399739@N00")
    assert row["taken_at"] == pd.Timestamp("2005-07-21 14:41:58")
    assert reasons(reading) == {"2": images.MISSING_FILE}


def test_im2gps_reads_an_image_without_record_by_its_comments(tmp_path, crops):
    path = tmp_path / "Tokyo" / "00070" / im2gps_name(7, "97324495@N00")
    write_jpeg(path, crops[0], im2gps_record(7, position=TOKYO))
    write_jpeg(path.with_name(im2gps_name(8)), crops[0])
    reading = concat_readings(read_im2gps(tmp_path))
    row = reading.photos.iloc[0]
    assert (row["latitude"], row["longitude"]) == tuple(map(float, TOKYO))
    assert (row["keyword"], row["user_id"]) == ("Tokyo", hashed("97324495@N00"))
    assert reasons(reading) == {"8": checks.NO_POSITION}


def test_im2gps_test_names_tell_query_and_owner(tmp_path, crops):
    name = "Tokyo_00070_439717934_3d0fd200f1_180_97324495@N00.jpg"
    write_jpeg(tmp_path / name, crops[0], im2gps_record(position=TOKYO))
    row = concat_readings(read_im2gps(tmp_path)).photos.iloc[0]
    assert (row["photo_id"], row["keyword"]) == ("439717934", "Tokyo")
    assert row["user_id"] == hashed("97324495@N00")


def test_im2gps_keeps_count_of_images_of_one_name(tmp_path, crops):
    write_im2gps(tmp_path / "Paris.txt", [im2gps_record(1)])
    for folder, crop in zip(("00001", "00002"), crops, strict=False):
        write_jpeg(tmp_path / "Paris" / folder / im2gps_name(1), crop)
        write_jpeg(tmp_path / "Paris" / folder / im2gps_name(2), crop, im2gps_record(2))
    reading = concat_readings(read_im2gps(tmp_path, batch_rows=1))
    assert sorted(reading.photos["photo_id"]) == ["1", "2"]
    assert reading.rejected[["record", "reason"]].to_numpy().tolist() == [[i, checks.DUPLICATE] for i in "12"]


def test_im2gps_takes_a_whole_image_where_one_of_its_name_is_cut(tmp_path, crops):
    write_im2gps(tmp_path / "Paris.txt", [im2gps_record(1)])
    write_jpeg(tmp_path / "Paris" / "00001" / im2gps_name(1), crops[0]).write_bytes(b"cut")
    whole = write_jpeg(tmp_path / "Paris" / "00002" / im2gps_name(1), crops[0])
    reading = concat_readings(read_im2gps(tmp_path))
    assert reading.photos["path"].tolist() == [str(whole)]
    assert reasons(reading) == {"1": images.UNREADABLE}


@pytest.mark.parametrize("suffix", ["JPG", "jpeg", "Jpeg"])
@pytest.mark.parametrize("folder", ["", "Paris/00001"])
def test_im2gps_suffixes_are_read_in_any_case(tmp_path, crops, suffix, folder):
    if folder:
        write_im2gps(tmp_path / "Paris.txt", [im2gps_record(1)])
    path = write_jpeg(tmp_path / folder / im2gps_name(1), crops[0], im2gps_record(1))
    path = path.rename(path.with_suffix(f".{suffix}"))
    reading = concat_readings(read_im2gps(tmp_path))
    assert reading.photos[["photo_id", "path"]].to_numpy().tolist() == [["1", str(path)]]


def test_im2gps_text_alone_gives_positions(tmp_path):
    records = [im2gps_record(1), ["just", "noise"], im2gps_record(2, latitude=None), im2gps_record(1)]
    write_im2gps(tmp_path / "Paris.txt", [*records, im2gps_record(3, title="Café")], encoding="latin-1")
    write_im2gps(tmp_path / "Tokyo.txt", [im2gps_record(3), im2gps_record(4) + im2gps_record(5)])
    reading = concat_readings(read_im2gps(tmp_path, batch_rows=2))
    assert reading.photos["photo_id"].tolist() == ["1", "3", "4", "5"]
    assert reading.photos["path"].isna().all()
    assert sorted(reading.rejected["reason"]) == [checks.BROKEN, *[checks.DUPLICATE] * 2, checks.NO_POSITION]
    assert reading.rejected.set_index("reason").loc[checks.BROKEN, "record"] == "Paris.txt:19"


def test_im2gps_relative_folders_become_absolute_paths(tmp_path, crops, monkeypatch):
    path = write_jpeg(tmp_path / "data" / "Tokyo" / "00001" / im2gps_name(7), crops[0], im2gps_record(7))
    monkeypatch.chdir(tmp_path)
    reading = concat_readings(read_im2gps(Path("data")))
    assert reading.photos["path"].tolist() == [str(path)]


VALUE = st.one_of(st.none(), st.floats().map(str), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9))


@FUZZ
@given(records=st.lists(st.builds(im2gps_record, st.integers(1, 9), latitude=VALUE, tags=VALUE, datetaken=VALUE)))
def test_every_im2gps_record_is_in_exactly_one_table(tmp_path, records):
    write_im2gps(tmp_path / "Paris.txt", records)
    reading = concat_readings(read_im2gps(tmp_path, batch_rows=3))
    assert reading.rows_in == len(records)
