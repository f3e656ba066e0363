"""One door: each reader by its name, a table of our own, and a stream of readings as a folder of parts."""

import pandas as pd
import pytest
from corpus_files import TOKYO, write_im2gps_tree, write_list, write_yfcc, yfcc_row

from geoutils import corpora, readers, tables


@pytest.fixture
def corpus(tmp_path, crops):
    """Write a corpus by the name of its reader; return what to read, the images' folder, and the number of photos."""

    def write(reader: str):
        path = tmp_path / "im2gps_list.csv"
        if reader == "im2gps":
            return write_im2gps_tree(tmp_path / "tree", {"paris": (48.86, 2.35)}, crops[:5]), None, 5
        if reader == "yfcc100m":
            return write_yfcc(tmp_path / "yfcc100m_dataset", [yfcc_row(i) for i in range(3)]), tmp_path, 3
        if reader == "osv5m":
            return write_list(tmp_path / "train.csv", "id,latitude,longitude", [(1, *TOKYO)]), None, 1
        header = {"mp16": "IMG_ID,LAT,LON", "test_list": "IMG_ID,AUTHOR,LAT,LON"}[reader]
        rows = {"mp16": [("1/2.jpg", *TOKYO), ("3.jpg", *TOKYO)], "test_list": [("1.jpg", "a", *TOKYO)]}[reader]
        return write_list(path, header, rows), None, len(rows)

    return write


@pytest.mark.parametrize("reader", readers.STREAMS)
def test_every_corpus_reads_by_the_name_of_its_reader(corpus, reader):
    path, image_root, count = corpus(reader)
    reading = readers.read_corpus(path, reader, image_root=image_root)
    assert reading.rows_in == count
    known = {"test_list": "im2gps"}.get(reader, reader)
    assert set(reading.photos["source"]) <= {known}
    assert len(reading.photos) == (0 if reader == "yfcc100m" else count)  # its images are not there


def test_auto_takes_a_folder_of_photos_or_a_table(sample, tmp_path):
    table = tmp_path / "photos.csv"
    sample[["path", "latitude", "longitude"]].to_csv(table, index=False)
    assert len(readers.read_corpus(table).photos) == len(sample)
    folder = readers.read_corpus(tmp_path / "photos", source="own")  # these have no GPS in their EXIF
    assert (folder.rows_in, len(folder.photos)) == (len(sample), 0)


def test_a_table_of_ours_is_read_with_its_lost_photos_named(sample, tmp_path):
    photos = tables.write_table(sample, tmp_path / "photos.parquet", "photos")
    (tmp_path / "photos" / "07.jpg").unlink()
    reading = readers.read_corpus(tmp_path, "table")
    assert reading.rejected[["record", "reason"]].to_numpy().tolist() == [["07", "missing file"]]
    expected = photos[photos["photo_id"] != "07"].reset_index(drop=True)
    pd.testing.assert_frame_equal(reading.photos, expected)


@pytest.mark.parametrize(
    ("path", "reader", "words"),
    [("", "im2gsp", "im2gps"), ("", "table", "deep-im2gps collect"), ("nowhere", "auto", "nowhere is not there")],
)
def test_what_cannot_be_read_is_said_with_what_can(tmp_path, path, reader, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        readers.read_corpus(tmp_path / path, reader)


def test_parts_hold_what_the_stream_gave(tmp_path, capsys):
    lines = [yfcc_row(i) for i in range(40)] + ["broken\n", yfcc_row(7)]
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)

    def stream():
        return corpora.read_yfcc100m(path, image_root="/images", check_images=False, batch_rows=10)

    parts = readers.write_parts(stream(), tmp_path / "out")
    whole = corpora.concat_readings(stream())
    pd.testing.assert_frame_equal(pd.read_parquet(parts), whole.photos)
    assert len(pd.read_csv(tmp_path / "out/rejected.csv")) == len(whole.rejected) == 2
    assert "42 in, 40 out" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="earlier reading"):
        readers.write_parts(stream(), tmp_path / "out")
