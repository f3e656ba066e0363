import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from corpus_files import (
    PARIS,
    TOKYO,
    im2gps_name,
    im2gps_record,
    write_im2gps,
    write_jpeg,
    write_list,
    write_shard,
    write_yfcc,
    yfcc_row,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoutils import corpora, images, photos, tables
from geoutils.corpora import (
    concat_readings,
    read_im2gps,
    read_mp16,
    read_osv5m,
    read_test_list,
    read_yfcc100m,
)
from geoutils.readers import unpack_mp16

FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _own_key(monkeypatch, tmp_path_factory):
    key = tmp_path_factory.getbasetemp() / "user_key"
    monkeypatch.setattr(photos, "hash_users", functools.partial(tables.hash_users, key_file=key))


def hashed(owner: str) -> str:
    return photos.hash_users(pd.Series([owner], dtype="str"))[0]


def reasons(reading: tables.Reading) -> dict[str, str]:
    return dict(zip(reading.rejected["record"], reading.rejected["reason"], strict=True))


# --- YFCC100M


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
    assert sorted(reading.photos["photo_id"]) == ["1", "11", "4"]
    expected = [corpora.VIDEO, photos.NO_POSITION, photos.DUPLICATE, photos.UNREADABLE_POSITION]
    expected += [photos.OUT_OF_RANGE, photos.SWAPPED, *[photos.BROKEN] * 5]
    assert sorted(reading.rejected["reason"]) == sorted(expected)


def test_yfcc_folder_of_both_widths_is_one_stream(tmp_path):
    write_yfcc(tmp_path / "yfcc100m_dataset-0.bz2", [yfcc_row(i) for i in range(5)])
    wide = [yfcc_row(i, wide=True) for i in range(3, 8)]
    write_yfcc(tmp_path / "yfcc100m_dataset-1", [*wide[:4], yfcc_row(8), wide[4].strip()])
    write_yfcc(tmp_path / "yfcc100m_hash", ["1\tabc\n"])
    reading = concat_readings(read_yfcc100m(tmp_path, batch_rows=3))
    assert sorted(reading.photos["photo_id"]) == [str(i) for i in range(9)]
    assert reasons(reading) == {"3": photos.DUPLICATE, "4": photos.DUPLICATE}


def test_yfcc_batches_give_what_one_batch_gives(tmp_path, monkeypatch):
    lines = [yfcc_row(i % 90, latitude="" if i % 7 == 0 else i / 10) if i % 5 else "broken\n" for i in range(200)]
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)
    whole = concat_readings(read_yfcc100m(path))
    monkeypatch.setattr(corpora, "YFCC_BLOCK", 1_000)
    batches = list(read_yfcc100m(path, batch_rows=10))
    assert len(batches) > 10
    joined = concat_readings(batches)
    pd.testing.assert_frame_equal(joined.photos, whole.photos)
    pd.testing.assert_frame_equal(tables.conform(joined.photos, "photos"), joined.photos)
    assert sorted(joined.rejected["reason"]) == sorted(whole.rejected["reason"])


@pytest.mark.parametrize("damage", [slice(0, -20), slice(0, 60), slice(5, None)])
def test_a_damaged_bz2_gives_what_can_be_read_and_a_broken_record(tmp_path, damage):
    path = write_yfcc(tmp_path / "yfcc100m_dataset-0.bz2", [yfcc_row(i) for i in range(9)])
    path.write_bytes(path.read_bytes()[damage])
    reading = concat_readings(read_yfcc100m(path))
    assert photos.BROKEN in set(reading.rejected["reason"])
    assert "the rest can't be read" in reading.rejected["detail"].iloc[-1]


def test_a_line_without_end_is_one_broken_record_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "YFCC_BLOCK", 1 << 12)
    lines = [yfcc_row(1), "x" * (1 << 20) + "\n", yfcc_row(2)]
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)
    assert max(map(len, corpora._blocks(path))) <= 3 << 12
    reading = concat_readings(read_yfcc100m(path))
    assert reading.photos["photo_id"].tolist() == ["1", "2"]
    assert reading.rejected["reason"].tolist() == [photos.BROKEN]


