"""One door: each reader by its name, and a table of our own."""

from pathlib import Path

import pandas as pd
import pytest

from geoutils import readers, tables
from geoutils.world import generator
from makers.corpus_files import (
    TOKYO,
    write_geotagged,
    write_im2gps_tree,
    write_jpeg,
    write_list,
    write_shard,
    write_yfcc,
    yfcc_row,
)
from makers.scores import THREE_CITIES


@pytest.fixture
def corpus(tmp_path, crops):
    """Write a corpus by the name of its reader; return what to read, the images' folder, and the number of photos."""

    def write(reader: str):
        path = tmp_path / "im2gps_list.csv"
        if reader == "im2gps":
            return write_im2gps_tree(tmp_path / "tree", {"paris": (48.86, 2.35)}, crops[:5]), None, 5
        if reader == "yfcc100m":
            for i in range(3):
                crops[i].save(tmp_path / f"{i}.jpg")
            return write_yfcc(tmp_path / "yfcc100m_dataset", [yfcc_row(i) for i in range(3)]), tmp_path, 3
        if reader == "osv5m":
            return write_list(tmp_path / "train.csv", "id,latitude,longitude", [(1, *TOKYO)]), None, 1
        header = {"mp16": "IMG_ID,LAT,LON", "test_list": "IMG_ID,AUTHOR,LAT,LON"}[reader]
        rows = {"mp16": [("1/2.jpg", *TOKYO), ("3.jpg", *TOKYO)], "test_list": [("1.jpg", "a", *TOKYO)]}[reader]
        return write_list(path, header, rows), None, len(rows)

    return write


@pytest.mark.parametrize("reader", [name for name in readers.READERS if name not in ("csv", "folder", "table")])
def test_every_corpus_reads_by_the_name_of_its_reader(corpus, reader):
    path, image_root, count = corpus(reader)
    reading = readers.read(path, reader, image_root=image_root)
    assert len(reading.photos) == reading.rows_in == count
    assert set(reading.photos["source"]) == {{"test_list": "im2gps"}.get(reader, reader)}


def test_auto_takes_a_folder_of_photos_or_a_table(sample, tmp_path):
    table = tmp_path / "photos.csv"
    sample[["path", "latitude", "longitude"]].to_csv(table, index=False)
    assert len(readers.read(table).photos) == len(sample)
    folder = readers.read(tmp_path / "photos")  # these have no GPS in their EXIF
    assert (folder.rows_in, len(folder.photos)) == (len(sample), 0)


def test_a_test_list_is_of_the_corpus_that_its_name_says(tmp_path):
    for name, source in (("Im2GPS3k.csv", "im2gps"), ("yfcc4k.csv", "yfcc100m")):
        path = write_list(tmp_path / name, "IMG_ID,LAT,LON", [("1.jpg", *TOKYO)])
        assert readers.read(path, "test_list").photos["source"].tolist() == [source]


def test_auto_takes_one_photo_and_a_table_beside_its_photos(tmp_path, crops):
    path = write_geotagged(tmp_path / "tree.csv" / "a.jpg", crops[0])
    (tmp_path / "p.csv").write_text("lat,lon,path\n48.8,2.3,tree.csv/a.jpg\n")
    for name in ("p.csv", "tree.csv", "tree.csv/a.jpg"):
        assert readers.read(tmp_path / name).photos["path"].tolist() == [str(path)]


def test_auto_passes_the_images_folder_and_the_columns(sample, tmp_path):
    table = sample[["latitude", "longitude"]].set_axis(["northing", "easting"], axis=1)
    table = table.assign(path=[Path(path).name for path in sample["path"]])
    table.to_csv(tmp_path / "list.csv", index=False)
    columns = {"latitude": "northing", "longitude": "easting"}
    reading = readers.read(tmp_path / "list.csv", image_root=tmp_path / "photos", columns=columns)
    assert reading.photos["path"].tolist() == sample["path"].tolist()


@pytest.mark.parametrize(
    ("reader", "option", "words"),
    [
        ("mp16", "columns", "'mp16' .* takes image_root, check_images, .*"),
        ("auto", "columns", "'folder' .* takes check_images"),
        ("auto", "image_root", "'folder' .* takes check_images"),
        ("table", "image_root", "'table' .* takes check_images"),
        ("csv", "imageroot", "'csv' .* takes columns, image_root, check_images"),
    ],
)
def test_an_option_that_a_reader_does_not_take_is_refused_unless_it_is_null(tmp_path, crops, reader, option, words):
    with pytest.raises(ValueError, match=f"{words}, and found {option}: leave {option} out"):
        readers.read(tmp_path, reader, **{option: {"latitude": "y"}})
    write_geotagged(tmp_path / "a.jpg", crops[0])
    assert len(readers.read(tmp_path, image_root=None, columns=None).photos) == 1


