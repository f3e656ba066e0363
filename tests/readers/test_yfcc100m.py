"""YFCC100M's lines of both widths, plain and packed, whole and damaged."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoutils import tables
from geoutils.readers import checks, yfcc100m
from geoutils.readers.checks import concat_readings
from geoutils.readers.yfcc100m import read_yfcc100m
from makers.corpus_files import (
    FUZZ,
    PARIS,
    hashed,
    reasons,
    write_yfcc,
    yfcc_row,
)


@pytest.mark.parametrize("options", [{}, {"wide": True}, {"wide": True, "swapped": True}])
@pytest.mark.parametrize("name", ["yfcc100m_dataset", "yfcc100m_dataset-0.bz2"])
def test_yfcc_of_every_kind_gives_the_same_photo(tmp_path, options, name):
    path = write_yfcc(tmp_path / name, [yfcc_row(123, **options)])
    row = concat_readings(read_yfcc100m(path)).photos.iloc[0]
    assert (row["photo_id"], row["source"], row["license"]) == ("123", "yfcc100m", "Attribution License")
    assert (row["latitude"], row["longitude"]) == tuple(map(float, PARIS))
    assert row["user_id"] == hashed("35034363287@N01")
    assert row["taken_at"] == pd.Timestamp("2010-07-19 14:16:19")
    assert pd.isna(row["path"])


def test_yfcc_rejects_by_reason_and_adds_up(tmp_path):
    lines = [
        yfcc_row(1),
        yfcc_row(2, marker="1"),
        yfcc_row(3, latitude="", longitude=""),
        yfcc_row(1),
        "\n",
        yfcc_row(4, wide=True),
        yfcc_row(5).replace("Attribution", "Attri\tbution"),
        "not a record\n",
        yfcc_row("six"),
        yfcc_row(""),
        yfcc_row(7, latitude="48,85"),
        yfcc_row(8, latitude="1e308"),
        yfcc_row(9, latitude="139.7", longitude="35.6"),
        yfcc_row(10, marker="\0"),
        yfcc_row(11, title="caf\udce9"),
    ]
    reading = concat_readings(read_yfcc100m(write_yfcc(tmp_path / "yfcc100m_dataset", lines)))
    assert reading.rows_in == len(lines) - 1
    assert sorted(reading.photos["photo_id"]) == ["1", "11"]
    expected = [yfcc100m.VIDEO, checks.NO_POSITION, checks.DUPLICATE, checks.UNREADABLE_POSITION]
    expected += [checks.OUT_OF_RANGE, checks.SWAPPED, *[checks.BROKEN] * 6]
    assert sorted(reading.rejected["reason"]) == sorted(expected)


def test_yfcc_folder_of_both_widths_is_one_stream_each_file_of_its_first_lines(tmp_path):
    write_yfcc(tmp_path / "yfcc100m_dataset-0.bz2", [yfcc_row(i) for i in range(5)])
    wide = [yfcc_row(i, wide=True) for i in range(3, 8)]
    write_yfcc(tmp_path / "yfcc100m_dataset-1", ["\n", *wide[:4], yfcc_row(8), wide[4].strip()])
    write_yfcc(tmp_path / "yfcc100m_hash", ["1\tabc\n"])
    reading = concat_readings(read_yfcc100m(tmp_path, batch_rows=3))
    assert sorted(reading.photos["photo_id"]) == [str(i) for i in range(8)]
    other = "yfcc100m_dataset-1:5"  # blank lines are not counted
    assert reasons(reading) == {"3": checks.DUPLICATE, "4": checks.DUPLICATE, other: checks.BROKEN}
    assert reading.rejected.set_index("record")["detail"][other] == "23 columns, not 25"


def test_yfcc_batches_give_what_one_batch_gives(tmp_path, monkeypatch):
    ids = ["no id" if i % 11 == 6 else i % 90 for i in range(200)]
    lines = [yfcc_row(ids[i], wide=True, latitude="" if i % 7 == 0 else i / 10) for i in range(200)]
    lines[4::5] = [yfcc_row(1)] * 40  # of another width: broken even where a block begins with one
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)
    whole = concat_readings(read_yfcc100m(path))
    monkeypatch.setattr(yfcc100m, "YFCC_BLOCK", 1_000)
    batches = list(read_yfcc100m(path, batch_rows=10))
    assert len(batches) > 10
    joined = concat_readings(batches)
    pd.testing.assert_frame_equal(joined.photos, whole.photos)
    pd.testing.assert_frame_equal(tables.conform(joined.photos, "photos"), joined.photos)
    assert len(joined.photos) > 50
    assert sorted(zip(joined.rejected["record"], joined.rejected["reason"], strict=True)) == sorted(
        zip(whole.rejected["record"], whole.rejected["reason"], strict=True)
    )


@pytest.mark.parametrize("damage", [slice(0, -20), slice(0, 60), slice(5, None)])
def test_a_damaged_bz2_gives_what_can_be_read_and_a_broken_record(tmp_path, damage):
    path = write_yfcc(tmp_path / "yfcc100m_dataset-0.bz2", [yfcc_row(i) for i in range(9)])
    path.write_bytes(path.read_bytes()[damage])
    reading = concat_readings(read_yfcc100m(path))
    assert checks.BROKEN in set(reading.rejected["reason"])
    assert "the rest can't be read" in reading.rejected["detail"].iloc[-1]


def test_a_line_without_end_is_one_broken_record_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(yfcc100m, "YFCC_BLOCK", 1 << 12)
    lines = [yfcc_row(1), "x" * (1 << 20) + "\n", yfcc_row(2)]
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)
    assert max(map(len, yfcc100m._blocks(path))) <= 3 << 12
    reading = concat_readings(read_yfcc100m(path))
    assert reading.photos["photo_id"].tolist() == ["1", "2"]
    assert reading.rejected["reason"].tolist() == [checks.BROKEN]


@FUZZ
@given(
    lines=st.lists(
        st.one_of(
            st.integers(0, 30).map(yfcc_row),
            st.builds(
                yfcc_row, st.integers(0, 9), wide=st.booleans(), latitude=st.floats(), marker=st.sampled_from("01x")
            ),
            st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=30).map(
                "x{}\n".format
            ),
        ),
        max_size=25,
    ),
    batch_rows=st.integers(1, 9),
)
def test_every_yfcc_line_is_in_exactly_one_table(tmp_path, lines, batch_rows):
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)
    reading = concat_readings(read_yfcc100m(path, batch_rows=batch_rows))
    assert reading.rows_in == len(lines)
    assert reading.photos["photo_id"].is_unique