# --- Im2GPS


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
    assert reasons(reading) == {"8": photos.NO_POSITION}


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
    assert reading.rejected[["record", "reason"]].to_numpy().tolist() == [[i, photos.DUPLICATE] for i in "12"]


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
    assert sorted(reading.rejected["reason"]) == [photos.BROKEN, *[photos.DUPLICATE] * 2, photos.NO_POSITION]
    assert reading.rejected.set_index("reason").loc[photos.BROKEN, "record"] == "Paris.txt:19"


def test_im2gps_relative_folders_become_absolute_paths(tmp_path, crops, monkeypatch):
    path = write_jpeg(tmp_path / "data" / "Tokyo" / "00001" / im2gps_name(7), crops[0], im2gps_record(7))
    monkeypatch.chdir(tmp_path)
    reading = concat_readings(read_im2gps(Path("data")))
    assert reading.photos["path"].tolist() == [str(path)]


# --- MP-16


@pytest.mark.parametrize("byte_keys", [False, True])
def test_mp16_shards_unpack_to_the_files_that_the_table_names(tmp_path, crops, byte_keys):
    one, two = (write_jpeg(tmp_path / "one.jpg", crop).read_bytes() for crop in crops[:2])
    write_shard(tmp_path / "shard_0.msg", {"45/77/1.jpg": one, "2e/b5/2.jpg": two}, byte_keys=byte_keys)
    assert unpack_mp16(tmp_path, tmp_path / "images").empty
    rows = [("45/77/1.jpg", *PARIS), ("2e/b5/2.jpg", *TOKYO), ("2e/b5/3.jpg", *TOKYO)]
    table = write_list(tmp_path / "mp16.csv", "IMG_ID,LAT,LON", rows)
    reading = concat_readings(read_mp16(table, image_root=tmp_path / "images"))
    assert reading.photos["path"].tolist() == [str(tmp_path / "images" / row[0]) for row in rows[:2]]
    assert reasons(reading) == {"2e/b5/3.jpg": images.MISSING_FILE}


def test_mp16_with_author_hashes_it(tmp_path):
    table = write_list(tmp_path / "mp16.csv", "IMG_ID,AUTHOR,LAT,LON", [("a/1.jpg", "9@N00", *PARIS)])
    row = concat_readings(read_mp16(table)).photos.iloc[0]
    assert (row["photo_id"], row["user_id"], row["source"]) == ("a/1.jpg", hashed("9@N00"), "mp16")


def test_hostile_ids_write_nothing_outside(tmp_path):
    names = ["../evil.jpg", "/tmp/evil.jpg", "a/../../evil.jpg", "a\0.jpg", "", "x" * 300 + ".jpg", "a.jpg/b.jpg"]
    write_shard(tmp_path / "shard_0.msg", dict.fromkeys([*names, "good.jpg"], b"jpeg"))
    rejected = unpack_mp16(tmp_path / "shard_0.msg", tmp_path / "deep" / "images")
    assert len(rejected) == len(names)
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["good.jpg"]


def test_a_second_unpacking_goes_on_and_leaves_whole_images(tmp_path):
    shard = write_shard(tmp_path / "shard_0.msg", {"1.jpg": b"first", "2.jpg": b"second"})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(b"fir")
    unpack_mp16(shard, tmp_path / "images")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    unpack_mp16(shard, tmp_path / "images")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()} == times
    assert (tmp_path / "images" / "1.jpg").read_bytes() == b"first"


def test_an_id_that_comes_again_is_reported_and_overwrites_nothing(tmp_path):
    write_shard(tmp_path / "shard_0.msg", {"1.jpg": b"first", "2.jpg": b"second"})
    write_shard(tmp_path / "shard_1.msg", {"1.jpg": b"another"})
    for _ in range(2):
        rejected = unpack_mp16(tmp_path, tmp_path / "images")
        assert rejected.to_numpy().tolist() == [["shard_1.msg:0", photos.DUPLICATE, "1.jpg"]]
        assert (tmp_path / "images" / "1.jpg").read_bytes() == b"first"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_shard_cut_short_says_so_after_what_it_holds(tmp_path, cut):
    shard = write_shard(tmp_path / "shard_0.msg", {f"{i}.jpg": b"jpeg" * 20 for i in range(3)})
    shard.write_bytes(shard.read_bytes()[:-cut])
    rejected = unpack_mp16(shard, tmp_path / "images")
    assert rejected["detail"].str.contains("cut short").tolist() == [True]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["0.jpg", "1.jpg"]


# --- OSV-5M and test lists


