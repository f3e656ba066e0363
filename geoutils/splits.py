"""Which side a photo stands on: protocols that split labelled photos into train, validation and test.

A protocol is a function of labelled photos that returns one column `split_<name>` or more, registered in `PROTOCOLS`.
Sides follow hashes, so a photo falls on the same side whatever the row order and however the table grows.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from geoutils.tables import drawn_protocols

BLOCK_DEGREES = 0.01  # side of a place block: 1.1 km
DEFAULT_SHARES = {"val": 0.10, "test": 0.25}


class Protocol(NamedTuple):
    """A way to split.

    assign: takes photos, and by keyword shares, seed and block_degrees (see `assign_split`). about: what it keeps on
    one side, in words. needs: what photos lack where it leaves no city with both sides. whole: the corpus's own split,
    one column of the protocol's name, which balancing would turn into another.
    """

    assign: Callable[..., pd.DataFrame]
    about: str
    needs: str
    whole: bool = False


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


def by_photo(photos: pd.DataFrame, *, shares: Mapping[str, float], seed: int, **_: Any) -> pd.DataFrame:
    """Split photos at random, as the paper does."""
    split = _sides(hash_fractions(photos["photo_id"], seed=seed, purpose="photo"), shares)
    return _with_validation(split, photos, shares["val"], seed).to_frame("split_photo")


def by_user(photos: pd.DataFrame, *, shares: Mapping[str, float], seed: int, **_: Any) -> pd.DataFrame:
    """Keep each photographer's photos on one side of the test; photos of unknown photographers are left out."""
    order = hash_fractions(photos["user_id"], seed=seed, purpose="user")
    return _with_validation(_sides(order, shares), photos, shares["val"], seed, order).to_frame("split_user")


def by_place(photos: pd.DataFrame, *, shares: Mapping[str, float], seed: int, block_degrees: float) -> pd.DataFrame:
    """Keep each block's photos on one side.

    The only block of a city is trained on; of several, the first by hash is tested on and the last trained on, as long
    as hashes put none there.
    """
    blocks = place_blocks(photos["latitude"], photos["longitude"], block_degrees=block_degrees)
    order = hash_fractions(blocks, seed=seed, purpose="place")
    split = _both_sides(_sides(order, shares), order, photos["city_id"])
    return _with_validation(split, photos, shares["val"], seed, order).to_frame("split_place")


def as_given(photos: pd.DataFrame, *, shares: Mapping[str, float], seed: int, **_: Any) -> pd.DataFrame:
    """Take the corpus's own partition. If none of its photos is marked "test", those marked "val" are tested on."""
    split = photos["partition"]
    if not (split == "test").any():  # one with only train and val was made to be measured on val
        split = split.replace({"val": "test"})
    return _with_validation(split, photos, shares["val"], seed).to_frame("split_given")


PROTOCOLS = {
    "photo": Protocol(
        by_photo, "at random, as in the paper: photos of one burst can stand on both sides", "too few photos"
    ),
    "user": Protocol(by_user, "each photographer stands on one side only", "unknown or too few photographers"),
    "place": Protocol(by_place, "each block of about a kilometre stands on one side", "too few blocks"),
    "given": Protocol(as_given, "as the corpus itself gives it", "no partition of their own", whole=True),
}


