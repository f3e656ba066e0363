"""One polite, resumable and checked way to get a file, and a safe way to open an archive."""

import hashlib
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from tqdm.auto import tqdm
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from geoutils import __version__
from geoutils.artifacts import atomic_path

T = TypeVar("T")
Sleep = Callable[[float], None]
ATTEMPTS, LONGEST_WAIT_S, TIMEOUT_S, REDIRECTS = 6, 900, (15, 60), 5
TRANSIENT_STATUSES = {408, 425, 429}  # of the 4xx, those that may pass: time-out, too early, too many requests
REFUSALS = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError, 410: FileNotFoundError}
PIECE_BYTES, SMALL_BYTES = 2**16, 2**20  # a progress bar for a small file is noise


def polite_session(contact: str | None = None) -> requests.Session:
    """Return a session that says who asks: `contact`, or the environment's DEEP_IM2GPS_CONTACT."""
    contact = contact or os.environ.get("DEEP_IM2GPS_CONTACT") or "no contact given"
    session = requests.Session()
    session.headers["User-Agent"] = f"deep-im2gps/{__version__} ({contact}) python-requests/{requests.__version__}"
    session.max_redirects = REDIRECTS
    return session


def patiently(action: Callable[[], T], *, sleep: Sleep = time.sleep) -> T:
    """Return what `action` returns; where it fails for now, try again after 1, 2, 4... s or as asked.

    Raises:
        ConnectionError: after `ATTEMPTS`, or at once if asked to wait longer than `LONGEST_WAIT_S`.
        FileNotFoundError, PermissionError, ValueError: what it refuses for good (404, 403, other 4xx).
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", 503)
            if 300 <= status < 500 and status not in TRANSIENT_STATUSES:
                raise REFUSALS.get(status, ValueError)(str(error)) from error
            wait = max(2.0 ** (attempt - 1), _asked_wait(error.response))
            if attempt == ATTEMPTS or wait > LONGEST_WAIT_S:
                raise ConnectionError(
                    f"{error} (attempt {attempt}, next after {wait:.0f} s). Check the network and run "
                    "the same command later: it goes on where it stopped"
                ) from error
        sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def open_url(
    url: str, *, session: requests.Session, allowed_hosts: Collection[str] | None = None, **options: Any
) -> requests.Response:
    """Open an address as a stream, following redirects to allowed hosts only and never from https to http.

    Args:
        allowed_hosts: by default the address's own host.
        options: `params` and `headers`, as `requests` has them.

    Raises:
        ValueError: a host or scheme that is not allowed. requests.RequestException: for `patiently`.
    """
    hosts = allowed_hosts or {urlsplit(url).hostname}
    schemes = ("https",) if url.startswith("https:") else ("http", "https")

    def look(response: requests.Response | None, **_: Any) -> None:
        """Refuse where a request would lead, before it is sent; requests calls this for each redirect."""
        target = urljoin(response.url, response.headers.get("location")) if response is not None else url
        if urlsplit(target).hostname not in hosts or urlsplit(target).scheme not in schemes:
            raise ValueError(f"{target} is not followed: allowed are {sorted(hosts)} by {schemes}")

    look(None)
    response = session.get(url, stream=True, timeout=TIMEOUT_S, hooks={"response": look}, **options)
    if response.status_code != 416:  # the caller's own matter: it asked for a range
        response.raise_for_status()
    return response


def fetch(
    url: str,
    path: Path,
    *,
    checksum: str | None = None,
    max_bytes: int | None = None,
    allowed_hosts: Collection[str] | None = None,
    session: requests.Session | None = None,
    check: Callable[[Path], Any] | None = None,
    sleep: Sleep = time.sleep,
) -> Path:
    """Download a file, whole and checked before it gets its name; a cut download goes on where it stopped.

    Args:
        checksum: "algorithm:hex", such as "sha1:7da27dd3...".
        max_bytes: refuse more.
        allowed_hosts: where the address and its redirects may lead; by default its own host.
        check: raises ValueError if the file is not what it should be; like the checksum it also holds for a file that
            is there already.

    Raises:
        ConnectionError: no network, or a server that stays away. FileNotFoundError: no such file there.
        PermissionError: the server refuses this client. ValueError: host not allowed, too large, another
            checksum, refused by `check`.
    """
    path, part, note = Path(path), Path(f"{path}.part"), Path(f"{path}.part.etag")
    if path.exists():
        _check_sum(path, checksum)
        if check:
            check(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    open_now = partial(open_url, url, session=session or polite_session(), allowed_hosts=allowed_hosts)
    try:
        patiently(lambda: _receive(open_now, part, note, max_bytes), sleep=sleep)
        _check_sum(part, checksum)
        if check:
            check(part)
        os.replace(part, path)
    except ConnectionError as error:  # the part stays, for the next time
        raise ConnectionError(f"{url} did not come: {error}; or put the file at {path} yourself") from error
    except (ValueError, FileNotFoundError) as error:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{url} is no use: {error}") from error
    note.unlink(missing_ok=True)
    return path


def unpack(archive: Path, folder: Path, *, max_bytes: int = 2**33) -> list[Path]:
    """Unpack the plain files of a tar archive, each whole or absent, and return their paths.

    Raises:
        ValueError: a name outside the folder, a link or device, more than `max_bytes`, a damaged archive.
    """
    root, files, total = Path(folder).resolve(), [], 0
    try:
        with tarfile.open(archive) as opened:
            for item in (item for item in opened if not item.isdir()):
                target, total = (root / item.name).resolve(), total + item.size
                if not item.isfile():
                    raise ValueError(f"{archive}: {item.name!r} is a link or a device, no plain file: do not use it")
                if root not in target.parents or total > max_bytes:
                    raise ValueError(f"{archive}: {item.name!r} lies outside {root} or exceeds {max_bytes:,} bytes")
                with atomic_path(target) as temporary, open(temporary, "wb") as out:
                    shutil.copyfileobj(opened.extractfile(item), out)
                files.append(target)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is no whole tar archive ({error}): remove it and fetch it again") from error
    return files


def _asked_wait(response: requests.Response | None) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or a date; 0 without one."""
    try:
        return Retry().get_retry_after(response) or 0.0 if response is not None else 0.0
    except InvalidHeader:
        return 0.0


