"""A linear SVM by L-BFGS over blocks of rows, as a scikit-learn estimator on a CPU or GPU."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from geoutils.methods.estimators import FLOATS, Scoring, pick_device, row_blocks

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
AXES = 64  # along which the SVM's Hessian is evened out
PATIENCE = 20  # L-BFGS iterations over which progress is judged


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
        return next(self.path(X, y, [self.C]))

    def path(self, X: np.ndarray, y: ArrayLike, Cs: Sequence[float]) -> Iterator["LinearSVM"]:
        """Yield this estimator fitted with each C in turn, starting from the weights of the one before."""
        X, y = validate_data(self, X, y, dtype=FLOATS)
        device = pick_device(self.device)
        labels = torch.as_tensor(self._labels(y), device=device)
        axes, spread = _principal(X, self.chunk, device)
        weights = axes.new_zeros(len(axes), len(self.classes_))
        for C in Cs:
            self.C = C
            narrowed = ((1 + C * spread[-1]) / (1 + C * spread)).sqrt()
            weights = self._minimise(partial(self._loss, X, labels), axes, narrowed, weights)
            self.coef_, self.intercept_ = weights[:-1].T.cpu().numpy(), weights[-1].cpu().numpy()
            yield self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the signed scores, shape (n, classes), for two classes too."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=FLOATS)
        parts = [X[start : start + self.chunk] @ self.coef_.T for start in range(0, len(X), self.chunk)]
        return np.concatenate(parts) + self.intercept_

    def _loss(self, X: np.ndarray, labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = weights.square().sum() / 2, weights.clone()
        for start, block in row_blocks(X, self.chunk, weights.device):
            at = weights.to(block.dtype)
            own = torch.nn.functional.one_hot(labels[start : start + len(block)], weights.shape[1])
            sign = 2 * own.to(block.dtype) - 1
            short = (1 - sign * torch.addmm(at[-1], block, at[:-1])).clamp_(min=0)
            slope = -2 * self.C * sign * short
            value += self.C * short.double().square().sum()
            gradient[:-1] += block.T @ slope
            gradient[-1] += slope.sum(0)
        return value, gradient

    def _minimise(
        self, loss: Callable, axes: torch.Tensor, narrowed: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        def rescale(weights: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
            return weights + axes @ ((factors - 1)[:, None] * (axes.T @ weights))

        inner = rescale(weights, 1 / narrowed)
        seen = SimpleNamespace(at=torch.full_like(inner, torch.nan))

        def closure() -> torch.Tensor:
            if not torch.equal(seen.at, inner):  # L-BFGS asks again for the point where it stopped
                seen.at, seen.weights = inner.clone(), rescale(inner, narrowed)
                seen.value, seen.gradient = loss(seen.weights)
            inner.grad = rescale(seen.gradient, narrowed)
            return seen.value

        lbfgs = torch.optim.LBFGS([inner], max_iter=1, max_eval=25, history_size=50, line_search_fn="strong_wolfe")
        values = [closure().item()]
        for _ in tqdm(range(self.max_iter), f"SVM, C={self.C:g}", delay=5, leave=False, mininterval=1):
            lbfgs.step(closure)
            values.append(closure().item())
            # the objective is 1-strongly convex: it exceeds its minimum by at most half the squared gradient
            proved = seen.gradient.square().sum().item() / 2 <= self.tol * values[-1]
            stalled = len(values) > PATIENCE and values[-PATIENCE - 1] - values[-1] <= self.tol / 10 * values[-1]
            if proved or stalled:
                break
        self.converged_, self.n_iter_, self.objective_ = proved or stalled, len(values) - 1, values[-1]
        if not self.converged_:
            warnings.warn(f"C={self.C:g}: no minimum in {self.max_iter} iterations", ConvergenceWarning, stacklevel=2)
        return seen.weights


def _principal(X: np.ndarray, chunk: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    # leading axes and squared singular values of the rows by subspace iteration (Halko et al. 2011, section 4.5)
    size = X.shape[1] + 1
    axes = torch.randn(size, min(AXES, size), generator=torch.Generator().manual_seed(0)).double().to(device)
    for _ in range(4):
        image = torch.zeros_like(axes)
        for _, block in row_blocks(X, chunk, device):
            block = torch.nn.functional.pad(block, (0, 1), value=1.0)  # the bias's feature
            image += block.T @ (block @ axes.to(block.dtype))
        axes, spread, _ = torch.linalg.svd(image, full_matrices=False)
    return axes, spread
