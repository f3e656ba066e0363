"""Writes tiny files in the format of every corpus, so that readers meet real files. Values are made up."""

import bz2
from pathlib import Path

import msgpack
import pandas as pd
from hypothesis import HealthCheck, settings
from PIL import Image

from geoutils.readers import checks

FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PARIS = ("48.858370", "2.294481")
TOKYO = ("35.658581", "139.745433")


def yfcc_row(photo_id: object = 1, *, wide: bool = False, swapped: bool = False, **fields: object) -> str:
    """Return one line of YFCC100M: 23 columns, or 25 with line number and hash (before the id if `swapped`)."""
    values = {
        "owner": "35034363287%40N01",
        "nickname": "some+one",
        "taken": "2010-07-19 14:16:19.0",
        "uploaded": "1279549000",
        "device": "Canon+EOS",
        "title": "A+title+with+%22quotes%22+and+a+%09tab",
        "description": "",
        "tags": "paris,tower",
        "machine_tags": "",
        "longitude": PARIS[1],
        "latitude": PARIS[0],
        "accuracy": "16",
        "page": "http://example.org/page",
        "download": "http://example.org/photo.jpg",
        "license": "Attribution License",
        "license_page": "http://creativecommons.org/licenses/by/2.0/",
        "server": "4137",
        "farm": "5",
        "secret": "b46d1cb6a1",
        "original_secret": "0b0e3ee6e5",
        "extension": "jpg",
        "marker": "0",
    } | fields
    digest = f"{'0123456789abcdef' * 2}"
    first = [photo_id] if not wide else ["0", digest, photo_id] if swapped else ["0", photo_id, digest]
    return "\t".join(map(str, [*first, *values.values()])) + "\n"


def write_yfcc(path: Path, lines: list[str]) -> Path:
    """Write lines as a dataset file, compressed if its name ends in .bz2."""
    content = "".join(lines).encode("utf-8", "surrogateescape")
    path.write_bytes(bz2.compress(content) if path.suffix == ".bz2" else content)
    return path


def im2gps_record(photo_id: object = 1, *, owner: str = "72399739@N00", position=PARIS, **fields: object) -> list[str]:
    """Return the lines of one record of an Im2GPS metadata file."""
    values = {
        "photo": f"{photo_id} 3d0fd200f1 180",
        "owner": owner,
        "title": "latitude: 12",
        "originalsecret": "3d0fd200f1",
        "originalformat": "jpg",
        "datetaken": "2005-07-21 14:41:58",
        "tags": "tower night",
        "license": "0",
        "latitude": position[0],
        "longitude": position[1],
        "accuracy": "16",
        "interestingness": "2 out of 14",
    } | fields
    return [f"{name}: {value}" for name, value in values.items() if value is not None]


def im2gps_name(photo_id: object = 1, owner: str = "72399739@N00") -> str:
    """Return the file name of the image that belongs to `im2gps_record`."""
    return f"{photo_id}_3d0fd200f1_180_{owner}.jpg"


def write_im2gps(path: Path, records: list[list[str]], encoding: str = "utf-8") -> Path:
    """Write one query's metadata file with the log lines around its records."""
    blocks = [
        "mintime: 1072915200 maxtime: 1115000000\nnumimgs: 2\ntotal pages: 1\nvisiting only 1 pages ( up to 250 images)"
    ]
    blocks += ["\n".join(lines) for lines in records]
    path.write_bytes(("\n\n".join([*blocks, "Total images queried: 2"]) + "\n").encode(encoding))
    return path


def write_jpeg(path: Path, photo: Image.Image, comments: list[str] = ()) -> Path:
    """Write a JPEG with one comment segment a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path)
    content = path.read_bytes()
    segments = [b"\xff\xfe" + (len(line.encode()) + 2).to_bytes(2, "big") + line.encode() for line in comments]
    path.write_bytes(content[:2] + b"".join(segments) + content[2:])
    return path


def write_geotagged(path: Path, photo: Image.Image) -> Path:
    """Write a photo whose EXIF has a position, 48.86 N 2.35 W, and a photographer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x013B] = "Ann"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "W", 4: (2.0, 21.0, 0.0)})
    photo.save(path, exif=exif)
    return path


def write_im2gps_tree(folder: Path, queries: dict[str, tuple[float, float]], photos: list[Image.Image]) -> Path:
    """Write a collection: a metadata file and images a query, photos dealt out in turn, four a photographer."""
    for number, (query, (latitude, longitude)) in enumerate(queries.items()):
        records = []
        for i, photo in enumerate(photos[number :: len(queries)]):
            photo_id, owner = 1_000 * number + i, f"{70_000_000 + 100 * number + i // 4}@N00"
            position = (f"{latitude + 0.002 * i:.6f}", f"{longitude:.6f}")
            records.append(im2gps_record(photo_id, owner=owner, position=position))
            write_jpeg(folder / query / "00001" / im2gps_name(photo_id, owner), photo, records[-1])
        write_im2gps(folder / f"{query}.txt", records)
    return folder


def write_shard(path: Path, images: dict[str, bytes], *, byte_keys: bool = False) -> Path:
    """Write a shard of MP-16: msgpack maps one after the other, with text or bytes as keys."""
    keys = (b"image", b"id") if byte_keys else ("image", "id")
    path.write_bytes(b"".join(msgpack.packb({keys[0]: image, keys[1]: name}) for name, image in images.items()))
    return path


def write_list(path: Path, header: str, rows: list[tuple]) -> Path:
    """Write a CSV file: MP-16's, OSV-5M's or a list of test photos."""
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def hashed(owner: str) -> str:
    """The keyed hash of an owner's name."""
    return checks.hash_users(pd.Series([owner], dtype="str"))[0]


def reasons(reading: checks.Reading) -> dict[str, str]:
    """Why each rejected record was."""
    return dict(zip(reading.rejected["record"], reading.rejected["reason"], strict=True))
