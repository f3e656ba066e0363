"""Exact k nearest neighbours, as a scikit-learn estimator on a CPU or GPU."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from geoutils.methods.estimators import FLOATS, Scoring, pick_device, row_blocks, to_tensor

NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100)
CANDIDATES = 2**20  # numbers ranked again at a time: 8 MiB in double precision


class KNN(Scoring):
    """Exact k nearest neighbours, on a CPU or GPU.

    The best 2 k by float32 products are ranked again in double precision, ties by row. Queries for which
    rounding could have hidden a nearer row are searched once more with products in double precision.

    Args:
        k: neighbours that vote.
        metric: "euclidean", or "cosine" (1 - similarity; a row of zeros lies at 0.5 from any other).
        device: where to compute; by default a CUDA device if there is one.
        chunk: rows in a block, of queries and of training rows.
    """

    title, grid = "kNN", {"k": NEIGHBOURS}

    def __init__(self, k: int = 20, metric: str = "euclidean", device: str | None = None, chunk: int = 4096):
        self.k, self.metric, self.device, self.chunk = k, metric, device, chunk

    @classmethod
    def search(
        cls,
        X: np.ndarray,
        y: ArrayLike,
        X_val: np.ndarray,
        y_val: ArrayLike,
        *,
        ks: Sequence[int] = NEIGHBOURS,
        **options,
    ) -> pd.DataFrame:
        """Score a KNN (with its `options`) on validation rows for each k up to the training rows, from one search.

        Returns k and accuracy, one row a k.
        """
        ks = sorted(k for k in ks if k <= len(X)) or [min(ks)]
        knn = cls(**options).fit(X, y)
        found = knn.kneighbors(X_val, ks[-1])
        guesses = [knn.classes_[knn.votes(*found, k).argmax(axis=1)] for k in ks]
        return pd.DataFrame({"k": ks, "accuracy": [np.mean(guess == np.asarray(y_val)) for guess in guesses]})

    def fit(self, X: np.ndarray, y: ArrayLike) -> "KNN":
        """Keep a reference to the training rows, shape (n, features), and their classes, shape (n,)."""
        if self.metric not in ("euclidean", "cosine"):
            raise ValueError(f'metric is "euclidean" or "cosine"; found {self.metric!r}')
        self._rows, y = validate_data(self, X, y, dtype=FLOATS)
        self._label = self._labels(y)
        return self

    def kneighbors(self, X: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return distances (float64) and row numbers (int64) of the k nearest training rows, nearest first,
        each of shape (n, k); k is the estimator's own by default, at most the number of training rows.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=FLOATS)
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
        device, many = pick_device(self.device), min(2 * k, len(self._rows))
        queries = self._place(to_tensor(X, device))
        best, rows = torch.empty((len(X), 0), device=device), torch.empty((len(X), 0), dtype=int, device=device)
        longest = 0.0
        for start, block in row_blocks(self._rows, self.chunk, device):
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
        for part in np.array_split(np.arange(len(X)), -(-rows.size * X.shape[1] // CANDIDATES)):
            apart = self._place(to_tensor(self._rows[rows[part]], device)).sub_(queries[part, None])
            distances[part] = torch.linalg.vector_norm(apart, dim=-1).cpu().numpy()
        order = np.lexsort((rows, distances))[:, :k]
        distances, rows = np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)
        # a product of d terms is off by less than d eps |x||y| (Higham 2002, section 3.1)
        squares = queries.square().sum(1)
        slack = (X.shape[1] + 8) * torch.finfo(precision).eps * longest * (squares.sqrt() + longest)
        nearest_other = (squares - 2 * (best[:, -1] + slack)).cpu().numpy()
        return distances, rows, (nearest_other > distances[:, -1] ** 2) | (many == len(self._rows))
