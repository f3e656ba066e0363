"""Photos to a photo table: from a CSV file, from GPS in EXIF, and the checks that every reader shares.

A reader collects raw rows, as text, and sends them through `checked`. What can't be used becomes a row of
`rejected` with one of the phrases below. Nothing is mended: a suspected mistake is a reason, not a repair.
"""

import bz2
import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from geoutils.images import PhotoError, check_photos, contents, read_exif
from geoutils.tables import REJECTED_COLUMNS, SYNTHETIC, Reading, conform, hash_users, ledger_row

BROKEN = "broken record"
NO_POSITION = "no position"
UNREADABLE_POSITION = "position can't be read"
SWAPPED = "latitude and longitude swapped?"
OUT_OF_RANGE = "position out of range"
NULL_ISLAND = "position (0, 0)"
UNKNOWN_PARTITION = "unknown partition"
OUTSIDE_ROOT = "path outside the image root"
DUPLICATE = "duplicate"  # of an id or a file; besides these there are the five reasons of `images`
DAMAGED = "the rest can't be read"

# our column: the names it goes by, compared without case, blank, "_" and "-"; the first one found is taken
SYNONYMS = {
    "photo_id": ("photoid", "imgid", "imageid", "id"),
    "path": ("path", "imagepath", "file", "filename", "image"),
    "latitude": ("latitude", "lat", "gpslatitude"),
    "longitude": ("longitude", "lon", "lng", "long", "gpslongitude"),
    "user_id": ("userid", "owner", "author", "user", "photographer", "creatorid"),
    "taken_at": ("takenat", "datetaken", "datetimeoriginal", "capturedat"),
    "keyword": ("keyword", "query"),
    "partition": ("partition",),
    "license": ("license", "licence"),
}
PARTITIONS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTITIONS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
IMAGE_SUFFIXES += (".heic", ".heif", ".hif", ".avif")
MAX_LINE, MAX_RECORD_LINES = 1 << 20, 50  # characters, lines; what is longer is no record
FLICKR_OWNER = r"\d{1,20}(?:@|%40)N\d+"  # in the names of Im2GPS's images, beside which the hash would hide nobody
FIRST_YEAR, LAST_YEAR = "1826", "2200"  # since the oldest photograph; cameras' clocks say anything


def read_csv(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    source: str = "own",
    check_images: bool = True,
) -> Reading:
    """Read a table of photos with a header line, whatever its delimiter and column names.

    Args:
        path: UTF-8 or UTF-16; comma, semicolon or tab. Decimal commas are rejected, not guessed at.
        columns: our name -> the file's, for columns that `SYNONYMS` does not find. Positions are required;
            the id is by default the path, or else the line. Times are ISO 8601, others become null. A
            partition is train, val or test (or a longer form) or blank; any other rejects the row.
        image_root: where relative paths start and all must lie; by default the file's folder.
        source: name of the corpus.
        check_images: decode every photo to see that it can be used.

    Raises:
        ValueError: if there is no header with both coordinates.
    """
    raw = pd.concat([pd.DataFrame(), *csv_batches(path, columns=columns)], ignore_index=True).assign(source=source)
    root = Path(path).parent if image_root is None else image_root
    return checked(raw, image_root=root, check_images=check_images)


def read_exif_folder(folder: Path, *, source: str = "own", check_images: bool = True) -> Reading:
    """Read the photos of a folder tree, or one photo, by their EXIF; the id is the path in the folder.

    Files without an image's suffix are no records; how many were left out is printed.

    Raises:
        FileNotFoundError: if there is no photo.
    """
    folder = Path(folder)
    root = folder.parent if folder.is_file() else folder
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if not p.is_dir())
    names = [table_text(file.relative_to(root)) for file in files]
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    others = f"others: {sorted({Path(name).suffix for name in {*names} - {*images}})}"
    if not images:
        raise FileNotFoundError(f"{folder}: expected {' '.join(IMAGE_SUFFIXES)}; found none; {others}")
    ledger_row(f"image files in {folder}", len(names), len(images), others)
    with ThreadPool() as pool:
        found = pool.imap(_exif_row, [root / name for name in images], chunksize=16)
        rows = list(tqdm(found, total=len(images), desc="reading EXIF", unit="photo", delay=2))
    raw = pd.DataFrame(rows).assign(photo_id=images, path=images, source=source)
    return checked(raw, image_root=root, check_images=check_images)


