"""Openly licensed, geotagged photographs of cities from Wikimedia Commons, for whoever has no corpus.

A folder gets images/, photos.parquet, rejected.csv, summary.csv, manifest.csv (to publish: no photo, no name)
and ATTRIBUTION.csv (the only file with names, as the licences demand; an image that it does not list goes).
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from geoutils.artifacts import file_sha256, read_json, write_json
from geoutils.collectors.mediawiki import API, Client, describe_files, fetch_image, find_files
from geoutils.download import polite_session
from geoutils.geo import EARTH_RADIUS_KM
from geoutils.images import opened
from geoutils.readers.checks import Reading
from geoutils.readers.owners import USER_KEY, hash_users
from geoutils.splits import hash_fractions
from geoutils.tables import ledger_row, read_table, write_csv, write_table

# pixels; the wiki scales to no others
STANDARD_WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
IMAGE_NAME = r"[0-9a-f]{40}_\d+\.jpg(\.part(\.etag)?)?"  # whole, or cut while it was fetched
CELL_KM = 0.1
TEST_SHARE, VAL_SHARE = 0.2, 0.1  # of the people; the rest trains
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
    key_file: Path = USER_KEY,
    **server: Any,
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
        key_file: holds the key that hashes names.
        server: `api`, `image_hosts` and `sleep` of the `Client`, for another wiki than Commons.

    Returns:
        The photo table, `partition` keeping each person on one side, and the pages looked at but not taken.

    Raises:
        ConnectionError: no network, or a server that stays away. PermissionError: it refuses this client.
        ValueError: no city, a bad setting, or no contact.
    """
    folder = Path(folder).resolve()
    if cities.empty or per_city < 1 or width not in STANDARD_WIDTHS:
        needs = f"expected cities >= 1, per_city >= 1 and a width of {STANDARD_WIDTHS}"
        raise ValueError(f"{needs}; found {len(cities)}, {per_city} and {width}: change what does not fit")
    search = {"per_city": per_city, "radius_km": radius_km, "width": width, "per_cell": per_cell}
    request = search | {"seed": seed, "api": server.get("api", API), "cities": cities["city_id"].tolist()}
    done, answers = folder / "collected.json", folder / "answers"
    if done.exists() and read_json(done) == request:
        if answers.exists():
            shutil.rmtree(answers)  # a kill left them, and names in them
        rejected = pd.read_csv(folder / "rejected.csv", dtype="str", keep_default_na=False)
        return Reading(read_table(folder / "photos.parquet", "photos"), rejected)
    client = _client(folder, contact, **server)
    done.unlink(missing_ok=True)  # from here on the folder is neither the old set nor the new one
    used: set[str | int] = set()
    table = _table(record for city in cities.itertuples() for record in _search_city(city, client, used, **search))
    people = _people(table[table["reason"] == ""], key_file, seed)
    table[people.columns] = people
    reading = _write(table, folder)
    write_csv(table.loc[table["reason"] == "", MANIFEST], folder / "manifest.csv")
    write_csv(_summarise(cities, table, per_city), folder / "summary.csv")
    write_json(done, request)
    shutil.rmtree(client.answers)  # names stay in ATTRIBUTION.csv alone
    return reading


def rebuild(manifest: Path, folder: Path, *, contact: str | None = None, **server: Any) -> Reading:
    """Get the photographs of a published manifest again, each verified by its hashes.

    Args:
        contact, server: as for `collect`.

    Returns:
        The photo table, and as `rejected` what was removed, has changed or has other bytes.

    Raises:
        ConnectionError: no network, or a server that stays away. ValueError: no manifest, or no contact.
    """
    rows = pd.read_csv(manifest, dtype="str", keep_default_na=False)
    if list(rows.columns) != MANIFEST:
        raise ValueError(f"{manifest} is no manifest: expected the columns {MANIFEST}, found {list(rows.columns)}")
    client = _client(Path(folder).resolve(), contact, **server)
    records = []
    for scaled_to, group in rows.groupby("scaled_to"):
        pages = {int(row["page_id"]): row for row in group.to_dict("records")}
        for record in tqdm(describe_files(client, list(pages), int(scaled_to)), total=len(pages), unit="photo"):
            row = pages[record["page_id"]]
            reason = "" if record["sha1"] == row["sha1"] else CHANGED if record["sha1"] else GONE
            if not reason:
                reason = _get_image(record, client, f"sha256:{row['sha256']}")
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

    named = uploader.notna() | artist.notna()
    ends = pd.concat([uploader.fillna(artist)[named], artist.fillna(uploader)[named]])
    codes, names = pd.factorize(ends)
    first, second = codes.reshape(2, -1)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    component = connected_components(links, directed=False)[1]
    smallest = pd.Series(names, dtype="str").groupby(component).transform("min").to_numpy()
    return pd.Series(smallest[first], index=uploader.index[named], dtype="str").reindex(uploader.index)


