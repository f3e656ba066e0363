"""Openly licensed, geotagged photographs of cities from Wikimedia Commons, for whoever has no corpus.

A folder gets images/, photos.parquet, rejected.csv, summary.csv, manifest.csv (to publish: no photo, no name)
and ATTRIBUTION.csv (the only file with names, as the licences demand; an image that it does not list goes).
"""

import hashlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from geoutils.artifacts import file_sha256, read_json, write_json
from geoutils.download import Sleep, polite_session
from geoutils.geo import EARTH_RADIUS_KM
from geoutils.mediawiki import Client, describe_files, fetch_image, find_files
from geoutils.tables import USER_KEY, Reading, hash_users, ledger_row, read_table, rejected_rows, write_csv, write_table

API = "https://commons.wikimedia.org/w/api.php"
IMAGE_HOSTS = ("upload.wikimedia.org", "thumb.wikimedia.org")
# pixels; the wiki scales to no others
STANDARD_WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
IMAGE_NAME = r"[0-9a-f]{40}_\d+\.jpg(\.part(\.etag)?)?"  # whole, or cut while it was fetched
CELL_KM = 0.1
SPLIT_SHARES = {"test": 0.2, "val": 0.1}  # of the people; the rest trains
OPEN_LICENSE = re.compile(r"CC0|CC BY(-SA)?( |$)|Public domain")
# what titles and categories call a file that is no view of a city, though a camera made it
NO_VIEW = re.compile(
    r"(?i)\b(maps? of|floor plans?|drawings?|paintings?|engravings?|lithographs?|postcards?|scans?|scanned"
    r"|diagrams?|screenshots?|posters?|illustrations?|coats? of arms)\b"
)
SCANNER = re.compile("(?i)scan|perfection")
NOBODY = "|unknown( author| photographer)?|anonymous|own work|author|various"
BOT = r"(?i)bot\b"
GONE, CHANGED = "removed from the wiki", "changed on the wiki"
WORK = ["license", "license_url"]
MANIFEST = ["page_id", "sha1", "sha256", "scaled_to", "width", "height", *WORK, "uploader", "artist", "user_id"]
MANIFEST += ["split", "city_id", "city", "latitude", "longitude", "taken_at"]
ATTRIBUTION = ["photo_id", "title", "author", "uploaded_by", "credit", *WORK, "page", "uploaded", "changes"]


class Plan(NamedTuple):
    """What is asked of each city; see `collect`."""

    per_city: int
    radius_km: float
    width: int
    per_cell: int
    seed: int


def collect(
    cities: pd.DataFrame,
    folder: Path,
    *,
    per_city: int,
    radius_km: float = 25.0,
    width: int = 500,
    per_cell: int = 3,
    seed: int = 0,
    contact: str | None = None,
    api: str = API,
    image_hosts: Collection[str] = IMAGE_HOSTS,
    key_file: Path = USER_KEY,
    sleep: Sleep = time.sleep,
) -> Reading:
    """Collect photographs of cities; after an interruption the same call goes on where it was.

    The split hashes `seed` and a person's id, which depends on the key and on all names that came: on another machine,
    or in a larger collection that links two people, one may change sides. The manifest fixes it; `rebuild` keeps it.

    Args:
        cities: with `city_id`, `city`, `latitude`, `longitude`.
        folder: where everything goes; a finished one is read, not asked for again.
        per_city: photographs wanted a city, in the random order of `find_files` from those within `radius_km`.
        width: pixels of the scaled copies, one of `STANDARD_WIDTHS`; smaller originals are left out.
        per_cell: at most so many for each 100 m x 100 m. seed: of the split.
        contact: e-mail address or page, as Wikimedia asks of its clients; by default DEEP_IM2GPS_CONTACT.
        api, image_hosts, key_file: whom to ask, which hosts may serve images, and the key that hashes names.

    Returns:
        The photo table, `partition` keeping each person on one side, and the pages looked at but not taken.

    Raises:
        ConnectionError: no network, or a server that stays away. PermissionError: it refuses this client.
        ValueError: no city, a bad setting, or no contact.
    """
    plan, folder = Plan(per_city, radius_km, width, per_cell, seed), Path(folder).resolve()
    if cities.empty or per_city < 1 or width not in STANDARD_WIDTHS:
        asked = f"expected cities >= 1, per_city >= 1 and a width of {STANDARD_WIDTHS}"
        raise ValueError(f"{asked}; found {len(cities)}, {per_city} and {width}: change what does not fit")
    wanted = plan._asdict() | {"api": api, "cities": [int(city_id) for city_id in cities["city_id"]]}
    done, answers = folder / "collected.json", folder / "answers"
    if done.exists() and read_json(done) == wanted:
        if answers.exists():
            shutil.rmtree(answers)  # a kill left them, and names in them
        rejected = pd.read_csv(folder / "rejected.csv", dtype="str", keep_default_na=False)
        return Reading(read_table(folder / "photos.parquet", "photos"), rejected)
    client = _client(folder, contact, api, image_hosts, sleep)
    done.unlink(missing_ok=True)  # from here on the folder is neither the old set nor the new one
    seen: set[str | int] = set()
    table = _table(record for city in cities.itertuples() for record in _look_about(city, plan, client, seen))
    people = _people(table[table["reason"] == ""], key_file, seed)
    table[people.columns] = people
    reading = _write(table, folder)
    write_csv(table.loc[table["reason"] == "", MANIFEST], folder / "manifest.csv")
    write_csv(_summarise(cities, table, per_city), folder / "summary.csv")
    write_json(done, wanted)
    shutil.rmtree(client.answers)  # names stay in ATTRIBUTION.csv alone
    return reading


