"""What the classifiers on frozen features share: scalings, scoring, and blocks of rows on a device.

X may be a memory map larger than memory: every pass goes by blocks of rows, and no estimator copies it whole.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

SCALINGS = ("raw", "normalised", "centred")
FLOATS = (np.float64, np.float32, np.float16)  # kept as they are; integers become the first


def scaling(name: str) -> Pipeline:
    """Return a feature scaling, to be fitted on training rows: "raw", "normalised" (rows of length 1) or
    "centred" (minus the training mean, then length 1). The last two overwrite the rows that they are given,
    since a second copy of a large memory map may not fit into memory.
    """
    length = Normalizer(copy=False)
    centred = [StandardScaler(with_std=False, copy=False), length]
    steps = {"raw": ["passthrough"], "normalised": [length], "centred": centred}
    if name not in steps:
        raise ValueError(f"scaling is one of {sorted(steps)}; found {name!r}")
    return make_pipeline(*steps[name])


class Scoring(ClassifierMixin, BaseEstimator):
    """A classifier that scores every class, `decision_function`, and predicts the best-scored one.

    scalings: those of the features to choose from. backbones: the networks whose features it is for; None: any.
    """

    scalings: tuple[str, ...] = SCALINGS
    backbones: tuple[str, ...] | None = None

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the best-scored class a row, shape (n,); ties go to the earlier class."""
        best = self.decision_function(X).argmax(axis=1)
        return self.classes_[best]

    def _labels(self, y: ArrayLike) -> np.ndarray:
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"expected photos of two classes or more; found one class, {self.classes_[0]!r}")
        return labels


class Chance(Scoring):
    """Guess uniformly at random: the floor of every table."""

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: ArrayLike) -> "Chance":
        """Learn which classes there are; the features are not looked at."""
        self._labels(y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return uniform scores, shape (n, classes), the same at every call with the same seed."""
        check_is_fitted(self)
        return check_random_state(self.random_state).uniform(size=(len(X), len(self.classes_)))


def pick_device(name: str | None) -> torch.device:
    """Return the device of that name, or by default a CUDA device if there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def to_tensor(rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return rows on a device, in float64 if they are that, else in float32."""
    rows = np.ascontiguousarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes
        return torch.from_numpy(rows).to(device)


def row_blocks(X: np.ndarray, chunk: int, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the number of the first row and the rows of each block of `chunk`, as `to_tensor` has them."""
    for start in range(0, len(X), chunk):
        yield start, to_tensor(X[start : start + chunk], device)
