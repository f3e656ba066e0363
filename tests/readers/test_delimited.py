"""Tables of photos in any delimiter, encoding and disorder; a fault costs its own line only."""

import bz2
import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoutils import readers
from geoutils.readers import checks
from geoutils.readers.delimited import csv_batches

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, text: str, encoding: str = "utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_encodings_give_the_same_table(tmp_path, delimiter, encoding):
    lines = [["IMG_ID", "Lat", "LON", "Author", "Query"], ["ä1", "48.5", "-2.25", "Zoë", "Köln"]]
    text = "\r\n".join(delimiter.join(line) for line in lines) + "\r\n\r\n"
    reading = readers.read(write(tmp_path / "p.csv", text, encoding))
    assert reading.rejected.empty
    row = reading.photos.iloc[0]
    assert (row["photo_id"], row["latitude"], row["longitude"], row["keyword"]) == ("ä1", 48.5, -2.25, "Köln")


def test_of_several_synonyms_the_plainest_counts(tmp_path):
    reading = readers.read(write(tmp_path / "p.csv", "lng,lon,lat,Latitude,lon\n1,2,3,4,5\n"))
    assert reading.photos[["latitude", "longitude"]].to_numpy().tolist() == [[4, 2]]


def test_named_columns_win_over_synonyms(tmp_path):
    path = write(tmp_path / "p.csv", "id,lat,lon,y,name\n1,9,9,3,b\n")
    reading = readers.read(path, columns={"latitude": "y", "photo_id": "name"})
    assert reading.photos[["photo_id", "latitude", "longitude"]].iloc[0].tolist() == ["b", 3.0, 9.0]


@pytest.mark.parametrize("text", ["", "\n\n", "id,lat\n1,2\n", "1,2,3\n", "\0\0\0"])
def test_a_file_without_positions_says_what_it_found(tmp_path, text):
    with pytest.raises(ValueError, match=r"p\.csv: no column for latitude and longitude among"):
        readers.read(write(tmp_path / "p.csv", text))


def test_a_named_column_that_is_absent_is_named(tmp_path):
    with pytest.raises(ValueError, match="no column for keyword among"):
        readers.read(write(tmp_path / "p.csv", "lat,lon\n1,2\n"), columns={"keyword": "query"})


def test_without_ids_the_path_or_the_line_is_the_id(tmp_path, crops):
    crops[0].save(tmp_path / "a.jpg")
    reading = readers.read(write(tmp_path / "p.csv", "lat,lon,path\n1,2,a.jpg\n3,4,\n"))
    assert reading.photos["photo_id"].tolist() == ["a.jpg", "p.csv:3"]
    assert reading.photos["path"].tolist()[0] == str(tmp_path / "a.jpg")


def test_a_column_names_the_source_of_each_row(tmp_path):
    path = write(tmp_path / "p.csv", "lat,lon,Source,owner\n1,2,web,Ann\n3,4,,Ann\n5,6,synthetic,Bob\n")
    photos = readers.read(path).photos
    assert photos["source"].tolist() == ["web", "own", "synthetic"]
    assert not photos["user_id"].isin(["Ann", "Bob"]).any()  # whatever a table says of itself
    assert photos["url"].isna().all()


QUOTED = [
    ('1,2,a,"two\nlines, one record"\n3,4,b,x\n', "ab", []),
    ('1,2,a,"he said "hi" there"\n3,4,b,x\n', "ab", []),
    ('1,2,a,5" lens\n3,4,b,x\n', "ab", []),
    ("1,2,a\n3,4,b,x\n1,2,3,4,5\n1,2,c,x,,\n", "bc", [2, 4]),
    (f"1,2,a,{'x' * 200_000}\n3,4,b,x\n", "b", [2]),
    (f"{'1,2,a,x,' * 200_000}\n3,4,b,x\n", "b", [2]),
    # a quote that is never closed: up to the next one, which may leave the usual number of fields, or to the end
    ('1,2,a,"open\n3,4,b,x\n5,6,c,"y"\n7,8,d,x\n', "d", [2, 3, 4]),
    ('1,2,a,x,"open\n3,4,b,"\n5,6,c,x\n', "c", [2, 3]),
    ('1,2,"open,x\n3,4,b,x\n5,6,"c",x\n7,8,d,x\n', "d", [2, 3, 4]),
    ('1,2,a,"open\n' * 70 + "3,4,b,x\n", "b", [*range(2, 72)]),
    ('1,2,a,x\n3,4,b,"open\n\n5,6,c,x\n', "a", [3, 5]),
    ('"' * 7 + "\n3,4,b,x\n", "", [2, 3]),
]


