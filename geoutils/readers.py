"""One door to all corpora: the name of a reader and a path in, a photo table out, in memory or as a folder of parts."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from geoutils import corpora
from geoutils.artifacts import atomic_path
from geoutils.images import check_photos
from geoutils.photos import read_photos
from geoutils.tables import Reading, ledger_row, read_table, rejected_rows, write_table

STREAMS = {
    "im2gps": corpora.read_im2gps,
    "yfcc100m": corpora.read_yfcc100m,
    "mp16": corpora.read_mp16,
    "osv5m": corpora.read_osv5m,
    "test_list": corpora.read_test_list,
}
READERS = ("auto", "table", *STREAMS)


def open_corpus(
    path: Path, reader: str, *, image_root: Path | None = None, source: str = "own", check_images: bool = True
) -> Iterator[Reading]:
    """Read photos by the name of a reader, a batch at a time.

    Args:
        path: file or folder, as the reader wants it.
        reader: "auto" (a table with positions, or a folder of photos with GPS in their EXIF), "table" (a folder whose
            photos.parquet this project wrote), or a corpus: "im2gps", "yfcc100m", "mp16", "osv5m", "test_list".
        image_root: the folder of a corpus's images; None: positions only, but for Im2GPS, whose folder holds both.
        source: what the photos are called that "auto" reads.
        check_images: decode every photo to see that it can be used; not for images that are fetched after sampling.

    Raises:
        ValueError: for a reader that is not known. FileNotFoundError: if nothing is there to read.
    """
    if reader not in READERS:
        raise ValueError(f"no reader is called {reader!r}; there are {', '.join(READERS)}")
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} is not there: give the file or folder that holds the photos or their table")
    if reader == "auto":
        return iter([read_photos(path, source=source, check_images=check_images)])
    if reader == "table":
        return iter([_read_own(Path(path), check_images)])
    read = STREAMS[reader]
    if reader == "test_list":
        read = partial(read, source="im2gps" if "im2gps" in Path(path).name.lower() else "yfcc100m")
    return read(path, image_root=image_root, check_images=check_images)


def read_corpus(path: Path, reader: str = "auto", **options: Any) -> Reading:
    """Read all photos of a corpus into memory; the arguments are those of `open_corpus`."""
    return corpora.concat_readings(open_corpus(path, reader, **options))


def write_parts(readings: Iterator[Reading], folder: Path) -> Path:
    """Write what a reader gives as Parquet files `folder/parts/`, and rejected.csv; return the files' folder.

    Raises:
        FileExistsError: if parts are there already, which may be another corpus's.
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
    ledger_row("read and checked", rows_in, rows_out, f"see {Path(folder) / 'rejected.csv'}")
    return growing.rename(parts)


def _read_own(folder: Path, check_images: bool) -> Reading:
    table = folder / "photos.parquet"
    if not table.exists():
        raise FileNotFoundError(f"{folder} holds no photos.parquet, such as `deep-im2gps collect` writes")
    photos = read_table(table, "photos")
    if not check_images:
        return Reading(photos, rejected_rows([], ""))
    faults = check_photos(photos["path"].dropna()).dropna()
    bad = photos.loc[faults.index]
    rejected = rejected_rows(bad["photo_id"], faults.to_list(), bad["path"].to_list())
    return Reading(photos.drop(index=bad.index).reset_index(drop=True), rejected)
