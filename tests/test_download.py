"""Downloads against a server on this machine that fails in all the ways that servers do, and hostile archives."""

import functools
import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from geoutils.download import PIECE_BYTES, fetch, open_url, polite_session, unpack
from makers.commons_server import CommonsServer, Handler, cut, redirect, refuse, wait

BODY = bytes(range(256)) * 4_000
OTHER = BODY[::-1]


@pytest.fixture
def server() -> Iterator[CommonsServer]:
    with CommonsServer() as running:
        running.files = {"/net.bin": BODY, "/other.bin": OTHER}
        yield running


@pytest.fixture
def waits() -> list[float]:
    """Collects what would have been slept."""
    return []


def litter(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_leaves_nothing_else(server, tmp_path):
    path = fetch(f"{server.url}/net.bin", tmp_path / "deep" / "net.bin")
    assert path.read_bytes() == BODY
    assert litter(path.parent) == ["net.bin"]


@pytest.mark.parametrize("sent", [0, 1, 300_000, len(BODY) - 1])
def test_a_cut_connection_goes_on_from_the_last_whole_piece(server, tmp_path, waits, sent):
    server.fail("net.bin", cut(sent))
    path = fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    ranges = [headers.get("Range") for _, headers in server.log]
    assert path.read_bytes() == BODY
    whole = sent // PIECE_BYTES * PIECE_BYTES
    assert ranges == [None, f"bytes={whole}-" if whole else None]


def test_a_killed_download_goes_on_in_the_next_run(server, tmp_path, waits):
    server.fail("net.bin", cut(500_000), *[refuse(500)] * 5)
    with pytest.raises(ConnectionError):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert not (tmp_path / "net.bin").exists()
    fetch(f"{server.url}/net.bin", tmp_path / "net.bin")
    assert server.log[-1][1]["Range"] == f"bytes={500_000 // PIECE_BYTES * PIECE_BYTES}-"
    assert (tmp_path / "net.bin").read_bytes() == BODY


def test_a_file_that_changed_in_between_starts_again(server, tmp_path, waits):
    server.fail("net.bin", cut(500_000), *[refuse(500)] * 5)
    with pytest.raises(ConnectionError):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    server.files["/net.bin"] = OTHER
    assert fetch(f"{server.url}/net.bin", tmp_path / "net.bin").read_bytes() == OTHER


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"another"', "Content_Range": "bytes 196608-1023999/1024000"},
        {"ETag": f'"{hashlib.md5(BODY).hexdigest()}"', "Content_Range": "bytes 5-1023999/1024000"},
    ],
)
def test_a_part_of_another_file_or_from_another_byte_is_not_appended(server, tmp_path, waits, headers):
    whole = 3 * PIECE_BYTES
    assert whole == 196_608
    odd = functools.partial(Handler.reply, body=OTHER[whole:], kind="image/jpeg", status=206, **headers)
    server.fail("net.bin", cut(whole), odd)
    assert fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append).read_bytes() == BODY
    assert len(server.log) == 3


def test_a_part_longer_than_the_file_starts_again(server, tmp_path, waits):
    (tmp_path / "net.bin.part").write_bytes(BODY + b"more")
    (tmp_path / "net.bin.part.etag").write_text(f'"{hashlib.md5(BODY).hexdigest()}"')
    path = fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert path.read_bytes() == BODY
    assert len(server.log) == 2


def test_a_server_without_etags_is_asked_from_the_start(server, tmp_path, waits):
    server.fail("net.bin", lambda handler: handler.reply(BODY, "image/jpeg", send=1000))
    assert fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append).read_bytes() == BODY
    assert "Range" not in server.log[-1][1]


@pytest.mark.parametrize("name", ["sha256", "sha1", "md5"])
def test_a_wrong_checksum_leaves_no_file(server, tmp_path, name):
    right, wrong = (hashlib.new(name, body).hexdigest() for body in (BODY, OTHER))
    with pytest.raises(ValueError, match=right):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", checksum=f"{name}:{wrong}")
    assert litter(tmp_path) == []
    assert fetch(f"{server.url}/net.bin", tmp_path / "net.bin", checksum=f"{name}:{right.upper()}").exists()


def refuse_all(path: Path) -> None:
    raise ValueError(f"{path.name} is no photo")


def test_a_file_that_is_there_is_checked_and_not_asked_for(server, tmp_path):
    (tmp_path / "net.bin").write_bytes(BODY)
    fetch(f"{server.url}/net.bin", tmp_path / "net.bin", checksum=f"md5:{hashlib.md5(BODY).hexdigest()}")
    with pytest.raises(ValueError, match="damaged or another version"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", checksum=f"md5:{hashlib.md5(OTHER).hexdigest()}")
    with pytest.raises(ValueError, match="no photo"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", check=refuse_all)
    assert server.log == []
    assert (tmp_path / "net.bin").read_bytes() == BODY


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_the_wait_that_a_server_asks_for_is_kept(server, tmp_path, waits, status):
    server.fail("net.bin", wait(status, 7), wait(status, 11), refuse(502))
    fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert waits == [7, 11, 4]


def test_a_wait_until_a_date_is_kept(server, tmp_path, waits):
    server.fail("net.bin", wait(503, format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)))
    fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert 90 < waits[0] <= 100


def test_a_server_that_stays_away_is_asked_ever_more_rarely(server, tmp_path, waits):
    server.fail("net.bin", *[refuse(503)] * 99)
    with pytest.raises(ConnectionError, match=r"net\.bin.*put the file at .*net\.bin yourself"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert waits == [1, 2, 4, 8, 16]


def test_a_server_that_wants_hours_is_left_in_peace(server, tmp_path, waits):
    server.fail("net.bin", wait(429, 7200))
    with pytest.raises(ConnectionError, match="7200 s"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert (waits, len(server.log)) == ([], 1)


def test_without_network_the_error_says_what_to_put_where(tmp_path, waits):
    with CommonsServer() as gone:
        address = f"{gone.url}/net.bin"
    with pytest.raises(ConnectionError) as error:
        fetch(address, tmp_path / "net.bin", sleep=waits.append)
    assert address in str(error.value)
    assert str(tmp_path / "net.bin") in str(error.value)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, FileNotFoundError), (410, FileNotFoundError), (403, PermissionError), (400, ValueError)]
)
def test_a_refusal_for_good_is_not_asked_twice(server, tmp_path, waits, status, kind):
    server.fail("net.bin", refuse(status))
    with pytest.raises(kind, match=str(status)):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert (waits, len(server.log), litter(tmp_path)) == ([], 1, [])


