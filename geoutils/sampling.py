"""Splits and the balanced draw: which labelled photos are trained on, and which are tested on.

Both follow hashes, so a photo falls on the same side whatever the row order and however the table grows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from geoutils.tables import PROTOCOLS, SPLITS, conform, ledger_row

BLOCK_DEGREES = 0.01  # side of a place block: 1.1 km
DEFAULT_SHARES = {"val": 0.10, "test": 0.25}


class Sample(NamedTuple):
    """A drawn sample: the `table` (schema "sample"), its `ledger` rows, and the `shortfalls` by city and split."""

    table: pd.DataFrame
    ledger: list[dict]
    shortfalls: pd.DataFrame


def hash_fractions(keys: pd.Series, *, seed: int, purpose: str) -> np.ndarray:
    """Map each key to a number in [0, 1) that depends on nothing but (seed, purpose, key).

    Args:
        keys: text without nulls, shape (n,).
        purpose: keeps draws apart that use the same keys.

    Returns:
        float64, shape (n,), uniform over the keys.
    """
    hash_key = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).hexdigest()  # the 16 bytes pandas wants
    hashes = pd.util.hash_array(keys.to_numpy(object), hash_key=hash_key, categorize=False)  # for speed
    return (hashes >> np.uint64(11)) / 2.0**53


def place_blocks(latitude: pd.Series, longitude: pd.Series, *, block_degrees: float = BLOCK_DEGREES) -> pd.Series:
    """Name the block of about `block_degrees` x `block_degrees` (of latitude) that each position lies in.

    Args:
        latitude, longitude: degrees.
        block_degrees: the height of a block; its width in longitude grows towards the poles to keep it square.

    Returns:
        Text "row/column", same index.
    """
    row = np.floor(latitude / block_degrees).astype("int64")
    width = block_degrees / np.cos(np.radians(np.minimum(np.abs((row + 0.5) * block_degrees), 89.0)))
    column = np.floor((longitude + 180.0) % 360.0 / width).astype("int64")
    return row.astype("str") + "/" + column.astype("str")


def assign_split(
    photos: pd.DataFrame,
    protocol: str,
    *,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    block_degrees: float = BLOCK_DEGREES,
) -> pd.Series:
    """Assign train, val or test to each labelled photo under one protocol.

    `photo` splits photos at random, as the paper does; `user` keeps a photographer's photos on one side; `place`
    keeps a block's photos on one side; `given` takes the corpus's own partition. A city with two or more blocks
    always has one to train on and one to test on, even where hashes put all of them on one side, and the only block
    of a city is trained on; these few are the only assignments that can change as the table grows. Where a protocol
    leaves a city without validation, it is cut from train by photo. It never comes from test.

    Args:
        photos: photo_id, latitude, longitude, user_id, partition, city_id.
        protocol: "photo", "user", "place" or "given".
        shares: the share of "val" and of "test"; the rest is train.

    Returns:
        Text, same index; null where the protocol leaves the photo out (unknown user, no partition).
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {PROTOCOLS}, found {protocol!r}")
    if not 0 < shares["test"] < 1 or not 0 <= shares["val"] < 1 - shares["test"]:
        raise ValueError(f"shares of val and test must leave something to train on, found {dict(shares)}")
    if protocol == "given":
        split = _given(photos["partition"])
    else:
        keys = {
            "photo": photos["photo_id"],
            "user": photos["user_id"],
            "place": place_blocks(photos["latitude"], photos["longitude"], block_degrees=block_degrees),
        }[protocol]
        split = _by_hash(keys, shares, seed, protocol)
        if protocol == "place":
            split = _both_sides(split, keys, photos["city_id"], seed)
    return _with_validation(split, photos, shares, seed)


