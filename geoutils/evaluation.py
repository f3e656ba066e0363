"""Accuracy with its interval, cities and distances, and the paper's Table I: numbers from predictions tables.

Results count test rows only. `cities` has one row a class: city_id, city, country, latitude, longitude.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from geoutils.geo import ERROR_THRESHOLDS_KM, great_circle_km
from geoutils.tables import PROTOCOLS, origin

ENOUGH = 20  # test photos below which a city gets no rank, colour or claim
RESAMPLES = 2_000
METHODS = ("chance", "knn", "svm", "finetune")
# Table I of "Diving Deeper into IM2GPS": accuracy of a method on a backbone
PAPER_TABLE_1 = {
    ("chance", "none"): 0.0270,
    ("knn", "places205_alexnet"): 0.0290,
    ("svm", "places205_alexnet"): 0.1877,
    ("finetune", "places205_alexnet"): 0.2203,
    ("finetune", "places205_googlenet"): 0.3330,
}
Interval = tuple[float, float, float]  # a share and the ends of its 95 % interval
_SIDECAR = ["method", "backbone", "weights", "protocol", "origin"]


def accuracy_interval(correct: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0) -> Interval:
    """Return the share of correct photos and the ends of its 95 % interval; all nan for no photo.

    Args:
        correct: bool, shape (n,).
        groups: photographers, shape (n,), null where unknown (then each photo stands alone). With groups the
            interval also covers the percentiles of a bootstrap that draws whole groups, since the photos of one
            photographer are alike; without, photos are taken as independent (Wilson 1927).
    """
    correct = np.asarray(correct, bool)
    if not len(correct):
        return np.nan, np.nan, np.nan
    low, high = stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    if groups is not None:
        codes = pd.factorize(np.asarray(groups, object))[0]
        codes[codes < 0] = codes.max() + 1 + np.arange((codes < 0).sum())
        hits, sizes = np.bincount(codes, correct), np.bincount(codes)
        rng = np.random.default_rng(seed)
        draws = (rng.integers(len(sizes), size=len(sizes)) for _ in range(RESAMPLES))
        drawn_low, drawn_high = np.quantile([hits[draw].sum() / sizes[draw].sum() for draw in draws], [0.025, 0.975])
        low, high = min(low, drawn_low), max(high, drawn_high)
    return float(correct.mean()), float(low), float(high)


def table1(predictions: Mapping[str, tuple[pd.DataFrame, dict]], sample: pd.DataFrame) -> pd.DataFrame:
    """Return Table I: one row a predictions file, in the paper's order, then by backbone.

    Args:
        predictions: name -> (table, sidecar), from `tables.read_predictions`.
        sample: the sample table that they were made from.

    Returns:
        method, backbone, weights, protocol, accuracy, ci_low, ci_high (fractions), n_test, paper (null off the
        paper's rows, and where chance is the only one), origin, top5, interval (what the interval assumes) and name.

    Raises:
        ValueError: if a sidecar lacks a key, or predictions and sample do not speak of the same test photos.
    """
    rows = []
    for name, (table, sidecar) in predictions.items():
        if absent := [key for key in _SIDECAR if key not in sidecar]:
            raise ValueError(f"{name}.json lacks {absent}; it needs {_SIDECAR}")
        test = _matched(table, sample, sidecar["protocol"], name)
        grouped = test["user_id"].notna().mean() > 0.5  # a few known photographers say nothing of the others
        found = accuracy_interval(test["predicted"] == test["city_id"], test["user_id"] if grouped else None)
        row = {key: sidecar[key] for key in _SIDECAR} | dict(zip(["accuracy", "ci_low", "ci_high"], found, strict=True))
        among = [city in best for city, best in zip(test["city_id"], test["top5"], strict=True)]
        row |= {"n_test": len(test), "paper": _paper(row), "top5": np.mean(among), "origin": origin(sample)}
        rows.append(row | {"interval": "by user" if grouped else "photos assumed independent", "name": name})
    first = ["method", "backbone", "weights", "protocol", "accuracy", "ci_low", "ci_high", "n_test", "paper", "origin"]
    table = pd.DataFrame(sorted(rows, key=_rank), columns=[*first, "top5", "interval", "name"])
    if table["method"][table["paper"].notna()].eq("chance").all():  # of 37 cities, and beside nothing else of the paper
        table["paper"] = np.nan
    return table


def _paper(row: dict) -> float:
    """Return the paper's number for a row; it split photos at random, so a row of another split has none."""
    return PAPER_TABLE_1.get((row["method"], row["backbone"]), np.nan) if row["protocol"] == "photo" else np.nan


def _rank(row: dict) -> tuple:
    def place(value, order) -> int:
        return list(order).index(value) if value in order else len(order)

    in_paper = row["backbone"] in {backbone for _, backbone in PAPER_TABLE_1}
    family = not in_paper, str(row["backbone"]), place(row["method"], METHODS)
    paper = place((row["method"], row["backbone"]), PAPER_TABLE_1)
    return paper, *family, place(row["protocol"], PROTOCOLS), row["name"]


def _test(predictions: pd.DataFrame) -> pd.DataFrame:
    test = predictions[predictions["split"] == "test"]
    if test.empty:
        raise ValueError(f"expected predictions with test rows; found none among {len(predictions)} rows")
    return test


def _matched(predictions: pd.DataFrame, sample: pd.DataFrame, protocol: str, name: str) -> pd.DataFrame:
    """Return the test rows with the sample's columns, or say which photos do not match."""
    split = f"split_{protocol}"
    joined = predictions.merge(sample, on="photo_id", how="left", suffixes=("", "_there"))
    faults = {
        "not in the sample": joined["city_id_there"].isna(),
        "of another city in the sample": joined["city_id_there"] != joined["city_id"],
        f"on another side of {split} in the sample": joined[split].fillna("none") != joined["split"],
    }
    for fault, rows in faults.items():
        if rows.any():
            some = joined.loc[rows, "photo_id"].head(3).tolist()
            raise ValueError(f"{name}: {rows.sum()} photos are {fault}, such as {some}; predict on this sample again")
    test, expected = _test(joined), (sample[split] == "test").sum()
    if len(test) < expected:
        raise ValueError(f"{name}: {len(test)} of the sample's {expected} test photos were predicted; predict all")
    return test


def _positions(ids: pd.Series, cities: pd.DataFrame) -> np.ndarray:
    positions = pd.Index(cities["city_id"]).get_indexer(ids)
    if (positions < 0).any():
        unknown = sorted(set(ids[positions < 0]))
        raise ValueError(f"{len(unknown)} cities are not in the table of {len(cities)} cities, such as {unknown[:3]}")
    return positions


def confusion(predictions: pd.DataFrame, cities: pd.DataFrame) -> pd.DataFrame:
    """Count test photos by true (index) and predicted city (columns), in the order of `cities`, absent ones too."""
    test, labels = _test(predictions), cities["city"]
    counts = np.zeros((len(cities), len(cities)), np.int64)
    np.add.at(counts, (_positions(test["city_id"], cities), _positions(test["predicted"], cities)), 1)
    return pd.DataFrame(counts, pd.Index(labels, name="true"), pd.Index(labels, name="predicted"))


def per_city(predictions: pd.DataFrame, cities: pd.DataFrame, users: pd.Series | None = None) -> pd.DataFrame:
    """Return each city's test accuracy.

    Args:
        users: photographers by photo_id, null where unknown, for intervals as `accuracy_interval` has them; None
            takes photos as independent.

    Returns:
        city_id, city, country, latitude, longitude, n_test, correct, accuracy, ci_low, ci_high, enough (20 test
        photos or more) and, where enough, confused_with: the three likeliest wrong cities with shares.
    """
    counts, test = confusion(predictions, cities), _test(predictions)
    n_test, correct = counts.sum(axis=1).to_numpy(), np.diag(counts)
    own = [test[test["city_id"] == city_id] for city_id in cities["city_id"]]
    groups = [None if users is None else users.reindex(rows["photo_id"]) for rows in own]
    intervals = [accuracy_interval(t["predicted"] == t["city_id"], g) for t, g in zip(own, groups, strict=True)]
    wrong = counts.mask(np.eye(len(counts), dtype=bool), 0)
    first = [row[row > 0].nlargest(3) / n for (_, row), n in zip(wrong.iterrows(), n_test, strict=True)]
    table = cities[["city_id", "city", "country", "latitude", "longitude"]].reset_index(drop=True)
    table = table.assign(n_test=n_test, correct=correct)
    table[["accuracy", "ci_low", "ci_high"]] = intervals
    table["enough"] = table["n_test"] >= ENOUGH
    shares = [", ".join(f"{city} {share:.0%}" for city, share in row.items()) for row in first]
    return table.assign(confused_with=np.where(table["enough"], shares, ""))


def order_geographically(cities: pd.DataFrame) -> np.ndarray:
    """Return the row numbers of `cities` so that neighbours on the globe are neighbours, the western end first."""
    latitude, longitude = cities["latitude"].to_numpy(), cities["longitude"].to_numpy()
    order = _leaves(great_circle_km(latitude[:, None], longitude[:, None], latitude, longitude))
    return order if longitude[order[0]] <= longitude[order[-1]] else order[::-1]


def order_by_confusion(confusion: pd.DataFrame) -> np.ndarray:
    """Return the row numbers of a confusion matrix so that cities taken for each other are neighbours."""
    counts = confusion.to_numpy(np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return _leaves(1 - (shares + shares.T) / 2)


def _leaves(distances: np.ndarray) -> np.ndarray:
    if len(distances) < 2:
        return np.arange(len(distances))
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    return leaves_list(linkage(condensed, "average", optimal_ordering=True))


def error_km(predictions: pd.DataFrame, cities: pd.DataFrame, sample: pd.DataFrame) -> pd.Series:
    """Return the distance from each test photo's own position to the centre of its predicted city.

    Returns:
        Great-circle kilometres, float64, by photo_id.
    """
    test = _test(predictions)
    own = sample.set_index("photo_id")[["latitude", "longitude"]].reindex(test["photo_id"])
    if (unknown := own.index[own["latitude"].isna()]).size:
        raise ValueError(f"{len(unknown)} photos have no position in the sample, such as {list(unknown[:3])}")
    centres = cities.iloc[_positions(test["predicted"], cities)]
    distances = great_circle_km(*own.to_numpy().T, centres["latitude"], centres["longitude"])
    return pd.Series(distances, own.index, name="error_km")


def within_thresholds(errors: pd.Series) -> pd.DataFrame:
    """Return threshold_km (street, city, region, country, continent) and the share of errors at most as large."""
    shares = [float(np.mean(errors <= threshold)) for threshold in ERROR_THRESHOLDS_KM]
    return pd.DataFrame({"threshold_km": ERROR_THRESHOLDS_KM, "share": shares})


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, float]:
    """Test whether two methods differ on the test photos that both saw (McNemar's exact test, two-sided).

    Returns:
        n, only_a and only_b (photos that one alone got right), p_value.
    """
    both = _test(a).merge(_test(b), on="photo_id", suffixes=("_a", "_b"))
    if both.empty or (both["city_id_a"] != both["city_id_b"]).any():
        raise ValueError("expected predictions of the same photos; found no photo in common, or other cities")
    right_a, right_b = both["predicted_a"] == both["city_id_a"], both["predicted_b"] == both["city_id_b"]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return {"n": len(both), "only_a": only_a, "only_b": only_b, "p_value": float(p_value)}
