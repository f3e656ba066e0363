"""The checks that every reader shares: raw rows in, a photo table and rejected rows out.

A reader collects raw rows, as text, and sends them through `check_rows`. What can't be used becomes a row of
`rejected` with one of the phrases below. Nothing is mended: a suspected mistake is a reason, not a repair.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from geoutils.artifacts import read_json
from geoutils.images import check_photos, copy_hashes
from geoutils.readers.owners import hash_users
from geoutils.tables import PHOTO_COLUMNS, SYNTHETIC, conform, ledger_row, write_csv, write_ledger, write_table

BROKEN = "broken record"
NO_POSITION = "no position"
UNREADABLE_POSITION = "position can't be read"
SWAPPED = "latitude and longitude swapped?"
OUT_OF_RANGE = "position out of range"
NULL_ISLAND = "position (0, 0)"
UNKNOWN_PARTITION = "unknown partition"
OUTSIDE_ROOT = "path outside the image root"
DUPLICATE = "duplicate"  # of an id or a file; besides these there are the five reasons of `images`
DAMAGED = "the rest can't be read"
PARTITIONS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTITIONS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
FLICKR_OWNER = r"\d{1,20}(?:@|%40)N\d+"  # in the names of Im2GPS's images, beside which the hash would hide nobody
FIRST_YEAR, LAST_YEAR = "1826", "2200"  # since the oldest photograph; cameras' clocks say anything

REJECTED_COLUMNS = ("record", "reason", "detail")


class Reading(NamedTuple):
    """What a reader returns: every input record is in one of the two tables.

    photos: a photo table; rejected: `record` (id, path or line), `reason` (a short fixed phrase), `detail`.
    """

    photos: pd.DataFrame
    rejected: pd.DataFrame

    @property
    def rows_in(self) -> int:
        """Count the records that went in."""
        return len(self.photos) + len(self.rejected)


def check_rows(
    table: pd.DataFrame, *, image_root: Path | None = None, check_images: bool = True, hide_owners: bool = True
) -> Reading:
    """Part raw rows into a photo table and rejected rows, each with the first reason that applies.

    Args:
        table: the columns of a photo table as found (text or numbers, absent ones null), with the owner's own
            name as `user_id`: it is hashed here. `record` names a row that has no id. A row with a `reason`
            (and `detail`) from its reader is rejected for that. Of usable rows of one id or path the first is
            kept, and so it is of files that are checked and equal in every byte: no photo is in two splits.
        image_root: where relative paths start and all must lie (links inside may lead out); None: no images.
        check_images: decode every photo to see that it can be used.
        hide_owners: not for made-up photographers, whom a keyed hash would tell apart between machines.

    Returns:
        Photos and rejected rows; together as many as the rows of `table`.
    """
    columns = [*PHOTO_COLUMNS, *REJECTED_COLUMNS]
    absent = dict.fromkeys({*columns} - {*table}, pd.Series(None, table.index, dtype="str"))
    raw = table.assign(**absent)[columns].reset_index(drop=True)
    raw = raw.astype(dict.fromkeys(raw.columns.difference(["latitude", "longitude", "taken_at"]), "str"))
    latitude, longitude = (pd.to_numeric(raw[name], errors="coerce") for name in ("latitude", "longitude"))
    path, outside = _absolute(raw["path"], image_root)
    partition = raw["partition"].str.lower().map(PARTITIONS)
    faults = {
        NO_POSITION: raw["latitude"].isna() | raw["longitude"].isna(),
        UNREADABLE_POSITION: latitude.isna() | longitude.isna(),
        SWAPPED: latitude.abs().between(90, 180, inclusive="right") & (longitude.abs() <= 90),
        OUT_OF_RANGE: (latitude.abs() > 90) | (longitude.abs() > 180),
        NULL_ISLAND: (latitude == 0) & (longitude == 0),
        UNKNOWN_PARTITION: raw["partition"].notna() & partition.isna(),
        OUTSIDE_ROOT: outside,
    }
    for reason, fault in faults.items():
        raw.loc[fault & raw["reason"].isna(), "reason"] = reason
    raw["record"] = raw["photo_id"].fillna(raw["path"]).fillna(raw["record"])
    usable, rejected = usable_rows(raw, path, check_images=check_images)

    checked = {"path": path, "latitude": latitude, "longitude": longitude, "partition": partition}
    photos = raw.assign(photo_id=raw["record"], **checked)[usable]
    if hide_owners:
        photos["user_id"] = hash_users(photos["user_id"])
    photos["taken_at"] = _times(photos["taken_at"])
    return Reading(conform(photos, "photos"), rejected)


def usable_rows(raw: pd.DataFrame, path: pd.Series, *, check_images: bool) -> tuple[pd.Series, pd.DataFrame]:
    """Tell the rows that can be used: of rows of one record or path, and of equal checked images, only the first.

    Args:
        raw: `record`, an id each; `reason` and `detail` of rows known to be of no use, else null; the position,
            `partition` and `path` as found.
        path: absolute paths of the images, null where there is none.
        check_images: decode every photo to see that it can be used.

    Returns:
        bool, one a row; and the other rows as a `rejected` table, which names no owner.
    """
    raw = raw.astype(dict.fromkeys(REJECTED_COLUMNS, "str"))
    if check_images:
        raw["reason"] = raw["reason"].fillna(check_photos(path[raw["reason"].isna()].dropna()))
    _mark_repeated(raw, raw["record"])
    _mark_repeated(raw, path)
    if check_images:
        _mark_repeated(raw, copy_hashes(path[raw["reason"].isna()].dropna()))
    bad = raw[raw["reason"].notna()]
    text = bad[["latitude", "longitude", "partition", "path"]].astype("str").fillna("")
    values = text["latitude"] + " " + text["longitude"] + " " + text["partition"] + " " + text["path"]
    texts = {"record": bad["record"], "reason": bad["reason"], "detail": bad["detail"].fillna(values.str.strip())}
    texts = {name: words.str.replace(FLICKR_OWNER, "*", regex=True).str[:200] for name, words in texts.items()}
    return raw["reason"].isna(), pd.DataFrame(texts).reset_index(drop=True)


def check_batches(
    batches: Iterable[pd.DataFrame], source: str, image_root: Path | None, check_images: bool
) -> Iterator[Reading]:
    """Check raw batches, and reject ids that an earlier batch has kept.

    Ids are remembered as 64-bit hashes, 8 bytes each, in sorted runs of doubling length; among 100 million ids
    the chance that any two share a hash is 3 in 10,000.
    """
    runs: list[np.ndarray] = []
    for raw in batches:
        photos, rejected = check_rows(raw.assign(source=source), image_root=image_root, check_images=check_images)
        keys = pd.util.hash_array(photos["photo_id"].to_numpy(object), categorize=False)
        again = np.zeros(len(keys), bool)
        for run in runs:
            again |= run[np.searchsorted(run, keys) % len(run)] == keys
        repeated = rejected_rows(photos["photo_id"][again], DUPLICATE)
        yield Reading(photos[~again].reset_index(drop=True), pd.concat([rejected, repeated], ignore_index=True))
        runs += [] if again.all() else [np.sort(keys[~again])]
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            runs[-2:] = [np.sort(np.concatenate(runs[-2:]), kind="stable")]


def concat_readings(readings: Iterable[Reading]) -> Reading:
    """Gather a stream of readings in memory."""
    photos, rejected = zip(check_rows(pd.DataFrame()), *readings, strict=True)
    return Reading(pd.concat(photos, ignore_index=True), pd.concat(rejected, ignore_index=True))


def rejected_rows(records: Iterable[str], reason: str) -> pd.DataFrame:
    """Return rows for rejected.csv: one a record, with the same reason."""
    return pd.DataFrame({"record": list(records), "reason": reason, "detail": ""}, columns=REJECTED_COLUMNS)


def write_reading(reading: Reading, run_dir: Path, notebook: str) -> pd.DataFrame:
    """Write what a reader gave: photos.parquet, rejected.csv and the ledger's line; return the photo table."""
    photos = write_table(reading.photos, Path(run_dir) / "photos.parquet", "photos")
    write_csv(reading.rejected, Path(run_dir) / "rejected.csv")
    row = ledger_row("read and checked", reading.rows_in, len(photos), reading.rejected["reason"])
    write_ledger([row], run_dir, notebook)
    return photos