def checked(table: pd.DataFrame, *, image_root: Path | None = None, check_images: bool = True) -> Reading:
    """Part raw rows into a photo table and rejected rows, each with the first reason that applies.

    Args:
        table: the columns of a photo table as found (text or numbers, absent ones null), with the owner's own
            name as `user_id`: it is hashed here. `record` names a row that has no id. A row with a `reason`
            (and `detail`) from its reader is rejected for that. Of usable rows of one id or path the first is
            kept, and so it is of files that are checked and equal in every byte: no photo is in two splits.
        image_root: where relative paths start and all must lie (links inside may lead out); None: no images.
        check_images: decode every photo to see that it can be used.

    Returns:
        Photos and rejected rows; together as many as the rows of `table`.
    """
    columns = [*SYNONYMS, "source", *REJECTED_COLUMNS]
    absent = dict.fromkeys({*columns} - {*table}, pd.Series(None, table.index, dtype="str"))
    raw = table.assign(**absent)[columns].reset_index(drop=True)
    raw = raw.astype(dict.fromkeys(raw.columns.difference(["latitude", "longitude", "taken_at"]), "str"))
    latitude, longitude = (pd.to_numeric(raw[name], errors="coerce") for name in ("latitude", "longitude"))
    path, outside = _absolute(raw["path"], image_root)
    partition = raw["partition"].str.lower().map(PARTITIONS)
    faults = {
        NO_POSITION: raw["latitude"].isna() | raw["longitude"].isna(),
        UNREADABLE_POSITION: latitude.isna() | longitude.isna(),
        SWAPPED: latitude.abs().between(90, 180, inclusive="right") & (longitude.abs() <= 90),
        OUT_OF_RANGE: (latitude.abs() > 90) | (longitude.abs() > 180),
        NULL_ISLAND: (latitude == 0) & (longitude == 0),
        UNKNOWN_PARTITION: raw["partition"].notna() & partition.isna(),
        OUTSIDE_ROOT: outside,
    }
    for reason, fault in faults.items():
        raw.loc[fault & raw["reason"].isna(), "reason"] = reason
    raw["record"] = raw["photo_id"].fillna(raw["path"]).fillna(raw["record"])
    usable, rejected = sift(raw, path, check_images=check_images)

    found = {"path": path, "latitude": latitude, "longitude": longitude, "partition": partition}
    photos = raw.assign(photo_id=raw["record"], **found)[usable]
    made_up = photos["source"] == SYNTHETIC  # nobody to hide, and a keyed hash would differ between machines
    photos["user_id"] = photos["user_id"].where(made_up, hash_users(photos["user_id"].mask(made_up)))
    photos["taken_at"] = _times(photos["taken_at"])
    return Reading(conform(photos, "photos"), rejected)


def sift(raw: pd.DataFrame, path: pd.Series, *, check_images: bool) -> tuple[pd.Series, pd.DataFrame]:
    """Tell the rows that can be used; of those of one record, path or (of checked images) content only the first.

    Args:
        raw: `record`, an id each; `reason` and `detail` of rows known to be of no use, else null; the position,
            `partition` and `path` as found.
        path: absolute paths of the images, null where there is none.
        check_images: decode every photo to see that it can be used.

    Returns:
        bool, one a row; and the other rows as a `rejected` table, which names no owner.
    """
    raw = raw.astype(dict.fromkeys(REJECTED_COLUMNS, "str"))
    if check_images:
        raw["reason"] = raw["reason"].fillna(check_photos(path[raw["reason"].isna()].dropna()))
    _mark_repeated(raw, raw["record"])
    _mark_repeated(raw, path)
    if check_images:
        _mark_repeated(raw, contents(path[raw["reason"].isna()].dropna()))
    bad = raw[raw["reason"].notna()]
    text = bad[["latitude", "longitude", "partition", "path"]].astype("str").fillna("")
    found = text["latitude"] + " " + text["longitude"] + " " + text["partition"] + " " + text["path"]
    texts = {"record": bad["record"], "reason": bad["reason"], "detail": bad["detail"].fillna(found.str.strip())}
    texts = {name: said.str.replace(FLICKR_OWNER, "*", regex=True).str[:200] for name, said in texts.items()}
    return raw["reason"].isna(), pd.DataFrame(texts).reset_index(drop=True)


