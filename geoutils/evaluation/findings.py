"""What notebook 07 and the report say about a run: choices, comparisons and sentences, computed from its tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoutils import tables
from geoutils.evaluation import intervals

Predictions = Mapping[str, tuple[pd.DataFrame, dict[str, Any]]]
PROTOCOL_ORDER = ("photo", "given", "user")  # the paper's first


def best_method(predictions: Predictions, preferred: Sequence[str] = PROTOCOL_ORDER) -> str:
    """Name the predictions file that validates best; test photos have no say in it, nor have random weights
    where there are trained ones.

    Args:
        preferred: the split to look at is the first of these that there is, or else the first by name.

    Raises:
        ValueError: if no file of the protocol has validation photos.
    """
    learnt = {name: file for name, file in predictions.items() if file[1]["kind"] != "none"}
    learnt = {name: file for name, file in learnt.items() if file[1]["weights"] != "random"} or learnt
    present = {sidecar["protocol"] for _, sidecar in learnt.values()}
    protocol = next((p for p in (*preferred, *sorted(present)) if p in present), None)
    scores = {
        name: (table["predicted"] == table["city_id"])[table["split"] == "val"].mean()
        for name, (table, sidecar) in learnt.items()
        if sidecar["protocol"] == protocol and (table["split"] == "val").any()
    }
    if not scores:
        raise ValueError(f"no predictions that learnt have validation photos, split by {protocol}: {[*predictions]}")
    return max(scores, key=scores.get)


def choose_method(predictions: Predictions, name: str | None = None) -> str:
    """Return the name of a predictions file: the one asked for, or by default the one that validates best.

    Raises:
        ValueError: for a name that no file has, naming those that there are.
    """
    if name and name not in predictions:
        raise ValueError(f"no predictions are called {name!r}; there are {', '.join(predictions)}")
    return name or best_method(predictions)


def name_of(sidecar: Mapping[str, Any]) -> str:
    """Name a predictions file for people, such as "kNN on efficientnet_lite0 (split by photo)"."""
    return f"{sidecar['title']} on {sidecar['backbone']} (split by {sidecar['protocol']})"


def frozen_rival(predictions: Predictions, backbone: str, protocol: str) -> str | None:
    """Name the classifier that validates best on the frozen features of a backbone; None where there is none."""
    same = {"kind": "frozen", "backbone": backbone, "protocol": protocol}
    rivals = {name: file for name, file in predictions.items() if same.items() <= file[1].items()}
    return best_method(rivals) if any((table["split"] == "val").any() for table, _ in rivals.values()) else None


def describe_search(trials: pd.DataFrame) -> list[str]:
    """Say in a sentence a classifier what its search on validation photos found.

    Args:
        trials: columns title, preprocess, accuracy and settings (a dict), one row a setting that was tried.
    """
    sentences = []
    for title, own in trials.groupby("title", sort=False):
        best = own.loc[own["accuracy"].idxmax()]
        settings = [f"{name} = {value}" for name, value in best["settings"].items() if name != "preprocess"]
        chosen = ", ".join([f"{best['preprocess']} features", *settings])
        by_scaling = own.groupby("preprocess", sort=False)["accuracy"].max()
        shares = ", ".join(f"{name} {share:.1%}" for name, share in by_scaling.items())
        sentences.append(
            f"{title}: {own['accuracy'].min():.1%} to {best['accuracy']:.1%} of the validation photos, as the settings "
            f"are; best with {chosen}. The best of each treatment: {shares}."
        )
    return sentences


def describe_table1(table1: pd.DataFrame, name: str, *, cities: int, oracle: float | None = None) -> list[str]:
    """Say in a few sentences what Table I says of one predictions file and of the same method under other splits.

    Args:
        cities: that are told apart; guessing is right once in so many.
        oracle: what an all-knowing method reaches on the same test photos, where photos are made up.
    """
    row = table1.set_index("name").loc[name]
    sentences = [
        f"Of {row['n_test']:,} test photos, {row['title']} on {row['backbone']} ({row['weights']} weights) puts "
        f"{row['accuracy']:.1%} into the right city (95 % interval {row['ci_low']:.1%} to {row['ci_high']:.1%}), and "
        f"has it among its first five for {row['top5']:.1%}. Guessing among {cities} cities is right for "
        f"{1 / cities:.1%}."
    ]
    if oracle:
        sentences.append(
            f"Most made-up photos show nothing of their city: an oracle that reads every cue but knows no "
            f"photographer would get {oracle:.1%}; this is {row['accuracy'] / oracle:.0%} of it"
            + (", helped by photographers who stand on both sides." if row["protocol"] != "user" else ".")
        )
    same = table1[(table1["method"] == row["method"]) & (table1["backbone"] == row["backbone"])]
    others = same[same["protocol"] != row["protocol"]]
    parts = [f"{r.accuracy:.1%} ({r.ci_low:.1%} to {r.ci_high:.1%}) split by {r.protocol}" for r in others.itertuples()]
    if parts:
        sentences.append(f"That is when split by {row['protocol']}; the same method gets {', and '.join(parts)}.")
    alike = "Intervals resample whole photographers, whose photos are alike; no other split or training is in them."
    unknown = "Photographers are unknown, so intervals assume that photos are independent: they are too narrow."
    return [*sentences, alike if row["interval"] == "by user" else unknown]


def describe_rivals(predictions: Predictions, name: str) -> str:
    """Say whether a method differs from the next best of its split by more than chance (McNemar's exact test)."""
    protocol = predictions[name][1]["protocol"]
    rivals = {
        other: (table, sidecar)
        for other, (table, sidecar) in predictions.items()
        if other != name and sidecar["protocol"] == protocol
        if sidecar["kind"] != "none" and sidecar["weights"] != "random"
        if (table["split"] == "val").any()
    }
    if not rivals:
        return (
            "No other method of this split has validation photos to be chosen by: there is nothing to compare it with."
        )
    (table, sidecar), (other, told) = predictions[name], rivals[best_method(rivals)]
    test = intervals.mcnemar(table, other)
    verdict = "more than chance would do" if test["p_value"] < 0.05 else "no more than chance may do"
    return (
        f"Beside {told['title']} on {told['backbone']}, which validates best of the others: {test['only_a']} photos "
        f"are right by {sidecar['title']} on {sidecar['backbone']} alone, {test['only_b']} by the other alone "
        f"(p = {test['p_value']:.2g}, photos taken as independent): they differ by {verdict}."
    )


def describe_gap(table1: pd.DataFrame, name: str) -> str:
    """Say what a method loses from its own split to the hardest other one that it was tried on."""
    row = table1.set_index("name").loc[name]
    same = table1[(table1["method"] == row["method"]) & (table1["backbone"] == row["backbone"])]
    if len(same) < 2:
        return "This method was tried under one split only: what a random split gives away can't be told."
    worst = same.loc[same["accuracy"].idxmin()]
    if worst["name"] == name:
        return f"{row['title']} on {row['backbone']} does no worse under any other split."
    return (
        f"Split by {worst['protocol']}, the same method keeps {worst['accuracy'] / max(row['accuracy'], 1e-9):.0%} "
        f"of what it reaches split by {row['protocol']} ({worst['accuracy']:.1%} of {row['accuracy']:.1%})."
    )


def describe_cities(scores: pd.DataFrame) -> str:
    """Say which cities a method knows best and worst, among those with enough test photos for a claim."""
    claimed = scores[scores["enough"]]
    if claimed.empty:
        return f"No city has the {tables.MIN_TEST_PHOTOS} test photos that a claim about it needs."
    best, worst = (
        claimed.loc[claimed["accuracy"] == value] for value in (claimed["accuracy"].max(), claimed["accuracy"].min())
    )
    ends = [f"{', '.join(rows['city'][:4])} ({rows['accuracy'].iloc[0]:.0%})" for rows in (best, worst)]
    return f"Best known: {ends[0]}. Least: {ends[1]}. {len(claimed)} of {len(scores)} cities have enough test photos."


def describe_mistakes(counts: pd.DataFrame) -> str:
    """Say which mistake is made most often, and how many mistakes it takes to make half of all."""
    wrong = counts.where(~np.eye(len(counts), dtype=bool), 0).stack().sort_values(ascending=False)
    if not wrong.sum():
        return "No test photo is put into a wrong city."
    (true, named), most = wrong.index[0], int(wrong.iloc[0])
    half = int((wrong.cumsum() < wrong.sum() / 2).sum()) + 1
    return (
        f"Most often {true} is taken for {named}: {most} of {counts.loc[true].sum()} photos. Half of the "
        f"{wrong.sum():,} mistakes fall on {half} of {(wrong > 0).sum():,} pairs of cities that are mistaken at all."
    )


def describe_errors(within: pd.DataFrame, errors: pd.Series) -> str:
    """Say how far off a method's guesses are: the median, and the share within a region's 200 km."""
    share = within.set_index("threshold_km")["share"]
    return f"The median guess is {errors.median():,.0f} km off; {share.loc[200]:.1%} lie within a region's 200 km."


def describe_risk(curve: pd.DataFrame, calibration_error: float) -> str:
    """Say how right a method is on the surer half of the photos, and how far its confidence is off."""
    half, whole = curve[curve["coverage"] >= 0.5].iloc[0], curve.iloc[-1]
    return (
        f"On the surer half of the photos {half['accuracy']:.1%} are right, on all of them {whole['accuracy']:.1%}. "
        f"Confidence and accuracy differ by {100 * calibration_error:.1f} points on average (in ten bins)."
    )


def choose_focus(scores: pd.DataFrame) -> str:
    """Name the city to look at closely: the least known of those with enough test photos, else the one with most."""
    claimed = scores[scores["enough"]]
    return (claimed.nsmallest(1, "accuracy") if len(claimed) else scores.nlargest(1, "n_test"))["city"].iloc[0]
