"""How far frozen features go: tune each classifier on validation photos, predict once on test, write predictions.

To add a classifier: a file here with an estimator of scikit-learn's form, and its line in `CLASSIFIERS`. It needs

    title                   its name for people
    grid                    the values to try of its settings: {"k": (1, 5, 20)}; {} where there is nothing to choose
    fit(X, y)               or fit(X, y, photos): the training rows of the sample come with it
    decision_function(X)    a score a class, (n, classes); or predict_proba(X)

and may have, as class attributes or methods (`estimators.Scoring` brings defaults):

    scalings                those of the features to try, of `estimators.SCALINGS`
    backbones               the networks whose features it is for
    search(X, y, X_val, y_val)    a faster way through the grid than one fit a setting: a table of settings and accuracy
    locate(X)               latitude and longitude of its guesses, (n, 2) degrees

Where there are no validation photos its defaults serve. A parameter `random_state` gets the seed. Without a `search`
each setting is fitted once a scaling, network and split: keep the grid small.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline
from tqdm import tqdm

from geoutils.artifacts import provenance
from geoutils.features import Features
from geoutils.methods.estimators import SCALINGS, Chance, scaling
from geoutils.methods.knn import KNN
from geoutils.methods.predictions import rows_to_score, write_scores
from geoutils.methods.svm import LinearSVM
from geoutils.splits import hash_fractions
from geoutils.tables import split_of, split_rows

LEAST_LOG = np.log(1e-3)  # of a probability of 0, unless another one is less; a lower one would spoil the calibration
CLASSIFIERS: dict[str, type[BaseEstimator]] = {
    "knn": KNN,
    "svm": LinearSVM,
}


def tune_and_predict(
    sample: pd.DataFrame,
    features: Features,
    protocol: str,
    folder: Path,
    *,
    methods: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict with each classifier at the scaling and the settings (k, C) that validate best.

    Without validation photos the last scaling and the classifier's defaults are taken.

    Args:
        sample: the sample whose rows `features` has.
        protocol: one that the sample was drawn under.
        folder: gets `METHOD-BACKBONE-PROTOCOL.parquet`, its scores and its sidecar, one a method.
        methods: names in `CLASSIFIERS`; None takes all that are for this backbone.

    Returns:
        The search, one row a setting: method, title, backbone, weights, protocol, preprocess (the scaling), a column a
        setting, accuracy on validation photos, settings (all of them, as a dict), taken (whether this one was).
    """
    sample, searches = sample.reset_index(drop=True), []
    methods = [methods] if isinstance(methods, str) else methods
    network = {name: features.key[name] for name in ("backbone", "weights")}
    for method in classifiers_for(network["backbone"]) if methods is None else methods:
        search = _search(sample, features.rows, protocol, method, seed)
        best = search["accuracy"].fillna(0).idxmax()
        settings = search.loc[best, "settings"]
        names = {"method": method, "title": _classifier(method).title}
        searches.append(search.assign(**names, **network, protocol=protocol, taken=search.index == best))
        model = fit(build(method, settings, seed=seed), sample, features.rows, protocol)
        # a run can have several stores of one backbone
        settings = settings | {"layer": features.key["layer"], "store": features.folder.name}
        sidecar = {**names, "kind": "frozen", **network, "seed": seed, "settings": settings}
        _predict(model, sample, features.rows, protocol, folder, sidecar)
    return pd.concat(searches, ignore_index=True)


def predict_chance(sample: pd.DataFrame, protocol: str, folder: Path, *, seed: int = 0) -> None:
    """Write the predictions of guessing at random."""
    sample, blank = sample.reset_index(drop=True), np.zeros((len(sample), 1), dtype=np.float32)
    model = fit(make_pipeline(scaling("raw"), Chance(random_state=seed)), sample, blank, protocol)
    sidecar = {"method": "chance", "title": "chance", "kind": "none", "backbone": "none", "weights": "none"}
    _predict(model, sample, blank, protocol, folder, sidecar | {"seed": seed, "settings": {}})


def classifiers_for(backbone: str) -> list[str]:
    """Name the classifiers that apply to a backbone's features."""
    limits = {name: getattr(classifier, "backbones", None) for name, classifier in CLASSIFIERS.items()}
    return [name for name, backbones in limits.items() if backbones is None or backbone in backbones]


def build(method: str, settings: Mapping[str, Any], *, seed: int = 0) -> Pipeline:
    """Return the scaling and the classifier that the settings of a sidecar name, not fitted yet.

    Args:
        method: a name in `CLASSIFIERS`.
        settings: `preprocess` and the settings of the classifier's grid; others are not looked at.

    Raises:
        ValueError: for a method that is none of them, or settings that lack one, naming it.
    """
    classifier = _classifier(method)
    if missing := [name for name in ("preprocess", *classifier.grid) if name not in settings]:
        raise ValueError(f"the settings of {method!r} lack {missing}; found {sorted(settings)}: run 05_knn_svm again")
    own = {name: settings[name] for name in classifier.grid}
    if "random_state" in classifier().get_params():
        own.setdefault("random_state", seed)
    return make_pipeline(scaling(settings["preprocess"]), classifier(**own))


def fit(model: Pipeline, sample: pd.DataFrame, rows: np.ndarray, protocol: str) -> Pipeline:
    """Fit a model on the training photos' features (a copy of these `rows`, in the sample's order) and cities."""
    train = split_rows(sample.reset_index(drop=True), protocol, "train")
    return _fit(model, rows[train.index], train)