def test_mp16_is_unpacked_and_read_in_one_call_and_again(tmp_path, crops):
    jpegs = [write_jpeg(tmp_path / "x.jpg", crop).read_bytes() for crop in crops[:3]]
    shard = write_shard(tmp_path / "shard_0.msg", {"a/1.jpg": jpegs[0], "a/2.jpg": jpegs[1], "../3.jpg": jpegs[2]})
    write_list(tmp_path / "mp16.csv", "IMG_ID,LAT,LON", [("a/1.jpg", *TOKYO), ("a/2.jpg", *TOKYO)])
    for _ in range(2):
        reading = readers.read(tmp_path, "mp16", image_root=tmp_path / "images")
        assert reading.photos["path"].tolist() == [str(tmp_path / f"images/a/{i}.jpg") for i in (1, 2)]
        assert reading.rejected[["record", "reason"]].to_numpy().tolist() == [["shard_0.msg:2", "broken record"]]
    shard.unlink()
    assert len(readers.read(tmp_path, "mp16", image_root=tmp_path / "images").photos) == 2


def test_a_table_of_ours_names_no_owner_among_the_rejected(sample, tmp_path):
    lost = sample.assign(path=str(tmp_path / "1_a_2_97324495@N00.jpg")).head(1)
    tables.write_table(lost, tmp_path / "photos.parquet", "photos")
    assert "97324495" not in readers.read(tmp_path, "table").rejected.to_csv()


def test_mp16_without_a_folder_for_images_is_positions_only(tmp_path):
    write_shard(tmp_path / "shard_0.msg", {"1.jpg": b"jpeg"})
    write_list(tmp_path / "mp16.csv", "IMG_ID,LAT,LON", [("1.jpg", *TOKYO)])
    assert readers.read(tmp_path, "mp16").photos["path"].isna().tolist() == [True]
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_table_of_ours_is_read_with_its_lost_photos_named(sample, tmp_path):
    photos = tables.write_table(sample, tmp_path / "photos.parquet", "photos")
    (tmp_path / "photos" / "07.jpg").unlink()
    reading = readers.read(tmp_path, "table")
    assert reading.rejected[["record", "reason"]].to_numpy().tolist() == [["07", "missing file"]]
    expected = photos[photos["photo_id"] != "07"].reset_index(drop=True)
    pd.testing.assert_frame_equal(reading.photos, expected)


def test_a_table_of_ours_has_no_photo_twice(sample, tmp_path):
    tables.write_table(sample, tmp_path / "photos.parquet", "photos")
    (tmp_path / "photos" / "07.jpg").write_bytes((tmp_path / "photos" / "02.jpg").read_bytes())
    rejected = readers.read(tmp_path, "table").rejected
    assert rejected.to_numpy().tolist() == [["07", "duplicate", "repeats 02"]]


@pytest.mark.parametrize("name", ["absent", "absent.csv", "absent.jpg", "empty", "paper.pdf"])
def test_what_is_neither_table_nor_photos_raises_with_its_name(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "paper.pdf").write_text("x")
    with pytest.raises(FileNotFoundError, match=name):
        readers.read(tmp_path / name)


@pytest.mark.parametrize(
    ("path", "reader", "words"),
    [("", "im2gsp", "im2gps"), ("", "table", "deep-im2gps collect"), ("nowhere", "auto", "nowhere is not there")],
)
def test_what_cannot_be_read_is_said_with_what_can(tmp_path, path, reader, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        readers.read(tmp_path / path, reader)


def test_drawings_are_made_up_whatever_their_table_says(tmp_path):
    table = generator.make_world(tmp_path, THREE_CITIES[:2], photos_per_city=4, side=64, workers=1)
    rows = pd.read_csv(table).assign(source="web")
    rows.to_csv(table, index=False)
    photos = readers.read(table).photos
    assert set(photos["source"]) == {tables.SYNTHETIC}
    assert set(photos["user_id"]) <= set(rows["user_id"])  # nobody to hide: the same split on every machine


@pytest.mark.parametrize("part", ["photos.csv", "images"])
def test_drawings_are_never_called_photographs(tmp_path, part):
    table = generator.make_world(tmp_path, THREE_CITIES[:2], photos_per_city=4, side=64, workers=1)
    assert set(readers.read(table.parent / part).photos["source"]) == {tables.SYNTHETIC}
