"""In which city were these photos taken? A finished run's method, on photos of anyone's own. Cities only, never a
finer position."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from geoutils import features, tables
from geoutils.evaluation import confidence, findings
from geoutils.images import IMAGE_SUFFIXES, check_photos
from geoutils.methods import finetuning, frozen, predictions
from geoutils.networks import backbones

NONE_OF_THESE = "none of these"
# splits, that first which asks about photographers never seen
PROTOCOL_PREFERENCE = ("user", "given", "photo")
CHECKED_PHOTOS, SAME_ANSWERS = 100, 0.9  # photos of the run that a classifier fitted anew must predict as before
TARGET_PRECISION = 0.8  # of the photos that a city is named for, the share that must be right on validation photos


class Predictor(NamedTuple):
    """A method of a run, ready to score photos.

    model: scores the backbone's features; None: the backbone is a fine-tuned network that does so itself. cities:
    city_id, city, country, in the order of the classes. threshold: the probability below which the answer is "none of
    these". sidecar: the method's, and its `name`.
    """

    backbone: backbones.Backbone
    model: Pipeline | None
    cities: pd.DataFrame
    threshold: float
    sidecar: dict[str, Any]

    def probabilities(self, paths: pd.Series) -> np.ndarray:
        """Return the calibrated probability of each city for each photo, float64 (n, classes)."""
        if self.model is None:
            scores = finetuning.predict_logits(self.backbone, paths)
        else:
            scores = frozen.score(self.model, features.embed_photos(self.backbone, paths))
        return predictions.softmax(scores, self.sidecar["temperature"])


def load_predictor(run_dir: Path, method: str | None = None, *, allow_synthetic: bool = False) -> Predictor:
    """Load a method of a finished run: a fine-tuned network, or a classifier on frozen features.

    Args:
        method: the name of a file under `predictions/`; None: of those that can answer the one that validates best on
            photographers it has not seen, where there is such a split.
        allow_synthetic: take a method that learnt from made-up photos, whose answers about real ones mean nothing.

    Raises:
        FileNotFoundError: if the run has no method that can answer.
        ValueError: for a method that is unknown or can't answer, or a made-up world.
    """
    run_dir = Path(run_dir)
    files = tables.read_predictions(run_dir / "predictions")
    answering = {name: file for name, file in files.items() if not refusal(run_dir, name, file[1])}
    if method in files and method not in answering:
        raise ValueError(refusal(run_dir, method, files[method][1]))
    if not answering:
        raise FileNotFoundError(f"{run_dir} holds no trained method; `deep-im2gps run PROFILE` makes one")
    name = method or findings.best_method(answering, PROTOCOL_PREFERENCE)
    if name not in answering:
        raise ValueError(f"{run_dir} has no method {name!r}; it has {sorted(answering)}")
    table, sidecar = answering[name]
    if tables.made_up(sidecar["origin"]) and not allow_synthetic:
        raise ValueError(
            f"{name} of {run_dir} learnt from made-up drawings, so its answers about photos mean nothing. Run "
            "`make run PROFILE=own PHOTOS=...` on photos, or give --allow-synthetic to try the command all the same"
        )
    cities = tables.read_csv(run_dir / "cities.csv").set_index("city_id")
    if gone := [city_id for city_id in sidecar["class_ids"] if city_id not in cities.index]:
        raise ValueError(
            f"{run_dir}/cities.csv lacks {len(gone)} of the {len(sidecar['class_ids'])} cities that {name} learnt: "
            "02_cities has run again since; run the notebooks after it again too"
        )
    if sidecar["kind"] == "network":
        backbone, model = finetuning.load_model(run_dir / "models" / name)[0], None
    else:
        backbone, model = _fit_anew(run_dir, name, table, sidecar)
    threshold = confidence.confidence_threshold(table, TARGET_PRECISION)
    cities = cities.loc[sidecar["class_ids"]].reset_index()
    return Predictor(backbone, model, cities, threshold, {"name": name, **sidecar})


def refusal(run_dir: Path, name: str, sidecar: Mapping[str, Any]) -> str | None:
    """Say in a sentence why the method of a predictions file can't answer for new photos; None if it can."""
    said = f"{name} can't answer for new photos: "
    match sidecar["kind"]:
        case "none":
            return f"{said}it learnt nothing. Take another method"
        case "network":
            model = Path(run_dir) / "models" / name / "model.json"
            return None if model.exists() else f"{said}{model.parent} holds no finished model. Run 06_finetune again"
    if sidecar["method"] not in frozen.CLASSIFIERS:
        there = ", ".join(frozen.CLASSIFIERS)
        return f"{said}no classifier is called {sidecar['method']!r}, there are {there}. See geoutils.methods.frozen"
    needed = ("preprocess", "store", *frozen.CLASSIFIERS[sidecar["method"]].grid)
    if missing := [key for key in needed if key not in sidecar["settings"]]:
        return f"{said}its sidecar does not say {', '.join(missing)}. Run 05_knn_svm again"
    return None


