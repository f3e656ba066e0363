"""Files are whole or absent; keys follow content."""

import hashlib

import pytest

from geoutils import artifacts


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = artifacts.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), artifacts.atomic_path(path) as temporary:
        temporary.open("w").write(str(1 // 0))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_absent_until_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.csv"
    with artifacts.atomic_path(path) as temporary:
        temporary.write_text("x")
        assert not path.exists()
        assert temporary.suffix == ".csv"
    assert path.read_text() == "x"


def test_content_key_ignores_order_of_keys_and_sees_every_value():
    assert artifacts.content_key({"a": 1, "b": [2]}) == artifacts.content_key({"b": [2], "a": 1})
    assert artifacts.content_key({"a": 1, "b": [2]}) != artifacts.content_key({"a": 1, "b": [3]})


def test_file_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 100_000)
    assert artifacts.file_sha256(tmp_path / "f") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_provenance_names_commit_versions_and_time():
    said = artifacts.provenance()
    assert said["packages"]["torch"]
    assert said["packages"]["deep-im2gps"]
    assert said["time"].endswith("+00:00")
