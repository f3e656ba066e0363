"""Scores to a predictions file, with a confidence calibrated on validation photos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special

from geoutils.tables import conform, origin, predictions_name, write_predictions


def write_scores(
    folder: Path,
    sample: pd.DataFrame,
    protocol: str,
    scores: np.ndarray,
    classes: ArrayLike,
    sidecar: Mapping[str, Any],
) -> pd.DataFrame:
    """Write a method's predictions of a sample's validation and test photos, their confidence calibrated on the former.

    Args:
        folder: gets `METHOD-BACKBONE-PROTOCOL.parquet` and its sidecar.
        scores: (n, classes) for the val and test rows of the protocol, in the sample's order.
        classes: city_id of each column.
        sidecar: method, backbone, weights, seed, settings, provenance.

    Returns:
        The predictions table.
    """
    asked = sample[sample[f"split_{protocol}"].isin(["val", "test"])]
    split, city = asked[f"split_{protocol}"].to_numpy(), asked["city_id"].to_numpy()
    val = split == "val"
    temperature = fit_temperature(scores[val], city[val], classes)
    table = predictions_table(asked["photo_id"], city, scores, classes, split, temperature=temperature)
    sidecar = {**sidecar, "protocol": protocol, "origin": origin(asked)}
    sidecar |= {"class_ids": list(classes), "temperature": temperature}
    name = predictions_name(sidecar["method"], sidecar["backbone"], protocol)
    write_predictions(table, sidecar, folder, name)
    return table


def predictions_table(
    photo_ids: ArrayLike,
    true: ArrayLike,
    scores: ArrayLike,
    classes: ArrayLike,
    split: ArrayLike,
    *,
    temperature: float = 1.0,
) -> pd.DataFrame:
    """Turn scores into a checked predictions table.

    Args:
        photo_ids, true: shape (n,); `true` are city ids.
        scores: shape (n, classes), higher is likelier.
        classes: shape (classes,), city ids.
        split: "val" or "test", shape (n,) or one for all.
        temperature: confidence is the best class's softmax of scores / temperature (see `fit_temperature`).
    """
    scores, classes = np.asarray(scores, np.float64), np.asarray(classes)
    if scores.shape != (len(photo_ids), len(classes)) or not np.isfinite(scores).all():
        wanted = (len(photo_ids), len(classes))
        raise ValueError(f"expected finite scores of shape {wanted} (photos, classes); found {scores.shape}")
    best = classes[np.argsort(-scores, axis=1, kind="stable")[:, :5]]
    confidence = softmax(scores, temperature).max(1)
    columns = {"photo_id": photo_ids, "city_id": true, "predicted": best[:, 0], "top5": best.tolist()}
    return conform(pd.DataFrame({**columns, "confidence": confidence, "split": split}), "predictions")


def softmax(scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities that add up to 1 in each row of scores / temperature, shape (n, classes)."""
    return special.softmax(np.asarray(scores, np.float64) / temperature, axis=1)


def fit_temperature(scores: ArrayLike, true: ArrayLike, classes: ArrayLike) -> float:
    """Return the temperature that makes validation labels likeliest (Guo et al. 2017, section 4.2).

    Photos of cities that are none of the classes have no say; where there are no others it is 1.
    """
    own = pd.Index(classes).get_indexer(true)
    scores, own = np.asarray(scores, np.float64)[own >= 0], own[own >= 0]
    if not len(own):
        return 1.0

    def surprise(log_temperature: float) -> float:
        return -special.log_softmax(scores / np.exp(log_temperature), axis=1)[np.arange(len(own)), own].mean()

    return float(np.exp(optimize.minimize_scalar(surprise, bounds=(-7, 7), method="bounded").x))