def name_cities(predictor: Predictor, paths: Sequence[Path], *, min_confidence: float | None = None) -> pd.DataFrame:
    """Name the city of each photo, or say "none of these", or why the file can't be read.

    Args:
        paths: photos, or folders that are searched for photos.
        min_confidence: probability below which no city is named; None takes the one set on validation photos.

    Returns:
        file, answer, confidence, first_5 ("city 41 %, ..."), fault (null for a good file), method, origin; one row a
        file, in order.

    Raises:
        FileNotFoundError: if there is no photo at all. ValueError: for a `min_confidence` that is no probability.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence is a probability from 0 to 1, found {min_confidence}")
    files = _files(paths)
    faults = check_photos(files)
    good = files[faults.isna()]
    lowest = predictor.threshold if min_confidence is None else min_confidence
    table = pd.DataFrame({"file": files, "answer": None, "confidence": np.nan, "first_5": None, "fault": faults})
    if len(good):
        shares, names = predictor.probabilities(good), predictor.cities["city"].to_numpy()
        best = np.argsort(-shares, axis=1, kind="stable")[:, :5]
        highest = shares.max(axis=1)
        table.loc[good.index, "answer"] = np.where(highest >= lowest, names[best[:, 0]], NONE_OF_THESE)
        table.loc[good.index, "confidence"] = highest
        table.loc[good.index, "first_5"] = [
            ", ".join(f"{names[i]} {row[i]:.0%}" for i in order) for row, order in zip(shares, best, strict=True)
        ]
    return table.assign(method=predictor.sidecar["name"], origin=predictor.sidecar["origin"])


def describe_threshold(predictor: Predictor, min_confidence: float | None = None) -> str:
    """Say in a sentence from which confidence a city is named, and why none is where none is."""
    if min_confidence is not None:
        return f"A city is named from a confidence of {min_confidence:.0%}, as asked."
    if np.isfinite(predictor.threshold):
        right = f"{TARGET_PRECISION:.0%} of the validation photos beyond it were right"
        return f"A city is named from a confidence of {predictor.threshold:.0%}: {right}."
    why = f"at no confidence were {TARGET_PRECISION:.0%} of the validation photos right"
    return f"No city is named: {why}. --min-confidence P names the likeliest all the same."


def _files(paths: Sequence[Path]) -> pd.Series:
    files: list[str] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
        files += map(str, inside)
    if not files:
        raise FileNotFoundError(f"no photo under {', '.join(map(str, paths))}; expected {' '.join(IMAGE_SUFFIXES)}")
    return pd.Series(files, dtype="str")


def _fit_anew(
    run_dir: Path, name: str, table: pd.DataFrame, sidecar: dict[str, Any]
) -> tuple[backbones.Backbone, Pipeline]:
    """Return the network whose features a classifier learnt from, and the classifier, fitted anew on them in seconds.

    Raises:
        ValueError: if it does not predict the run's photos as it did then.
    """
    sample, protocol = tables.read_table(run_dir / "sample.parquet", "sample"), sidecar["protocol"]
    store = features.open_store(run_dir / "features" / sidecar["settings"]["store"], sample)
    model = frozen.build(sidecar["method"], sidecar["settings"], seed=sidecar.get("seed", 0))
    model = frozen.fit(model, sample, store.rows, protocol)
    before = table.head(CHECKED_PHOTOS)
    rows = pd.Index(sample["photo_id"]).get_indexer(before["photo_id"])
    now = model.classes_[frozen.score(model, store.rows[rows]).argmax(axis=1)]
    if (same := int((now == before["predicted"]).sum())) < SAME_ANSWERS * len(before):
        raise ValueError(
            f"{name}, fitted anew, predicts {same} of {len(before)} photos as it did: its code or the sample has "
            "changed since. Run 05_knn_svm again"
        )
    return backbones.load(**store.key["made_with"]), model
