"""A server on 127.0.0.1 that answers as the MediaWiki action API documents, with its errors, and serves files.

`fail` queues answers that replace the next ones: what networks, caches and hostile pages do.
"""

import functools
import hashlib
import io
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

Answer = Callable[["Handler"], None]
STEPS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
METRES_PER_DEGREE = 111_195


class CommonsServer(ThreadingHTTPServer):
    """Holds pages and files, a log of what was asked, and the failures to come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[int, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.log: list[tuple[str, dict[str, str]]] = []  # path with query, headers
        self.failures: list[tuple[str, Answer]] = []
        self.parts_an_answer = 500  # coordinates, and images, in one answer
        self.deepest = 10_000  # search results beyond are refused
        self.dies_after: int | None = None  # so many requests
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.api = f"{self.url}/w/api.php"

    def __enter__(self) -> "CommonsServer":
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def fail(self, part: str, *answers: Answer) -> None:
        """Give these answers, one each, to the next requests whose address contains `part`."""
        self.failures += [(part, answer) for answer in answers]

    def asked(self, part: str = "") -> list[str]:
        """List the addresses asked for that contain `part`."""
        return [path for path, _ in self.log if part in path]

    def add(self, page_id: int, latitude: float, longitude: float, **changes: Any) -> dict[str, Any]:
        """Add a good photograph at a camera position; `changes` replace parts of its page."""
        self.files[f"/thumb/{page_id}/500px.jpg"] = jpeg() + str(page_id).encode()
        self.pages[page_id] = {
            "title": f"File:Street {page_id}.jpg",
            "coordinates": [camera(latitude, longitude)],
            "user": f"Uploader {page_id}",
            "width": 4000,
            "height": 3000,
            "mime": "image/jpeg",
            "mediatype": "BITMAP",
            "sha1": hashlib.sha1(str(page_id).encode()).hexdigest(),
            "timestamp": "2015-05-01T10:00:00Z",
            "thumburl": f"{self.url}/thumb/{page_id}/500px.jpg?utm_source=commons.wikimedia.org",
            "descriptionurl": f"https://commons.wikimedia.org/wiki/File:Street_{page_id}.jpg",
            "commonmetadata": [
                {"name": "Make", "value": "Canon"},
                {"name": "Model", "value": "EOS 5D"},
                {"name": "DateTimeOriginal", "value": "2014:07:21 14:41:58"},
            ],
            "extmetadata": {
                "Artist": {"value": f'<a href="//example.org">Artist {page_id}</a>', "source": "commons-desc-page"},
                "Credit": {"value": "<span>Own work</span>"},
                "LicenseShortName": {"value": "CC BY-SA 4.0"},
                "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
                "Categories": {"value": "Streets|Pages with maps|Self-published work"},
            },
        } | changes
        return self.pages[page_id]


@functools.cache
def jpeg() -> bytes:
    """Return a small JPEG file; what is added behind its end makes another file of the same picture."""
    image = io.BytesIO()
    Image.new("RGB", (500, 375), (120, 90, 60)).save(image, "JPEG")
    return image.getvalue()


def camera(latitude: float, longitude: float, **changes: Any) -> dict[str, Any]:
    """Return a coordinate as prop=coordinates gives it."""
    return {"lat": latitude, "lon": longitude, "primary": True, "type": "camera", "dim": 100} | changes


class Handler(BaseHTTPRequestHandler):
    """Answers GET: the API, and files with ETag and ranges."""

    server: CommonsServer

    def do_GET(self) -> None:
        if self.server.dies_after is not None and len(self.server.log) >= self.server.dies_after:
            return self.reply(b"out of order", "text/plain", 503)
        self.server.log.append((self.path, dict(self.headers)))
        for number, (part, answer) in enumerate(self.server.failures):
            if part in self.path:
                del self.server.failures[number]
                return answer(self)
        address = urlsplit(self.path)
        if address.path == "/w/api.php":
            query = {name: values[-1] for name, values in parse_qs(address.query).items()}
            query["agent"] = self.headers["User-Agent"]
            return self.reply(json.dumps(answer_query(self.server, query)).encode(), "application/json")
        if address.path in self.server.files:
            return self.send_file(self.server.files[address.path])
        return self.reply(b"no such file", "text/html", 404)

    def reply(self, body: bytes, kind: str, status: int = 200, send: int | None = None, **headers: Any) -> None:
        """Send an answer; of the body only the first `send` bytes."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        with suppress(ConnectionError):  # a client may leave in the middle
            self.wfile.write(body[:send])

    def send_file(self, body: bytes, send: int | None = None) -> None:
        """Send a file, or the part of it that a range asks for if it is still the same."""
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if start and self.headers.get("If-Range", etag) == etag:
            if start >= len(body):
                return self.reply(b"", "image/jpeg", 416, Content_Range=f"bytes */{len(body)}")
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return self.reply(body[start:], "image/jpeg", 206, send, ETag=etag, Content_Range=span)
        return self.reply(body, "image/jpeg", 200, send, ETag=etag)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def wait(status: int, seconds: int | str) -> Answer:
    """Refuse for now, with Retry-After."""
    return lambda handler: handler.reply(b"slow down", "text/plain", status, Retry_After=seconds)


def refuse(status: int) -> Answer:
    """Refuse, without saying for how long."""
    return lambda handler: handler.reply(b"no", "text/plain", status)


