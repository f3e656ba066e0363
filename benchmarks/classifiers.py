"""Fit the linear SVM and find neighbours beside scikit-learn, on the same features, and print the ratios.

    python benchmarks/classifiers.py [--rows 8000] [--features 4096] [--classes 37] [--queries 2000] [--k 20] [--C 1]

Features are drawn like a network's: not negative, of length 1, a few directions carrying the classes. One process
runs all; scikit-learn's LinearSVC takes most of the time.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import LinearSVC

from geoutils.methods.knn import KNN
from geoutils.methods.svm import LinearSVM


def draw_features(rows: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw float32 features, shape (rows, width), and their classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=rows)
    hidden = 0.6 * rng.normal(size=(classes, 40))[y] + rng.normal(size=(rows, 40))
    X = np.maximum(hidden @ rng.normal(size=(40, width)) / 6 + rng.normal(size=(rows, width)) / 2, 0)
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), y


def objective(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Return liblinear's objective of a fitted model, summed over classes, in double precision."""
    sign = np.where(y[:, None] == model.classes_, 1, -1)
    short = np.maximum(0, 1 - sign * (X @ model.coef_.T + model.intercept_))
    return (np.square(model.coef_).sum() + np.square(model.intercept_).sum()) / 2 + model.C * np.square(short).sum()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` gives, and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> None:
    """Time both tasks with both libraries; print seconds, ratios and how far the results agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rows": 8_000, "features": 4_096, "classes": 37, "queries": 2_000, "k": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--C", type=float, default=1.0)
    options = parser.parse_args()
    X, y = draw_features(options.rows + options.queries, options.features, options.classes)
    queries, X, y = X[options.rows :], X[: options.rows], y[: options.rows]
    for first in (KNN(1), LinearSVM(), LinearSVC(dual=False)):  # a library's first call pays for its start
        first.fit(X[:200], y[:200]).predict(X[:200])
    print(f"{options.rows:,} x {options.features:,}, {options.classes} classes, {options.queries:,} queries")

    (_, rows), seconds = timed(lambda: KNN(options.k, device="cpu").fit(X, y).kneighbors(queries))
    brute = NearestNeighbors(n_neighbors=options.k, algorithm="brute", n_jobs=-1)
    theirs, their_seconds = timed(lambda: brute.fit(X).kneighbors(queries, return_distance=False))
    ratio, same = their_seconds / seconds, np.mean(rows == theirs)
    print(f"kNN: {seconds:.2f} s, NearestNeighbors {their_seconds:.2f} s, ratio {ratio:.2f}; {same:.4%} the same")

    ours, seconds = timed(lambda: LinearSVM(options.C, device="cpu").fit(X, y))
    theirs, their_seconds = timed(lambda: LinearSVC(C=options.C, dual=False).fit(X, y))
    ratio, excess = their_seconds / seconds, objective(ours, X, y) / objective(theirs, X, y) - 1
    print(f"SVM: {seconds:.2f} s, LinearSVC {their_seconds:.2f} s, ratio {ratio:.2f}; objective {excess:+.4%}")


if __name__ == "__main__":
    main()
