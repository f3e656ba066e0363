"""Published photo collections to photo tables: Im2GPS, YFCC100M, MP-16, OSV-5M and lists of test photos.

Every reader yields a `Reading` a batch, so that a collection larger than memory streams through; for one that
fits, `concat_readings` makes a single `Reading`. Each record is in exactly one of the tables that are yielded, and
an id is accepted once in the whole stream, a path or a copy of a file once a batch. All readers take the same options:

    image_root: folder that the images lie under; None: positions only (`read_im2gps`: the metadata's folder).
    check_images: decode every photo to see that it can be used.
    batch_rows: records a batch, about.

Flickr's picture in place of a removed photo is recognised only as a copy of itself.
"""

import bz2
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from urllib.parse import unquote_plus

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from geoutils.images import MISSING_FILE, PhotoError, opened
from geoutils.photos import (
    BROKEN,
    DAMAGED,
    DUPLICATE,
    PARTITIONS,
    checked,
    csv_batches,
    damage_or,
    table_text,
    text_lines,
)
from geoutils.tables import Reading, rejected_rows

VIDEO = "video"

# places among 23 columns; in the variant of 25 the line number comes before the id, and a hash after it
YFCC_PLACES = {0: "photo_id", 1: "user_id", 3: "taken_at", 10: "longitude", 11: "latitude", 15: "license", 22: "video"}
YFCC_WIDE = {1: "photo_id", 2: "hash"} | {place + 2: name for place, name in YFCC_PLACES.items() if place}
YFCC_BLOCK = 1 << 22  # bytes parsed at once

# <id>_<secret>_<server>_<owner>.jpg; in the test set <Query>_<subfolder>_ comes before it
IM2GPS_NAME = r"^(?:(?P<keyword>.+)_\d{5}_)?(?P<photo_id>\d+)_[0-9a-f]+_\d+_(?P<user_id>[^_]+@N\d+)\.(?i:jpe?g)$"
IM2GPS_LOG = r"mintime:|maxtime:|numimgs:|total pages:|visiting only |Total images queried:"
IM2GPS_FIELDS = {"owner": "user_id", "datetaken": "taken_at"} | {n: n for n in ("license", "latitude", "longitude")}


def concat_readings(readings: Iterable[Reading]) -> Reading:
    """Gather a stream of readings in memory."""
    photos, rejected = zip(checked(pd.DataFrame()), *readings, strict=True)
    return Reading(pd.concat(photos, ignore_index=True), pd.concat(rejected, ignore_index=True))


def read_im2gps(
    folder: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 100_000
) -> Iterator[Reading]:
    """Read the Im2GPS collection: a text file of records a query, a tree of images, or both.

    Record and image meet by query and name; of several images of one name the first that can be used is kept. An
    image without a record is read by the comments in it; a record whose query has images, but not this one, is
    rejected. The query becomes the keyword.

    Args:
        folder: `<query>.txt` files, and `<query>/<subfolder>/<image>.jpg` unless `image_root` says where.
    """
    folder, root = Path(folder), Path(image_root or folder).absolute()
    if not (any(folder.glob("*.txt")) or any(_jpegs(root.rglob("*")))):
        raise FileNotFoundError(f"{folder}: expected <query>.txt or <query>/<subfolder>/*.jpg; found neither")
    rows = _im2gps_rows(folder, root)
    batches = (pd.DataFrame([row, *islice(rows, batch_rows - 1)]) for row in rows)
    return _checked(batches, "im2gps", root, check_images)