def lag(seconds: int = 5) -> Answer:
    """Answer as an overloaded wiki does: status 200, error maxlag, Retry-After."""
    error = {"code": "maxlag", "info": "Waiting for a database server: 7.2 seconds lagged.", "lag": 7.2}
    body = json.dumps({"error": error}).encode()
    return lambda handler: handler.reply(body, "application/json", 200, Retry_After=seconds)


def page(body: bytes) -> Answer:
    """Answer 200 with something else than what was asked for."""
    return lambda handler: handler.reply(body, "text/html")


def cut(sent: int) -> Answer:
    """Break the connection after so many bytes of a file."""
    return lambda handler: handler.send_file(handler.server.files[urlsplit(handler.path).path], sent)


def cut_answer(sent: int) -> Answer:
    """Break the connection after so many bytes of JSON."""
    return lambda handler: handler.reply(b'{"batchcomplete": true, "query": {}}', "application/json", send=sent)


def redirect(target: str) -> Answer:
    """Lead elsewhere."""
    return lambda handler: handler.reply(b"", "text/html", 302, Location=target)


def answer_query(server: CommonsServer, query: dict[str, str]) -> dict[str, Any]:
    """Answer an API query (formatversion 2)."""
    assert (query["action"], query["format"], query["formatversion"]) == ("query", "json", "2")
    return search(server, query) if query.get("list") == "search" else describe(server, query)


def search(server: CommonsServer, query: dict[str, str]) -> dict[str, Any]:
    """Answer list=search for nearcoord: what has its primary position in the circle, in a client's own random order."""
    radius, latitude, longitude = map(float, re.fullmatch(r"nearcoord:(\d+)m,(.+),(.+)", query["srsearch"]).groups())
    assert (query["srnamespace"], query["srsort"]) == ("6", "user_random")
    start, limit = int(query.get("sroffset", 0)), int(query["srlimit"])
    assert limit <= 500, "the API gives 500"
    if start >= server.deepest:
        return {"error": {"code": "cirrussearch-offset-too-large", "info": "Could not retrieve results."}}
    found = []
    for page_id, page_data in server.pages.items():
        for place in shown(page_data, None):
            north, east = place["lat"] - latitude, (place["lon"] - longitude + 180) % 360 - 180
            away = math.hypot(north, east * math.cos(math.radians(latitude))) * METRES_PER_DEGREE
            if away <= radius and place.get("globe", "earth") == "earth":
                found.append({"ns": 6, "title": page_data["title"], "pageid": page_id})
    found.sort(key=lambda entry: hashlib.md5(f"{query['agent']}{entry['pageid']}".encode()).digest())
    answer = {"batchcomplete": True, "query": {"search": found[start : start + limit]}}
    return answer | ({"continue": {"sroffset": start + limit, "continue": "-||"}} if found[start + limit :] else {})


def describe(server: CommonsServer, query: dict[str, str]) -> dict[str, Any]:
    """Answer prop=imageinfo|coordinates; what does not fit follows on `continue`, as the modules have it."""
    page_ids = sorted(int(number) for number in query["pageids"].split("|"))
    assert len(page_ids) <= 50, "the API takes 50 ids"
    known = [number for number in page_ids if number in server.pages]
    pages = {number: {"pageid": number, "missing": True} for number in page_ids}
    pages |= {number: {"pageid": number, "ns": 6, "title": server.pages[number]["title"]} for number in known}
    answer: dict[str, Any] = {"query": {"pages": list(pages.values())}}
    images_left, coordinates_left = [], []
    if "imageinfo" not in query.get("continue", ""):
        wanted = [number for number in known if number >= int(query.get("iicontinue", 0))]
        images_left = wanted[server.parts_an_answer :]
        for number in wanted[: server.parts_an_answer]:
            pages[number]["imageinfo"] = [imageinfo(server.pages[number], query)]
    if "coordinates" not in query.get("continue", ""):
        limit = min(int(query.get("colimit", 10)), server.parts_an_answer)
        places = [
            (n, i, place) for n in known for i, place in enumerate(shown(server.pages[n], query.get("coprimary")))
        ]
        start = tuple(map(int, query.get("cocontinue", "0|0").split("|")))
        rest = [entry for entry in places if entry[:2] >= start]
        coordinates_left = rest[limit:]
        for number, _, place in rest[:limit]:
            pages[number].setdefault("coordinates", []).append(place)
    if images_left or coordinates_left:
        done = [] if images_left else ["imageinfo"]
        done += [] if coordinates_left else ["coordinates"]
        answer["continue"] = {"continue": "||" + "|".join(done)}
        if images_left:
            answer["continue"]["iicontinue"] = str(images_left[0])
        if coordinates_left:
            answer["continue"]["cocontinue"] = "|".join(map(str, coordinates_left[0][:2]))
    return answer


def shown(data: dict[str, Any], primary: str | None) -> list[dict[str, Any]]:
    """Return a page's primary coordinates, or all where they are asked for."""
    return [place for place in data["coordinates"] if primary == "all" or place["primary"]]


def imageinfo(data: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
    """Return the fields that iiprop asks for."""
    fields = {"url": ["thumburl", "descriptionurl"], "size": ["width", "height"]}
    names = [name for prop in query["iiprop"].split("|") for name in fields.get(prop, [prop])]
    info = {name: data[name] for name in names if name in data}
    kept = query["iiextmetadatafilter"].split("|")
    info["extmetadata"] = {name: value for name, value in data["extmetadata"].items() if name in kept}
    assert int(query["iiurlwidth"]) in STEPS, "only standard widths are served"
    return info