def test_osv5m_takes_the_partition_from_the_file_and_finds_images(tmp_path, crops):
    header = "id,latitude,longitude,country,region,sub-region,city"
    write_list(tmp_path / "train.csv", header, [(1, *PARIS, "FR", "IDF", "", "Paris"), (2, *PARIS, "", "", "", "")])
    write_list(tmp_path / "test.csv", header, [(3, *TOKYO, "JP", "", "", "東京")])
    for name, crop in zip(("train/00/1.jpg", "test/3.jpg"), crops, strict=False):
        write_jpeg(tmp_path / "images" / name, crop)
    reading = concat_readings(read_osv5m(tmp_path, image_root=tmp_path / "images"))
    found = reading.photos.set_index("photo_id")
    assert found["partition"].to_dict() == {"3": "test", "1": "train"}
    assert found.loc["1", "path"] == str(tmp_path / "images" / "train" / "00" / "1.jpg")
    assert set(found["license"]) == {"CC BY-SA"}
    assert reasons(reading) == {"2": images.MISSING_FILE}


def test_test_lists_are_test_photos_with_owner_and_query(tmp_path):
    name = "Tokyo_00070_439717934_3d0fd200f1_180_97324495@N00.jpg"
    path = write_list(
        tmp_path / "im2gps.csv",
        "IMG_ID,AUTHOR,LAT,LON,S3_Label",
        [(name, "", *TOKYO, 7), ("x.jpg", "8@N01", *PARIS, 1)],
    )
    found = concat_readings(read_test_list(path, source="im2gps")).photos
    assert set(found["partition"]) == {"test"}
    assert found["photo_id"].tolist() == ["439717934", "x.jpg"]
    assert found["user_id"].tolist() == [hashed("97324495@N00"), hashed("8@N01")]
    assert found["keyword"].fillna("-").tolist() == ["Tokyo", "-"]


def test_a_test_list_has_the_owner_in_the_path_of_a_photo_only(tmp_path, crops):
    names = [im2gps_name(1), im2gps_name(2)]
    write_jpeg(tmp_path / names[0], crops[0])
    path = write_list(tmp_path / "list.csv", "IMG_ID,LAT,LON", [(name, *PARIS) for name in names])
    reading = concat_readings(read_test_list(path, source="im2gps", image_root=tmp_path))
    assert reading.photos["path"].tolist() == [str(tmp_path / names[0])]
    assert reasons(reading) == {"2": images.MISSING_FILE}
    assert "72399739" not in reading.photos.drop(columns="path").to_csv() + reading.rejected.to_csv()


def test_a_test_list_without_author_reads(tmp_path):
    path = write_list(tmp_path / "list.csv", "IMG_ID,LAT,LON", [("a.jpg", *PARIS)])
    assert concat_readings(read_test_list(path, source="im2gps")).photos["user_id"].isna().all()


# --- all of them

READERS = {
    "yfcc": (read_yfcc100m, "yfcc100m_dataset"),
    "yfcc.bz2": (read_yfcc100m, "yfcc100m_dataset.bz2"),
    "im2gps": (lambda path: read_im2gps(path.parent), "Paris.txt"),
    "mp16": (read_mp16, "mp16.csv"),
    "osv5m": (read_osv5m, "train.csv"),
    "list": (functools.partial(read_test_list, source="im2gps"), "list.csv"),
}


@pytest.mark.parametrize("reader", [read_yfcc100m, read_im2gps, read_mp16, read_osv5m, READERS["list"][0]])
def test_a_folder_without_a_corpus_is_refused_at_the_call(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match="expected"):
        reader(tmp_path / "absent")


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(body=st.binary(max_size=300), header=st.sampled_from([b"", b"IMG_ID,LAT,LON,id\n", b"photo: 1 2 3\nlatitude: "]))
def test_random_bytes_never_crash_a_reader(tmp_path, name, body, header):
    reader, file = READERS[name]
    (tmp_path / file).write_bytes(header + body)
    try:
        reading = concat_readings(reader(tmp_path / file))
    except ValueError as error:
        if "no column for" not in str(error):
            raise
    else:
        assert np.isfinite(reading.photos[["latitude", "longitude"]].to_numpy()).all()


VALUE = st.one_of(st.none(), st.floats().map(str), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9))