def _search_city(
    city: Any, client: Client, used: set[str | int], *, per_city: int, radius_km: float, width: int, per_cell: int
) -> Iterator[dict[str, Any]]:
    """Yield a city's files in random order until `per_city` are taken; `reason` says why one is not.

    The page ids and SHA-1 hashes of the taken ones are added to `used`, which holds those of earlier cities.
    """
    page_ids = find_files(client, city.latitude, city.longitude, radius_km)
    cells: Counter[tuple[float, float]] = Counter()
    with tqdm(total=per_city, desc=city.city, unit="photo") as bar:
        for record in describe_files(client, page_ids, width):
            east = (record["longitude"] - city.longitude + 180) % 360 - 180  # degrees, then both in km
            north, east = np.radians([record["latitude"] - city.latitude, east]) * EARTH_RADIUS_KM
            east *= np.cos(np.radians(city.latitude))
            cell, keys = (north // CELL_KM, east // CELL_KM), {record["page_id"], record["sha1"]}
            reason = _fault(record, width)
            if not reason and np.hypot(north, east) > radius_km:
                reason = "outside the city's circle"
            if not reason and not keys.isdisjoint(used):
                reason = "duplicate"
            if not reason and cells[cell] >= per_cell:
                reason = "enough photos within 100 m"
            if not reason:
                reason = _get_image(record, client)
            yield record | {"reason": reason, "city_id": city.city_id, "city": city.city}
            if not reason:
                used |= keys
                cells[cell] += 1
                bar.update()
                if cells.total() == per_city:
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


def _get_image(record: dict[str, Any], client: Client, checksum: str | None = None) -> str:
    """Fetch a record's image and note its true size and hash; say why if it can't be had."""
    path = client.answers.parent / "images" / f"{record['sha1']}_{record['scaled_to']}.jpg"
    record["detail"] = fetch_image(client, record["image_url"], path, checksum=checksum)
    if record["detail"]:
        return "image can't be had"
    with opened(path) as image:
        record["width"], record["height"] = image.size
    record |= {"path": str(path), "sha256": file_sha256(path)}
    return ""


def _client(folder: Path, contact: str | None, **server: Any) -> Client:
    session = polite_session(contact)
    if not re.search("@|://", session.headers["User-Agent"]):
        raise ValueError(
            "Wikimedia asks every client for a contact, found none: give contact='you@example.org' or the "
            "address of a page, or set DEEP_IM2GPS_CONTACT"
        )
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    return Client(folder / "answers", session, **server)


def _table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    columns = dict.fromkeys([*MANIFEST, *ATTRIBUTION, "path", "reason", "detail"])
    table = pd.DataFrame(records, columns=list(columns)).astype({"detail": "object"}).fillna({"detail": ""})
    return table.assign(
        photo_id="commons-" + table["page_id"].astype("str"),
        changes="scaled to a width of " + table["scaled_to"].astype("str"),
        taken_at=pd.to_datetime(table["taken_at"], format="ISO8601", errors="coerce"),
    )


def _people(photos: pd.DataFrame, key_file: Path, seed: int) -> pd.DataFrame:
    """Hash the names, join them to people, and give each person a side of the split."""

    def hashed(names: pd.Series) -> pd.Series:
        plain = names.astype("str").str.casefold().str.removeprefix("user:").str.strip()
        return hash_users(plain.mask(plain.str.fullmatch(NOBODY)), key_file)

    uploader, artist = hashed(photos["uploaded_by"]), hashed(photos["author"])
    by_bot = photos["uploaded_by"].astype("str").str.contains(BOT) & artist.notna()
    user_id = join_people(uploader.mask(by_bot), artist)  # a bot is nobody's photographer
    fraction = hash_fractions(user_id.fillna(photos["photo_id"]), seed=seed, purpose="commons")
    split = np.select([fraction < TEST_SHARE, fraction < TEST_SHARE + VAL_SHARE], ["test", "val"], "train")
    return pd.DataFrame({"uploader": uploader, "artist": artist, "user_id": user_id, "split": split})


def _write(table: pd.DataFrame, folder: Path) -> Reading:
    """Write photos.parquet, rejected.csv and ATTRIBUTION.csv; remove images that these do not list."""
    photos, others = table[table["reason"] == ""], table[table["reason"] != ""]
    rejected = others[["photo_id", "reason", "detail"]].rename(columns={"photo_id": "record"}).astype("str")
    rejected = rejected.reset_index(drop=True)
    # a spreadsheet takes a text that begins with one of these for a formula
    write_csv(photos[ATTRIBUTION].replace("^(?=[=+@-])", "'", regex=True), folder / "ATTRIBUTION.csv")
    write_csv(rejected, folder / "rejected.csv")
    for path in set((folder / "images").glob("*")).difference(map(Path, photos["path"])):
        if re.fullmatch(IMAGE_NAME, path.name):
            path.unlink()
    ledger_row("commons", len(table), len(photos), rejected["reason"])
    photos = photos.assign(keyword=photos["city"], partition=photos["split"], source="commons")
    return Reading(write_table(photos, folder / "photos.parquet", "photos"), rejected)


def _summarise(cities: pd.DataFrame, table: pd.DataFrame, asked: int) -> pd.DataFrame:
    """Say for each city what was asked for and what came, from how many people and which years; print it."""
    photos = table[table["reason"] == ""].assign(year=table["taken_at"].dt.year.astype("Int64"))
    counts = photos.groupby("city_id").agg(
        obtained=("photo_id", "size"),
        photographers=("user_id", "nunique"),
        largest_share=("user_id", lambda people: round(people.value_counts(normalize=True).max(), 3)),
        first_year=("year", "min"),
        last_year=("year", "max"),
    )
    summary = cities[["city_id", "city"]].assign(asked=asked).merge(counts, how="left", on="city_id")
    summary = summary.fillna({"obtained": 0, "photographers": 0})
    print(summary.to_string(index=False))
    return summary
