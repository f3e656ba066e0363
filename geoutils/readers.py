"""One door to all corpora: the name of a reader and a path in, a photo table out, in memory or as a folder of parts."""

import re
import shutil
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgpack
import pandas as pd
from tqdm.auto import tqdm

from geoutils import corpora
from geoutils.artifacts import atomic_path, read_json
from geoutils.photos import BROKEN, DAMAGED, DUPLICATE, read_csv, read_exif_folder, sift
from geoutils.tables import REJECTED_COLUMNS, SYNTHETIC, Reading, ledger_row, read_table, write_table

STREAMS = {
    "im2gps": corpora.read_im2gps,
    "yfcc100m": corpora.read_yfcc100m,
    "mp16": corpora.read_mp16,
    "osv5m": corpora.read_osv5m,
    "test_list": corpora.read_test_list,
}
READERS = ("auto", "table", *STREAMS)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
MP16_ID = r"(?:[\w@-]+/)*[\w@-][\w@.-]*\.jpe?g"  # a path that can't leave its folder, no file in another's way


def open_corpus(
    path: Path,
    reader: str,
    *,
    image_root: Path | None = None,
    columns: Mapping[str, str] | None = None,
    check_images: bool = True,
) -> Iterator[Reading]:
    """Read photos by the name of a reader, a batch at a time.

    Args:
        path: file or folder, as the reader wants it.
        reader: "auto" (a table with positions, or a folder of photos with GPS in their EXIF), "table" (a folder whose
            photos.parquet this project wrote), or a corpus: "im2gps", "yfcc100m", "mp16", "osv5m", "test_list".
        image_root: the folder of a corpus's images; None: positions only, but for Im2GPS, whose folder holds both, and
            for a table that "auto" reads, whose images lie beside it. Shards `*.msg` that lie beside the tables of
            "mp16" are unpacked into it first, but for what is there already.
        columns: our name -> the table's, for a table that "auto" reads and whose names are unusual.
        check_images: decode every photo to see that it can be used; not for images that are fetched after sampling.

    Raises:
        ValueError: for a reader that is not known, or an option that it does not take.
        FileNotFoundError: if nothing is there to read.
    """
    path = Path(path)
    if reader not in READERS:
        raise ValueError(f"no reader is called {reader!r}; there are {', '.join(READERS)}")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: give the file or folder that holds the photos or their table")
    is_table = reader == "auto" and path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()
    if columns and not is_table:
        raise ValueError(f"columns are for a table that auto reads, and found with {reader} and {path}: leave them out")
    if image_root and not is_table and reader not in STREAMS:
        raise ValueError(f"image_root is for a table or a corpus, and found with {reader} and {path}: leave it out")
    if reader == "table":
        return iter([_read_own(path, check_images)])
    options = {"image_root": image_root, "check_images": check_images}
    source = SYNTHETIC if made_up(path) else "own"
    if is_table:
        return iter([read_csv(path, columns=columns, source=source, **options)])
    if reader == "auto":
        return iter([read_exif_folder(path, source=source, check_images=check_images)])
    if reader == "test_list":
        options["source"] = "im2gps" if "im2gps" in path.name.lower() else "yfcc100m"
    readings = STREAMS[reader](path, **options)
    if reader == "mp16" and image_root and any(path.glob("*.msg")):
        lost = unpack_mp16(path, image_root)
        readings = chain([corpora.concat_readings([])._replace(rejected=lost)], readings)
    return readings


def made_up(path: Path) -> bool:
    """Tell whether a path lies in a world that `synthetic` drew: no drawing is ever called a photograph."""
    path = Path(path).absolute()
    settings = [folder / "settings.json" for folder in (path, *path.parents) if (folder / "truth.csv").exists()]
    return any(file.exists() and read_json(file)["origin"] == SYNTHETIC for file in settings)


def read_corpus(path: Path, reader: str = "auto", **options: Any) -> Reading:
    """Read all photos of a corpus into memory; the arguments are those of `open_corpus`."""
    return corpora.concat_readings(open_corpus(path, reader, **options))


