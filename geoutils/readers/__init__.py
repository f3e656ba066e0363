"""One door to all collections of photos: a reader's name and a path in, a photo table out.

One file a form: `delimited` (a CSV), `exif` (a folder of photos), `table` (photos.parquet of this project), `im2gps`,
`yfcc100m`, `lists` (MP-16, OSV-5M, test lists). Each gathers raw rows and sends them through `checks`; `owners` hides
who took a photo. A published collection comes in batches, so that what is larger than memory streams through. Each
record is in exactly one of the two tables of a `Reading`. An id is accepted once in the whole stream, a path or a copy
of a file once a batch. Flickr's picture in place of a removed photo is recognised only as a copy of itself.

To add a corpus: a file here with a function `read_NAME(path, *, image_root=None, check_images=True)` that returns what
`checks.check_batches` gives for raw rows, and its import and one line in `READERS`. Raw rows have the columns of a
photo table (`tables.PHOTO_COLUMNS`), as found; paths start at `image_root`, and None means positions without images.
"""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from geoutils.readers.checks import Reading, concat_readings
from geoutils.readers.delimited import read_csv
from geoutils.readers.exif import read_folder
from geoutils.readers.im2gps import read_im2gps
from geoutils.readers.lists import read_mp16, read_osv5m, read_test_list
from geoutils.readers.table import read_table
from geoutils.readers.yfcc100m import read_yfcc100m

READERS: dict[str, Callable[..., Iterator[Reading]]] = {
    "csv": read_csv,
    "folder": read_folder,
    "table": read_table,
    "im2gps": read_im2gps,
    "yfcc100m": read_yfcc100m,
    "mp16": read_mp16,
    "osv5m": read_osv5m,
    "test_list": read_test_list,
}
CSV_SUFFIXES = (".csv", ".tsv", ".txt")


def read_batches(path: Path, reader: str = "auto", **options: Any) -> Iterator[Reading]:
    """Read photos by the name of a reader, a batch at a time.

    Args:
        path: file or folder, as the reader wants it.
        reader: a name in `READERS`; "auto" takes "csv" for a file .csv, .tsv or .txt, and "folder" for all else.
        options: what the reader takes, such as `image_root` (the folder of a corpus's images), `columns` (our name ->
            the file's) and `check_images` (decode every photo to see that it can be used; True by default). One that
            is None counts as left out.

    Raises:
        ValueError: for a reader that is not known, or an option that it does not take.
        FileNotFoundError: if nothing is there to read.
    """
    path = Path(path)
    if reader not in ("auto", *READERS):
        raise ValueError(f"no reader is called {reader!r}; there are auto, {', '.join(READERS)}")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: give the file or folder that holds the photos or their table")
    if reader == "auto":
        reader = "csv" if path.suffix.lower() in CSV_SUFFIXES and not path.is_dir() else "folder"
    options = {name: value for name, value in options.items() if value is not None}
    _, *names = inspect.signature(READERS[reader]).parameters
    for name in options:
        if name not in names:
            choice = ", ".join(names) or "no options"
            raise ValueError(f"the reader {reader!r} of {path} takes {choice}, and found {name}: leave {name} out")
    return READERS[reader](path, **options)


def read(path: Path, reader: str = "auto", **options: Any) -> Reading:
    """Read all photos of a corpus into memory; the arguments are those of `read_batches`."""
    return concat_readings(read_batches(path, reader, **options))
