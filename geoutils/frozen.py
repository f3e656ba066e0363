"""How far frozen features go: tune each classifier on validation, predict once on test, write predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin

from geoutils import classifiers, results
from geoutils.artifacts import provenance
from geoutils.features import Features

SCALINGS = ("raw", "normalised", "centred")
DEFAULTS = {"knn": {"k": 20}, "svm": {"C": 1.0}}  # where there are no validation photos to choose on


def compare(
    sample: pd.DataFrame,
    features: Features,
    protocol: str,
    folder: Path,
    *,
    methods: Sequence[str] = ("knn", "svm"),
    scalings: Sequence[str] = SCALINGS,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict with kNN and a linear SVM, each at the scaling and the k or C that validate best.

    Where a protocol leaves no validation photos, `DEFAULTS` and the last scaling are used.

    Args:
        sample: the sample whose rows `features` has.
        protocol: "photo", "user", "place" or "given".
        folder: gets `METHOD-BACKBONE-PROTOCOL.parquet` and its sidecar, one a method.

    Returns:
        The search: method, preprocess, k or C, validation accuracy, whether it was taken; one row a setting.
    """
    searches = []
    for method in methods:
        search = _search(sample, features.rows, protocol, method, scalings)
        best = search.loc[search["accuracy"].fillna(0).idxmax()]
        searches.append(search.assign(taken=search.index == best.name))
        name = "k" if method == "knn" else "C"
        setting = {name: int(best[name]) if method == "knn" else float(best[name])}
        classifier = classifiers.KNN(**setting) if method == "knn" else classifiers.LinearSVM(**setting)
        steps = classifiers.preprocess(best["preprocess"])
        told = {"backbone": features.key["backbone"], "weights": features.key["weights"]}
        settings = {**setting, "preprocess": best["preprocess"], "layer": features.key["layer"]}
        _predict(sample, features.rows, protocol, folder, method, classifier, steps, told, settings, seed)
    return pd.concat(searches, ignore_index=True)


def predict_chance(sample: pd.DataFrame, protocol: str, folder: Path, *, seed: int = 0) -> None:
    """Write the predictions of guessing at random."""
    blank = np.zeros((len(sample), 1), dtype=np.float32)
    told = {"backbone": "none", "weights": "none"}
    chance = classifiers.Chance(random_state=seed)
    _predict(sample, blank, protocol, folder, "chance", chance, classifiers.preprocess("raw"), told, {}, seed)


def _search(
    sample: pd.DataFrame, rows: np.ndarray, protocol: str, method: str, scalings: Sequence[str]
) -> pd.DataFrame:
    split, city = sample[f"split_{protocol}"].to_numpy(), sample["city_id"].to_numpy()
    train, val = rows[split == "train"], rows[split == "val"]
    if not len(val):
        usual = {"preprocess": scalings[-1], "accuracy": np.nan, **DEFAULTS[method]}
        return pd.DataFrame([{"method": method, "protocol": protocol, **usual}])
    tried = []
    for scaling in scalings:
        steps = classifiers.preprocess(scaling).fit(train)
        search = classifiers.search_k if method == "knn" else classifiers.search_C
        found = search(steps.transform(train), city[split == "train"], steps.transform(val), city[split == "val"])
        tried.append(found.assign(method=method, protocol=protocol, preprocess=scaling))
    return pd.concat(tried, ignore_index=True)


def _predict(
    sample: pd.DataFrame,
    rows: np.ndarray,
    protocol: str,
    folder: Path,
    method: str,
    classifier: ClassifierMixin,
    steps: Any,
    told: dict[str, str],
    settings: dict[str, Any],
    seed: int,
) -> None:
    split = sample[f"split_{protocol}"]
    train, scored = (split == "train").to_numpy(), split.isin(["val", "test"]).to_numpy()
    classifier.fit(steps.fit_transform(rows[train]), sample.loc[train, "city_id"].to_numpy())
    scores = classifier.decision_function(steps.transform(rows[scored]))
    told = {"method": method, **told, "seed": seed, "settings": settings, "provenance": provenance()}
    results.write(folder, sample, protocol, scores, classifier.classes_.tolist(), told)
