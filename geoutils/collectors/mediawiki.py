"""Ask a MediaWiki about geotagged files: politely, one request at a time, no question twice.

Parameters and fields are those of the action API's documentation: modules search (CirrusSearch's `user_random` sort,
GeoData's `nearcoord:`), coordinates, imageinfo (with CommonsMetadata), "API:Continue", "Manual:Maxlag parameter".
"""

import html
import itertools
import math
import re
import time
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from geoutils.artifacts import content_key, read_json, write_json, write_text
from geoutils.download import Sleep, fetch, open_url, patiently
from geoutils.images import open_photo

API = "https://commons.wikimedia.org/w/api.php"
IMAGE_HOSTS = ("upload.wikimedia.org", "thumb.wikimedia.org")
SEARCH_DEPTH, SEARCH_LIMIT = 10_000, 500  # CirrusSearch answers no further, and no more at a time
# namespace 6: files
SEARCH = {"list": "search", "srnamespace": 6, "srsort": "user_random", "srlimit": SEARCH_LIMIT, "srprop": ""}
BATCH = 50  # page ids a request, and scaled images an answer
MAX_IMAGE_BYTES = 30_000_000
TRANSIENT_ERRORS = ("maxlag", "ratelimited", "readonly", "internal_api_error")
TRANSIENT_ERRORS += ("cirrussearch-too-busy", "cirrussearch-backend-error")
DETAILS = {
    "prop": "imageinfo|coordinates",
    "iiprop": "url|user|size|mime|mediatype|sha1|timestamp|extmetadata|commonmetadata",
    "iiextmetadatafilter": "Artist|Credit|LicenseShortName|LicenseUrl|NonFree|Categories",
    "coprop": "type|dim|globe",
    "coprimary": "all",  # the camera's position and the object's
    "colimit": 500,  # 10 by default
}