def rebuild(
    manifest: Path,
    folder: Path,
    *,
    contact: str | None = None,
    api: str = API,
    image_hosts: Collection[str] = IMAGE_HOSTS,
    sleep: Sleep = time.sleep,
) -> Reading:
    """Get the photographs of a published manifest again, each verified by its hashes.

    Returns:
        The photo table, and as `rejected` what was removed, has changed or has other bytes.

    Raises:
        ConnectionError: no network, or a server that stays away. ValueError: no manifest, or no contact.
    """
    rows = pd.read_csv(manifest, dtype="str", keep_default_na=False)
    if list(rows.columns) != MANIFEST:
        raise ValueError(f"{manifest} is no manifest: expected the columns {MANIFEST}, found {list(rows.columns)}")
    client = _client(Path(folder).resolve(), contact, api, image_hosts, sleep)
    records = []
    for scaled_to, group in rows.groupby("scaled_to"):
        known = {int(row["page_id"]): row for row in group.to_dict("records")}
        for record in tqdm(describe_files(client, list(known), int(scaled_to)), total=len(known), unit="photo"):
            row = known[record["page_id"]]
            reason = GONE if not record["sha1"] else CHANGED if record["sha1"] != row["sha1"] else ""
            reason = reason or _get_image(record, client, row["sha256"])
            records.append(record | row | {"reason": reason})
    reading = _write(_table(records), client.answers.parent)
    shutil.rmtree(client.answers)
    return reading


