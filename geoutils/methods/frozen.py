"""How far frozen features go: tune each classifier on validation, predict once on test, write predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.pipeline import Pipeline, make_pipeline

from geoutils.artifacts import provenance
from geoutils.features import Features
from geoutils.methods import estimators, knn, predictions, svm
from geoutils.splits import hash_fractions

SCALINGS = ("raw", "normalised", "centred")
Classifier = ClassifierMixin | Pipeline
DEFAULTS = {"knn": {"k": 20}, "svm": {"C": 1.0}}  # where there are no validation photos to choose on


def tune_and_predict(
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
        settings = {"k": int(best["k"])} if method == "knn" else {"C": float(best["C"])}
        settings |= {"preprocess": best["preprocess"], "layer": features.key["layer"]}
        settings["store"] = features.folder.name  # a run can have several of one backbone
        sidecar = {"method": method, "backbone": features.key["backbone"], "weights": features.key["weights"]}
        sidecar |= {"seed": seed, "settings": settings}
        _predict(sample, features.rows, protocol, folder, build(method, settings), sidecar)
    return pd.concat(searches, ignore_index=True)


def predict_chance(sample: pd.DataFrame, protocol: str, folder: Path, *, seed: int = 0) -> None:
    """Write the predictions of guessing at random."""
    blank = np.zeros((len(sample), 1), dtype=np.float32)
    sidecar = {"method": "chance", "backbone": "none", "weights": "none", "seed": seed, "settings": {}}
    _predict(sample, blank, protocol, folder, estimators.Chance(random_state=seed), sidecar)


def build(method: str, settings: Mapping[str, Any]) -> Pipeline:
    """Return the scaling and classifier that the settings of a sidecar name; they overwrite the rows that they get.

    Args:
        method: "knn" or "svm".
        settings: preprocess, and k or C.
    """
    classifier = knn.KNN(settings["k"]) if method == "knn" else svm.LinearSVM(settings["C"])
    return make_pipeline(estimators.scaling(settings["preprocess"]), classifier)


def fit(model: Classifier, sample: pd.DataFrame, rows: np.ndarray, protocol: str) -> Classifier:
    """Fit a classifier on the training photos' features (a copy of these `rows`, in the sample's order) and cities."""
    train = (sample[f"split_{protocol}"] == "train").to_numpy()
    return model.fit(rows[train], sample.loc[train, "city_id"].to_numpy())


def _predict(
    sample: pd.DataFrame, rows: np.ndarray, protocol: str, folder: Path, model: Classifier, sidecar: dict[str, Any]
) -> None:
    scored = sample[f"split_{protocol}"].isin(["val", "test"]).to_numpy()
    scores = fit(model, sample, rows, protocol).decision_function(rows[scored])
    sidecar = {**sidecar, "provenance": provenance()}
    predictions.write_scores(folder, sample, protocol, scores, model.classes_.tolist(), sidecar)


def _search(
    sample: pd.DataFrame, rows: np.ndarray, protocol: str, method: str, scalings: Sequence[str]
) -> pd.DataFrame:
    split, city = sample[f"split_{protocol}"].to_numpy(), sample["city_id"].to_numpy()
    train, val = split == "train", split == "val"
    if not val.any():
        usual = {"preprocess": scalings[-1], "accuracy": np.nan, **DEFAULTS[method]}
        return pd.DataFrame([{"method": method, "protocol": protocol, **usual}])
    search, tried = knn.search_k if method == "knn" else svm.search_C, []
    for scaling in scalings:
        steps = estimators.scaling(scaling)
        found = search(steps.fit_transform(rows[train]), city[train], steps.transform(rows[val]), city[val])
        tried.append(found.assign(method=method, protocol=protocol, preprocess=scaling))
    return pd.concat(tried, ignore_index=True)


def accuracy_by_training_size(
    sample: pd.DataFrame,
    features: Features,
    protocol: str,
    searches: pd.DataFrame,
    *,
    shares: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
) -> pd.DataFrame:
    """Score the SVM, at the setting that `tune_and_predict` took, on growing shares of the training photos.

    Args:
        searches: what `tune_and_predict` returned, with a column `backbone`.
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
        svm = build("svm", best).fit(features.rows[part], city[part])
        score = svm.score(features.rows[val], city[val])
        found.append((int(part.sum()), score, f"SVM, C = {best['C']:g}, {best['preprocess']}"))
    return pd.DataFrame(found, columns=["training_photos", "accuracy", "method"])