def available_protocols(
    photos: pd.DataFrame, wanted: Sequence[str] | None = None, *, block_degrees: float = BLOCK_DEGREES
) -> list[str]:
    """Name the protocols that a table allows: `user` needs two known users, `given` two partitions, `place` two blocks
    in some city; or those wanted, if it allows them.

    Raises:
        ValueError: if one is wanted that the table does not allow.
    """
    blocks = place_blocks(photos["latitude"], photos["longitude"], block_degrees=block_degrees)
    blocks_a_city = blocks.groupby(photos["city_id"]).nunique()
    possible = {
        "photo": len(photos) > 0,
        "user": photos["user_id"].nunique() >= 2,
        "place": bool((blocks_a_city > 1).any()),
        "given": photos["partition"].nunique() >= 2,
    }
    allowed = [protocol for protocol in PROTOCOLS if possible[protocol]]
    if impossible := [protocol for protocol in wanted or () if protocol not in allowed]:
        raise ValueError(f"the photos allow the protocols {allowed}, not {impossible}: users or partitions unknown")
    return allowed if wanted is None else list(wanted)


def balance(photos: pd.DataFrame, split: pd.Series, per_city: Mapping[str, int] | None, *, seed: int = 0) -> pd.Series:
    """Keep at most a stated number of photos a city and split, those first by hash.

    Args:
        photos: photo_id, city_id.
        split: train, val, test or null, same index.
        per_city: the number for each split; None keeps all. A larger number keeps a superset.

    Returns:
        `split` with null where a photo was not drawn.
    """
    if per_city is None:
        return split
    if missing := set(SPLITS) - set(per_city):
        raise ValueError(f"per_city must state a number for each of {SPLITS}; {sorted(missing)} missing")
    order = pd.Series(hash_fractions(photos["photo_id"], seed=seed, purpose="draw"), index=photos.index)
    rank = order.groupby([photos["city_id"], split]).rank(method="first")  # null where split is null
    return split.where(rank <= split.map(dict(per_city)).astype("float64"))


def draw(
    photos: pd.DataFrame,
    protocols: Sequence[str],
    *,
    per_city: Mapping[str, int] | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    block_degrees: float = BLOCK_DEGREES,
) -> pd.DataFrame:
    """Return the photos that are drawn under some protocol, with a column `split_<protocol>` each.

    A corpus's own split (`given`) is taken whole, since balancing it would make another split of it.

    Args:
        photos: of qualifying cities, as for `assign_split`; the rest as for `draw_sample`.
    """
    splits = pd.DataFrame(index=photos.index)
    for protocol in protocols:
        split = assign_split(photos, protocol, shares=shares, seed=seed, block_degrees=block_degrees)
        splits[f"split_{protocol}"] = balance(photos, split, None if protocol == "given" else per_city, seed=seed)
    return photos.assign(**splits)[splits.notna().any(axis=1)]


def draw_sample(
    photos: pd.DataFrame,
    cities: pd.DataFrame,
    *,
    protocols: Sequence[str] | None = None,
    per_city: Mapping[str, int] | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    block_degrees: float = BLOCK_DEGREES,
    counted: tuple[int, int] | None = None,
) -> Sample:
    """Split the photos of qualifying cities under each protocol and balance each split.

    Args:
        photos: a photo table with a column `city_id` (null: in no city).
        cities: the cities that qualify, with city_id and city.
        protocols: those to draw; None draws all that the table allows.
        per_city: the number for each split; None keeps all.
        counted: photos in any city and in a qualifying one, where `photos` are what a larger table left of itself.

    Raises:
        ValueError: if a protocol is asked for that the table does not allow, or no photo is left.
    """
    kept = photos[photos["city_id"].isin(cities["city_id"])]
    labelled, qualifying = counted or (int(photos["city_id"].notna().sum()), len(kept))
    ledger = [ledger_row("in a qualifying city", labelled, qualifying, "in a city with too few photos")]
    protocols = available_protocols(kept, protocols, block_degrees=block_degrees)
    drawn = draw(kept, protocols, per_city=per_city, shares=shares, seed=seed, block_degrees=block_degrees)
    if drawn.empty:
        raise ValueError("no photo is left to sample: lower min_photos, widen radius_km, or give more photos")
    ledger.append(ledger_row("drawn under some protocol", qualifying, len(drawn), "beyond the number a city and split"))
    drawn = drawn.assign(city=drawn["city_id"].map(cities.set_index("city_id")["city"]))
    table = conform(drawn.astype({"city_id": "int64"}), "sample")
    short = [_shortfalls(table, protocol, None if protocol == "given" else per_city) for protocol in protocols]
    return Sample(table, ledger, pd.concat(short, ignore_index=True))