@pytest.mark.parametrize(("body", "ids", "broken"), QUOTED)
def test_a_fault_costs_its_own_line_and_an_open_quote_those_up_to_the_next(tmp_path, body, ids, broken):
    reading = readers.read(write(tmp_path / "p.csv", "lat,lon,id,title\n" + body))
    assert reading.photos["photo_id"].tolist() == [*ids]
    assert reading.rejected["record"].tolist() == [f"p.csv:{line}" for line in broken]
    assert set(reading.rejected["reason"]) <= {checks.BROKEN}


def test_an_open_quote_is_named_and_ends_at_the_longest_field(tmp_path):
    lines = ["lat,lon,id,title", "1,2,a,x", '1,2,b,"open', *(f"1,2,n{i},x" for i in range(20_000))]
    reading = readers.read(write(tmp_path / "p.csv", "\n".join(lines)))
    assert reading.rows_in == len(lines) - 1
    assert set(reading.rejected["detail"]) == {"an open quote from line 3?"}
    assert len(reading.rejected) < 15_000
    assert reading.photos["photo_id"].iloc[[0, -1]].tolist() == ["a", "n19999"]


def test_a_damaged_file_says_so_even_within_an_open_quote(tmp_path):
    whole, cut = (bz2.compress(text) for text in (b'lat,lon,id,title\n1,2,a,x\n3,4,b,"open\n', b"5,6,c,x\n" * 99))
    (tmp_path / "p.bz2").write_bytes(whole + cut[:20])
    reading = readers.read(tmp_path / "p.bz2", "csv")
    assert reading.photos["photo_id"].tolist() == ["a"]
    assert reading.rejected["detail"].str.contains("the rest can't be read").tolist() == [False, True]


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
        readers.read(tmp_path / "p.csv")
    else:
        with pytest.raises(ValueError, match="no column for latitude and longitude"):
            readers.read(tmp_path / "p.csv")


CELL = st.one_of(
    st.floats().map(str), st.sampled_from(["", "1", "0", "-91", "1,5", "\0", '"', "9" * 400]), st.text(max_size=5)
)


@FUZZ
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12))
def test_every_record_is_in_one_of_the_two_tables(tmp_path, rows):
    table = pd.DataFrame(rows, columns=["id", "lat", "lon"], dtype="object")
    table.to_csv(tmp_path / "p.csv", index=False, errors="replace", quoting=csv.QUOTE_ALL)
    reading = readers.read(tmp_path / "p.csv")
    assert reading.rows_in == len(rows)
    position = reading.photos[["latitude", "longitude"]].to_numpy()
    assert np.isfinite(position).all()
    assert reading.photos["photo_id"].is_unique


@pytest.mark.realdata
def test_landmarks_read_whole_with_their_partition(real_data):
    reading = readers.read(real_data / "photos" / "landmarks7" / "photos.csv", check_images=False)
    assert reading.rejected.empty
    assert reading.photos["partition"].value_counts().to_dict() == {"train": 7_500, "val": 2_500}
    assert reading.photos["path"].map(lambda path: path.endswith(".jpg")).all()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "rows", "users"), [("yfcc25600", 25_600, 13_018), ("mp16_coordinates_100k", 100_000, 0)]
)
def test_real_positions_read_whole(real_data, name, rows, users):
    reading = readers.read(real_data / "metadata" / f"{name}.csv")
    assert len(reading.photos) == reading.rows_in == rows
    assert reading.photos["user_id"].nunique() == users
