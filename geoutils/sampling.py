"""The balanced draw: so many photos a city and split, those first by hash, so that a larger draw holds a smaller."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from geoutils.splits import PROTOCOLS, assign_split, available_protocols, hash_fractions
from geoutils.tables import SPLITS, conform, drawn_protocols, ledger_row, split_of


class Sample(NamedTuple):
    """A drawn sample: the `table` (schema "sample"), its `ledger` rows, the `shortfalls` by city and split, and the
    protocols `left_out` because the photos do not allow them."""

    table: pd.DataFrame
    ledger: list[dict]
    shortfalls: pd.DataFrame
    left_out: list[str]


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
    order = hash_fractions(photos["photo_id"], seed=seed, purpose="draw")
    rank = order.groupby([photos["city_id"], split]).rank(method="first")  # null where split is null
    return split.where(rank <= split.map(per_city).astype("float64").fillna(np.inf))


def draw(
    photos: pd.DataFrame,
    protocols: Sequence[str],
    *,
    per_city: Mapping[str, int | None] | None = None,
    seed: int = 0,
    **splitting: Any,
) -> pd.DataFrame:
    """Return the photos that are drawn under some protocol, with its columns `split_<name>`.

    A corpus's own split is taken whole, since balancing it would make another split of it.

    Args:
        photos: of qualifying cities, as for `assign_split`.
        per_city: the number for each split; None keeps all.
        splitting: shares and block_degrees, as for `assign_split`.
    """
    splits = pd.DataFrame(index=photos.index)
    for protocol in sorted(protocols, key=[*PROTOCOLS].index):  # columns in one order, whatever was asked for first
        for column, split in assign_split(photos, protocol, seed=seed, **splitting).items():
            splits[column] = balance(photos, split, _wanted(per_city, column), seed=seed)
    return photos.assign(**splits)[splits.notna().any(axis=1)]


def draw_sample(
    photos: pd.DataFrame,
    cities: pd.DataFrame,
    *,
    protocols: Sequence[str] | None = None,
    per_city: Mapping[str, int | None] | None = None,
    counted: tuple[int, int] | None = None,
    **splitting: Any,
) -> Sample:
    """Split the photos of qualifying cities under each protocol and balance each split.

    Args:
        photos: a photo table with a column `city_id` (null: in no city).
        cities: the cities that qualify, with city_id and city.
        protocols: those to draw; None draws all that the table allows.
        per_city: the number for each split; None keeps all.
        counted: photos in any city and in a qualifying one, where `photos` are what a larger table left of itself.
        splitting: shares, seed and block_degrees, as for `assign_split`.

    Raises:
        ValueError: if a protocol is asked for that the table does not allow, no photo is left, or one has no image.
    """
    candidates = photos[photos["city_id"].isin(cities["city_id"])]
    if absent := int(candidates["path"].isna().sum()):
        raise ValueError(
            f"{absent:,} of {len(candidates):,} photos have no image: give image_root in notebook 01, or the CSV a "
            "column `path`"
        )
    labelled, qualifying = counted or (int(photos["city_id"].notna().sum()), len(candidates))
    ledger = [ledger_row("in a qualifying city", labelled, qualifying, "in a city with too few photos")]
    names = PROTOCOLS if protocols is None else protocols
    protocols = available_protocols(candidates, protocols, **splitting)
    rows = draw(candidates, protocols, per_city=per_city, **splitting)
    if rows.empty:
        raise ValueError("no photo is left to sample: lower min_photos, widen radius_km, or give more photos")
    ledger.append(ledger_row("drawn under some protocol", qualifying, len(rows), "beyond the number a city and split"))
    rows = rows.assign(city=rows["city_id"].map(cities.set_index("city_id")["city"]))
    table = conform(rows.astype({"city_id": "int64"}), "sample")
    short = [_shortfalls(table, protocol, per_city) for protocol in drawn_protocols(table)]
    return Sample(table, ledger, pd.concat(short, ignore_index=True), [p for p in names if p not in protocols])


def split_counts(sample: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Count photos a city and split: rows are cities in the order of their names, columns train, val, test."""
    counts = pd.crosstab(sample["city"], split_of(sample, protocol))
    return counts.reindex(columns=list(SPLITS), fill_value=0)


def _wanted(per_city: Mapping[str, int | None] | None, column: str) -> Mapping[str, int | None] | None:
    """Return the numbers a city and split of a column of splits; None, all there are, of a corpus's own."""
    whole = {f"split_{name}" for name, protocol in PROTOCOLS.items() if protocol.whole}
    return None if column in whole else per_city


def _shortfalls(table: pd.DataFrame, protocol: str, per_city: Mapping[str, int | None] | None) -> pd.DataFrame:
    counts = split_counts(table, protocol).stack().rename_axis(["city", "split"]).rename("found").reset_index()
    wanted = counts["split"].map(_wanted(per_city, f"split_{protocol}") or {}).astype("float64")
    short = counts.assign(protocol=protocol, wanted=wanted)[counts["found"] < wanted]
    return short.astype({"wanted": "int64"})[["protocol", "city", "split", "wanted", "found"]]
