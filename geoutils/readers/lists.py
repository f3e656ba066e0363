"""Collections published as CSV lists with a header: MP-16 and its image shards, OSV-5M, lists of test photos."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgpack
import pandas as pd
from tqdm.auto import tqdm

from geoutils.artifacts import atomic_path
from geoutils.readers.checks import (
    BROKEN,
    DAMAGED,
    DUPLICATE,
    PARTITIONS,
    REJECTED_COLUMNS,
    Reading,
    check_batches,
    concat_readings,
    files_of,
)
from geoutils.readers.delimited import csv_batches
from geoutils.readers.im2gps import IM2GPS_NAME
from geoutils.tables import ledger_row

MP16_ID = r"(?:[\w@-]+/)*[\w@-][\w@.-]*\.jpe?g"  # a path that can't leave its folder, no file in another's way


def read_mp16(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read MP-16's table (`IMG_ID,LAT,LON`, with or without `AUTHOR`); the id is the image's path.

    Args:
        path: a CSV file or a folder of them. Shards `*.msg` beside them are unpacked into `image_root` first.
    """
    readings = check_batches((raw for _, raw in _tables(path, batch_rows)), "mp16", image_root, check_images)
    if image_root is None or not any(Path(path).glob("*.msg")):
        return readings
    no_photos = concat_readings([])
    return chain([no_photos._replace(rejected=unpack_mp16(path, image_root))], readings)


def read_test_list(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read a list of test photos (`IMG_ID,AUTHOR,LAT,LON,...`): Im2GPS, Im2GPS3k, YFCC4k or YFCC26k.

    All rows are of the partition "test". The photos are Im2GPS's if the path's name says "im2gps", else YFCC100M's.
    Im2GPS's file names tell the id, and the owner and query where the list has none.

    Args:
        path: a CSV file or a folder of them.
    """
    source = "im2gps" if "im2gps" in Path(path).name.lower() else "yfcc100m"
    owner = ["user_id", "keyword"]
    batches = (
        raw.assign(photo_id=parts["photo_id"].fillna(raw["path"]), partition="test", **raw[owner].fillna(parts[owner]))
        for _, raw in _tables(path, batch_rows)
        for parts in [raw["path"].str.extract(IM2GPS_NAME)]
    )
    return check_batches(batches, source, image_root, check_images)


def read_osv5m(
    path: Path, *, image_root: Path | None = None, check_images: bool = True, batch_rows: int = 250_000
) -> Iterator[Reading]:
    """Read OSV-5M: `train.csv` and `test.csv` give the partition, images are `<id>.jpg` in any subfolder.

    Args:
        path: a CSV file or a folder of them.
    """
    images = Path(image_root).absolute().rglob("*.jpg") if image_root else []
    places = {image.name: str(image) for image in images}
    batches = (
        raw.assign(
            path=[places.get(name, name) for name in raw["photo_id"] + ".jpg"],
            partition=PARTITIONS.get(file.stem),
            license="CC BY-SA",
        )
        for file, raw in _tables(path, batch_rows)
    )
    return check_batches(batches, "osv5m", image_root, check_images)


def _tables(path: Path, batch_rows: int) -> Iterator[tuple[Path, pd.DataFrame]]:
    batches = ((file, raw) for file in files_of(path, "*.csv") for raw in csv_batches(file, batch_rows=batch_rows))
    return ((file, raw.assign(path=raw["photo_id"])) for file, raw in batches)


def unpack_mp16(shards: Path, image_root: Path) -> pd.DataFrame:
    """Write the images of MP-16's msgpack shards to `<image_root>/<id>`, each whole or not at all.

    An image that is there already is left, so that a second call goes on where the first was stopped.

    Args:
        shards: a `.msg` file or a folder of them.

    Returns:
        The records that hold no image, no usable id or an earlier record's, as rows of a `rejected` table.
    """
    broken: list[tuple[str, str, str]] = []
    hashes: set[int] = set()  # 64-bit hashes of ids: some 300 MB for the 4.7 million of MP-16
    for shard in tqdm(files_of(shards, "*.msg"), desc="unpacking", unit="shard", delay=2):
        for number, (name, image) in enumerate(_shard_records(shard)):
            usable = isinstance(image, bytes) and len(name) <= 200 and re.fullmatch(MP16_ID, name)
            if not usable or hash(name) in hashes:
                broken.append((f"{shard.name}:{number}", DUPLICATE if usable else BROKEN, name[:200]))
                continue
            hashes.add(hash(name))
            target = Path(image_root) / name
            if not target.is_file() or target.stat().st_size != len(image):
                with atomic_path(target) as temporary:
                    temporary.write_bytes(image)
    rejected = pd.DataFrame(broken, columns=REJECTED_COLUMNS, dtype="str")
    ledger_row(f"images in {shards}", len(hashes) + len(broken), len(hashes), rejected["reason"])
    return rejected


def _shard_records(shard: Path) -> Iterator[tuple[str, object]]:
    """Yield id and image of each record; where a shard is damaged or cut short, one record without an image."""
    end, problem = 0, "cut short"
    with open(shard, "rb") as file:
        records = msgpack.Unpacker(file, raw=True, strict_map_key=False, max_array_len=99, max_map_len=99)
        try:
            for record in records:
                end, fields = records.tell(), record if isinstance(record, dict) else {}
                name = fields.get(b"id", f"{type(record).__name__} without id")
                yield name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name), fields.get(b"image")
        except Exception as error:  # bytes from outside: msgpack raises several kinds, and all end the shard
            problem = repr(error)
    if end < shard.stat().st_size:
        yield f"{DAMAGED}: {problem}", None
