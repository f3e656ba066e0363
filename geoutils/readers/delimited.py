"""A text table of photos with a header line, whatever its delimiter, encoding and column names."""

import bz2
import contextlib
import csv
import io
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import pandas as pd

from geoutils.readers.checks import (
    BROKEN,
    DAMAGED,
    REJECTED_COLUMNS,
    Reading,
    check_rows,
    fault_detail,
    own_source,
    path_text,
)
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
MAX_LINE = 1 << 20  # characters; what is longer is no record


def read_csv(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    check_images: bool = True,
) -> Iterator[Reading]:
    """Read a table of photos with a header line, whatever its delimiter and column names.

    Args:
        path: UTF-8 or UTF-16; comma, semicolon or tab. Decimal commas are rejected, not guessed at.
        columns: our name -> the file's, for columns that `SYNONYMS` does not find. Positions are required;
            the id is by default the path, or else the line. Times are ISO 8601, others become null. A
            partition is train, val or test (or a longer form) or blank; any other rejects the row.
        image_root: where relative paths start and all must lie; by default the file's folder.
        check_images: decode every photo to see that it can be used.

    Raises:
        ValueError: if there is no header with both coordinates.
    """
    raw = pd.concat([pd.DataFrame(columns=[*SYNONYMS]), *csv_batches(path, columns=columns)], ignore_index=True)
    source = own_source(path)
    made_up = source == SYNTHETIC  # whatever such a table says of its source
    raw["source"] = source if made_up else raw["source"].fillna(source)
    root = Path(path).parent if image_root is None else image_root
    yield check_rows(raw, image_root=root, check_images=check_images, hide_owners=not made_up)


def csv_batches(
    path: Path, *, columns: Mapping[str, str] | None = None, batch_rows: int = 250_000
) -> Iterator[pd.DataFrame]:
    """Yield the records of a file with a header as raw rows for `check_rows`, a broken record with its reason.

    A quoted field may run over several lines. A quote that is never closed therefore costs the lines up to the next
    quote, or to the csv module's limit of 131,072 characters: each of them is a broken record. A stray quote that
    ends in its own line costs nothing.

    Args:
        columns: as in `read_csv`.

    Raises:
        ValueError: if there is no header with both coordinates.
    """
    path = Path(path)
    records = _records(text_lines(path))
    _, header, _ = next(records, (1, [], None))
    places, name = _places(header, columns or {}, path), path_text(path.name)
    while batch := list(islice(records, batch_rows)):
        lines, rows, details = zip(*batch, strict=True)
        raw = {ours: [row and (row[at].strip() or None) for row in rows] for ours, at in places.items()}
        raw["record"] = [f"{name}:{line}" for line in lines]
        raw["reason"] = [None if row else BROKEN for row in rows]
        raw["detail"] = details
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


def _records(lines: Iterator[str]) -> Iterator[tuple[int, list[str] | None, str | None]]:
    """Yield line number, fields and null of each record, the header first; for each line of a broken one its fault."""
    width = 0  # of the header
    for number, texts, fields in _parsed_records(lines):
        if len(fields) < 2 and not "".join(fields).strip():  # a blank line is no record
            continue
        width = width or len(fields)
        while len(fields) > width and not fields[-1].strip():
            fields.pop()
        if len(fields) == width:
            yield number, fields, None
            continue
        fault = f"{len(fields)} fields for {width}" if len(texts) == 1 else f"an open quote from line {number}?"
        for at, text in enumerate(texts, number):
            if text.strip():
                yield at, None, fault_detail(text, fault)


def _parsed_records(lines: Iterator[str]) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield each record's line number, lines and fields; where it can't be parsed, its first line is its one field."""
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    number, texts = 1, []

    def noted_lines() -> Iterator[str]:
        for line in chain([first], lines):
            texts.append(line)
            yield line

    # strict, since an open quote and the next one could make one record of the right width of many lines
    reader = csv.reader(noted_lines(), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            fields = texts[:1]
            if len(texts) == 1:  # a stray quote is forgiven, a field beyond the csv module's limit is not
                with contextlib.suppress(csv.Error):
                    fields = next(csv.reader(texts, delimiter=delimiter))
        yield number, texts, fields
        number += len(texts)
        texts.clear()


def _places(header: list[str], columns: Mapping[str, str], path: Path) -> dict[str, int]:
    """Return our columns and their places in the header; of several synonyms the first in `SYNONYMS` counts."""
    header = [name.strip() for name in header]
    plain = [re.sub(r"[\s_-]", "", name).lower() for name in header]
    places = {}
    for ours, synonyms in SYNONYMS.items():
        matches = [plain.index(name) for name in synonyms if name in plain]
        if ours in columns and columns[ours] in header:
            places[ours] = header.index(columns[ours])
        elif matches:
            places[ours] = matches[0]
    absent = [ours for ours, name in columns.items() if ours not in SYNONYMS or name not in header]
    if absent or "latitude" not in places or "longitude" not in places:
        raise ValueError(
            f"{path}: no column for {', '.join(absent) or 'latitude and longitude'} among {header}; "
            f"name it with columns={{ours: the file's}}, ours being one of {', '.join(SYNONYMS)}"
        )
    return places