def score(model: BaseEstimator, rows: np.ndarray) -> np.ndarray:
    """Return a fitted model's scores of features, (n, classes), higher is likelier.

    Args:
        rows: (n, width); the scaling may overwrite them.
    """
    if not hasattr(model, "decision_function"):
        with np.errstate(divide="ignore"):  # some have the logarithms too, and lose less by them
            exact = hasattr(model, "predict_log_proba")
            scores = model.predict_log_proba(rows) if exact else np.log(model.predict_proba(rows))
        possible = np.isfinite(scores)  # what has no chance at all comes last
        return np.where(possible, scores, min(scores[possible].min(), LEAST_LOG))
    scores = model.decision_function(rows)
    return scores if scores.ndim == 2 else np.column_stack([-scores, scores])  # scikit-learn's two classes


def accuracy_by_training_size(
    sample: pd.DataFrame,
    features: Features,
    search: pd.Series,
    *,
    shares: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
    seed: int = 0,
) -> pd.DataFrame:
    """Score a classifier, at the settings that were chosen for it, on growing shares of the training photos.

    Args:
        features: those that the search was made on.
        search: the row of `tune_and_predict` that was taken.
        shares: of the training photos, first by hash, so that a larger share contains a smaller.

    Returns:
        training_photos, accuracy on validation photos, method; one row a share that holds two cities.
    """
    sample = sample.reset_index(drop=True)
    train, val = (split_rows(sample, search["protocol"], side) for side in ("train", "val"))
    order, points = hash_fractions(train["photo_id"], seed=0, purpose="growth"), []
    for share in shares:
        part = train[order < share]
        if part["city_id"].nunique() < 2:
            continue
        model = _fit(build(search["method"], search["settings"], seed=seed), features.rows[part.index], part)
        points.append((len(part), _accuracy(model, features.rows[val.index], val["city_id"])))
    own = [f"{name} = {value}" for name, value in search["settings"].items() if name != "preprocess"]
    label = ", ".join([search["title"], search["settings"]["preprocess"], *own])
    return pd.DataFrame(points, columns=["training_photos", "accuracy"]).assign(method=label)


def _classifier(method: str) -> type[BaseEstimator]:
    if method not in CLASSIFIERS:
        raise ValueError(f"no classifier on frozen features is called {method!r}; there are {[*CLASSIFIERS]}")
    return CLASSIFIERS[method]


def _fit(model: Pipeline, X: np.ndarray, photos: pd.DataFrame) -> Pipeline:
    name, classifier = model.steps[-1]
    wants_photos = "photos" in inspect.signature(classifier.fit).parameters
    return model.fit(X, photos["city_id"].to_numpy(), **({f"{name}__photos": photos} if wants_photos else {}))


def _accuracy(model: Pipeline, X: np.ndarray, city_ids: pd.Series) -> float:
    return float(np.mean(model.classes_[score(model, X).argmax(axis=1)] == city_ids.to_numpy()))


def _predict(
    model: Pipeline, sample: pd.DataFrame, rows: np.ndarray, protocol: str, folder: Path, sidecar: dict[str, Any]
) -> None:
    X = model[:-1].transform(rows[rows_to_score(sample, protocol).index])
    scores = score(model[-1], X)
    positions = model[-1].locate(X) if hasattr(model[-1], "locate") else None
    sidecar = {**sidecar, "provenance": provenance()}
    write_scores(folder, sample, protocol, scores, model.classes_.tolist(), sidecar, positions=positions)


def _search(sample: pd.DataFrame, rows: np.ndarray, protocol: str, method: str, seed: int) -> pd.DataFrame:
    """Return a table of preprocess, a column a setting, accuracy and settings: all that were tried."""
    classifier, split = _classifier(method), split_of(sample, protocol)
    scalings, (train, val) = getattr(classifier, "scalings", SCALINGS), (sample[split == s] for s in ("train", "val"))
    if val.empty:
        defaults = {name: classifier().get_params()[name] for name in classifier.grid}
        untried = {"preprocess": scalings[-1], **defaults}
        return pd.DataFrame([{**untried, "accuracy": np.nan, "settings": untried}])
    tables = []
    for preprocess in scalings:
        if hasattr(classifier, "search"):
            scale = scaling(preprocess)
            X, X_val = scale.fit_transform(rows[train.index]), scale.transform(rows[val.index])
            table = classifier.search(X, train["city_id"].to_numpy(), X_val, val["city_id"].to_numpy())
            table["settings"] = table[[*classifier.grid]].to_dict("records")
        else:
            table = _search_grid(method, preprocess, rows, train, val, seed)
        settings = [{"preprocess": preprocess, **own} for own in table["settings"]]
        tables.append(table.assign(preprocess=preprocess, settings=settings))
    return pd.concat(tables, ignore_index=True)


def _search_grid(
    method: str, preprocess: str, rows: np.ndarray, train: pd.DataFrame, val: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Fit a classifier once a setting of its grid: a table of settings, accuracy, and the settings as a dict too,
    since a column turns 8 beside None into 8.0."""
    trials = []
    for settings in tqdm(ParameterGrid(CLASSIFIERS[method].grid), CLASSIFIERS[method].title, delay=5):
        model = _fit(build(method, {"preprocess": preprocess, **settings}, seed=seed), rows[train.index], train)
        accuracy = _accuracy(model, rows[val.index], val["city_id"])
        trials.append({**settings, "accuracy": accuracy, "settings": settings})
    return pd.DataFrame(trials)
