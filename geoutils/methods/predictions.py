"""Scores to a predictions file, with a confidence calibrated on validation photos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special

from geoutils.artifacts import atomic_path, write_json
from geoutils.tables import conform, origin, predictions_name, split_of

# who answers for new photos: a classifier on frozen features, a fine-tuned network, or nobody
KINDS = ("frozen", "network", "none")
SIDECAR = ("method", "title", "kind", "backbone", "weights", "seed", "settings", "provenance")


def rows_to_score(sample: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return the validation and test rows of a sample, in its order and with its index, and their side as `split`."""
    split = split_of(sample, protocol)
    return sample.assign(split=split)[split.isin(["val", "test"])]


def write_scores(
    folder: Path,
    sample: pd.DataFrame,
    protocol: str,
    scores: np.ndarray,
    classes: ArrayLike,
    sidecar: Mapping[str, Any],
    *,
    positions: ArrayLike | None = None,
) -> pd.DataFrame:
    """Write a method's predictions of a sample's validation and test photos, their confidence calibrated on the former.

    Args:
        folder: gets `METHOD-BACKBONE-PROTOCOL.parquet`, its scores and its sidecar.
        scores: (n, classes), a row for each of `rows_to_score`.
        classes: city_id of each column.
        sidecar: the keys of `SIDECAR`; `title` is the method's name for people, `kind` one of `KINDS`.
        positions: (n, 2) degrees of the guesses, where the method answers with one; nan where it does not.

    Returns:
        The predictions table.

    Raises:
        ValueError: for a protocol that was not drawn, scores that do not fit, or a sidecar that lacks a key.
    """
    _check_sidecar(sidecar)
    photos = rows_to_score(sample, protocol)
    if len(scores) != len(photos):
        raise ValueError(f"expected scores of {len(photos)} val and test photos of {protocol!r}; found {len(scores)}")
    city_ids, split = photos["city_id"].to_numpy(), photos["split"].to_numpy()
    temperature = fit_temperature(scores[split == "val"], city_ids[split == "val"], classes)
    table = predictions_table(photos["photo_id"], city_ids, scores, classes, split, temperature=temperature)
    if positions is not None:
        table[["latitude", "longitude"]] = _checked_positions(positions, len(photos))
    sidecar = {**sidecar, "protocol": protocol, "origin": origin(photos)}
    sidecar |= {"class_ids": np.asarray(classes).tolist(), "temperature": temperature}
    name = predictions_name(sidecar["method"], sidecar["backbone"], protocol)
    return write_predictions(table, scores, sidecar, folder, name)


def predictions_table(
    photo_ids: ArrayLike,
    true: ArrayLike,
    scores: ArrayLike,
    classes: ArrayLike,
    split: ArrayLike,
    *,
    temperature: float = 1.0,
) -> pd.DataFrame:
    """Turn scores into a checked predictions table, without positions.

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


def write_predictions(
    table: pd.DataFrame, scores: ArrayLike, sidecar: Mapping[str, Any], folder: Path, name: str
) -> pd.DataFrame:
    """Write `folder/name.parquet`, its scores `name.npy` and, last, its sidecar `name.json`: all count, or none.

    Args:
        scores: (n, classes), rows as in the table, columns as in the sidecar's `class_ids`; kept as float32.

    Returns:
        The table, checked.

    Raises:
        ValueError: if the best class of a row is not what the table says is predicted.
    """
    checked, scores, class_ids = conform(table, "predictions"), np.asarray(scores), np.asarray(sidecar["class_ids"])
    shape = (len(checked), len(class_ids))
    if scores.shape != shape or (class_ids[scores.argmax(axis=1)] != checked["predicted"]).any():
        raise ValueError(f"{name}: expected scores of shape {shape}, best where `predicted` is; found {scores.shape}")
    rounded = _rounded(scores, name)
    path = Path(folder) / f"{name}.parquet"
    with atomic_path(path) as rows, atomic_path(path.with_suffix(".npy")) as all_scores:
        checked.to_parquet(rows, index=False)
        np.save(all_scores, rounded)
        path.with_suffix(".json").unlink(missing_ok=True)  # what is killed from here on has no sidecar, old or new
    write_json(path.with_suffix(".json"), sidecar)
    return checked


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


def _check_sidecar(sidecar: Mapping[str, Any]) -> None:
    if missing := [key for key in SIDECAR if sidecar.get(key) is None]:
        raise ValueError(f"a sidecar needs {SIDECAR}; {missing} missing")
    if sidecar["kind"] not in KINDS:
        raise ValueError(f"the kind of a sidecar is one of {KINDS}; found {sidecar['kind']!r}")


def _checked_positions(positions: ArrayLike, count: int) -> np.ndarray:
    positions = np.asarray(positions, np.float64)
    if positions.shape != (count, 2) or (np.isnan(positions[:, 0]) != np.isnan(positions[:, 1])).any():
        raise ValueError(f"positions are {count} rows of latitude and longitude, both or neither nan")
    return positions


def _rounded(scores: np.ndarray, name: str) -> np.ndarray:
    """Return scores as float32. Where that ties the best of a row with another, it becomes the next larger number."""
    best, rounded = scores.argmax(axis=1), scores.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError(f"{name}: scores must be finite as float32")
    tied = np.flatnonzero(rounded.argmax(axis=1) != best)
    rounded[tied, best[tied]] = np.nextafter(rounded[tied, best[tied]], np.float32(np.inf))
    return rounded