def join_people(uploader: pd.Series, artist: pd.Series) -> pd.Series:
    """Give photos one id that agree in uploader or artist, or are linked by others that do.

    Args:
        uploader, artist: hashed names, null where unknown; the same name is the same person in either.

    Returns:
        The smallest hash of each connected component, null where both are unknown.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = uploader.notna() | artist.notna()
    ends = pd.concat([uploader.fillna(artist)[known], artist.fillna(uploader)[known]])
    codes, names = pd.factorize(ends)
    first, second = codes.reshape(2, -1)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    component = connected_components(links, directed=False)[1]
    smallest = pd.Series(names, dtype="str").groupby(component).transform("min").to_numpy()
    return pd.Series(smallest[first], index=uploader.index[known], dtype="str").reindex(uploader.index)


def _look_about(city: Any, plan: Plan, client: Client, seen: set[str | int]) -> Iterator[dict[str, Any]]:
    """Yield a city's files in random order until enough are taken: `reason` says why one is not."""
    page_ids = find_files(client, city.latitude, city.longitude, plan.radius_km)
    cells: Counter[tuple[float, float]] = Counter()
    with tqdm(total=plan.per_city, desc=city.city, unit="photo") as bar:
        for record in describe_files(client, page_ids, plan.width):
            east = (record["longitude"] - city.longitude + 180) % 360 - 180  # degrees, then both in km
            north, east = np.radians([record["latitude"] - city.latitude, east]) * EARTH_RADIUS_KM
            east *= np.cos(np.radians(city.latitude))
            cell, keys = (north // CELL_KM, east // CELL_KM), {record["page_id"], record["sha1"]}
            record["reason"] = (
                _fault(record, plan.width)
                or ("" if np.hypot(north, east) <= plan.radius_km else "outside the city's circle")
                or ("" if seen.isdisjoint(keys) else "duplicate")
                or ("" if cells[cell] < plan.per_cell else "enough photos within 100 m")
                or _get_image(record, client)
            )
            yield record | {"city_id": city.city_id, "city": city.city}
            if not record["reason"]:
                seen |= keys
                cells[cell] += 1
                bar.update()
                if cells.total() == plan.per_city:
                    return


def _fault(record: dict[str, Any], width: int) -> str:
    """Say why a file is of no use, or nothing."""
    words = record["title"] + "|" + record["categories"]
    if not record["sha1"]:
        return GONE
    if np.isnan(record["latitude"] + record["longitude"]):
        return "no camera position"
    if (record["mime"], record["mediatype"]) != ("image/jpeg", "BITMAP") or not record["camera"]:
        return "no photograph by file type or EXIF"
    if SCANNER.search(record["camera"]) or NO_VIEW.search(words):
        return "no photograph by its description"
    if record["pixels"][0] < width or min(record["pixels"]) < 0.3 * max(record["pixels"]):
        return "too small or too narrow"
    if record["nonfree"] or not OPEN_LICENSE.match(record["license"]):
        return "no open licence"
    return ""


def _get_image(record: dict[str, Any], client: Client, sha256: str | None = None) -> str:
    """Fetch a record's image and note its true size and hash; say why if it can't be had."""
    path = _image_path(record, client.answers.parent)
    try:
        record["width"], record["height"] = fetch_image(client, record["image_url"], path, sha256=sha256)
    except ValueError as error:
        record["detail"] = str(error)
        return "image can't be had"
    record["sha256"] = file_sha256(path)
    return ""


def _image_path(record: Mapping[str, Any], folder: Path) -> Path:
    return folder / "images" / f"{record['sha1']}_{record['scaled_to']}.jpg"


def _client(folder: Path, contact: str | None, api: str, image_hosts: Collection[str], sleep: Sleep) -> Client:
    session = polite_session(contact)
    if not re.search("@|://", session.headers["User-Agent"]):
        raise ValueError(
            "Wikimedia asks every client for a contact, found none: give contact='you@example.org' or the "
            "address of a page, or set DEEP_IM2GPS_CONTACT"
        )
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    return Client(api, image_hosts, folder / "answers", session, sleep)


def _table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    columns = dict.fromkeys([*MANIFEST, *ATTRIBUTION, "reason", "detail"])
    table = pd.DataFrame(records, columns=list(columns)).astype({"detail": "object"}).fillna({"detail": ""})
    return table.assign(
        photo_id="commons-" + table["page_id"].astype("str"),
        changes="scaled to a width of " + table["scaled_to"].astype("str"),
        taken_at=pd.to_datetime(table["taken_at"], format="ISO8601", errors="coerce"),
    )


def _people(taken: pd.DataFrame, key_file: Path, seed: int) -> pd.DataFrame:
    """Hash the names, join them to people, and give each person a side of the split."""

    def hashed(names: pd.Series) -> pd.Series:
        plain = names.astype("str").str.casefold().str.removeprefix("user:").str.strip()
        return hash_users(plain.mask(plain.str.fullmatch(NOBODY)), key_file)

    uploader, artist = hashed(taken["uploaded_by"]), hashed(taken["author"])
    by_bot = taken["uploaded_by"].astype("str").str.contains(BOT) & artist.notna()
    user_id = join_people(uploader.mask(by_bot), artist)  # a bot is nobody's photographer
    keys = [f"{seed}:{key}".encode() for key in user_id.fillna(taken["photo_id"])]
    fraction = [int.from_bytes(hashlib.sha256(key).digest()[:6]) / 256**6 for key in keys]
    side = np.searchsorted(np.cumsum(list(SPLIT_SHARES.values())), fraction, side="right")
    split = np.array([*SPLIT_SHARES, "train"])[side]
    return pd.DataFrame({"uploader": uploader, "artist": artist, "user_id": user_id, "split": split})


def _write(table: pd.DataFrame, folder: Path) -> Reading:
    """Write photos.parquet, rejected.csv and ATTRIBUTION.csv; remove images that these do not list."""
    taken, left = table[table["reason"] == ""], table[table["reason"] != ""]
    paths = [str(_image_path(row, folder)) for row in taken.to_dict("records")]
    photos = taken.assign(path=paths, keyword=taken["city"], partition=taken["split"], source="commons")
    rejected = rejected_rows(left["photo_id"], list(left["reason"]), list(left["detail"]))
    # a spreadsheet takes a text that begins with one of these for a formula
    write_csv(taken[ATTRIBUTION].replace("^(?=[=+@-])", "'", regex=True), folder / "ATTRIBUTION.csv")
    write_csv(rejected, folder / "rejected.csv")
    for path in set((folder / "images").glob("*")).difference(map(Path, paths)):
        if re.fullmatch(IMAGE_NAME, path.name):
            path.unlink()
    ledger_row("commons", len(table), len(taken), rejected["reason"])
    return Reading(write_table(photos, folder / "photos.parquet", "photos"), rejected)


def _summarise(cities: pd.DataFrame, table: pd.DataFrame, asked: int) -> pd.DataFrame:
    """Say for each city what was asked for and what came, from how many people and which years; print it."""
    taken = table[table["reason"] == ""].assign(year=table["taken_at"].dt.year.astype("Int64"))
    by_city = taken.groupby("city_id")
    people = by_city["user_id"].value_counts(normalize=True)
    summary = cities.set_index("city_id")[["city"]].assign(
        asked=asked,
        obtained=by_city.size(),
        photographers=by_city["user_id"].nunique(),
        largest_share=people.groupby("city_id").max().round(3),
        first_year=by_city["year"].min(),
        last_year=by_city["year"].max(),
    )
    summary = summary.fillna({"obtained": 0, "photographers": 0}).reset_index()
    print(summary.to_string(index=False))
    return summary
