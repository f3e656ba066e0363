"""A folder whose photos.parquet this project wrote."""

from collections.abc import Iterator
from pathlib import Path

from geoutils import tables
from geoutils.readers.checks import Reading, usable_rows


def read_table(folder: Path, *, check_images: bool = True) -> Iterator[Reading]:
    """Read `folder/photos.parquet`, and reject the photos whose file is lost, broken or a copy.

    Args:
        check_images: decode every photo to see that it can be used.

    Raises:
        FileNotFoundError: if there is no photos.parquet.
    """
    file = Path(folder) / "photos.parquet"
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no photos.parquet, such as `deep-im2gps collect` writes")
    photos = tables.read_table(file, "photos")
    raw = photos.assign(record=photos["photo_id"], reason=None, detail=None)
    usable, rejected = usable_rows(raw, photos["path"], check_images=check_images)
    yield Reading(photos[usable].reset_index(drop=True), rejected)
