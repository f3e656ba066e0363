"""Weights come from a server once, checked and unpacked; what comes wrong is refused and leaves nothing behind."""

import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
import torch

from geoutils.artifacts import file_sha256
from geoutils.networks import backbones, weights
from makers import caffe_files

NAME = "places205_googlenet"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Serve an archive as its authors do, from 127.0.0.1; data/weights lies in a temporary folder."""
    server_root = tmp_path / "server"
    server_root.mkdir()
    known = weights.known_files()[NAME]
    file = known.file
    model = caffe_files.write_caffemodel(tmp_path / file, {"conv1": [caffe_files.np.ones((4, 3, 2, 2), "f4")]})
    with tarfile.open(server_root / "googlenet.tar.gz", "w:gz") as archive:
        archive.add(model, f"googlenet/{file}")
    handler = partial(SimpleHTTPRequestHandler, directory=str(server_root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha1((server_root / "googlenet.tar.gz").read_bytes()).hexdigest()
    url = f"http://127.0.0.1:{server.server_port}/googlenet.tar.gz"
    monkeypatch.setitem(weights.known_files(), NAME, known._replace(url=url, checksum=f"sha1:{digest}"))
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    yield server_root
    server.shutdown()


def test_fetched_weights_are_found_afterwards_without_the_server(published):
    path = weights.fetch_weights(NAME)
    assert path == weights.locate(NAME) == weights.require(NAME)
    (published / "googlenet.tar.gz").unlink()
    assert weights.fetch_weights(NAME) == path


def test_other_bytes_than_published_are_refused(published):
    with open(published / "googlenet.tar.gz", "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="sha1"):
        weights.fetch_weights(NAME)
    assert weights.locate(NAME) is None


def test_archive_that_writes_outside_its_folder_is_refused(published, tmp_path, monkeypatch):
    with tarfile.open(published / "googlenet.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../../escaped.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    monkeypatch.setitem(weights.known_files(), NAME, weights.known_files()[NAME]._replace(checksum=""))
    with pytest.raises(ValueError, match="outside"):
        weights.fetch_weights(NAME)
    assert not (tmp_path / "escaped.txt").exists()


def test_status_says_what_lies_here(published):
    assert pd.isna(weights.list_files().set_index("network")["path"][NAME])
    weights.fetch_weights(NAME)
    assert weights.list_files().set_index("network")["path"].notna()[NAME]


def test_status_tells_input_layer_width_and_checksum_as_the_networks_have_them():
    table = weights.list_files().set_index("network")
    assert table["checksum"]["places205_alexnet"] == "sha1:7da27dd3cf4addf46adfcfb37576e0c7aa7b999d"
    assert table["checksum"]["places365_resnet50"] == "none published"
    with torch.device("meta"):
        for name, row in table.iterrows():
            backbone = backbones.load(name, weights_from="random")
            assert (row["input"], row["layer"], row["width"]) == (
                backbone.preprocessing.size,
                backbone.layer,
                backbone.width,
            )


def test_bundled_weights_are_listed_and_are_the_known_bytes():
    row = weights.list_files().set_index("network").loc["efficientnet_lite0"]
    assert (row["licence"], row["path"].name) == ("Apache-2.0", row["file"])
    assert row["checksum"] == f"sha256:{file_sha256(row['path'])}"


def test_weights_without_a_published_checksum_are_told_to_be_unverified(published, monkeypatch, capsys):
    monkeypatch.setitem(weights.known_files(), NAME, weights.known_files()[NAME]._replace(checksum=""))
    weights.fetch_weights(NAME)
    told = capsys.readouterr().out
    assert file_sha256(published / "googlenet.tar.gz") in told
    assert "not verified" in told
