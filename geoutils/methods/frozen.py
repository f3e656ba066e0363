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
from geoutils.methods.estimators import Chance, scaling
from geoutils.methods.knn import KNN
from geoutils.methods.predictions import write_scores
from geoutils.methods.svm import LinearSVM
from geoutils.splits import hash_fractions
from geoutils.tables import split_of

SCALINGS = ("raw", "normalised", "centred")
Classifier = ClassifierMixin | Pipeline
# each has a title, a grid of one setting, and a search over it on validation photos; its defaults serve without any
CLASSIFIERS = {"knn": KNN, "svm": LinearSVM}


def tune_and_predict(
    sample: pd.DataFrame,
    features: Features,
    protocol: str,
    folder: Path,
    *,
    methods: Sequence[str] | None = None,
    scalings: Sequence[str] = SCALINGS,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict with each classifier at the scaling and the setting (k, C) that validate best.

    Where a protocol leaves no validation photos, a classifier's defaults and the last scaling are used.

    Args:
        sample: the sample whose rows `features` has.
        protocol: one that the sample was drawn under.
        folder: gets `METHOD-BACKBONE-PROTOCOL.parquet` and its sidecar, one a method.
        methods: names in `CLASSIFIERS`; None: all of them.

    Returns:
        The search: method, preprocess, k or C, validation accuracy, whether it was taken; one row a setting.
    """
    searches = []
    for method in CLASSIFIERS if methods is None else methods:
        search = _search(sample, features.rows, protocol, method, scalings)
        best = search.loc[search["accuracy"].fillna(0).idxmax()]
        searches.append(search.assign(taken=search.index == best.name))
        settings = _own_settings(method, best) | {"preprocess": best["preprocess"], "layer": features.key["layer"]}
        settings["store"] = features.folder.name  # a run can have several of one backbone
        sidecar = {"method": method, "title": CLASSIFIERS[method].title, "kind": "frozen"}
        sidecar |= {name: features.key[name] for name in ("backbone", "weights")} | {"seed": seed, "settings": settings}
        _predict(sample, features.rows, protocol, folder, build(method, settings), sidecar)
    return pd.concat(searches, ignore_index=True)


def predict_chance(sample: pd.DataFrame, protocol: str, folder: Path, *, seed: int = 0) -> None:
    """Write the predictions of guessing at random."""
    blank = np.zeros((len(sample), 1), dtype=np.float32)
    sidecar = {"method": "chance", "title": "chance", "kind": "none", "backbone": "none", "weights": "none"}
    _predict(sample, blank, protocol, folder, Chance(random_state=seed), sidecar | {"seed": seed, "settings": {}})


def build(method: str, settings: Mapping[str, Any]) -> Pipeline:
    """Return the scaling and classifier that the settings of a sidecar name; they overwrite the rows that they get.

    Args:
        method: a name in `CLASSIFIERS`.
        settings: preprocess, and the classifier's own: k or C.

    Raises:
        ValueError: for a method that is none of them.
    """
    return make_pipeline(scaling(settings["preprocess"]), _classifier(method)(**_own_settings(method, settings)))


def fit(model: Classifier, sample: pd.DataFrame, rows: np.ndarray, protocol: str) -> Classifier:
    """Fit a classifier on the training photos' features (a copy of these `rows`, in the sample's order) and cities."""
    train = (split_of(sample, protocol) == "train").to_numpy()
    return model.fit(rows[train], sample.loc[train, "city_id"].to_numpy())


def _predict(
    sample: pd.DataFrame, rows: np.ndarray, protocol: str, folder: Path, model: Classifier, sidecar: dict[str, Any]
) -> None:
    scored = split_of(sample, protocol).isin(["val", "test"]).to_numpy()
    scores = fit(model, sample, rows, protocol).decision_function(rows[scored])
    sidecar = {**sidecar, "provenance": provenance()}
    write_scores(folder, sample, protocol, scores, model.classes_.tolist(), sidecar)


def _classifier(method: str) -> type:
    if method not in CLASSIFIERS:
        raise ValueError(f"no classifier on frozen features is called {method!r}; there are {[*CLASSIFIERS]}")
    return CLASSIFIERS[method]


def _own_settings(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a classifier's grid varies (k, C), from a row of a search or a sidecar, as plain numbers."""
    defaults = _classifier(method)().get_params()
    return {name: type(defaults[name])(given[name]) for name in CLASSIFIERS[method].grid}


def _search(
    sample: pd.DataFrame, rows: np.ndarray, protocol: str, method: str, scalings: Sequence[str]
) -> pd.DataFrame:
    split, city, classifier = split_of(sample, protocol).to_numpy(), sample["city_id"].to_numpy(), _classifier(method)
    train, val = split == "train", split == "val"
    if not val.any():
        usual = {"preprocess": scalings[-1], "accuracy": np.nan, **_own_settings(method, classifier().get_params())}
        return pd.DataFrame([{"method": method, "protocol": protocol, **usual}])
    tried = []
    for name in scalings:
        steps = scaling(name)
        found = classifier.search(steps.fit_transform(rows[train]), city[train], steps.transform(rows[val]), city[val])
        tried.append(found.assign(method=method, protocol=protocol, preprocess=name))
    return pd.concat(tried, ignore_index=True)


def accuracy_by_training_size(
    sample: pd.DataFrame,
    features: Features,
    protocol: str,
    searches: pd.DataFrame,
    method: str,
    *,
    shares: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
) -> pd.DataFrame:
    """Score a classifier, at the setting that `tune_and_predict` took, on growing shares of the training photos.

    Args:
        searches: what `tune_and_predict` returned, with a column `backbone`.
        shares: of the training photos, first by hash, so that a larger share contains a smaller.

    Returns:
        training_photos, accuracy on validation photos, method; one row a share.
    """
    taken = searches[(searches["method"] == method) & (searches["protocol"] == protocol) & searches["taken"]]
    best = taken[taken["backbone"] == features.key["backbone"]].iloc[0]
    settings = [f"{name} = {value:g}" for name, value in _own_settings(method, best).items()]
    label = ", ".join([CLASSIFIERS[method].title, *settings, best["preprocess"]])
    split, city = split_of(sample, protocol).to_numpy(), sample["city_id"].to_numpy()
    place, val, rows = hash_fractions(sample["photo_id"], seed=0, purpose="growth"), split == "val", []
    for share in shares:
        part = (split == "train") & (place < share)
        model = build(method, best).fit(features.rows[part], city[part])
        rows.append((int(part.sum()), model.score(features.rows[val], city[val]), label))
    return pd.DataFrame(rows, columns=["training_photos", "accuracy", "method"])