@dataclass(frozen=True)
class Client:
    """A client of one wiki, which keeps answers in a folder and takes images from the allowed hosts only."""

    answers: Path
    session: requests.Session
    api: str = API
    image_hosts: Collection[str] = IMAGE_HOSTS
    sleep: Sleep = time.sleep

    def ask(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return one answer to a query, from disk if it was given before.

        Raises:
            ConnectionError: the server stays away or overloaded. ValueError: it refuses the query.
        """
        asked = {"action": "query", "format": "json", "formatversion": 2, "maxlag": 5} | parameters
        path = self.answers / f"{content_key([self.api, asked])}.json"
        if not path.exists():
            write_json(path, patiently(lambda: self._receive(asked), sleep=self.sleep))
        return read_json(path)

    def answers_to(self, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the answers to a query, one after another; each is asked for only when it is wanted."""
        more, seen = {}, []
        while more not in seen:
            seen.append(more)
            answer = self.ask(parameters | more)
            yield answer.get("query", {})
            more = answer.get("continue")
            if not more:
                return
        raise ValueError(f"{self.api} repeats its continuation {more}: the query can't be finished")

    def _receive(self, asked: dict[str, Any]) -> dict[str, Any]:
        with open_url(self.api, session=self.session, params=asked) as response:
            try:
                answer = dict(response.json())
            except (ValueError, TypeError) as error:
                raise requests.ConnectionError(f"{self.api} does not answer in JSON", response=response) from error
        problem = answer.get("error")
        if problem and problem["code"].startswith(TRANSIENT_ERRORS):
            raise requests.ConnectionError(f"{self.api}: {problem['info']}", response=response)
        if problem:
            raise ValueError(f"{self.api} refuses {asked}: {problem['code']}, {problem['info']}")
        for module, warning in answer.get("warnings", {}).items():
            warnings.warn(f"{self.api} warns in {module}: {warning}", stacklevel=2)
        return answer


def find_files(client: Client, latitude: float, longitude: float, radius_km: float) -> Iterator[int]:
    """Yield the files of a circle in a random order, asking for the next 500 when they are wanted.

    The search backend orders them by a hash of the client and the file: one client sees one order, another client or
    a later state of the wiki another, so a manifest, and no seed, gives a set again. (The other way, geosearch, gives
    the nearest to a point first: no sample of a dense place, and hundreds of boxes before the first file.)

    Args:
        latitude, longitude: the circle's centre, degrees; a file counts by its primary position, mostly the camera's.

    Returns:
        Page ids, each once; of a circle with more than `SEARCH_DEPTH` files so many.
    """
    where = f"nearcoord:{math.ceil(radius_km * 1000)}m,{latitude:.6f},{longitude:.6f}"  # takes whole metres
    seen: set[int] = set()
    for answer in itertools.islice(client.answers_to(SEARCH | {"srsearch": where}), SEARCH_DEPTH // SEARCH_LIMIT):
        found = dict.fromkeys(entry["pageid"] for entry in answer.get("search", []))
        yield from (page_id for page_id in found if page_id not in seen)
        seen.update(found)


def describe_files(client: Client, page_ids: Iterable[int], width: int) -> Iterator[dict[str, Any]]:
    """Describe files in the order of their ids: a flat record each, with texts as plain text.

    Args:
        width: pixels of the scaled copy that `image_url` leads to; one of the wiki's standard widths.

    Returns:
        page_id, scaled_to (`width`), sha1 (of the original; "" if the file is gone), title, mime, mediatype,
        pixels (width, height), latitude, longitude (of the camera, degrees; NaN without), camera (maker and
        model in the EXIF), taken_at, license, license_url, nonfree, uploaded_by, author, credit, categories,
        page, uploaded, image_url.
    """
    rest = iter(page_ids)
    while batch := list(itertools.islice(rest, BATCH)):
        pages: dict[int, dict[str, Any]] = {}
        for answer in client.answers_to(DETAILS | {"pageids": "|".join(map(str, batch)), "iiurlwidth": width}):
            for page in answer.get("pages", []):
                known = pages.setdefault(page["pageid"], {})  # its parts may be spread over the answers
                for name, value in page.items():
                    known[name] = known.get(name, []) + value if isinstance(value, list) else value
        for page_id in batch:
            yield {"page_id": page_id, "scaled_to": width} | _flatten(pages.get(page_id, {}))


def fetch_image(client: Client, url: str, path: Path, *, checksum: str | None = None) -> str:
    """Fetch a photo once, whole; return why it can't be had (removed, host not allowed, no photo...), or nothing.

    Args:
        checksum: as for `fetch`.

    Raises:
        ConnectionError: no network, or a server that stays away. PermissionError: it refuses this client.
    """
    refused = client.answers / f"{path.stem}.refused"
    options = {"allowed_hosts": client.image_hosts, "session": client.session, "sleep": client.sleep}
    options |= {"checksum": checksum, "max_bytes": MAX_IMAGE_BYTES, "check": open_photo}
    if not refused.exists():
        try:
            fetch(url, path, **options)
            return ""
        except (ValueError, FileNotFoundError) as error:
            # addresses hold titles, and titles names
            write_text(refused, re.sub(r"\w+://\S+", "(address)", str(error)))
    return refused.read_text(encoding="utf-8")


def plain_text(value: object) -> str:
    """Turn a piece of HTML into one line of text without tags, scripts, control or direction marks."""
    text = html.unescape(re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", str(value)))
    joiners = "\u200c\u200d"  # they belong to Persian and Indic spelling
    kept = (c if c in joiners or unicodedata.category(c)[0] not in "CZ" else " " for c in text)
    return " ".join("".join(kept).split())


def _flatten(page: dict[str, Any]) -> dict[str, Any]:
    info = next(iter(page.get("imageinfo") or []), {})
    sha1 = str(info.get("sha1", ""))
    said = {name: plain_text(field.get("value", "")) for name, field in (info.get("extmetadata") or {}).items()}
    exif = {item["name"]: item["value"] for item in info.get("commonmetadata") or []}
    places = [place for place in page.get("coordinates") or [] if place.get("globe", "earth") == "earth"]
    camera = next((place for place in places if place.get("type") == "camera"), {})
    return {
        "sha1": sha1 if re.fullmatch("[0-9a-f]{40}", sha1) else "",  # it becomes a file's name
        "title": plain_text(page.get("title", "")),
        "mime": info.get("mime"),
        "mediatype": info.get("mediatype"),
        "pixels": (info.get("width", 0), info.get("height", 0)),
        "latitude": float(camera.get("lat", "nan")),
        "longitude": float(camera.get("lon", "nan")),
        "camera": f"{exif.get('Make', '')} {exif.get('Model', '')}".strip(),
        "taken_at": str(exif.get("DateTimeOriginal", "")).replace(":", "-", 2),
        "license": said.get("LicenseShortName", ""),
        "license_url": said.get("LicenseUrl", ""),
        "nonfree": "NonFree" in said,
        "uploaded_by": plain_text(info.get("user", "")),
        "author": said.get("Artist", ""),
        "credit": said.get("Credit", ""),
        "categories": said.get("Categories", ""),
        "page": plain_text(info.get("descriptionurl", "")),
        "uploaded": plain_text(info.get("timestamp", "")),
        "image_url": str(info.get("thumburl", "")),
    }