def _receive(open_now: Callable[..., requests.Response], part: Path, note: Path, max_bytes: int | None) -> None:
    """Add to `part` what is missing, where the server's ETag vouches that it is still the same file."""
    etag = note.read_text() if part.exists() and note.exists() else ""
    have = part.stat().st_size if etag else 0
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges count the file's own bytes
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    with open_now(headers=headers) as response:
        now, span = response.headers.get("ETag", ""), response.headers.get("Content-Range", "")
        resumed = response.status_code == 206 and now == etag and span.startswith(f"bytes {have}-")
        if not resumed and response.status_code != 200:
            note.unlink(missing_ok=True)
            raise requests.ConnectionError(f"it does not go on from byte {have:,}")
        have = have if resumed else 0
        total = have + int(response.headers.get("Content-Length", 0))
        bar = {"total": total or None, "initial": have, "desc": part.stem, "disable": 0 < total < SMALL_BYTES}
        with open(part, "ab" if have else "wb") as file, tqdm(unit="B", unit_scale=True, **bar) as progress:
            note.write_text("" if now.startswith("W/") else now)  # a weak one can't vouch for bytes
            for piece in response.iter_content(PIECE_BYTES):
                have += file.write(piece)
                progress.update(len(piece))
                if max_bytes and have > max_bytes:
                    raise ValueError(f"it has more than the {max_bytes:,} bytes that are allowed")


def _check_sum(path: Path, checksum: str | None) -> None:
    algorithm, _, expected = (checksum or "").partition(":")
    if not algorithm:
        return
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if digest != expected.lower():
        what = f"its {algorithm} is {digest}, expected {expected}"
        raise ValueError(f"{path} is damaged or another version: {what}; remove it and try again")