def test_a_redirect_is_followed_within_the_allowed_hosts(server, tmp_path):
    server.fail("net.bin", redirect("/other.bin"))
    assert fetch(f"{server.url}/net.bin", tmp_path / "net.bin").read_bytes() == OTHER


def test_redirects_in_a_circle_end(server, tmp_path, waits):
    server.fail("net.bin", *[redirect("/net.bin")] * 99)
    with pytest.raises(ValueError, match="redirects"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", sleep=waits.append)
    assert len(server.log) < 10


@pytest.mark.parametrize(
    "target", ["http://localhost:{}/other.bin", "file:///etc/hostname", "//localhost:{}/other.bin"]
)
def test_a_redirect_to_another_host_is_never_asked(server, tmp_path, target):
    server.fail("net.bin", redirect(target.format(server.server_port)))
    with pytest.raises(ValueError, match="not followed"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin")
    assert (server.asked("other"), litter(tmp_path)) == ([], [])


def test_an_address_at_another_host_is_never_asked(server, tmp_path):
    with pytest.raises(ValueError, match="not followed"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", allowed_hosts={"upload.wikimedia.org"})
    assert server.log == []


def test_a_redirect_from_https_to_http_is_refused():
    class Redirecting(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
            answer = requests.Response()
            answer.status_code, answer.url, answer.request = 302, request.url, request
            answer.headers["location"], answer.raw = "http://weights.example/net.bin", io.BytesIO()
            return answer

    session = polite_session()
    session.mount("https://", Redirecting())
    with pytest.raises(ValueError, match="not followed"):
        open_url("https://weights.example/net.bin", session=session)


def test_a_file_larger_than_allowed_is_refused(server, tmp_path):
    with pytest.raises(ValueError, match="1,000 bytes"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", max_bytes=1000)
    assert litter(tmp_path) == []
    assert fetch(f"{server.url}/net.bin", tmp_path / "net.bin", max_bytes=len(BODY)).exists()


def test_what_the_check_refuses_never_gets_its_name(server, tmp_path):
    with pytest.raises(ValueError, match=r"net\.bin\.part is no photo"):
        fetch(f"{server.url}/net.bin", tmp_path / "net.bin", check=refuse_all)
    assert litter(tmp_path) == []


def test_the_server_is_told_who_asks(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEP_IM2GPS_CONTACT", "someone@example.org")
    fetch(f"{server.url}/net.bin", tmp_path / "a")
    fetch(f"{server.url}/net.bin", tmp_path / "b", session=polite_session("https://example.org/me"))
    agents = [headers["User-Agent"] for _, headers in server.log]
    assert [agent.split()[1] for agent in agents] == ["(someone@example.org)", "(https://example.org/me)"]


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
def test_an_archive_unpacks_to_its_files(tmp_path, kind):
    files = {"net.caffemodel": BODY, "deep/mean.binaryproto": b"mean"}
    paths = unpack(write_archive(tmp_path / kind, files), tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in paths} == files


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
@given(parts=st.lists(st.sampled_from(["..", ".", "a", "/", "b.txt", "~", "\\"]), min_size=1, max_size=5))
def test_no_name_leads_out_of_the_folder(tmp_path_factory, kind, parts):
    top = tmp_path_factory.mktemp("top")
    archive = write_archive(top / kind, {"/".join(parts): b"x"})
    with suppress(ValueError):
        unpack(archive, top / "inner" / "out")
    outside = [p for p in top.rglob("*") if p.is_file() and not p.is_relative_to(top / "inner" / "out")]
    assert outside == [archive]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("innocent")
    member.type, member.linkname = kind, "/etc/hostname"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(ValueError, match="link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out" / "innocent").is_symlink()


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
def test_an_archive_that_swells_beyond_the_limit_is_refused(tmp_path, kind):
    archive = write_archive(tmp_path / kind, {"a": bytes(600), "b": bytes(600)})
    with pytest.raises(ValueError, match="1,000 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=1000)


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
@given(keep=st.floats(0, 0.999))
def test_a_truncated_archive_never_yields_half_a_file(tmp_path_factory, kind, keep):
    top = tmp_path_factory.mktemp("top")
    files = {"a": BODY[:70_000], "b": hashlib.sha512(b"b").digest() * 500}
    archive = write_archive(top / kind, files)
    archive.write_bytes(archive.read_bytes()[: int(keep * archive.stat().st_size)])
    with suppress(ValueError):
        paths = unpack(archive, top / "out")
        assert len(paths) == len(files) or kind == "a.tar"  # only gzip notices a cut between two files
    assert all(path.read_bytes() == files[path.name] for path in (top / "out").glob("*"))


def test_a_foreign_file_is_named_as_such(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="no whole tar archive"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