def assign_split(
    photos: pd.DataFrame,
    protocol: str,
    *,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    block_degrees: float = BLOCK_DEGREES,
) -> pd.DataFrame:
    """Assign train, val or test to each labelled photo under one protocol.

    Hashes decide, and what they decide stays as the table grows. Only these assignments depend on other photos, and
    can move with them: what `by_place` and `as_given` say, and validation. That of a city to which hashes (or the
    corpus) give none is cut from its train, never from test: the first user or block by hash, whole, if two are trained
    on (a user of several cities may be trained on in another one); a share of the photos if one is, or under `photo`
    and `given`.

    Args:
        photos: photo_id, latitude, longitude, user_id, partition, city_id.
        protocol: a name in `PROTOCOLS`.
        shares: the share of "val" and of "test"; the rest is train.
        block_degrees: side of a place block.

    Returns:
        Columns `split_<name>`, one or more, of text, same index; null where the protocol leaves the photo out.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {tuple(PROTOCOLS)}, found {protocol!r}")
    if not {"val", "test"} <= set(shares):
        raise ValueError(f"shares must state val and test, such as {DEFAULT_SHARES}; found {dict(shares)}")
    if not 0 < shares["test"] < 1 or not 0 <= shares["val"] < 1 - shares["test"]:
        raise ValueError(f"shares of val and test must leave something to train on, found {dict(shares)}")
    return PROTOCOLS[protocol].assign(photos, shares=shares, seed=seed, block_degrees=block_degrees)


def available_protocols(
    photos: pd.DataFrame,
    wanted: Sequence[str] | None = None,
    *,
    among: Sequence[str] | None = None,
    **splitting: Any,
) -> list[str]:
    """Name the protocols that these photos allow: they leave two cities or more with both train and test photos.

    Args:
        photos: of qualifying cities, as for `assign_split`.
        wanted: protocols that must be allowed; None asks which are.
        among: those to ask of, by default all.
        splitting: shares, seed and block_degrees, as for `assign_split`.

    Raises:
        ValueError: if one that is wanted is not allowed, or none is.
    """
    names = wanted if wanted is not None else PROTOCOLS if among is None else among
    both = {protocol: _cities_with_both_sides(photos, protocol, **splitting) for protocol in names}
    refused = [protocol for protocol in both if both[protocol] < 2]
    if refused and (wanted is not None or len(refused) == len(both)):
        counts = ", ".join(f"{name!r} leaves {both[name]} ({PROTOCOLS[name].needs}?)" for name in refused)
        raise ValueError(
            f"protocols need cities with both train and test photos, and two are needed: {counts}; ask for other "
            "protocols, or give more photos, a lower min_photos or another seed"
        )
    return [protocol for protocol in both if protocol not in refused]


def shared_users(sample: pd.DataFrame) -> pd.DataFrame:
    """Count, for each protocol drawn, the test photos whose photographer also stands in train.

    Returns:
        Columns protocol, photos_test (of known photographers), photos_shared; empty where none is known.
    """
    rows, photos = [], sample[sample["user_id"].notna()]
    for protocol in drawn_protocols(sample):
        test, train = (photos.loc[photos[f"split_{protocol}"] == side, "user_id"] for side in ("test", "train"))
        if len(test):
            rows.append((protocol, len(test), int(test.isin(train).sum())))
    return pd.DataFrame(rows, columns=["protocol", "photos_test", "photos_shared"])


def _cities_with_both_sides(photos: pd.DataFrame, protocol: str, **splitting: Any) -> int:
    """Count the cities with train and test photos, under that of the protocol's columns which has the fewest."""
    sides = [
        [set(photos.loc[split == side, "city_id"]) for side in ("train", "test")]
        for _, split in assign_split(photos, protocol, **splitting).items()
    ]
    return min(len(train & test) for train, test in sides)


def _sides(order: pd.Series, shares: Mapping[str, float]) -> pd.Series:
    """Put what lies first by hash into test, what follows into val, the rest into train; null stays null."""
    sides = [order < shares["test"], order < shares["test"] + shares["val"]]
    return pd.Series(np.select(sides, ["test", "val"], "train"), order.index, dtype="str").where(order.notna())


def _with_validation(
    split: pd.Series, photos: pd.DataFrame, share: float, seed: int, order: pd.Series | None = None
) -> pd.Series:
    """Cut validation from the train of cities that have none, as `assign_split` says; `order` is the groups' hash."""
    city_ids = photos["city_id"]
    cut = ~(split == "val").groupby(city_ids).transform("any") & (split == "train")
    if not share or not cut.any():
        return split
    taken = hash_fractions(photos.loc[cut, "photo_id"], seed=seed, purpose="validation") < share
    if order is not None:  # a city's first user or block, unless it is the only one
        first = order[cut] == order[cut].groupby(city_ids[cut]).transform("min")
        taken = taken.where(first.groupby(city_ids[cut]).transform("all"), first)
    cut[cut] = taken.to_numpy()
    return split.mask(cut, "val")


def _both_sides(split: pd.Series, order: pd.Series, city_ids: pd.Series) -> pd.Series:
    """Give each city of several blocks both sides: it is tested on its first block by hash and trained on its last.

    A city of one block is trained on, since there is nothing else in it to learn from.
    """
    several = order.groupby(city_ids).transform("nunique") > 1
    split = split.where(several, "train")
    for wanted, extreme in (("test", "min"), ("train", "max")):
        lacks = ~(split == wanted).groupby(city_ids).transform("any")
        split = split.mask(several & lacks & (order == order.groupby(city_ids).transform(extreme)), wanted)
    return split
