"""A made-up photo world with known truth: drawn pictures that stand for real cities, for runs without photographs.

A city has its own value of each cue (sky, vegetation, roofs, ...), drawn by seed and partly by latitude. A photo
shows some cues, not always with its city's value; many photos show none. Photographers travel, shoot in bursts, and
leave their camera's cast and noise in the pixels, so that a careless split is rewarded as in real collections.
"""

import functools
import hashlib
import multiprocessing
import os
import tempfile
import tomllib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL.ExifTags import GPS, IFD, Base
from PIL.Image import Exif
from tqdm import tqdm

from geoutils.artifacts import content_key, read_json, write_json
from geoutils.tables import SYNTHETIC
from geoutils.world import painter

GENERATOR = 1  # raised whenever the same settings would make another world
_CLOCK = {"dawn": (5, 8), "day": (8, 18), "dusk": (18, 21), "night": (21, 24)}  # from and to, local time
_KEYWORDS = ("city", "travel", "holiday", "weekend", "friends", "walk")  # say nothing, as most tags do
_PUBLIC = ["photo_id", "path", "latitude", "longitude", "user_id", "taken_at", "keyword"]
_PROFILE, _PLAN, _CAMERA, _PLACE, _MOMENT = range(1, 6)  # streams of random numbers
_KM_PER_DEGREE = 111.195


@functools.cache
def rules() -> dict[str, Any]:
    """Return world.toml: every share and strength of the world."""
    return tomllib.loads(Path(__file__).with_name("world.toml").read_text(encoding="utf-8"))


