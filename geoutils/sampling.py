"""Splits and the balanced draw: which labelled photos are trained on, and which are tested on.

Both follow hashes, so a photo falls on the same side whatever the row order and however the table grows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from geoutils.tables import PROTOCOLS, SPLITS, conform, ledger_row

BLOCK_DEGREES = 0.01  # side of a place block: 1.1 km
DEFAULT_SHARES = {"val": 0.10, "test": 0.25}
LACKS = {
    "photo": "too few photos",
    "user": "unknown or too few photographers",
    "place": "too few blocks",
    "given": "no partition of their own",
}


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
    if not 0 < block_degrees < np.inf:
        raise ValueError(f"block_degrees must be the side of a block, above 0 degrees, found {block_degrees}")
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

    `photo` splits photos at random, as the paper does; `user` keeps a photographer's photos on one side of the test;
    `place` keeps a block's photos on one side; `given` takes the corpus's own partition. Hashes decide, and what they
    decide stays as the table grows. Only these assignments depend on other photos, and can move with them:

    - `place`: the only block of a city is trained on; of several, the first by hash is tested on and the last trained
      on, as long as hashes put none there.
    - Validation of a city to which hashes (or the corpus) give none is cut from its train, never from test: the first
      user or block by hash, whole, if two are trained on (a user of several cities may be trained on in another one);
      a share of the photos if one is, or under `photo` and `given`.
    - `given`: "val" is the test as long as no photo of the table has the partition "test".

    Args:
        photos: photo_id, latitude, longitude, user_id, partition, city_id.
        protocol: "photo", "user", "place" or "given".
        shares: the share of "val" and of "test"; the rest is train.

    Returns:
        Text, same index; null where the protocol leaves the photo out (unknown user, no partition).
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {PROTOCOLS}, found {protocol!r}")
    if not {"val", "test"} <= set(shares):
        raise ValueError(f"shares must state val and test, such as {DEFAULT_SHARES}; found {dict(shares)}")
    if not 0 < shares["test"] < 1 or not 0 <= shares["val"] < 1 - shares["test"]:
        raise ValueError(f"shares of val and test must leave something to train on, found {dict(shares)}")
    if protocol == "place":
        keys = place_blocks(photos["latitude"], photos["longitude"], block_degrees=block_degrees)
    else:
        keys = photos["user_id" if protocol == "user" else "photo_id"]
    split = _given(photos["partition"]) if protocol == "given" else _by_hash(keys, shares, seed, protocol)
    if protocol == "place":
        split = _both_sides(split, keys, photos["city_id"], seed)
    cut = ~(split == "val").groupby(photos["city_id"]).transform("any") & (split == "train")
    if shares["val"] and cut.any():
        cut[cut] = _validation(photos[cut], keys[cut], shares["val"], seed, protocol)
        split = split.mask(cut, "val")
    return split


def available_protocols(
    photos: pd.DataFrame,
    wanted: Sequence[str] | None = None,
    *,
    among: Sequence[str] = PROTOCOLS,
    **splitting: Any,
) -> list[str]:
    """Name the protocols of `among` that leave two cities or more with both train and test photos; or those wanted.

    Args:
        photos: of qualifying cities, as for `assign_split`.
        splitting: shares, seed and block_degrees, as for `assign_split`.

    Raises:
        ValueError: if one is wanted that leaves fewer, or none leaves enough.
    """
    both = {}
    for protocol in among if wanted is None else wanted:
        split = assign_split(photos, protocol, **splitting)
        train, test = (set(photos.loc[split == side, "city_id"]) for side in ("train", "test"))
        both[protocol] = len(train & test)
    allowed = [protocol for protocol in both if both[protocol] >= 2]
    if refused := [protocol for protocol in both if protocol not in allowed and (wanted is not None or not allowed)]:
        found = ", ".join(f"{name!r} leaves {both[name]} ({LACKS[name]}?)" for name in refused)
        raise ValueError(
            f"protocols need cities with both train and test photos, and two are needed: {found}; ask for other "
            "protocols, or give more photos, a lower min_photos or another seed"
        )
    return allowed


def balance(
    photos: pd.DataFrame, split: pd.Series, per_city: Mapping[str, int | None] | None, *, seed: int = 0
) -> pd.Series:
    """Keep at most a stated number of photos a city and split, those first by hash.

    Args:
        photos: photo_id, city_id.
        split: train, val, test or null, same index.
        per_city: the number for each split, None for all there are; None keeps all. A larger number keeps a superset.

    Returns:
        `split` with null where a photo was not drawn.
    """
    if per_city is None:
        return split
    if missing := set(SPLITS) - set(per_city):
        raise ValueError(f"per_city must state a number for each of {SPLITS}; {sorted(missing)} missing")
    order = pd.Series(hash_fractions(photos["photo_id"], seed=seed, purpose="draw"), index=photos.index)
    rank = order.groupby([photos["city_id"], split]).rank(method="first")  # null where split is null
    most = {side: np.inf if number is None else number for side, number in per_city.items()}
    return split.where(rank <= split.map(most).astype("float64"))


def draw(
    photos: pd.DataFrame,
    protocols: Sequence[str],
    *,
    per_city: Mapping[str, int | None] | None = None,
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
    per_city: Mapping[str, int | None] | None = None,
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
        ValueError: if a protocol is asked for that the table does not allow, no photo is left, or one has no image.
    """
    kept = photos[photos["city_id"].isin(cities["city_id"])]
    if absent := int(kept["path"].isna().sum()):
        raise ValueError(f"{absent:,} of {len(kept):,} photos have no image: give image_root in notebook 01")
    splitting = {"shares": shares, "seed": seed, "block_degrees": block_degrees}
    labelled, qualifying = counted or (int(photos["city_id"].notna().sum()), len(kept))
    ledger = [ledger_row("in a qualifying city", labelled, qualifying, "in a city with too few photos")]
    protocols = available_protocols(kept, protocols, **splitting)
    drawn = draw(kept, protocols, per_city=per_city, **splitting)
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


def _validation(train: pd.DataFrame, keys: pd.Series, share: float, seed: int, protocol: str) -> np.ndarray:
    """Tell the train photos that become validation: a city's first user or block of several, or a share of photos."""
    taken = pd.Series(hash_fractions(train["photo_id"], seed=seed, purpose="validation") < share, index=train.index)
    if protocol in ("user", "place"):
        order = pd.Series(hash_fractions(keys, seed=seed, purpose=protocol), index=train.index)
        first = order == order.groupby(train["city_id"]).transform("min")
        taken = taken.where(first.groupby(train["city_id"]).transform("all"), first)
    return taken.to_numpy()


def _shortfalls(table: pd.DataFrame, protocol: str, quota: Mapping[str, int | None] | None) -> pd.DataFrame:
    columns = ["protocol", "city", "split", "wanted", "found"]
    quota = {split: number for split, number in (quota or {}).items() if number is not None}
    if not quota:
        return pd.DataFrame(columns=columns)
    found = split_counts(table, protocol).stack().rename("found").reset_index()
    found.columns = ["city", "split", "found"]
    found = found[found["split"].isin(quota)]
    found["wanted"] = found["split"].map(quota)
    return found[found["found"] < found["wanted"]].assign(protocol=protocol)[columns]
