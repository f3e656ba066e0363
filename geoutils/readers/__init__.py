"""One door to all collections of photos: a reader's name and a path in, a photo table out.

One file a form: `delimited` (a CSV), `exif` (a folder of photos), `im2gps`, `yfcc100m`, `lists` (MP-16, OSV-5M, test
lists). Each gathers raw rows and sends them through `checks`; `owners` hides who took a photo. A published collection
yields a `Reading` a batch, so that what is larger than memory streams through: each record is in exactly one of its
two tables, an id is accepted once in the whole stream, a path or a copy of a file once a batch. Flickr's picture in
place of a removed photo is recognised only as a copy of itself.

To add a corpus: a file here with a function `read_NAME(path, *, image_root, check_images)` that yields what
`checks.check_batches` gives for raw rows, and one line in `STREAMS`.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from geoutils.artifacts import read_json
from geoutils.readers import checks, im2gps, lists, yfcc100m
from geoutils.readers.checks import Reading, usable_rows
from geoutils.readers.delimited import read_csv
from geoutils.readers.exif import read_exif_folder
from geoutils.readers.lists import unpack_mp16
from geoutils.tables import SYNTHETIC, read_table

STREAMS = {
    "im2gps": im2gps.read_im2gps,
    "yfcc100m": yfcc100m.read_yfcc100m,
    "mp16": lists.read_mp16,
    "osv5m": lists.read_osv5m,
    "test_list": lists.read_test_list,
}
READERS = ("auto", "table", *STREAMS)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")


def read_batches(
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
    source = SYNTHETIC if is_made_up(path) else "own"
    if is_table:
        return iter([read_csv(path, columns=columns, source=source, **options)])
    if reader == "auto":
        return iter([read_exif_folder(path, source=source, check_images=check_images)])
    if reader == "test_list":
        options["source"] = "im2gps" if "im2gps" in path.name.lower() else "yfcc100m"
    readings = STREAMS[reader](path, **options)
    if reader == "mp16" and image_root and any(path.glob("*.msg")):
        lost = unpack_mp16(path, image_root)
        readings = chain([checks.concat_readings([])._replace(rejected=lost)], readings)
    return readings


def is_made_up(path: Path) -> bool:
    """Tell whether a path lies in a world that `world` drew: no drawing is ever called a photograph."""
    path = Path(path).absolute()
    settings = [folder / "settings.json" for folder in (path, *path.parents) if (folder / "truth.csv").exists()]
    return any(file.exists() and read_json(file)["origin"] == SYNTHETIC for file in settings)


def read(path: Path, reader: str = "auto", **options: Any) -> Reading:
    """Read all photos of a corpus into memory; the arguments are those of `read_batches`."""
    return checks.concat_readings(read_batches(path, reader, **options))


def _read_own(folder: Path, check_images: bool) -> Reading:
    table = folder / "photos.parquet"
    if not table.exists():
        raise FileNotFoundError(f"{folder} holds no photos.parquet, such as `deep-im2gps collect` writes")
    photos = read_table(table, "photos")
    raw = photos.assign(record=photos["photo_id"], reason=None, detail=None)
    usable, rejected = usable_rows(raw, photos["path"], check_images=check_images)
    return Reading(photos[usable].reset_index(drop=True), rejected)
