"""Chance, exact nearest neighbours and the linear SVM on frozen features: scikit-learn estimators.

Features are used as given; `preprocess` names the scalings that the notebooks compare. X may be a memory map
larger than memory: every pass goes by blocks of rows, and no estimator copies it whole.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100)
_FLOATS = (np.float64, np.float32, np.float16)  # kept as they are; integers become the first
_CANDIDATES = 2**20  # numbers ranked again at a time: 8 MiB in double precision
_AXES = 64  # along which the SVM's Hessian is evened out
_PATIENCE = 20  # L-BFGS iterations over which progress is judged


def preprocess(scaling: str) -> Pipeline:
    """Return a feature scaling, to be fitted on training rows: "raw", "normalised" (rows of length 1) or
    "centred" (minus the training mean, then length 1). The last two overwrite the rows that they are given: of a
    copy from a large memory map no second one may fit.
    """
    length = Normalizer(copy=False)
    centred = [StandardScaler(with_std=False, copy=False), length]
    steps = {"raw": ["passthrough"], "normalised": [length], "centred": centred}
    if scaling not in steps:
        raise ValueError(f"scaling is one of {sorted(steps)}; found {scaling!r}")
    return make_pipeline(*steps[scaling])


class _Scoring(ClassifierMixin, BaseEstimator):
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


class Chance(_Scoring):
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


class KNN(_Scoring):
    """Exact k nearest neighbours, on a CPU or GPU.

    The best 2 k by float32 products are ranked again in double precision, ties by row. Queries for which
    rounding could have hidden a nearer row are searched once more with products in double precision.

    Args:
        k: neighbours that vote.
        metric: "euclidean", or "cosine" (1 - similarity; a row of zeros lies at 0.5 from any other).
        device: where to compute; by default a CUDA device if there is one.
        chunk: rows in a block, of queries and of training rows.
    """

    def __init__(self, k: int = 20, metric: str = "euclidean", device: str | None = None, chunk: int = 4096):
        self.k, self.metric, self.device, self.chunk = k, metric, device, chunk

    def fit(self, X: np.ndarray, y: ArrayLike) -> "KNN":
        """Keep a reference to the training rows, shape (n, features), and their classes, shape (n,)."""
        if self.metric not in ("euclidean", "cosine"):
            raise ValueError(f'metric is "euclidean" or "cosine"; found {self.metric!r}')
        self._rows, y = validate_data(self, X, y, dtype=_FLOATS)
        self._label = self._labels(y)
        return self

    def kneighbors(self, X: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return distances (float64) and row numbers (int64) of the k nearest training rows, nearest first,
        each of shape (n, k); k is the estimator's own by default, at most the number of training rows.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_FLOATS)
        k = self.k if k is None else k
        if not 1 <= k <= len(self._rows):
            raise ValueError(f"expected k from 1 to n_samples = {len(self._rows)} training rows; found {k}")
        exact = torch.get_float32_matmul_precision() == "highest"  # float32 products, not TF32
        distances, indices = np.empty((len(X), k)), np.empty((len(X), k), np.int64)
        for start in tqdm(range(0, len(X), self.chunk), "nearest neighbours", delay=5, unit="block"):
            left = np.arange(start, min(start + self.chunk, len(X)))
            for precision in (torch.float32, torch.float64)[not exact :]:
                if len(left):
                    distances[left], indices[left], certain = self._search(X[left], k, precision)
                    left = left[~certain]
        return distances**2 / 2 if self.metric == "cosine" else distances, indices

    def votes(self, distances: np.ndarray, indices: np.ndarray, k: int) -> np.ndarray:
        """Return each class's share of the k nearest's votes, shape (n, classes), from one search for k or more.

        Less than 0.001 / k is added, by which summed similarity (for equal votes: the smaller sum of distances)
        breaks ties.
        """
        near, labels = distances[:, :k], self._label[indices[:, :k]]
        closeness = 1 - near / np.where(near[:, -1:] > 0, near[:, -1:], 1)
        scores = np.zeros((len(near), len(self.classes_)))
        np.add.at(scores, (np.arange(len(near))[:, None], labels), (1 + 0.999e-3 * closeness / k) / k)
        return scores

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the shares of votes with their tie-break (see `votes`), shape (n, classes)."""
        return self.votes(*self.kneighbors(X), self.k)

    def _place(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.double()
        return torch.nn.functional.normalize(rows, dim=-1) if self.metric == "cosine" else rows

    def _search(self, X: np.ndarray, k: int, precision: torch.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return distances, rows, and for which queries no row outside the candidates can be nearer."""
        device, many = _device(self.device), min(2 * k, len(self._rows))
        queries = self._place(_tensor(X, device))
        best, rows = torch.empty((len(X), 0), device=device), torch.empty((len(X), 0), dtype=int, device=device)
        longest = 0.0
        for start, block in _blocks(self._rows, self.chunk, device):
            block = self._place(block)
            squares = block.square().sum(1)
            longest = max(longest, squares.max().item() ** 0.5)
            # |x - y|^2 = |x|^2 - 2 (x.y - |y|^2 / 2): the bracket ranks
            near = torch.addmm(-squares.to(precision) / 2, queries.to(precision), block.to(precision).T)
            near, columns = near.topk(min(many, len(block)))
            best, kept = torch.cat([best, near], 1).topk(min(many, best.shape[1] + near.shape[1]))
            rows = torch.cat([rows, columns + start], 1).gather(1, kept)
        rows = rows.cpu().numpy()
        distances = np.empty(rows.shape)
        for part in np.array_split(np.arange(len(X)), -(-rows.size * X.shape[1] // _CANDIDATES)):
            apart = self._place(_tensor(self._rows[rows[part]], device)).sub_(queries[part, None])
            distances[part] = torch.linalg.vector_norm(apart, dim=-1).cpu().numpy()
        order = np.lexsort((rows, distances))[:, :k]
        distances, rows = np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)
        # a product of d terms is off by less than d eps |x||y| (Higham 2002, section 3.1)
        squares = queries.square().sum(1)
        slack = (X.shape[1] + 8) * torch.finfo(precision).eps * longest * (squares.sqrt() + longest)
        nearest_other = (squares - 2 * (best[:, -1] + slack)).cpu().numpy()
        return distances, rows, (nearest_other > distances[:, -1] ** 2) | (many == len(self._rows))


class LinearSVM(_Scoring):
    """Linear SVM, each class against the rest, with liblinear's objective: half the squared weights, bias
    included, plus C times the squared hinge losses (Fan et al. 2008, section 2; LinearSVC with dual=False).

    L-BFGS minimises all classes at once, in coordinates shortened along the 64 widest axes of the features, which
    saves it most of its iterations. It stops when the objective is proved to be within a share `tol` of its
    minimum, or when 20 iterations gained less than a tenth of that; reaching `max_iter` first is a
    ConvergenceWarning. `objective_` is summed over classes (for two classes LinearSVC's is half of it); coef_,
    intercept_ and n_iter_ are as in scikit-learn, `converged_` tells how it ended; device and chunk as in KNN.
    """

    def __init__(
        self, C: float = 1.0, *, tol: float = 1e-3, max_iter: int = 500, device: str | None = None, chunk: int = 4096
    ):
        self.C, self.tol, self.max_iter, self.device, self.chunk = C, tol, max_iter, device, chunk

    def fit(self, X: np.ndarray, y: ArrayLike) -> "LinearSVM":
        """Learn from features of shape (n, features) and classes of shape (n,)."""
        return next(self.path(X, y, [self.C]))

    def path(self, X: np.ndarray, y: ArrayLike, Cs: Sequence[float]) -> Iterator["LinearSVM"]:
        """Yield this estimator fitted with each C in turn, starting from the weights of the one before."""
        X, y = validate_data(self, X, y, dtype=_FLOATS)
        device = _device(self.device)
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
        X = validate_data(self, X, reset=False, dtype=_FLOATS)
        parts = [X[start : start + self.chunk] @ self.coef_.T for start in range(0, len(X), self.chunk)]
        return np.concatenate(parts) + self.intercept_

    def _loss(self, X: np.ndarray, labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = weights.square().sum() / 2, weights.clone()
        for start, block in _blocks(X, self.chunk, weights.device):
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
            stalled = len(values) > _PATIENCE and values[-_PATIENCE - 1] - values[-1] <= self.tol / 10 * values[-1]
            if proved or stalled:
                break
        self.converged_, self.n_iter_, self.objective_ = proved or stalled, len(values) - 1, values[-1]
        if not self.converged_:
            warnings.warn(f"C={self.C:g}: no minimum in {self.max_iter} iterations", ConvergenceWarning, stacklevel=2)
        return seen.weights


def search_C(
    X: np.ndarray, y: ArrayLike, X_val: np.ndarray, y_val: ArrayLike, *, Cs: Sequence[float] = DECADES, **options
) -> pd.DataFrame:
    """Score a LinearSVM (with its `options`) on validation rows for each C, smallest first, warm-started.

    Returns C, accuracy and on_edge (an end of the grid: if it is the best, search further), one row a C.
    """
    models = tqdm(LinearSVM(**options).path(X, y, sorted(Cs)), "SVM", len(Cs), delay=5)
    table = pd.DataFrame([(model.C, model.score(X_val, y_val)) for model in models], columns=["C", "accuracy"])
    return table.assign(on_edge=table["C"].isin([min(Cs), max(Cs)]))


def search_k(
    X: np.ndarray, y: ArrayLike, X_val: np.ndarray, y_val: ArrayLike, *, ks: Sequence[int] = NEIGHBOURS, **options
) -> pd.DataFrame:
    """Score a KNN (with its `options`) on validation rows for each k up to the training rows, from one search.

    Returns k and accuracy, one row a k.
    """
    ks = sorted(k for k in ks if k <= len(X)) or [min(ks)]
    knn = KNN(**options).fit(X, y)
    found = knn.kneighbors(X_val, ks[-1])
    guesses = [knn.classes_[knn.votes(*found, k).argmax(axis=1)] for k in ks]
    return pd.DataFrame({"k": ks, "accuracy": [np.mean(guess == np.asarray(y_val)) for guess in guesses]})


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _tensor(rows: np.ndarray, device: torch.device) -> torch.Tensor:
    rows = np.ascontiguousarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes
        return torch.from_numpy(rows).to(device)


def _principal(X: np.ndarray, chunk: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    # leading axes and squared singular values of the rows by subspace iteration (Halko et al. 2011, section 4.5)
    size = X.shape[1] + 1
    axes = torch.randn(size, min(_AXES, size), generator=torch.Generator().manual_seed(0)).double().to(device)
    for _ in range(4):
        image = torch.zeros_like(axes)
        for _, block in _blocks(X, chunk, device):
            block = torch.nn.functional.pad(block, (0, 1), value=1.0)  # the bias's feature
            image += block.T @ (block @ axes.to(block.dtype))
        axes, spread, _ = torch.linalg.svd(image, full_matrices=False)
    return axes, spread


def _blocks(X: np.ndarray, chunk: int, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
    for start in range(0, len(X), chunk):
        yield start, _tensor(X[start : start + chunk], device)
