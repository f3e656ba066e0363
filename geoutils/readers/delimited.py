"""A text table of photos with a header line, whatever its delimiter, encoding and column names."""

import bz2
import csv
import io
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import pandas as pd

from geoutils.readers.checks import BROKEN, DAMAGED, REJECTED_COLUMNS, Reading, check_rows, fault_detail, path_text
from geoutils.tables import SYNTHETIC

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
    "source": ("source",),
}
MAX_LINE, MAX_RECORD_LINES = 1 << 20, 50  # characters, lines; what is longer is no record


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
        source: name of the corpus, for rows whose own column `source` says nothing.
        check_images: decode every photo to see that it can be used.

    Raises:
        ValueError: if there is no header with both coordinates.
    """
    raw = pd.concat([pd.DataFrame(columns=[*SYNONYMS]), *csv_batches(path, columns=columns)], ignore_index=True)
    drawn = source == SYNTHETIC  # whatever such a table says of its source
    raw["source"] = source if drawn else raw["source"].fillna(source)
    root = Path(path).parent if image_root is None else image_root
    return check_rows(raw, image_root=root, check_images=check_images, hide_owners=not drawn)


def csv_batches(
    path: Path, *, columns: Mapping[str, str] | None = None, batch_rows: int = 250_000
) -> Iterator[pd.DataFrame]:
    """Yield the records of a file with a header as raw rows for `check_rows`, a broken record with its reason.

    Args:
        columns: as in `read_csv`.

    Raises:
        ValueError: if there is no header with both coordinates.
    """
    path = Path(path)
    records = _records(path)
    _, header = next(records, (0, []))
    places, width, name = _places(header, columns or {}, path), len(header), path_text(path.name)
    while batch := list(islice(records, batch_rows)):
        rows = [fields if len(fields) == width else None for _, fields in batch]
        raw = {ours: [row and (row[at].strip() or None) for row in rows] for ours, at in places.items()}
        raw["record"] = [f"{name}:{line}" for line, _ in batch]
        raw["reason"] = [None if row else BROKEN for row in rows]
        raw["detail"] = [
            None if len(f) == width else fault_detail(f[0], f"{len(f)} fields for {width}") for _, f in batch
        ]
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
