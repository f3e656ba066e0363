"""Ask a MediaWiki about geotagged files: politely, one request at a time, no question twice.

Parameters and fields are those of the action API's documentation: modules geosearch and coordinates (of
GeoData), imageinfo (with CommonsMetadata), "API:Continue", "Manual:Maxlag parameter".
"""

import html
import math
import re
import time
import unicodedata
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from geoutils.artifacts import content_key, read_json, write_json, write_text
from geoutils.download import Sleep, fetch, open_url, patiently

KM_PER_DEGREE = 111.195  # of latitude, on a sphere of 6,371.0088 km
LARGEST_BOX_KM = 19.0  # GeoData refuses boxes of more than (2 x 10 km) squared
SMALLEST_BOX_KM = 1.6  # not split further: if still too full, the 500 nearest to its middle do
GEOSEARCH_LIMIT = 500
NEARLY_FULL = 450  # pages gone since the index was made are left out, so a cut answer can be a little shorter
BATCH = 50  # page ids a request, and scaled images an answer
FILE_NAMESPACE = 6
MAX_IMAGE_BYTES = 30_000_000
TRANSIENT_ERRORS = ("maxlag", "ratelimited", "readonly", "internal_api_error")
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
    """Whom to ask, which hosts may serve images, and the folder in which answers are kept for the next time."""

    api: str
    image_hosts: Collection[str]
    answers: Path
    session: requests.Session
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

    def ask_pages(self, parameters: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Return all pages of a query by id, their parts collected over every continuation."""
        pages: dict[int, dict[str, Any]] = {}
        more, seen = {}, []
        while more not in seen:
            seen.append(more)
            answer = self.ask(parameters | more)
            for page in answer.get("query", {}).get("pages", []):
                known = pages.setdefault(page["pageid"], {})
                for name, value in page.items():
                    known[name] = known.get(name, []) + value if isinstance(value, list) else value
            more = answer.get("continue")
            if not more:
                return pages
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


def find_files(client: Client, latitude: float, longitude: float, radius_km: float) -> list[int]:
    """List the geotagged files in the square about a circle; a box with too many is asked for in quarters.

    Args:
        latitude, longitude: the circle's centre, degrees.

    Returns:
        Page ids, sorted, each once.
    """
    half = radius_km / KM_PER_DEGREE
    half_longitude = min(180.0, half / math.cos(math.radians(latitude)))
    top, bottom = min(90.0, latitude + half), max(-90.0, latitude - half)
    boxes, found = [(top, longitude - half_longitude, bottom, longitude + half_longitude)], set()
    while boxes:
        top, left, bottom, right = box = boxes.pop()
        side_km = (top - bottom) * KM_PER_DEGREE
        ids = _files_in(client, box) if side_km <= LARGEST_BOX_KM else []
        if side_km > LARGEST_BOX_KM or (len(ids) >= NEARLY_FULL and side_km > SMALLEST_BOX_KM):
            middle, centre = (top + bottom) / 2, (left + right) / 2
            boxes += [(top, left, middle, centre), (top, centre, middle, right)]
            boxes += [(middle, left, bottom, centre), (middle, centre, bottom, right)]
        else:
            found.update(ids)
    return sorted(found)


def describe_files(client: Client, page_ids: Sequence[int], width: int) -> Iterator[dict[str, Any]]:
    """Describe files in the order of their ids: a flat record each, with texts as plain text.

    Args:
        width: pixels of the scaled copy that `image_url` leads to; one of the wiki's standard widths.

    Returns:
        page_id, scaled_to (`width`), sha1 (of the original; "" if the file is gone), title, mime, mediatype,
        pixels (width, height), latitude, longitude (of the camera, degrees; NaN without), camera (maker and
        model in the EXIF), taken_at, license, license_url, nonfree, uploaded_by, author, credit, categories,
        page, uploaded, image_url.
    """
    for start in range(0, len(page_ids), BATCH):
        batch = list(page_ids[start : start + BATCH])
        pages = client.ask_pages(DETAILS | {"pageids": "|".join(map(str, batch)), "iiurlwidth": width})
        for page_id in batch:
            yield {"page_id": page_id, "scaled_to": width} | _flatten(pages.get(page_id, {}))


def fetch_image(client: Client, url: str, path: Path, *, sha256: str | None = None) -> tuple[int, int]:
    """Fetch a JPEG image once, whole, and return its true size in pixels (width, height).

    Raises:
        ValueError: it can't be had: removed, from a host not allowed, no whole image, other bytes than `sha256`.
        ConnectionError: no network, or a server that stays away.
    """
    refused = client.answers / f"{path.stem}.refused"
    if refused.exists():
        raise ValueError(refused.read_text(encoding="utf-8"))
    options = {"allowed_hosts": client.image_hosts, "session": client.session, "sleep": client.sleep}
    try:
        fetch(url, path, sha256=sha256, max_bytes=MAX_IMAGE_BYTES, check=_jpeg_size, **options)
        return _jpeg_size(path)
    except (ValueError, FileNotFoundError) as error:
        why = re.sub(r"\w+://\S+", "(address)", str(error))  # addresses hold titles, and titles names
        write_text(refused, why)
        raise ValueError(why) from error


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


def _jpeg_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path, formats=["JPEG"]) as image:
            image.load()
            return image.size
    except Exception as error:  # bytes from outside: decoders fail in any way
        raise ValueError(f"not a whole JPEG image ({error})") from error


def _files_in(client: Client, box: tuple[float, float, float, float]) -> list[int]:
    """Ask for one box (top, left, bottom, right): the nearest to its middle come first, and 500 at most."""
    top, left, bottom, right = box
    corners = (top, (left + 180) % 360 - 180, bottom, (right + 180) % 360 - 180)
    query = {
        "list": "geosearch",
        "gsbbox": "|".join(f"{corner:.6f}" for corner in corners),
        "gsnamespace": FILE_NAMESPACE,
        "gsprimary": "all",
        "gslimit": GEOSEARCH_LIMIT,
    }
    return [entry["pageid"] for entry in client.ask(query).get("query", {}).get("geosearch", [])]
