"""What notebook 07 and the report say about a run: choices, comparisons and sentences, computed from its tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from geoutils import evaluation, tables

Predictions = Mapping[str, tuple[pd.DataFrame, dict[str, Any]]]
PROTOCOL_ORDER = ("photo", "given", "user", "place")  # the paper's first


def write(
    folder: Path, sample: pd.DataFrame, protocol: str, scores: np.ndarray, classes: ArrayLike, told: Mapping[str, Any]
) -> pd.DataFrame:
    """Write a method's predictions of a sample's validation and test photos, their confidence calibrated on the former.

    Args:
        folder: gets `METHOD-BACKBONE-PROTOCOL.parquet` and its sidecar.
        scores: (n, classes) for the val and test rows of the protocol, in the sample's order.
        classes: city_id of each column.
        told: the sidecar: method, backbone, weights, seed, settings, provenance.

    Returns:
        The predictions table.
    """
    asked = sample[sample[f"split_{protocol}"].isin(["val", "test"])]
    split, city = asked[f"split_{protocol}"].to_numpy(), asked["city_id"].to_numpy()
    known = (split == "val") & np.isin(city, classes)
    temperature = evaluation.fit_temperature(scores[known], city[known], classes) if known.any() else 1.0
    table = evaluation.predictions_table(asked["photo_id"], city, scores, classes, split, temperature=temperature)
    origin = tables.origin(asked)
    sidecar = {**told, "protocol": protocol, "origin": origin, "class_ids": list(classes), "temperature": temperature}
    name = tables.predictions_name(told["method"], told["backbone"], protocol)
    tables.write_predictions(table, sidecar, folder, name)
    return table


def best_method(predictions: Predictions, protocol: str | None = None) -> str:
    """Name the predictions file that validates best; test photos have no say in it.

    Args:
        protocol: the split to look at; None takes the first there is of photo, given, user, place.

    Raises:
        ValueError: if no file of the protocol has validation photos.
    """
    learnt = {name: (table, told) for name, (table, told) in predictions.items() if told["method"] != "chance"}
    present = {told["protocol"] for _, told in learnt.values()}
    protocol = protocol or next((p for p in PROTOCOL_ORDER if p in present), None)
    scores = {
        name: (table["predicted"] == table["city_id"])[table["split"] == "val"].mean()
        for name, (table, told) in learnt.items()
        if told["protocol"] == protocol and (table["split"] == "val").any()
    }
    if not scores:
        raise ValueError(f"no predictions have validation photos under {protocol or 'any split'}: {[*predictions]}")
    return max(scores, key=scores.get)


def labelled(table1: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of Table I that learnt something from trained weights, `method` told apart by backbone."""
    rows = table1[(table1["method"] != "chance") & (table1["weights"] != "random")]
    rows = rows if len(rows) else table1
    return rows.assign(method=rows["method"] + ", " + rows["backbone"])


def side_by_side(predictions: Mapping[str, pd.DataFrame], cities: pd.DataFrame) -> pd.DataFrame:
    """Set the accuracies of methods side by side, city by city: city, one column a method, n_test."""
    scores = {name: evaluation.per_city(table, cities) for name, table in predictions.items()}
    first = next(iter(scores.values()))
    return first[["city", "n_test"]].assign(**{name: score["accuracy"] for name, score in scores.items()})


def mistaken_for(counts: pd.DataFrame, cities: pd.DataFrame, city: str) -> pd.DataFrame:
    """Return the cities with `photos`: how many test photos of one city were put into each.

    Args:
        counts: from `evaluation.confusion` over the same cities.

    Raises:
        ValueError: for a city that is not among them, naming some that are.
    """
    if city not in counts.index:
        raise ValueError(f"no city {city!r} in this run; there are {', '.join(counts.index[:10])}, ...")
    return cities.assign(city=counts.index, photos=counts.loc[city].to_numpy())


def risk_coverage(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Return the accuracy among the surest photos, for every share of them: coverage, accuracy, confidence."""
    rows = predictions[predictions["split"] == split].sort_values("confidence", ascending=False)
    right, number = (rows["predicted"] == rows["city_id"]).to_numpy(), np.arange(1, len(rows) + 1)
    curve = {"coverage": number / len(rows), "accuracy": right.cumsum() / number, "confidence": rows["confidence"]}
    table = pd.DataFrame(curve).reset_index(drop=True)
    return table[~table["confidence"].duplicated(keep="last")]  # equal confidences can't be told apart


def summarise(table1: pd.DataFrame, name: str, *, oracle: float | None = None) -> list[str]:
    """Say in a few sentences what Table I says of one predictions file and of the same method under other splits.

    Args:
        oracle: what an all-knowing method reaches on the same test photos, where photos are made up.
    """
    row = table1.set_index("name").loc[name]
    chance = table1[(table1["method"] == "chance") & (table1["protocol"] == row["protocol"])]
    sentences = [
        f"Of {row['n_test']:,} test photos, the method that validates best ({row['method']} on {row['backbone']}, "
        f"{row['weights']} weights) puts {row['accuracy']:.1%} into the right city (95 % interval {row['ci_low']:.1%} "
        f"to {row['ci_high']:.1%}), and has it among its first five for {row['top5']:.1%}."
    ]
    if len(chance):
        sentences[0] += f" Guessing got {chance['accuracy'].iloc[0]:.1%}."
    if oracle:
        sentences.append(
            f"Most made-up photos show nothing of their city: an oracle that reads every cue but knows no "
            f"photographer would get {oracle:.1%}; this is {row['accuracy'] / oracle:.0%} of it."
        )
    same = table1[(table1["method"] == row["method"]) & (table1["backbone"] == row["backbone"])]
    others = same[same["protocol"] != row["protocol"]]
    parts = [f"{r.accuracy:.1%} ({r.ci_low:.1%} to {r.ci_high:.1%}) split by {r.protocol}" for r in others.itertuples()]
    if parts:
        sentences.append(f"That is when split by {row['protocol']}; the same method gets {', and '.join(parts)}.")
    if row["interval"] == "by user":
        sentences.append("Intervals resample whole photographers, whose photos are alike.")
    else:
        sentences.append(
            "Photographers are unknown, so intervals assume that photos are independent: they are too narrow."
        )
    return sentences