def unpack_mp16(shards: Path, image_root: Path) -> pd.DataFrame:
    """Write the images of MP-16's msgpack shards to `<image_root>/<id>`, each whole or not at all.

    An image that is there already is left, so that a second call goes on where the first was stopped.

    Args:
        shards: a `.msg` file or a folder of them.

    Returns:
        The records that hold no image, no usable id or an earlier record's, as rows of a `rejected` table.
    """
    broken: list[tuple[str, str, str]] = []
    seen: set[int] = set()  # 64-bit hashes of ids: some 300 MB for the 4.7 million of MP-16
    for shard in tqdm(corpora.files_of(shards, "*.msg"), desc="unpacking", unit="shard", delay=2):
        for number, (name, image) in enumerate(_shard_records(shard)):
            usable = isinstance(image, bytes) and len(name) <= 200 and re.fullmatch(MP16_ID, name)
            if not usable or hash(name) in seen:
                broken.append((f"{shard.name}:{number}", DUPLICATE if usable else BROKEN, name[:200]))
                continue
            seen.add(hash(name))
            target = Path(image_root) / name
            if not target.is_file() or target.stat().st_size != len(image):
                with atomic_path(target) as temporary:
                    temporary.write_bytes(image)
    rejected = pd.DataFrame(broken, columns=REJECTED_COLUMNS, dtype="str")
    ledger_row(f"images in {shards}", len(seen) + len(broken), len(seen), rejected["reason"])
    return rejected


def write_parts(readings: Iterator[Reading], folder: Path) -> Path:
    """Write what a reader gives as Parquet files `folder/parts/`, and rejected.csv; return the files' folder.

    Raises:
        FileExistsError: if parts are there already, which may be another corpus's.
        ValueError: if there is no record.
    """
    parts, growing, rows_in, rows_out = Path(folder) / "parts", Path(folder) / ".parts", 0, 0
    if parts.exists():
        raise FileExistsError(f"{parts} holds an earlier reading: delete it, or give another folder")
    shutil.rmtree(growing, ignore_errors=True)  # what a killed run left
    with atomic_path(Path(folder) / "rejected.csv") as rejected:
        for number, reading in enumerate(tqdm(readings, desc="reading", unit="batch")):
            write_table(reading.photos, growing / f"{number:05}.parquet", "photos")
            reading.rejected.to_csv(rejected, mode="a", header=number == 0, index=False)
            rows_in, rows_out = rows_in + reading.rows_in, rows_out + len(reading.photos)
        if not rows_in:
            raise ValueError(f"no records were found to write to {parts}: give a file or folder that holds some")
    ledger_row("read and checked", rows_in, rows_out, f"see {Path(folder) / 'rejected.csv'}")
    return growing.rename(parts)


def _read_own(folder: Path, check_images: bool) -> Reading:
    table = folder / "photos.parquet"
    if not table.exists():
        raise FileNotFoundError(f"{folder} holds no photos.parquet, such as `deep-im2gps collect` writes")
    photos = read_table(table, "photos")
    raw = photos.assign(record=photos["photo_id"], reason=None, detail=None)
    usable, rejected = sift(raw, photos["path"], check_images=check_images)
    return Reading(photos[usable].reset_index(drop=True), rejected)


def _shard_records(shard: Path) -> Iterator[tuple[str, object]]:
    """Yield id and image of each record; where a shard is damaged or cut short, one record without an image."""
    end, problem = 0, "cut short"
    with open(shard, "rb") as file:
        records = msgpack.Unpacker(file, raw=True, strict_map_key=False, max_array_len=99, max_map_len=99)
        try:
            for record in records:
                end, found = records.tell(), record if isinstance(record, dict) else {}
                name = found.get(b"id", f"{type(record).__name__} without id")
                yield name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name), found.get(b"image")
        except Exception as error:  # bytes from outside: msgpack raises several kinds, and all end the shard
            problem = repr(error)
    if end < shard.stat().st_size:
        yield f"{DAMAGED}: {problem}", None
