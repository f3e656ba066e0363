"""The paper's Table I, accuracy city by city, and what is taken for what: numbers from predictions tables.

Results count test rows only. `cities` has one row a class: city_id, city, country, latitude, longitude.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from geoutils.evaluation.intervals import accuracy_interval
from geoutils.geo import great_circle_km
from geoutils.tables import MIN_TEST_PHOTOS, drawn_protocols, origin, test_rows

# Table I of "Diving Deeper into IM2GPS": accuracy of a method on a backbone
PAPER_TABLE_1 = {
    ("chance", "none"): 0.0270,
    ("knn", "places205_alexnet"): 0.0290,
    ("svm", "places205_alexnet"): 0.1877,
    ("finetune", "places205_alexnet"): 0.2203,
    ("finetune", "places205_googlenet"): 0.3330,
}
_SIDECAR = ["method", "title", "kind", "backbone", "weights", "protocol", "origin"]


def table1(predictions: Mapping[str, tuple[pd.DataFrame, dict]], sample: pd.DataFrame) -> pd.DataFrame:
    """Return Table I: one row a predictions file, in the paper's order, then by backbone and title.

    Args:
        predictions: name -> (table, sidecar), from `tables.read_predictions`.
        sample: the sample table that they were made from.

    Returns:
        method, backbone, weights, protocol, accuracy, ci_low, ci_high (fractions), n_test, paper (null off the
        paper's rows, and where chance is the only one), origin, top5, interval (what the interval assumes), name (the
        file's), title (the method's, for people) and kind.

    Raises:
        ValueError: if predictions and sample do not speak of the same test photos.
    """
    rows = []
    for name, (table, sidecar) in predictions.items():
        test = _matched(table, sample, sidecar["protocol"], name)
        grouped = test["user_id"].notna().mean() > 0.5  # a few known photographers say nothing of the others
        interval = accuracy_interval(test["predicted"] == test["city_id"], test["user_id"] if grouped else None)
        row = {key: sidecar[key] for key in _SIDECAR}
        row |= dict(zip(["accuracy", "ci_low", "ci_high"], interval, strict=True))
        among = [city in best for city, best in zip(test["city_id"], test["top5"], strict=True)]
        row |= {"n_test": len(test), "paper": _paper(row), "top5": np.mean(among), "origin": origin(sample)}
        rows.append(row | {"interval": "by user" if grouped else "photos assumed independent", "name": name})
    first = ["method", "backbone", "weights", "protocol", "accuracy", "ci_low", "ci_high", "n_test", "paper", "origin"]
    protocols = drawn_protocols(sample)
    rows.sort(key=lambda row: _rank(row, protocols))
    table = pd.DataFrame(rows, columns=[*first, "top5", "interval", "name", "title", "kind"])
    if table["method"][table["paper"].notna()].eq("chance").all():  # of 37 cities, and beside nothing else of the paper
        table["paper"] = np.nan
    return table


def _paper(row: dict) -> float:
    """Return the paper's number for a row; it split photos at random, so a row of another split has none."""
    return PAPER_TABLE_1.get((row["method"], row["backbone"]), np.nan) if row["protocol"] == "photo" else np.nan


def _rank(row: dict, protocols: list[str]) -> tuple:
    def place(value, order) -> int:
        return list(order).index(value) if value in order else len(order)

    methods, backbones = zip(*PAPER_TABLE_1, strict=True)
    family = row["backbone"] not in backbones, str(row["backbone"]), place(row["method"], methods), row["title"]
    paper = place((row["method"], row["backbone"]), PAPER_TABLE_1)
    return paper, *family, place(row["protocol"], protocols), row["name"]


def _matched(predictions: pd.DataFrame, sample: pd.DataFrame, protocol: str, name: str) -> pd.DataFrame:
    """Return the test rows with the sample's columns, or say which photos do not match."""
    if protocol not in (drawn := drawn_protocols(sample)):
        raise ValueError(f"{name}: the sample has no split by protocol {protocol!r}; it was drawn under {drawn}")
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
    test, expected = test_rows(joined), (sample[split] == "test").sum()
    if len(test) < expected:
        raise ValueError(f"{name}: {len(test)} of the sample's {expected} test photos were predicted; predict all")
    return test


def city_rows(ids: pd.Series, cities: pd.DataFrame) -> np.ndarray:
    """Return the row number in `cities` of each city_id; raise for one that is not there."""
    positions = pd.Index(cities["city_id"]).get_indexer(ids)
    if (positions < 0).any():
        unknown = sorted(set(ids[positions < 0]))
        raise ValueError(f"{len(unknown)} cities are not in the table of {len(cities)} cities, such as {unknown[:3]}")
    return positions


def confusion(predictions: pd.DataFrame, cities: pd.DataFrame) -> pd.DataFrame:
    """Count test photos by true (index) and predicted city (columns), in the order of `cities`, absent ones too."""
    test, labels = test_rows(predictions), cities["city"]
    counts = np.zeros((len(cities), len(cities)), np.int64)
    np.add.at(counts, (city_rows(test["city_id"], cities), city_rows(test["predicted"], cities)), 1)
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
    counts, test = confusion(predictions, cities), test_rows(predictions)
    n_test, correct = counts.sum(axis=1).to_numpy(), np.diag(counts)
    own = [test[test["city_id"] == city_id] for city_id in cities["city_id"]]
    groups = [None if users is None else users.reindex(rows["photo_id"]) for rows in own]
    intervals = [accuracy_interval(t["predicted"] == t["city_id"], g) for t, g in zip(own, groups, strict=True)]
    wrong = counts.mask(np.eye(len(counts), dtype=bool), 0)
    first = [row[row > 0].nlargest(3) / n for (_, row), n in zip(wrong.iterrows(), n_test, strict=True)]
    table = cities[["city_id", "city", "country", "latitude", "longitude"]].reset_index(drop=True)
    table = table.assign(n_test=n_test, correct=correct)
    table[["accuracy", "ci_low", "ci_high"]] = intervals
    table["enough"] = table["n_test"] >= MIN_TEST_PHOTOS
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


def trained_rows(table1: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of Table I that learnt from trained weights; `method` becomes title and backbone."""
    rows = table1[(table1["kind"] != "none") & (table1["weights"] != "random")]
    rows = rows if len(rows) else table1
    return rows.assign(method=rows["title"] + ", " + rows["backbone"])


def side_by_side(predictions: Mapping[str, pd.DataFrame], cities: pd.DataFrame) -> pd.DataFrame:
    """Set the accuracies of methods side by side, city by city: city, one column a method, n_test."""
    scores = {name: per_city(table, cities) for name, table in predictions.items()}
    first = next(iter(scores.values()))
    return first[["city", "n_test"]].assign(**{name: score["accuracy"] for name, score in scores.items()})


def mistaken_for(counts: pd.DataFrame, cities: pd.DataFrame, city: str) -> pd.DataFrame:
    """Return the cities with `photos`: how many test photos of one city were put into each.

    Args:
        counts: from `confusion` over the same cities.

    Raises:
        ValueError: for a city that is not among them, naming some that are.
    """
    if city not in counts.index:
        raise ValueError(f"no city {city!r} in this run; there are {', '.join(counts.index[:10])}, ...")
    return cities.assign(city=counts.index, photos=counts.loc[city].to_numpy())