def split_rows(sample: pd.DataFrame, protocol: str, split: str) -> pd.DataFrame:
    """Return the rows of a sample that a protocol puts in one split; raise if there are none."""
    rows = sample[sample[f"split_{protocol}"] == split]
    if rows.empty:
        used = [p for p in PROTOCOLS if sample[f"split_{p}"].notna().any()]
        raise ValueError(f"the sample has no {split} photos under protocol {protocol!r}; it was drawn under {used}")
    return rows


def split_counts(sample: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Count photos a city and split: rows are cities in the order of their names, columns train, val, test."""
    counts = pd.crosstab(sample["city"], sample[f"split_{protocol}"])
    return counts.reindex(columns=list(SPLITS), fill_value=0)


def shared_users(sample: pd.DataFrame) -> pd.DataFrame:
    """Count, for each protocol drawn, the test photos whose photographer also stands in train.

    Returns:
        Columns protocol, users_test, users_shared, photos_test, photos_shared; empty where users are unknown.
    """
    rows = []
    known = sample[sample["user_id"].notna()]
    for protocol in PROTOCOLS:
        split = known[f"split_{protocol}"]
        test, train_users = known[split == "test"], set(known.loc[split == "train", "user_id"])
        if test.empty:
            continue
        shared = test["user_id"].isin(train_users)
        users = test["user_id"]
        rows.append((protocol, users.nunique(), users[shared].nunique(), len(test), int(shared.sum())))
    return pd.DataFrame(rows, columns=["protocol", "users_test", "users_shared", "photos_test", "photos_shared"])


def _by_hash(keys: pd.Series, shares: Mapping[str, float], seed: int, purpose: str) -> pd.Series:
    known = keys.notna()
    fraction = pd.Series(np.nan, index=keys.index)
    fraction[known] = hash_fractions(keys[known], seed=seed, purpose=purpose)
    split = pd.Series("train", index=keys.index, dtype="str")
    split[fraction < shares["test"] + shares["val"]] = "val"
    split[fraction < shares["test"]] = "test"
    return split.where(known)


def _given(partition: pd.Series) -> pd.Series:
    """Take a corpus's partition; one with only train and val was made to be measured on val, so val is its test."""
    if not (partition == "test").any():
        return partition.replace({"val": "test"})
    return partition


def _both_sides(split: pd.Series, blocks: pd.Series, city_ids: pd.Series, seed: int) -> pd.Series:
    """Give each city of two or more blocks one to test on and one to train on (its first and last by hash), and train
    on the block of a city that has no other: it could not be tested on what was learnt elsewhere in it."""
    split = split.copy()
    order = pd.Series(hash_fractions(blocks, seed=seed, purpose="place"), index=blocks.index)
    several = order.groupby(city_ids).transform("nunique") > 1
    split[~several] = "train"
    for wanted, extreme in (("test", "min"), ("train", "max")):
        lacks = ~(split == wanted).groupby(city_ids).transform("any")
        split[several & lacks & (order == order.groupby(city_ids).transform(extreme))] = wanted
    return split


def _with_validation(split: pd.Series, photos: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Cut validation from train, by photo, in the cities that have none."""
    cut = ~(split == "val").groupby(photos["city_id"]).transform("any") & (split == "train")
    cut[cut] = hash_fractions(photos.loc[cut, "photo_id"], seed=seed, purpose="validation") < shares["val"]
    return split.mask(cut, "val")


def _shortfalls(table: pd.DataFrame, protocol: str, quota: Mapping[str, int] | None) -> pd.DataFrame:
    columns = ["protocol", "city", "split", "wanted", "found"]
    if quota is None:
        return pd.DataFrame(columns=columns)
    found = split_counts(table, protocol).stack().rename("found").reset_index()
    found.columns = ["city", "split", "found"]
    found["wanted"] = found["split"].map(dict(quota))
    return found[found["found"] < found["wanted"]].assign(protocol=protocol)[columns]