def make_world(
    worlds: Path,
    cities: pd.DataFrame,
    *,
    photos_per_city: int = 185,
    side: int = 160,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Draw a made-up photo world, unless it is there already.

    Args:
        worlds: gets one folder a world, named by its settings, so that no run draws over the photos of another:
            `images/`, `photos.csv` (what a user would have), `truth.csv` (what only the generator knows) and
            `settings.json`, all at once when they are whole.
        cities: at least two rows of city_id, city, latitude, longitude (degrees).
        photos_per_city: about the mean; a city has 0.85 to 1.35 times as many.
        side: pixels of the longer side; the shorter has three quarters.
        workers: processes, by default one a core; their number changes no byte.

    Returns:
        The path of `photos.csv`.

    Raises:
        ValueError: for fewer than two cities.
    """
    if len(cities) < 2:
        raise ValueError(f"a made-up world needs two cities or more, found {len(cities)}")
    cities = cities[["city_id", "city", "latitude", "longitude"]]
    settings = {
        "origin": SYNTHETIC, "generator": GENERATOR, "drawings": content_key(painter.drawings()), "seed": seed,
        "photos_per_city": photos_per_city, "side": side, "world": rules(), "cities": cities.to_dict("records"),
    }  # fmt: skip
    folder = Path(worlds).absolute() / content_key(settings)
    if folder.exists():
        return folder / "photos.csv"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new = Path(temporary) / folder.name
        (new / "images").mkdir(parents=True)
        truth = _plan(cities.reset_index(drop=True), photos_per_city, seed)
        _shoot_all(truth, functools.partial(_shoot, folder=new, side=side, seed=seed), workers)
        truth[_PUBLIC].to_csv(new / "photos.csv", index=False)
        truth.drop(columns=_PUBLIC[1:]).to_csv(new / "truth.csv", index=False)
        write_json(new / "settings.json", settings)
        os.replace(new, folder)
    return folder / "photos.csv"


def read_truth(folder: Path) -> pd.DataFrame:
    """Read what only the generator knows: each photo's city, labelled city, burst, scene, faults and cues."""
    dtypes = dict.fromkeys(("photo_id", *rules()["cue"]), "str") | {"labelled_city_id": "Int64"}
    return pd.read_csv(Path(folder) / "truth.csv", dtype=dtypes)


def profiles(cities: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return each city's own value of every cue, whatever other cities there are.

    Args:
        cities: city_id, latitude in degrees.

    Returns:
        One row a city, indexed by city_id; one column a cue.
    """
    rows, typical, spread = [], rules()["latitude"], rules()["latitude_spread"]
    for city_id, latitude in zip(cities["city_id"], cities["latitude"].abs(), strict=True):
        rng, row = np.random.default_rng([seed, _PROFILE, city_id]), {}
        for cue in rules()["cue"]:
            off = np.array([latitude - typical.get(value, latitude) for value in _values(cue)])
            weights = np.exp(-0.5 * (off / spread) ** 2)
            row[cue] = rng.choice(_values(cue), p=weights / weights.sum())
        rows.append(row)
    return pd.DataFrame(rows, pd.Index(cities["city_id"]))


def oracle_accuracy(folder: Path, photo_ids: Iterable[str]) -> pd.DataFrame:
    """Compute what a method reaches that knows the generator and reads each cue without error.

    Given the city, a photo's cues are independent and which of them are shown tells nothing, so Bayes' rule gives
    the chance of each city, all being equally likely before. Photos without cues are guesses, cities that share
    values are confused, and a wrong position, which no picture shows, makes every other city equally likely. It is
    an upper bound for whoever has nothing but the cues: photographers, bursts and places known from training can
    take a method above it, which is what a split by user or by place prevents.

    Args:
        folder: of the world.
        photo_ids: the photos to judge (a test set, say); those that can't be used are left out.

    Returns:
        One row a city, by its id: `expected`, the chance that the oracle is right, whose mean over cities is the
        ceiling, and the number of `photos`.
    """
    settings, truth = read_json(Path(folder) / "settings.json"), read_truth(folder)
    used = truth["labelled_city_id"].notna() & truth["fault"].eq("none")
    truth = truth[used & truth["photo_id"].isin(list(photo_ids))]
    posterior = _posterior(truth, profiles(pd.DataFrame(settings["cities"]), seed=settings["seed"]))
    shares = rules()["position"]
    wrong = shares["another city"] / (shares["another city"] + shares["right"])
    chance = (1 - wrong) * posterior + wrong * (1 - posterior) / (posterior.shape[1] - 1)
    best = pd.Series(chance.max(axis=1)).groupby(truth["labelled_city_id"].to_numpy("int64"))
    return best.agg(expected="mean", photos="size").rename_axis("city_id")


def oracle_of(sample: pd.DataFrame, photo_ids: Iterable[str]) -> float | None:
    """Return what an oracle reaches on some photos of a sample; None unless all of them are made up."""
    chosen = sample[sample["photo_id"].isin(list(photo_ids))]
    if not (chosen["source"] == SYNTHETIC).all():
        return None
    folder = Path(chosen["path"].iloc[0]).parents[1]  # of images/
    return float(oracle_accuracy(folder, chosen["photo_id"])["expected"].mean())


def _posterior(truth: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """Return the chance of each city given the cues shown, shape (photos, cities)."""
    evidence = np.zeros((len(truth), len(known)))
    for cue, (_, _, typical) in rules()["cue"].items():
        same = truth[cue].to_numpy(object)[:, None] == known[cue].to_numpy(object)
        likelihood = typical * same + (1 - typical) / len(_values(cue))
        evidence += np.where(truth[[cue]].notna(), np.log(likelihood), 0.0)
    chance = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    return chance / chance.sum(axis=1, keepdims=True)


def _values(cue: str) -> list[str]:
    look = painter.drawings()
    if cue == "landmark":
        return [f"{material} {kind}" for material in look["material"] for kind in look["landmark"]]
    return list(look[cue])


def _draw(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    shares = rules()[name]
    return rng.choice(list(shares), size, p=list(shares.values()))


def _plan(cities: pd.DataFrame, photos_per_city: int, seed: int) -> pd.DataFrame:
    """Decide everything: one row a photo, the columns of photos.csv and truth.csv, in the order of photo_id."""
    rng, scatter = np.random.default_rng([seed, _PLAN]), rules()["places"]["gps_km"]
    bursts = _plan_bursts(cities, photos_per_city, rng)
    for cue, own in profiles(cities, seed=seed).items():
        when, shown, typical = rules()["cue"][cue]
        seen = bursts[list(when)].isin(when).all(axis=1) & (rng.random(len(bursts)) < shown)
        any_value, typically = rng.choice(_values(cue), len(bursts)), rng.random(len(bursts)) < typical
        value = np.where(typically, own.loc[bursts["city_id"]], any_value)
        bursts[cue] = pd.Series(value, dtype="str").where(seen)
    bursts["informative"] = bursts[list(rules()["cue"])].notna().any(axis=1)
    photos = bursts.loc[bursts.index.repeat(bursts["size"])].reset_index(names="burst")
    photos["frame"] = photos.groupby("burst").cumcount()
    photos["taken_at"] = (photos["taken_at"] + pd.to_timedelta(4 * photos["frame"], unit="s")).dt.floor("s")
    photos["fault"] = _draw(rng, "fault", len(photos))
    north, east = (photos[["north_km", "east_km"]] + rng.normal(0, scatter, (len(photos), 2))).to_numpy().T
    centre = cities.loc[photos["located"]].reset_index(drop=True)
    photos["latitude"] = centre["latitude"] + north / _KM_PER_DEGREE
    longitude = centre["longitude"] + east / _KM_PER_DEGREE / np.cos(np.radians(centre["latitude"]))
    photos["longitude"] = (longitude + 180) % 360 - 180
    zero, lost = photos["fault"].eq("zero position"), photos["fault"].eq("no position")
    for name in ("latitude", "longitude"):
        photos[name] = photos[name].round(6).mask(zero, 0.0).mask(lost)
    unlabelled = zero | lost | photos["position"].eq("out of town")
    photos["labelled_city_id"] = centre["city_id"].astype("Int64").mask(unlabelled)
    photos["photo_id"] = [_name(seed, *key) for key in zip(photos["burst"], photos["frame"], strict=True)]
    photos["user_id"] = [_name(seed, key) for key in photos["photographer"]]
    photos["path"] = "images/" + photos["photo_id"] + ".jpg"
    photos = photos.drop(columns=["city", "located", "size", "north_km", "east_km"])
    return photos.sort_values("photo_id", ignore_index=True)


def _plan_bursts(cities: pd.DataFrame, photos_per_city: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw who takes a burst where and when; `city` and `located` are rows of `cities`."""
    places, crew, rows = rules()["places"], rules()["photographers"], np.arange(len(cities))
    least, more = rules()["city_size"]
    photos = photos_per_city * (least + more * rng.random(len(rows)) ** 2)
    photos_per_burst = sum(int(size) * share for size, share in rules()["burst"].items())
    bursts = pd.DataFrame({"city": rows.repeat(np.ceil(photos / photos_per_burst).astype(int))})
    city, n = bursts["city"].to_numpy(), len(bursts)
    for name in ("scene", "hour", "weather", "position", "burst"):
        bursts[name] = _draw(rng, name, n)
    at_home = rows.repeat(crew["home"]) == rows[:, None]  # (cities, photographers)
    order = np.where(at_home, 0, 1 + rng.random(at_home.shape)).argsort(axis=1)  # those at home, then anyone
    pool = rng.permuted(order[:, : crew["home"] + crew["guests"]], axis=1)
    turn = bursts.groupby("city").cumcount().to_numpy()
    turn = np.where(turn < pool.shape[1], turn, rng.integers(pool.shape[1], size=n))  # each once, then anyone
    bursts["photographer"] = pool[city, turn]
    day = rng.integers(0, 3_650, pool.shape)[city, turn] + rng.integers(0, 3, n)  # a visit of three days
    clock = np.array([_CLOCK[hour] for hour in bursts["hour"]]).T
    bursts["taken_at"] = pd.Timestamp("2004-01-01") + pd.to_timedelta(24 * day + rng.uniform(*clock), unit="h")
    spot = (places["number"] * rng.random(n) ** 1.5).astype(int)  # some draw more people
    offset = rng.normal(0, places["spread_km"], (len(rows), places["number"], 2))[city, spot]
    away = bursts["position"].eq("out of town").to_numpy() * places["out_of_town_km"]
    bursts["north_km"], bursts["east_km"] = offset[:, 0] + away * rng.choice([-1, 1], n), offset[:, 1]
    other = (city + rng.integers(1, len(rows), n)) % len(rows)
    bursts["located"] = np.where(bursts["position"].eq("another city"), other, city)
    bursts["place"], bursts["city_id"] = city * places["number"] + spot, cities["city_id"].to_numpy()[city]
    bursts["keyword"] = rng.choice(_KEYWORDS, n)
    return bursts.assign(size=bursts.pop("burst").astype("int64"))


def _name(*key: int) -> str:
    return hashlib.blake2b(repr([int(number) for number in key]).encode(), digest_size=6).hexdigest()


def _shoot_all(truth: pd.DataFrame, shoot, workers: int | None) -> None:
    photos = truth.to_dict("records")
    # started afresh: a fork of a process in which torch has threads may hang
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        done = map(shoot, photos) if workers == 1 else pool.map(shoot, photos, chunksize=32)
        list(tqdm(done, total=len(photos), desc="drawing made-up photos", unit="photo"))


def _shoot(photo: dict, *, folder: Path, side: int, seed: int) -> None:
    """Draw one photo, write it with its EXIF, and damage the file if that is its fault."""
    cues = {cue: photo[cue] for cue in rules()["cue"] if isinstance(photo[cue], str)}
    place, moment = (seed, _PLACE, photo["place"]), (seed, _MOMENT, photo["burst"])
    scene = painter.Scene(photo["scene"], photo["hour"], photo["weather"], cues, place, moment)
    rng, knobs = np.random.default_rng([seed, _CAMERA, photo["photographer"]]), rules()["camera"]
    gain = tuple(np.exp(rng.normal(0, knobs["gain"], 3)))
    camera = painter.Camera(gain, rng.uniform(*knobs["noise"]), rng.uniform(*knobs["vignette"]))
    path = folder / photo["path"]
    picture = painter.paint(scene, camera, side=side, seed=(*moment, photo["frame"] + 1))
    picture.save(path, quality=88, exif=_exif(photo))
    if photo["fault"] == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif photo["fault"] == "empty":
        path.write_bytes(b"")
    elif photo["fault"] == "not an image":
        path.write_text("<html>This photo is no longer available.</html>")


def _exif(photo: dict) -> Exif:
    exif, north, east = Exif(), photo["latitude"], photo["longitude"]
    exif[Base.ImageDescription] = "SYNTHETIC: a made-up picture, no photograph"
    exif[IFD.Exif] = {Base.DateTimeOriginal: photo["taken_at"].strftime("%Y:%m:%d %H:%M:%S")}
    if photo["fault"] != "no position":
        exif[IFD.GPSInfo] = {
            GPS.GPSLatitudeRef: "NS"[north < 0], GPS.GPSLatitude: (abs(north), 0.0, 0.0),
            GPS.GPSLongitudeRef: "EW"[east < 0], GPS.GPSLongitude: (abs(east), 0.0, 0.0),
        }  # fmt: skip
    return exif
