"""How far frozen features go: tune each classifier on validation, predict once on test, write predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.pipeline import Pipeline

from geoutils import classifiers, results
from geoutils.artifacts import provenance
from geoutils.features import Features
from geoutils.sampling import hash_fractions

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
        steps = in_place(classifiers.preprocess(best["preprocess"]))
        told = {"backbone": features.key["backbone"], "weights": features.key["weights"]}
        settings = {**setting, "preprocess": best["preprocess"], "layer": features.key["layer"]}
        settings["store"] = features.folder.name  # a run can have several of one backbone
        _predict(sample, features.rows, protocol, folder, method, classifier, steps, told, settings, seed)
    return pd.concat(searches, ignore_index=True)


def predict_chance(sample: pd.DataFrame, protocol: str, folder: Path, *, seed: int = 0) -> None:
    """Write the predictions of guessing at random."""
    blank = np.zeros((len(sample), 1), dtype=np.float32)
    told = {"backbone": "none", "weights": "none"}
    chance = classifiers.Chance(random_state=seed)
    _predict(sample, blank, protocol, folder, "chance", chance, classifiers.preprocess("raw"), told, {}, seed)


def in_place(steps: Pipeline) -> Pipeline:
    """Let a scaling overwrite the rows that it is given: of a copy from a large memory map no second one may fit."""
    return steps.set_params(**{name: False for name in steps.get_params() if name.endswith("__copy")})


def _search(
    sample: pd.DataFrame, rows: np.ndarray, protocol: str, method: str, scalings: Sequence[str]
) -> pd.DataFrame:
    split, city = sample[f"split_{protocol}"].to_numpy(), sample["city_id"].to_numpy()
    train, val = split == "train", split == "val"
    if not val.any():
        usual = {"preprocess": scalings[-1], "accuracy": np.nan, **DEFAULTS[method]}
        return pd.DataFrame([{"method": method, "protocol": protocol, **usual}])
    tried = []
    for scaling in scalings:
        steps = in_place(classifiers.preprocess(scaling))
        search = classifiers.search_k if method == "knn" else classifiers.search_C
        found = search(steps.fit_transform(rows[train]), city[train], steps.transform(rows[val]), city[val])
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


def grow(
    sample: pd.DataFrame,
    features: Features,
    protocol: str,
    searches: pd.DataFrame,
    *,
    shares: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
) -> pd.DataFrame:
    """Score the SVM, at the setting that `compare` took, on growing shares of the training photos.

    Args:
        searches: what `compare` returned, with a column `backbone`.
        shares: of the training photos, first by hash, so that a larger share contains a smaller.

    Returns:
        training_photos, accuracy on validation photos, method; one row a share.
    """
    of_svm = (searches["method"] == "svm") & (searches["protocol"] == protocol) & searches["taken"]
    best = searches[of_svm & (searches["backbone"] == features.key["backbone"])].iloc[0]
    split, city = sample[f"split_{protocol}"].to_numpy(), sample["city_id"].to_numpy()
    place, val, found = hash_fractions(sample["photo_id"], seed=0, purpose="growth"), split == "val", []
    for share in shares:
        part = (split == "train") & (place < share)
        svm = classifiers.preprocess(best["preprocess"])
        svm.steps.append(("svm", classifiers.LinearSVM(C=best["C"])))
        score = svm.fit(features.rows[part], city[part]).score(features.rows[val], city[val])
        found.append((int(part.sum()), score, f"SVM, C = {best['C']:g}, {best['preprocess']}"))
    return pd.DataFrame(found, columns=["training_photos", "accuracy", "method"])