@FUZZ
@given(records=st.lists(st.builds(im2gps_record, st.integers(1, 9), latitude=VALUE, tags=VALUE, datetaken=VALUE)))
def test_every_im2gps_record_is_in_exactly_one_table(tmp_path, records):
    write_im2gps(tmp_path / "Paris.txt", records)
    reading = concat_readings(read_im2gps(tmp_path, batch_rows=3))
    assert reading.rows_in == len(records)


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


@FUZZ
@given(content=st.binary(max_size=200), cut=st.integers(0, 90), at=st.integers(0, 80), byte=st.integers(0, 255))
def test_a_damaged_shard_never_crashes_and_never_loses_in_silence(tmp_path, content, cut, at, byte):
    first = len(write_shard(tmp_path / "shard_0.msg", {"1.jpg": b"image" * 5}).read_bytes())
    shard = write_shard(tmp_path / "shard_0.msg", {"1.jpg": b"image" * 5, "2.jpg": content})
    whole = bytearray(shard.read_bytes())
    at %= len(whole)
    whole[at] = byte
    shard.write_bytes(whole[: max(0, len(whole) - cut)])
    with TemporaryDirectory(dir=tmp_path) as target:
        rejected = unpack_mp16(shard, Path(target))
        written = {path.name: path.read_bytes() for path in Path(target).rglob("*.*") if path.is_file()}
    held = (len(whole) > cut) + (len(whole) - cut > first)  # records that begin in what is left
    rest = rejected["detail"].str.startswith("the rest can't be read").any()
    swallowed = max(map(len, written.values()), default=0) > max(25, len(content))  # a length grew over what follows
    assert len(written) + len(rejected) >= held or rest or swallowed
    if at >= first and len(whole) - cut >= first:
        assert written["1.jpg"] == b"image" * 5


def test_ids_seen_in_any_earlier_batch_are_rejected(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 400, 2_000)
    lines = [yfcc_row(i) for i in ids]
    reading = concat_readings(read_yfcc100m(write_yfcc(tmp_path / "yfcc100m_dataset", lines), batch_rows=37))
    assert sorted(reading.photos["photo_id"].astype(int)) == sorted(set(ids.tolist()))
    assert set(reading.rejected["reason"]) == {photos.DUPLICATE}


def test_no_reader_tells_an_owner_among_the_rejected(tmp_path, crops):
    owner = "97324495@N00"
    lines = ["97324495%40N00\tsome+one\n", yfcc_row(1), "\n", yfcc_row(owner), yfcc_row(2).replace("\t", "", 1)]
    yfcc = read_yfcc100m(write_yfcc(tmp_path / "yfcc100m_dataset", lines))
    write_im2gps(tmp_path / "Paris.txt", [[f"owner: {owner}", "title: by some one"], [f"photo: {owner}"]])
    write_jpeg(tmp_path / "Paris" / "00001" / im2gps_name(7, owner), crops[0]).write_bytes(b"no image")
    yfcc, im2gps = concat_readings(yfcc).rejected, concat_readings(read_im2gps(tmp_path)).rejected
    assert yfcc[["record", "detail"]].to_numpy().tolist() == [
        ["yfcc100m_dataset:3", "no number as id, or no mark of a video"],
        ["yfcc100m_dataset:1", "2 columns, not 23 or 25"],
        ["yfcc100m_dataset:4", "22 columns, not 23 or 25"],
    ]
    assert im2gps["record"].tolist() == ["Paris.txt:6", "Paris.txt:9", "7"]
    assert im2gps["detail"].tolist()[:2] == ["2 lines without a photo's id", "1 lines without a photo's id"]
    told = yfcc.to_csv() + im2gps.to_csv()
    assert not [name for name in ("97324495", "some", "one ") if name in told]


@pytest.mark.realdata
def test_the_real_list_reads_whole(real_data):
    reading = concat_readings(read_test_list(real_data / "metadata" / "yfcc25600.csv", source="yfcc100m"))
    assert len(reading.photos) == 25_600
    assert reading.photos["user_id"].nunique() == 13_018
    assert reading.rejected.empty


@pytest.mark.realdata
def test_real_positions_read_as_mp16_in_batches(real_data):
    batches = list(read_mp16(real_data / "metadata" / "mp16_coordinates_100k.csv", batch_rows=30_000))
    assert [len(batch.photos) for batch in batches] == [30_000] * 3 + [10_000]
