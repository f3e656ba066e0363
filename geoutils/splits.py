"""Which side a photo stands on: protocols that split labelled photos into train, validation and test.

Sides follow hashes, so a photo falls on the same side whatever the row order and however the table grows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoutils.tables import PROTOCOLS

BLOCK_DEGREES = 0.01  # side of a place block: 1.1 km
DEFAULT_SHARES = {"val": 0.10, "test": 0.25}
PROTOCOL_NEEDS = {
    "photo": "too few photos",
    "user": "unknown or too few photographers",
    "place": "too few blocks",
    "given": "no partition of their own",
}


def hash_fractions(keys: pd.Series, *, seed: int, purpose: str) -> pd.Series:
    """Map each key to a number in [0, 1) that depends on nothing but (seed, purpose, key).

    Args:
        keys: text.
        purpose: keeps draws apart that use the same keys.

    Returns:
        float64, same index, uniform over the keys; NaN where there is none.
    """
    hash_key = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).hexdigest()  # the 16 bytes pandas wants
    hashes = pd.util.hash_array(keys.to_numpy(object), hash_key=hash_key, categorize=False)  # for speed
    return pd.Series((hashes >> np.uint64(11)) / 2.0**53, keys.index).where(keys.notna())


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
    order, city_ids = hash_fractions(keys, seed=seed, purpose=protocol), photos["city_id"]
    if protocol == "given":
        split = photos["partition"]
        if not (split == "test").any():  # one with only train and val was made to be measured on val
            split = split.replace({"val": "test"})
    else:
        sides = [order < shares["test"], order < shares["test"] + shares["val"]]
        split = pd.Series(np.select(sides, ["test", "val"], "train"), keys.index, dtype="str").where(keys.notna())
    if protocol == "place":
        split = _both_sides(split, order, city_ids)
    cut = ~(split == "val").groupby(city_ids).transform("any") & (split == "train")
    if shares["val"] and cut.any():
        taken = hash_fractions(photos.loc[cut, "photo_id"], seed=seed, purpose="validation") < shares["val"]
        if protocol in ("user", "place"):  # a city's first user or block, unless it is the only one
            first = order[cut] == order[cut].groupby(city_ids[cut]).transform("min")
            taken = taken.where(first.groupby(city_ids[cut]).transform("all"), first)
        cut[cut] = taken.to_numpy()
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
    refused = [protocol for protocol in both if both[protocol] < 2]
    if refused and (wanted is not None or len(refused) == len(both)):
        found = ", ".join(f"{name!r} leaves {both[name]} ({PROTOCOL_NEEDS[name]}?)" for name in refused)
        raise ValueError(
            f"protocols need cities with both train and test photos, and two are needed: {found}; ask for other "
            "protocols, or give more photos, a lower min_photos or another seed"
        )
    return [protocol for protocol in both if protocol not in refused]


def shared_users(sample: pd.DataFrame) -> pd.DataFrame:
    """Count, for each protocol drawn, the test photos whose photographer also stands in train.

    Returns:
        Columns protocol, photos_test (of known photographers), photos_shared; empty where none is known.
    """
    rows, known = [], sample[sample["user_id"].notna()]
    for protocol in PROTOCOLS:
        test, train = (known.loc[known[f"split_{protocol}"] == side, "user_id"] for side in ("test", "train"))
        if len(test):
            rows.append((protocol, len(test), int(test.isin(train).sum())))
    return pd.DataFrame(rows, columns=["protocol", "photos_test", "photos_shared"])


def _both_sides(split: pd.Series, order: pd.Series, city_ids: pd.Series) -> pd.Series:
    """Give each city of two or more blocks one to test on and one to train on (its first and last by hash), and train
    on the block of a city that has no other: it could not be tested on what was learnt elsewhere in it."""
    several = order.groupby(city_ids).transform("nunique") > 1
    split = split.where(several, "train")
    for wanted, extreme in (("test", "min"), ("train", "max")):
        lacks = ~(split == wanted).groupby(city_ids).transform("any")
        split = split.mask(several & lacks & (order == order.groupby(city_ids).transform(extreme)), wanted)
    return split
