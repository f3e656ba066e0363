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
DIFFERENCES = 2**20  # numbers subtracted at a time: 8 MiB in double precision


class KNN(Scoring):
    """Exact k nearest neighbours by Euclidean distance, on a CPU or GPU.

    Matrix products in the rows' precision, float32 or float64, find 2 k candidates a query. Plain differences in
    double precision then rank those, of equally near ones the earlier row first. More than 2 k rows that the
    products can't tell apart, such as copies of one photo, stand for each other.

    Args:
        k: neighbours that vote.
        device: where to compute; by default a CUDA device if there is one.
        chunk: rows in a block, of queries and of training rows.
    """

    title, grid = "kNN", {"k": NEIGHBOURS}

    def __init__(self, k: int = 20, device: str | None = None, chunk: int = 4096):
        self.k, self.device, self.chunk = k, device, chunk

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
        distances, rows = knn.kneighbors(X_val, ks[-1])
        guesses = [knn.classes_[knn.votes(distances, rows, k).argmax(axis=1)] for k in ks]
        return pd.DataFrame({"k": ks, "accuracy": [np.mean(guess == np.asarray(y_val)) for guess in guesses]})

    def fit(self, X: np.ndarray, y: ArrayLike) -> "KNN":
        """Keep a reference to the training rows, shape (n, features), and their classes, shape (n,)."""
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
        device, count, blocks = pick_device(self.device), min(2 * k, len(self._rows)), []
        for start in tqdm(range(0, len(X), self.chunk), "nearest neighbours", delay=5, unit="block"):
            queries = to_tensor(X[start : start + self.chunk], device)
            blocks.append(self._rank(queries, self._candidates(queries, count), k))
        distances, rows = zip(*blocks, strict=True)
        return np.concatenate(distances), np.concatenate(rows)

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

    def _candidates(self, queries: torch.Tensor, count: int) -> np.ndarray:
        """Return the numbers of the `count` rows nearest to each query by matrix products, shape (n, count)."""
        best = torch.empty((len(queries), 0), device=queries.device)
        rows = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
        for start, block in row_blocks(self._rows, self.chunk, queries.device):
            # |x - y|^2 = |x|^2 - 2 (x.y - |y|^2 / 2): the bracket ranks
            near = torch.addmm(block.square().sum(1) / -2, queries.to(block.dtype), block.T)
            near, columns = near.topk(min(count, len(block)))
            best, rows = torch.cat([best, near], 1), torch.cat([rows, columns + start], 1)
            best, order = best.topk(min(count, best.shape[1]))
            rows = rows.gather(1, order)
        return rows.cpu().numpy()

    def _rank(self, queries: torch.Tensor, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and row numbers of each query's k nearest candidates, in double precision, each (n, k)."""
        distances = np.empty(candidates.shape)
        step = max(1, DIFFERENCES // (candidates.shape[1] * queries.shape[1]))  # queries at a time
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            rows = to_tensor(self._rows[candidates[part]], queries.device).double()
            apart = rows.sub_(queries[part, None].double())
            distances[part] = torch.linalg.vector_norm(apart, dim=-1).cpu().numpy()
        order = np.lexsort((candidates, distances))[:, :k]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(candidates, order, 1)
