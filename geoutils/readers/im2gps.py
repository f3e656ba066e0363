"""The Im2GPS collection: a text file of records a query, a tree of images, or both."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import pandas as pd

from geoutils.images import MISSING_FILE, PhotoError, opened
from geoutils.readers.checks import BROKEN, Reading, check_batches, fault_detail, path_text
from geoutils.readers.delimited import text_lines

# <id>_<secret>_<server>_<owner>.jpg; in the test set <Query>_<subfolder>_ comes before it
IM2GPS_NAME = r"^(?:(?P<keyword>.+)_\d{5}_)?(?P<photo_id>\d+)_[0-9a-f]+_\d+_(?P<user_id>[^_]+@N\d+)\.(?i:jpe?g)$"
IM2GPS_LOG = r"mintime:|maxtime:|numimgs:|total pages:|visiting only |Total images queried:"
IM2GPS_FIELDS = {"owner": "user_id", "datetaken": "taken_at"} | {n: n for n in ("license", "latitude", "longitude")}


def read_im2gps(
    folder: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 100_000
) -> Iterator[Reading]:
    """Read the Im2GPS collection: a text file of records a query, a tree of images, or both.

    Record and image meet by query and name; of several images of one name the first that can be used is kept. An
    image without a record is read by the comments in it; a record whose query has images, but not this one, is
    rejected. The query becomes the keyword.

    Args:
        folder: `<query>.txt` files, and `<query>/<subfolder>/<image>.jpg` unless `image_root` says where.
    """
    folder, root = Path(folder), Path(image_root or folder).absolute()
    if not (any(folder.glob("*.txt")) or any(_jpegs(root.rglob("*")))):
        raise FileNotFoundError(f"{folder}: expected <query>.txt or <query>/<subfolder>/*.jpg; found neither")
    rows = _im2gps_rows(folder, root)
    batches = (pd.DataFrame([row, *islice(rows, batch_rows - 1)]) for row in rows)
    return check_batches(batches, "im2gps", root, check_images)


def _im2gps_rows(folder: Path, root: Path) -> Iterator[dict[str, object]]:
    """Yield raw rows query by query: its records, then its images that no record claims."""
    texts = {text.stem: text for text in folder.glob("*.txt")}
    for query in sorted({*texts, *(top.name for top in root.iterdir() if top.is_dir())}):
        images: dict[str, list[Path | None]] = {}
        for image in sorted(_jpegs((root / query).rglob("*"))):
            images.setdefault(image.stem, []).append(image)
        names = set()  # of the images that a record claims
        for row, name in _im2gps_records(texts[query]) if query in texts else ():
            if images and name not in images:
                row.setdefault("reason", MISSING_FILE)
            for image in images.get(name, [None])[: 1 if name in names else None]:
                yield row | {"keyword": path_text(query), "path": image and path_text(image)}
            names.add(name)
        rest = chain.from_iterable(same for name, same in images.items() if name not in names)
        yield from (_im2gps_image(image, root) for image in rest)
    yield from (_im2gps_image(image, root) for image in sorted(_jpegs(root.glob("*"))))


def _jpegs(files: Iterable[Path]) -> Iterator[Path]:
    return (file for file in files if file.suffix.lower() in (".jpg", ".jpeg"))


def _im2gps_records(text: Path) -> Iterator[tuple[dict[str, object], str]]:
    """Yield the raw row and the image's name, without suffix, of each record.

    Lines without a `photo:` before them make a broken record.
    """
    block: list[str] = []
    for number, line in enumerate(chain(text_lines(text), [""]), 1):
        if block and (line.startswith("photo:") or not line.strip()):
            photo = block[0].partition(":")[2].split() if block[0].startswith("photo:") else []
            row = {"record": f"{path_text(text.name)}:{number - len(block)}"} | _im2gps_fields(block)
            if photo and photo[0].isdecimal():
                row["photo_id"] = photo[0]
            else:
                row |= {"reason": BROKEN, "detail": fault_detail(block[0], f"{len(block)} lines without a photo's id")}
            yield row, "_".join([*photo, row.get("user_id", "")])
            block = []
        if line.strip() and not re.match(IM2GPS_LOG, line):
            block.append(line)


def _im2gps_image(image: Path, root: Path) -> dict[str, object]:
    *folders, name = path_text(image.relative_to(root)).split("/")
    parts = re.match(IM2GPS_NAME, name)
    row = {"photo_id": name, "path": path_text(image)} | ({"keyword": folders[0]} if folders else {})
    row |= {field: value for field, value in (parts.groupdict() if parts else {}).items() if value}
    try:
        with opened(image) as photo:
            comments = [comment for marker, comment in getattr(photo, "applist", []) if marker == "COM"]
    except PhotoError as error:
        return row | {"reason": error.reason, "detail": str(error)}
    return _im2gps_fields(b"\n".join(comments).decode("utf-8", "replace").split("\n")) | row


def _im2gps_fields(lines: list[str]) -> dict[str, object]:
    """Return the fields that are used; a later one wins, since people's own texts come first."""
    fields = {key: value.strip("\0 \r\n") for key, _, value in (line.partition(":") for line in lines)}
    return {ours: fields[theirs] for theirs, ours in IM2GPS_FIELDS.items() if fields.get(theirs)}