def files_of(path: Path, pattern: str) -> list[Path]:
    """Return a file, or the files of a folder that match a pattern, in order; raise FileNotFoundError without any."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.glob(pattern) if file.is_file())
    if not files:
        raise FileNotFoundError(f"{path}: expected a file, or a folder with files {pattern}; found neither")
    return files


def own_source(path: Path) -> str:
    """Return the source of one's own photos: "own", or `SYNTHETIC` where `is_made_up`."""
    return SYNTHETIC if is_made_up(path) else "own"


def is_made_up(path: Path) -> bool:
    """Tell whether a path lies in a world that `world` drew: no drawing is ever called a photograph."""
    path = Path(path).absolute()
    settings = [folder / "settings.json" for folder in (path, *path.parents) if (folder / "truth.csv").exists()]
    return any(file.exists() and read_json(file)["origin"] == SYNTHETIC for file in settings)


def fault_detail(line: str, count: str) -> str:
    """Return what `text_lines` says of a damaged file, else `count`: a record's own words may name its owner."""
    return line.strip() if line.startswith(DAMAGED) else count


def path_text(path: Path | str) -> str:
    """Return a path as text, with marks for bytes that are not UTF-8: such a file will count as missing."""
    return os.fsencode(Path(path).as_posix()).decode("utf-8", "replace")


def _absolute(paths: pd.Series, root: Path | None) -> tuple[pd.Series, pd.Series]:
    """Return absolute paths (null without a root) and which of them leave the root."""
    if root is None or paths.isna().all():
        return pd.Series(None, paths.index, dtype="str"), pd.Series(False, paths.index)
    start = os.path.join(os.path.abspath(root), "")
    joined = paths.map(lambda path: os.path.normpath(os.path.join(start, path)), na_action="ignore")
    return joined, ~joined.fillna(start).str.startswith(start) | paths.str.contains("\0", regex=False)


def _mark_repeated(raw: pd.DataFrame, key: pd.Series) -> None:
    """Mark usable rows as duplicates of the first usable row with the same key."""
    key = key[raw["reason"].isna()].dropna()
    key = key[key.duplicated(keep=False)]
    again = key.index[key.duplicated()]
    raw.loc[again, "reason"] = DUPLICATE
    raw.loc[again, "detail"] = "repeats " + raw["record"][key.index].groupby(key).transform("first")


def _times(text: pd.Series) -> pd.Series:
    """Return the times that can be read; those with an offset in UTC, the others as written."""
    times = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    return times.where((times >= FIRST_YEAR) & (times < LAST_YEAR))