def read_yfcc100m(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read YFCC100M's tab-separated records, plain or .bz2, of 23 or 25 columns; videos are rejected.

    Args:
        path: a file, or a folder with files `yfcc100m_dataset*`; images are `<image_root>/<id>.jpg`.
    """
    files = files_of(path, "yfcc100m_dataset*")
    return _checked(_yfcc_batches(files, batch_rows), "yfcc100m", image_root, check_images)


def read_mp16(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read MP-16's table (`IMG_ID,LAT,LON`, with or without `AUTHOR`); the id is the image's path.

    Args:
        path: a CSV file or a folder of them; images in msgpack shards are unpacked by `readers.unpack_mp16` first.
    """
    return _checked((raw for _, raw in _tables(path, batch_rows)), "mp16", image_root, check_images)


def read_test_list(
    path: Path, *, source: str, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read a list of test photos (`IMG_ID,AUTHOR,LAT,LON,...`): Im2GPS, Im2GPS3k, YFCC4k or YFCC26k.

    All rows are of the partition "test". Im2GPS's names tell the id, and where there is no author owner and query.

    Args:
        source: "im2gps" or "yfcc100m", the corpus that the list was drawn from.
    """
    owner = ["user_id", "keyword"]
    batches = (
        raw.assign(photo_id=named["photo_id"].fillna(raw["path"]), partition="test", **raw[owner].fillna(named[owner]))
        for _, raw in _tables(path, batch_rows)
        for named in [raw["path"].str.extract(IM2GPS_NAME)]
    )
    return _checked(batches, source, image_root, check_images)


def read_osv5m(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read OSV-5M: `train.csv` and `test.csv` give the partition, images are `<id>.jpg` in any subfolder.

    Args:
        path: a CSV file or a folder of them.
    """
    images = Path(image_root).absolute().rglob("*.jpg") if image_root else []
    places = {image.name: str(image) for image in images}
    batches = (
        raw.assign(
            path=[places.get(name, name) for name in raw["photo_id"] + ".jpg"],
            partition=PARTITIONS.get(file.stem),
            license="CC BY-SA",
        )
        for file, raw in _tables(path, batch_rows)
    )
    return _checked(batches, "osv5m", image_root, check_images)


def _checked(
    batches: Iterable[pd.DataFrame], source: str, image_root: Path | None, check_images: bool
) -> Iterator[Reading]:
    """Check raw batches, and reject ids that an earlier batch has kept.

    Ids are remembered as 64-bit hashes, 8 bytes each, in sorted runs of doubling length; among 100 million ids
    the chance that any two share a hash is 3 in 10,000.
    """
    runs: list[np.ndarray] = []
    for raw in batches:
        photos, rejected = checked(raw.assign(source=source), image_root=image_root, check_images=check_images)
        keys = pd.util.hash_array(photos["photo_id"].to_numpy(object), categorize=False)
        again = np.zeros(len(keys), bool)
        for run in runs:
            again |= run[np.searchsorted(run, keys) % len(run)] == keys
        repeated = rejected_rows(photos["photo_id"][again], DUPLICATE)
        yield Reading(photos[~again].reset_index(drop=True), pd.concat([rejected, repeated], ignore_index=True))
        runs += [] if again.all() else [np.sort(keys[~again])]
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            runs[-2:] = [np.sort(np.concatenate(runs[-2:]), kind="stable")]


def files_of(path: Path, pattern: str) -> list[Path]:
    """Return a file, or the files of a folder that match a pattern, in order; raise FileNotFoundError without any."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.glob(pattern) if file.is_file())
    if not files:
        raise FileNotFoundError(f"{path}: expected a file, or a folder with files {pattern}; found neither")
    return files


def _tables(path: Path, batch_rows: int) -> Iterator[tuple[Path, pd.DataFrame]]:
    batches = ((file, raw) for file in files_of(path, "*.csv") for raw in csv_batches(file, batch_rows=batch_rows))
    return ((file, raw.assign(path=raw["photo_id"])) for file, raw in batches)


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, plain or .bz2, some megabytes at a time."""
    rest, problem = b"", b""
    with (bz2.open if path.suffix == ".bz2" else open)(path, "rb") as file:
        try:
            while piece := file.read1(YFCC_BLOCK):
                block, _, rest = (rest + piece).rpartition(b"\n")
                yield block
                rest = rest[:YFCC_BLOCK]  # the middle of a line without end is dropped: it is no record
        except (EOFError, OSError) as error:  # a damaged file: what is missing counts as one broken record
            problem = f"\n{DAMAGED}: {error}".encode()
    yield rest + problem


def _yfcc_batches(files: list[Path], batch_rows: int) -> Iterator[pd.DataFrame]:
    tables, broken = [], []
    for file in files:
        line = 1  # of the block's first record; blank lines are not counted
        for block in _blocks(file):
            parsed, lost = _yfcc_block(block, table_text(file.name), line)
            line += sum(map(len, parsed)) + len(lost)
            tables += parsed
            broken += lost
            if sum(map(len, tables)) + len(broken) >= batch_rows:
                yield _yfcc_rows(tables, broken)
                tables, broken = [], []
    if tables:
        yield _yfcc_rows(tables, broken)


def _yfcc_block(block: bytes, name: str, line: int) -> tuple[list[pa.Table], list[tuple[str, str]]]:
    """Parse lines of both widths; a line of neither is a broken record, of which place and detail are returned."""
    block = block if block.isascii() else block.decode("utf-8", "replace").encode()
    widths = (25, 23) if block[: block.find(b"\n")].count(b"\t") == 24 else (23, 25)
    most, others = _tsv(block, widths[0])
    few, lost = _tsv("\n".join(others.values()).encode(), widths[1])
    lines = np.arange(line, line + len(most) + len(others))
    odd = lines[list(others)]
    tables = []
    for table, at in ((most, np.delete(lines, list(others))), (few, np.delete(odd, list(lost)))):
        tables.append(
            table.append_column("record", pc.binary_join_element_wise(name, pa.array(at).cast("string"), ":"))
        )
    count = {at: f"{text.count(chr(9)) + 1} columns, not 23 or 25" for at, text in lost.items()}
    return tables, [(f"{name}:{odd[at]}", damage_or(text, count[at])) for at, text in lost.items()]


def _tsv(block: bytes, width: int) -> tuple[pa.Table, dict[int, str]]:
    """Return the used fields of the lines with `width` fields, as text, and the other lines by their place, from 0."""
    places = YFCC_PLACES if width == 23 else YFCC_WIDE
    schema, others = pa.schema([(name, pa.string()) for name in places.values()]), {}
    if not block or block.isspace():
        return schema.empty_table(), others
    names = [places.get(place, str(place)) for place in range(width)]
    read = csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names)
    set_aside = {"invalid_row_handler": lambda row: others.update({row.number - 1: row.text}) or "skip"}
    parse = csv.ParseOptions(delimiter="\t", quote_char=False, **set_aside)
    text = {"column_types": schema, "null_values": [""], "strings_can_be_null": True}
    convert = csv.ConvertOptions(include_columns=schema.names, **text)
    return csv.read_csv(pa.BufferReader(block), read, parse, convert), others


def _yfcc_rows(tables: list[pa.Table], broken: list[tuple[str, str]]) -> pd.DataFrame:
    raw = pa.concat_tables(tables, promote_options="default").to_pandas()
    for name in ("user_id", "taken_at", "license"):
        encoded = raw[name].str.contains("[%+]", na=False)
        raw.loc[encoded, name] = raw.loc[encoded, name].map(unquote_plus)
    identity = raw["photo_id"].mask(raw["photo_id"].str.len() == 32, raw["hash"])  # some copies swap the two
    identity = identity.where(identity.str.isdigit().astype(bool))  # of a shifted line it may be the owner's name
    usual = identity.notna() & (raw["video"] == "0")
    reason = usual.map({False: BROKEN}).mask(raw["video"] == "1", VIDEO).astype("str")
    detail = usual.map({False: "no number as id, or no mark of a video"}).mask(reason != BROKEN).astype("str")
    raw = raw.assign(photo_id=identity, path=identity + ".jpg", reason=reason, detail=detail)
    lost = pd.DataFrame(broken, columns=["record", "detail"]).assign(reason=BROKEN).astype("str")
    return pd.concat([raw, lost], ignore_index=True)


def _im2gps_rows(folder: Path, root: Path) -> Iterator[dict[str, object]]:
    """Yield raw rows query by query: its records, then its images that no record claims."""
    texts = {text.stem: text for text in folder.glob("*.txt")}
    for query in sorted({*texts, *(top.name for top in root.iterdir() if top.is_dir())}):
        images: dict[str, list[Path | None]] = {}
        for image in sorted(_jpegs((root / query).rglob("*"))):
            images.setdefault(image.stem, []).append(image)
        claimed = set()
        for row, name in _im2gps_records(texts[query]) if query in texts else ():
            if images and name not in images:
                row.setdefault("reason", MISSING_FILE)
            for image in images.get(name, [None])[: 1 if name in claimed else None]:
                yield row | {"keyword": table_text(query), "path": image and table_text(image)}
            claimed.add(name)
        rest = chain.from_iterable(same for name, same in images.items() if name not in claimed)
        yield from (_im2gps_image(image, root) for image in rest)
    yield from (_im2gps_image(image, root) for image in sorted(_jpegs(root.glob("*"))))


def _jpegs(files: Iterable[Path]) -> Iterator[Path]:
    return (file for file in files if file.suffix.lower() in (".jpg", ".jpeg"))


def _im2gps_records(text: Path) -> Iterator[tuple[dict[str, object], str]]:
    """Yield raw row and image name, without suffix, of each record; lines without `photo:` are a broken one."""
    block: list[str] = []
    for number, line in enumerate(chain(text_lines(text), [""]), 1):
        if block and (line.startswith("photo:") or not line.strip()):
            photo = block[0].partition(":")[2].split() if block[0].startswith("photo:") else []
            row = {"record": f"{table_text(text.name)}:{number - len(block)}"} | _im2gps_fields(block)
            if photo and photo[0].isdecimal():
                row["photo_id"] = photo[0]
            else:
                row |= {"reason": BROKEN, "detail": damage_or(block[0], f"{len(block)} lines without a photo's id")}
            yield row, "_".join([*photo, row.get("user_id", "")])
            block = []
        if line.strip() and not re.match(IM2GPS_LOG, line):
            block.append(line)


def _im2gps_image(image: Path, root: Path) -> dict[str, object]:
    *folders, name = table_text(image.relative_to(root)).split("/")
    named = re.match(IM2GPS_NAME, name)
    row = {"photo_id": name, "path": table_text(image)} | ({"keyword": folders[0]} if folders else {})
    row |= {field: value for field, value in (named.groupdict() if named else {}).items() if value}
    try:
        with opened(image) as photo:
            comments = [comment for marker, comment in getattr(photo, "applist", []) if marker == "COM"]
    except PhotoError as error:
        return row | {"reason": error.reason, "detail": str(error)}
    return _im2gps_fields(b"\n".join(comments).decode("utf-8", "replace").split("\n")) | row


def _im2gps_fields(lines: list[str]) -> dict[str, object]:
    """Return the fields that are used, of one that comes twice the last: people's own texts come first."""
    found = {key: value.strip("\0 \r\n") for key, _, value in (line.partition(":") for line in lines)}
    return {ours: found[theirs] for theirs, ours in IM2GPS_FIELDS.items() if found.get(theirs)}
