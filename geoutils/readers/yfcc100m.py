"""YFCC100M's tab-separated records, plain or .bz2, of 23 or 25 columns."""

import bz2
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from geoutils.readers.checks import BROKEN, DAMAGED, Reading, check_batches, fault_detail, files_of, path_text

VIDEO = "video"
# place -> name; in the variant of 25 columns the line number comes before the id, and a hash after it
YFCC_PLACES = {0: "photo_id", 1: "user_id", 3: "taken_at", 10: "longitude", 11: "latitude", 15: "license", 22: "video"}
YFCC_WIDE = {1: "photo_id", 2: "hash"} | {place + 2: name for place, name in YFCC_PLACES.items() if place}
YFCC_TEXT = pa.schema([(name, pa.string()) for name in YFCC_WIDE.values()])
YFCC_BLOCK = 1 << 22  # bytes parsed at once


def read_yfcc100m(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read YFCC100M's tab-separated records, plain or .bz2; videos are rejected.

    A file's first line that is not blank says whether it has 23 or 25 columns; a line with another number is broken.

    Args:
        path: a file, or a folder with files `yfcc100m_dataset*`; images are `<image_root>/<id>.jpg`.
    """
    files = files_of(path, "yfcc100m_dataset*")
    return check_batches(_yfcc_batches(files, batch_rows), "yfcc100m", image_root, check_images)


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
    """Yield raw rows for `check_batches`, at least `batch_rows` at a time."""
    tables, broken = [], []
    for file in files:
        places, line = {}, 1  # of the block's first record; blank lines are not counted
        for block in _blocks(file):
            if not block or block.isspace():
                continue
            places = places or _places(block)
            table, faults = _parsed_block(block, places, path_text(file.name), line)
            line += len(table) + len(faults)
            tables.append(table)
            broken += faults
            if sum(map(len, tables)) + len(broken) >= batch_rows:
                yield _yfcc_rows(tables, broken)
                tables, broken = [], []
    if tables:
        yield _yfcc_rows(tables, broken)


def _places(block: bytes) -> dict[int, str]:
    """Return the places of a file's columns by its first line that is not blank."""
    first = next(line for line in block.split(b"\n") if line.strip())
    return YFCC_WIDE if first.count(b"\t") == max(YFCC_WIDE) else YFCC_PLACES


def _parsed_block(block: bytes, places: dict[int, str], name: str, line: int) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Parse the lines of a block; a line of another width becomes a broken record, of which place and fault return.

    Args:
        places: the columns of the file. name: of the file. line: number of the block's first line in it.
    """
    faults: dict[int, str] = {}  # by the line's place in the block, from 0

    def set_aside(row: csv.InvalidRow) -> str:
        count = f"{row.actual_columns} columns, not {row.expected_columns}"
        faults[row.number - 1] = fault_detail(row.text, count)
        return "skip"

    block = block if block.isascii() else block.decode("utf-8", "replace").encode()
    names = [places.get(place, str(place)) for place in range(max(places) + 1)]
    read = csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names)
    parse = csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=set_aside)
    text = {"column_types": YFCC_TEXT, "null_values": [""], "strings_can_be_null": True}
    convert = csv.ConvertOptions(include_columns=YFCC_TEXT.names, include_missing_columns=True, **text)
    table = csv.read_csv(pa.BufferReader(block), read, parse, convert)
    lines = np.delete(np.arange(line, line + len(table) + len(faults)), list(faults))
    records = pc.binary_join_element_wise(name, pa.array(lines).cast("string"), ":")
    return table.append_column("record", records), [(f"{name}:{line + at}", fault) for at, fault in faults.items()]


def _yfcc_rows(tables: list[pa.Table], broken: list[tuple[str, str]]) -> pd.DataFrame:
    raw = pa.concat_tables(tables).to_pandas()
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