def csv_batches(
    path: Path, *, columns: Mapping[str, str] | None = None, batch_rows: int = 250_000
) -> Iterator[pd.DataFrame]:
    """Yield the records of a file with a header as raw rows for `checked`, a broken record with its reason.

    Args:
        columns: as in `read_csv`.

    Raises:
        ValueError: if there is no header with both coordinates.
    """
    path = Path(path)
    records = _records(path)
    _, header = next(records, (0, []))
    places, width, name = _places(header, columns or {}, path), len(header), table_text(path.name)
    while batch := list(islice(records, batch_rows)):
        rows = [fields if len(fields) == width else None for _, fields in batch]
        raw = {ours: [row and (row[at].strip() or None) for row in rows] for ours, at in places.items()}
        raw["record"] = [f"{name}:{line}" for line, _ in batch]
        raw["reason"] = [None if row else BROKEN for row in rows]
        raw["detail"] = [None if len(f) == width else damage_or(f[0], f"{len(f)} fields for {width}") for _, f in batch]
        yield pd.DataFrame(raw, columns=[*SYNONYMS, *REJECTED_COLUMNS], dtype="str")


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, plain or .bz2, in UTF-8 or UTF-16; bytes that are neither become marks.

    Of a line longer than `MAX_LINE` the beginning comes, and where a file is damaged a last line that says so:
    neither makes a record in any format, so both are counted as broken ones.
    """
    opener = bz2.open if Path(path).suffix == ".bz2" else open
    with opener(path, "rb") as file:
        try:
            encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            file.seek(0)
            text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
            while line := text.readline(MAX_LINE):
                rest = line
                while len(rest) == MAX_LINE and rest[-1] not in "\r\n":
                    rest = text.readline(MAX_LINE)
                yield line
        except (EOFError, OSError) as error:
            yield f"{DAMAGED}: {error}\n"


def damage_or(line: str, count: str) -> str:
    """Say what is wrong with a record without a word of it, since it may name its owner: a count, or the damage."""
    return line.strip() if line.startswith(DAMAGED) else count


def table_text(path: Path | str) -> str:
    """Return a path as text; a name that is not UTF-8, which fits no table, with marks, and so not found."""
    return os.fsencode(Path(path).as_posix()).decode("utf-8", "replace")


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of each record; a quote that goes astray costs its own line only."""
    lines = text_lines(path)
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    held, start, width = [], 1, 0  # the lines of the record at `start`; the header's width
    for line in chain([first], lines, [""]):
        held += [line] if line else []
        fields = _fields(held, delimiter, strict=True)
        if fields is None and line and len(held) < MAX_RECORD_LINES:
            continue
        torn = fields is None or (len(held) > 1 and len(fields) != width)
        for at, row in enumerate([_fields([text], delimiter) for text in held] if torn else [fields]):
            if len(row) > 1 or "".join(row).strip():  # a blank line is no record
                width = width or len(row)
                while len(row) > width and not row[-1].strip():
                    row.pop()
                yield start + at, row
        start, held = start + len(held), []


def _fields(lines: list[str], delimiter: str, *, strict: bool = False) -> list[str] | None:
    """Return the fields of one record, or null if its quote is still open."""
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=strict), [])
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            return None
        # a stray quote is forgiven; what the csv module can't hold (131,072 characters) is one field too few
        return _fields(lines, delimiter) if strict and len(lines) == 1 else lines[:1]


def _places(header: list[str], columns: Mapping[str, str], path: Path) -> dict[str, int]:
    header = [name.strip() for name in header]
    plain = {re.sub(r"[\s_-]", "", name).lower(): name for name in reversed(header)}
    named = {ours: next((plain[n] for n in names if n in plain), None) for ours, names in SYNONYMS.items()}
    named |= columns
    wrong = [ours for ours in columns if ours not in SYNONYMS or columns[ours] not in header]
    if wrong or None in (named["latitude"], named["longitude"]):
        raise ValueError(
            f"{path}: no column for {', '.join(wrong) or 'latitude and longitude'} among {header}; "
            f"name it with columns={{ours: the file's}}, ours being one of {', '.join(SYNONYMS)}"
        )
    return {ours: header.index(name) for ours, name in named.items() if name is not None}


def _absolute(paths: pd.Series, root: Path | None) -> tuple[pd.Series, pd.Series]:
    """Return absolute paths (null without a root) and which of them leave the root."""
    if root is None or paths.isna().all():
        return pd.Series(None, paths.index, dtype="str"), pd.Series(False, paths.index)
    start = os.path.join(os.path.abspath(root), "")
    joined = paths.map(lambda path: os.path.normpath(os.path.join(start, path)), na_action="ignore")
    return joined, ~joined.fillna(start).str.startswith(start) | paths.str.contains("\0", regex=False)


def _mark_repeated(raw: pd.DataFrame, key: pd.Series) -> None:
    """Give the usable rows whose key an earlier usable one has their reason, and the earlier record as detail."""
    key = key[raw["reason"].isna()].dropna()
    key = key[key.duplicated(keep=False)]
    again = key.index[key.duplicated()]
    raw.loc[again, "reason"] = DUPLICATE
    raw.loc[again, "detail"] = "repeats " + raw["record"][key.index].groupby(key).transform("first")


def _times(text: pd.Series) -> pd.Series:
    """Return the times that can be read; those with an offset in UTC, the others as written."""
    times = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    return times.where((times >= FIRST_YEAR) & (times < LAST_YEAR))


def _exif_row(path: Path) -> dict[str, object]:
    try:
        return read_exif(path)
    except PhotoError as error:
        return {"reason": error.reason, "detail": str(error)}
