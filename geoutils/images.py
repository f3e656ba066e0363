"""Photos on disk to upright pixels, and which of them can't be used: one decoder (Pillow) for all."""

import contextlib
import errno
import os
import re
import warnings
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from geoutils.artifacts import file_sha256

# what photographs come in; Pillow's rarer decoders (one runs Ghostscript) never see a file from outside
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
IMAGE_SUFFIXES += (".heic", ".heif", ".hif", ".avif")
MISSING_FILE = "missing file"
UNREADABLE = "unreadable image"
TRUNCATED = "truncated image"
BOMB = "decompression bomb"
TOO_LONG = "extreme aspect ratio"
MAX_ASPECT = 20  # longer by shorter side; the resize of a line of 65,535 pixels to a square would need gigabytes
MACHINE_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)  # no fault of the file, and they may pass


class PhotoError(ValueError):
    """A photo that can't be used; `reason` is one of the five phrases above, the message names the file."""

    def __init__(self, path: Path | str, reason: str, detail: object = "not found") -> None:
        super().__init__(f"{path}: {reason} ({detail})")
        self.reason = reason


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """Open a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF file without decoding it.

    Raises:
        PhotoError: a ValueError with the file's name and the reason, also for what fails inside the block.
            What fails for want of memory or file handles, or by a broken disk, comes through as it is.
    """
    if not os.path.isfile(path):  # also false for pipes and devices, which could be read for ever
        raise PhotoError(path, MISSING_FILE)
    if "HEIF" not in Image.OPEN:  # at the first photo: nothing is registered at import
        import pillow_heif

        pillow_heif.register_heif_opener()
    try:
        with Image.open(path, formats=FORMATS) as image:
            if max(image.size) > MAX_ASPECT * min(image.size):
                raise PhotoError(path, TOO_LONG, "{} x {} pixels".format(*image.size))
            yield image
    except PhotoError:
        raise
    except Exception as error:  # bytes from outside: decoders fail in any way, and each is this file's fault
        if _is_machines(error):
            raise
        cut_short = re.search("truncated|unexpected end", str(error).replace(str(path), ""), re.IGNORECASE)
        bomb = isinstance(error, Image.DecompressionBombError)
        raise PhotoError(path, BOMB if bomb else TRUNCATED if cut_short else UNREADABLE, error) from error


def open_photo(path: Path | str, *, shortest_side: int | None = None) -> Image.Image:
    """Decode a photo (of several frames the first) to upright RGB pixels, or raise `PhotoError`.

    Args:
        shortest_side: pixels needed; a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, its shorter side
            never below this, in half the time. Other formats come at full size.
    """
    with opened(path) as image:
        if shortest_side:
            image.draft(None, (shortest_side, shortest_side))
        image.load()
        try:
            image.getexif()
            image.info.clear()  # Pillow keeps what it parsed, and can't write odd tags anew, as it would
            ImageOps.exif_transpose(image, in_place=True)
        except Exception as error:  # broken EXIF takes the orientation, not the photo
            if _is_machines(error):
                raise
        return image.convert("RGB")


def _is_machines(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in MACHINE_FAULTS


def check_photos(paths: pd.Series) -> pd.Series:
    """Decode every photo, in threads (Pillow works outside Python's lock), and say why it can't be used.

    Returns:
        str, on the same index: one of the five reasons, or null for a good photo.
    """
    with ThreadPool() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on odd EXIF, which is no fault of the pixels
        faults = pool.imap(_fault, paths, chunksize=16)
        reasons = list(tqdm(faults, total=len(paths), desc="checking photos", unit="photo", delay=2))
    return pd.Series(reasons, paths.index, dtype="str")


def _fault(path: str) -> str | None:
    try:
        open_photo(path, shortest_side=1)  # an eighth of the pixels, but every byte of the file is decoded
    except PhotoError as error:
        return error.reason
    return None


def copy_hashes(paths: pd.Series) -> pd.Series:
    """Return hashes of the files that may be copies of each other; equal hashes are copies.

    Only files that share their size and last 4 KiB with another are read whole.

    Args:
        paths: files that exist.

    Returns:
        str, the SHA-256 of the files that may be copies, on their part of the index.
    """
    with ThreadPool() as pool:
        ends = pd.Series(pool.map(_ending, paths), paths.index, dtype="int64")
        alike = paths[ends.duplicated(keep=False)]
        return pd.Series(pool.map(file_sha256, alike), alike.index, dtype="str")


def _ending(path: str) -> int:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 12)))
        return hash((size, file.read()))
