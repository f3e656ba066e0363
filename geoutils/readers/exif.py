"""A folder of photos, placed by the GPS in their EXIF."""

from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from PIL.ExifTags import GPS, IFD, Base
from tqdm.auto import tqdm

from geoutils.images import IMAGE_SUFFIXES, PhotoError, opened
from geoutils.readers.checks import Reading, check_rows, own_source, path_text
from geoutils.tables import ledger_row


def read_folder(folder: Path, *, check_images: bool = True) -> Iterator[Reading]:
    """Read the photos of a folder tree, or one photo, by their EXIF; the id is the path in the folder.

    Files without an image's suffix are no records; how many were left out is printed.

    Args:
        check_images: decode every photo to see that it can be used.

    Raises:
        FileNotFoundError: if there is no photo.
    """
    folder = Path(folder)
    root = folder.parent if folder.is_file() else folder
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if not p.is_dir())
    names = [path_text(file.relative_to(root)) for file in files]
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    others = f"others: {sorted({Path(name).suffix for name in {*names} - {*images}})}"
    if not images:
        raise FileNotFoundError(
            f"{folder}: expected {' '.join(IMAGE_SUFFIXES)}; found none; {others}. Of a corpus name the reader"
        )
    ledger_row(f"image files in {folder}", len(names), len(images), others)
    with ThreadPool() as pool:
        answers = pool.imap(_exif_row, [root / name for name in images], chunksize=16)
        rows = list(tqdm(answers, total=len(images), desc="reading EXIF", unit="photo", delay=2))
    raw = pd.DataFrame(rows).assign(photo_id=images, path=images, source=own_source(folder))
    yield check_rows(raw, image_root=root, check_images=check_images)


def read_exif(path: Path | str) -> dict[str, str | None]:
    """Read what a photo's EXIF says of its place, time and photographer, or raise `PhotoError`.

    Returns:
        latitude, longitude (degrees, south and west negative; what was found instead if it makes no number,
        such as a zero denominator, 75 minutes or a value without hemisphere), taken_at and user_id; null where absent.
    """
    with opened(path) as image:
        exif = image.getexif()
        gps = exif.get_ifd(IFD.GPSInfo)
        time = exif.get_ifd(IFD.Exif).get(Base.DateTimeOriginal) or exif.get(Base.DateTime)
        fields = {
            "latitude": _degrees(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), "NS", 90),
            "longitude": _degrees(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), "EW", 180),
            "taken_at": time and str(time).replace(":", "-", 2),  # EXIF writes 2005:07:21 14:41:58
            "user_id": exif.get(Base.Artist),
        }
    return {name: None if value is None else str(value).strip("\0 ") or None for name, value in fields.items()}


def _degrees(value: object, ref: object, letters: str, limit: int) -> float | str | None:
    if value is None:
        return None
    parts = value if isinstance(value, tuple) else (value,)
    letter = ref.decode("latin-1") if isinstance(ref, bytes) else str(ref or "")
    sign = {letters[0]: 1, letters[1]: -1}.get(letter.strip("\0 ")[:1].upper())
    try:
        degrees, *rest = map(float, parts)  # rest: minutes and seconds
        usual = degrees >= 0 and all(0 <= part < 60 for part in rest)
        degrees += sum(part / 60**power for power, part in enumerate(rest, 1))
    except (ArithmeticError, TypeError, ValueError):
        usual, degrees = False, 0.0
    return sign * degrees if sign and usual and degrees <= limit else f"{parts} {ref}"


def _exif_row(path: Path) -> dict[str, object]:
    try:
        return read_exif(path)
    except PhotoError as error:
        return {"reason": error.reason, "detail": str(error)}
