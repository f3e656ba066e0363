"""MP-16 and its shards, OSV-5M and lists of test photos; what every reader of a corpus holds to."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoutils import images
from geoutils.readers import checks
from geoutils.readers.checks import concat_readings
from geoutils.readers.im2gps import read_im2gps
from geoutils.readers.lists import read_mp16, read_osv5m, read_test_list, unpack_mp16
from geoutils.readers.yfcc100m import read_yfcc100m
from makers.corpus_files import (
    FUZZ,
    PARIS,
    TOKYO,
    hashed,
    im2gps_name,
    reasons,
    write_im2gps,
    write_jpeg,
    write_list,
    write_shard,
    write_yfcc,
    yfcc_row,
)


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
        assert rejected.to_numpy().tolist() == [["shard_1.msg:0", checks.DUPLICATE, "1.jpg"]]
        assert (tmp_path / "images" / "1.jpg").read_bytes() == b"first"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_shard_cut_short_says_so_after_what_it_holds(tmp_path, cut):
    shard = write_shard(tmp_path / "shard_0.msg", {f"{i}.jpg": b"jpeg" * 20 for i in range(3)})
    shard.write_bytes(shard.read_bytes()[:-cut])
    rejected = unpack_mp16(shard, tmp_path / "images")
    assert rejected["detail"].str.contains("cut short").tolist() == [True]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["0.jpg", "1.jpg"]


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
    found = concat_readings(read_test_list(path)).photos
    assert set(found["partition"]) == {"test"}
    assert found["photo_id"].tolist() == ["439717934", "x.jpg"]
    assert found["user_id"].tolist() == [hashed("97324495@N00"), hashed("8@N01")]
    assert found["keyword"].fillna("-").tolist() == ["Tokyo", "-"]


def test_a_test_list_has_the_owner_in_the_path_of_a_photo_only(tmp_path, crops):
    names = [im2gps_name(1), im2gps_name(2)]
    write_jpeg(tmp_path / names[0], crops[0])
    path = write_list(tmp_path / "list.csv", "IMG_ID,LAT,LON", [(name, *PARIS) for name in names])
    reading = concat_readings(read_test_list(path, image_root=tmp_path))
    assert reading.photos["path"].tolist() == [str(tmp_path / names[0])]
    assert reasons(reading) == {"2": images.MISSING_FILE}
    assert "72399739" not in reading.photos.drop(columns="path").to_csv() + reading.rejected.to_csv()


def test_a_test_list_without_author_reads(tmp_path):
    path = write_list(tmp_path / "list.csv", "IMG_ID,LAT,LON", [("a.jpg", *PARIS)])
    assert concat_readings(read_test_list(path)).photos["user_id"].isna().all()


READERS = {
    "yfcc": (read_yfcc100m, "yfcc100m_dataset"),
    "yfcc.bz2": (read_yfcc100m, "yfcc100m_dataset.bz2"),
    "im2gps": (lambda path: read_im2gps(path.parent), "Paris.txt"),
    "mp16": (read_mp16, "mp16.csv"),
    "osv5m": (read_osv5m, "train.csv"),
    "list": (read_test_list, "list.csv"),
}


@pytest.mark.parametrize("reader", [read_yfcc100m, read_im2gps, read_mp16, read_osv5m, read_test_list])
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
    assert set(reading.rejected["reason"]) == {checks.DUPLICATE}


def test_no_reader_tells_an_owner_among_the_rejected(tmp_path, crops):
    owner = "97324495@N00"
    lines = ["97324495%40N00\tsome+one\n", yfcc_row(1), "\n", yfcc_row(owner), yfcc_row(2).replace("\t", "", 1)]
    yfcc = read_yfcc100m(write_yfcc(tmp_path / "yfcc100m_dataset", lines))
    write_im2gps(tmp_path / "Paris.txt", [[f"owner: {owner}", "title: by some one"], [f"photo: {owner}"]])
    write_jpeg(tmp_path / "Paris" / "00001" / im2gps_name(7, owner), crops[0]).write_bytes(b"no image")
    yfcc, im2gps = concat_readings(yfcc).rejected, concat_readings(read_im2gps(tmp_path)).rejected
    assert yfcc[["record", "detail"]].to_numpy().tolist() == [
        ["yfcc100m_dataset:3", "no number as id, or no mark of a video"],
        ["yfcc100m_dataset:1", "2 columns, not 23"],
        ["yfcc100m_dataset:4", "22 columns, not 23"],
    ]
    assert im2gps["record"].tolist() == ["Paris.txt:6", "Paris.txt:9", "7"]
    assert im2gps["detail"].tolist()[:2] == ["2 lines without a photo's id", "1 lines without a photo's id"]
    told = yfcc.to_csv() + im2gps.to_csv()
    assert not [name for name in ("97324495", "some", "one ") if name in told]


@pytest.mark.realdata
def test_the_real_list_reads_whole(real_data):
    reading = concat_readings(read_test_list(real_data / "metadata" / "yfcc25600.csv"))
    assert len(reading.photos) == 25_600
    assert reading.photos["user_id"].nunique() == 13_018
    assert reading.rejected.empty


@pytest.mark.realdata
def test_real_positions_read_as_mp16_in_batches(real_data):
    batches = list(read_mp16(real_data / "metadata" / "mp16_coordinates_100k.csv", batch_rows=30_000))
    assert [len(batch.photos) for batch in batches] == [30_000] * 3 + [10_000]
