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
# places among 23 columns; in the variant of 25 the line number comes before the id, and a hash after it
YFCC_PLACES = {0: "photo_id", 1: "user_id", 3: "taken_at", 10: "longitude", 11: "latitude", 15: "license", 22: "video"}
YFCC_WIDE = {1: "photo_id", 2: "hash"} | {place + 2: name for place, name in YFCC_PLACES.items() if place}
YFCC_BLOCK = 1 << 22  # bytes parsed at once


def read_yfcc100m(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read YFCC100M's tab-separated records, plain or .bz2, of 23 or 25 columns; videos are rejected.

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
    tables, broken = [], []
    for file in files:
        line = 1  # of the block's first record; blank lines are not counted
        for block in _blocks(file):
            parsed, lost = _yfcc_block(block, path_text(file.name), line)
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
    return tables, [(f"{name}:{odd[at]}", fault_detail(text, count[at])) for at, text in lost.items()]


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
