"""A linear SVM by L-BFGS over blocks of rows, as a scikit-learn estimator on a CPU or GPU."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from geoutils.methods.estimators import FLOATS, Scoring, pick_device, row_blocks

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
AXES = 64  # along which the SVM's Hessian is evened out
PATIENCE = 20  # L-BFGS iterations over which progress is judged

Axes = tuple[torch.Tensor, torch.Tensor]  # unit columns, (features + 1, axes), and the squared singular value of each


class LinearSVM(Scoring):
    """Linear SVM, each class against the rest, with liblinear's objective: half the squared weights, bias
    included, plus C times the squared hinge losses (Fan et al. 2008, section 2; LinearSVC with dual=False).

    L-BFGS minimises all classes at once, in coordinates shortened along the 64 widest axes of the features, which
    saves it most of its iterations. It stops when the objective is proved to be within a share `tol` of its
    minimum, or when 20 iterations gained less than a tenth of that; reaching `max_iter` first is a
    ConvergenceWarning. `objective_` is summed over classes (for two classes LinearSVC's is half of it); coef_,
    intercept_ and n_iter_ are as in scikit-learn, `converged_` tells how it ended; device and chunk as in KNN.
    """

    title, grid = "linear SVM", {"C": DECADES}

    def __init__(
        self, C: float = 1.0, *, tol: float = 1e-3, max_iter: int = 500, device: str | None = None, chunk: int = 4096
    ):
        self.C, self.tol, self.max_iter, self.device, self.chunk = C, tol, max_iter, device, chunk

    @classmethod
    def search(
        cls,
        X: np.ndarray,
        y: ArrayLike,
        X_val: np.ndarray,
        y_val: ArrayLike,
        *,
        Cs: Sequence[float] = DECADES,
        **options,
    ) -> pd.DataFrame:
        """Score a LinearSVM (with its `options`) on validation rows for each C, smallest first, warm-started.

        Returns C, accuracy and on_edge (an end of the grid: if it is the best, search further), one row a C.
        """
        models = tqdm(cls(**options).path(X, y, sorted(Cs)), "SVM", len(Cs), delay=5)
        table = pd.DataFrame([(model.C, model.score(X_val, y_val)) for model in models], columns=["C", "accuracy"])
        return table.assign(on_edge=table["C"].isin([min(Cs), max(Cs)]))

    def fit(self, X: np.ndarray, y: ArrayLike) -> "LinearSVM":
        """Learn from features of shape (n, features) and classes of shape (n,)."""
        X, y = validate_data(self, X, y, dtype=FLOATS)
        self._fit(X, y, _principal(X, self.chunk, pick_device(self.device)))
        return self

    def path(self, X: np.ndarray, y: ArrayLike, Cs: Sequence[float]) -> Iterator["LinearSVM"]:
        """Yield a copy of this estimator fitted with each C in turn, starting from the weights of the one before."""
        X, y = validate_data(clone(self), X, y, dtype=FLOATS)  # reads all rows: once, not once a C
        axes, weights = _principal(X, self.chunk, pick_device(self.device)), None
        for C in Cs:
            model = clone(self).set_params(C=C)
            model.n_features_in_ = X.shape[1]
            weights = model._fit(X, y, axes, weights)
            yield model

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the signed scores, shape (n, classes), for two classes too."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=FLOATS)
        parts = [X[start : start + self.chunk] @ self.coef_.T for start in range(0, len(X), self.chunk)]
        return np.concatenate(parts) + self.intercept_

    def _fit(self, X: np.ndarray, y: np.ndarray, axes: Axes, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Minimise from these weights, or from zeros, and return the weights at the minimum."""
        labels = torch.as_tensor(self._labels(y), device=axes[0].device)
        if weights is None:
            weights = axes[0].new_zeros(X.shape[1] + 1, len(self.classes_))
        search = _Search(X, labels, self.C, self.chunk, axes, weights)
        values = [search.value.item()]
        for _ in tqdm(range(self.max_iter), f"SVM, C={self.C:g}", delay=5, leave=False, mininterval=1):
            search.step()
            values.append(search.value.item())
            # the objective is 1-strongly convex: it exceeds its minimum by at most half the squared gradient
            proved = search.gradient.square().sum().item() / 2 <= self.tol * values[-1]
            stalled = len(values) > PATIENCE and values[-PATIENCE - 1] - values[-1] <= self.tol / 10 * values[-1]
            if proved or stalled:
                break
        self.converged_, self.n_iter_, self.objective_ = proved or stalled, len(values) - 1, values[-1]
        if not self.converged_:
            warnings.warn(f"C={self.C:g}: no minimum in {self.max_iter} iterations", ConvergenceWarning, stacklevel=2)
        self.coef_, self.intercept_ = search.weights[:-1].T.cpu().numpy(), search.weights[-1].cpu().numpy()
        return search.weights


class _Search:
    """L-BFGS on its way to the minimum at one C.

    point: where it is, in coordinates shortened along the principal axes. weights: the same place as weights of the
    features. value, gradient: the objective there and its slope by the weights. All are float64; point, weights and
    gradient have shape (features + 1, classes), the bias last.
    """

    def __init__(self, X: np.ndarray, labels: torch.Tensor, C: float, chunk: int, axes: Axes, weights: torch.Tensor):
        self.X, self.labels, self.C, self.chunk = X, labels, C, chunk
        self.axes, spread = axes
        # along an axis the objective curves by about 1 + C spread: these lengths even that out
        self.lengths = ((1 + C * spread[-1]) / (1 + C * spread)).sqrt()
        self.point = self._stretch(weights, 1 / self.lengths)
        self.evaluated = torch.full_like(self.point, torch.nan)  # the point that value and gradient belong to
        options = {"max_iter": 1, "max_eval": 25, "history_size": 50, "line_search_fn": "strong_wolfe"}
        self.lbfgs = torch.optim.LBFGS([self.point], **options)
        self.evaluate()

    def step(self) -> None:
        """Move the point by one iteration."""
        self.lbfgs.step(self.evaluate)
        self.evaluate()  # the line search may have looked at another point last

    def evaluate(self) -> torch.Tensor:
        """Bring weights, value and gradient to the point, and return the value."""
        if not torch.equal(self.evaluated, self.point):  # L-BFGS asks again for the point where it stopped
            self.evaluated, self.weights = self.point.clone(), self._stretch(self.point, self.lengths)
            self.value, self.gradient = _objective(self.X, self.labels, self.C, self.chunk, self.weights)
        self.point.grad = self._stretch(self.gradient, self.lengths)
        return self.value

    def _stretch(self, weights: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """Multiply the part of the weights along each axis by its factor."""
        return weights + self.axes @ ((factors - 1)[:, None] * (self.axes.T @ weights))


def _objective(
    X: np.ndarray, labels: torch.Tensor, C: float, chunk: int, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the objective, summed over classes, and its gradient by the weights."""
    value, gradient = weights.square().sum() / 2, weights.clone()
    for start, block in row_blocks(X, chunk, weights.device):
        coef, intercept = weights.to(block.dtype).tensor_split([-1])
        own = torch.nn.functional.one_hot(labels[start : start + len(block)], weights.shape[1])
        sign = 2 * own.to(block.dtype) - 1
        hinge = (1 - sign * torch.addmm(intercept, block, coef)).clamp_(min=0)
        slope = -2 * C * sign * hinge
        value += C * hinge.double().square().sum()
        gradient[:-1] += block.T @ slope
        gradient[-1] += slope.sum(0)
    return value, gradient


def _principal(X: np.ndarray, chunk: int, device: torch.device) -> Axes:
    """Return the rows' leading axes and squared singular values by subspace iteration (Halko et al. 2011, sec. 4.5)."""
    size = X.shape[1] + 1
    axes = torch.randn(size, min(AXES, size), generator=torch.Generator().manual_seed(0)).double().to(device)
    for _ in range(4):
        image = torch.zeros_like(axes)
        for _, block in row_blocks(X, chunk, device):
            block = torch.nn.functional.pad(block, (0, 1), value=1.0)  # the bias's feature
            image += block.T @ (block @ axes.to(block.dtype))
        axes, spread, _ = torch.linalg.svd(image, full_matrices=False)
    return axes, spread
