"""Held against scikit-learn's brute-force neighbours and LinearSVC, and against plain numpy."""

import pickle
import tracemalloc
import warnings
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from geoutils.classifiers import KNN, Chance, LinearSVM, preprocess, search_C, search_k

METRICS = ("euclidean", "cosine")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def features(rng, rows=600, width=48, classes=6):
    """Non-negative like a network's, with a weak class signal."""
    y = rng.integers(classes, size=rows)
    X = np.maximum(rng.normal(size=(rows, width)) + 0.8 * rng.normal(size=(classes, width))[y], 0)
    return X.astype(np.float32), y


def memory_map(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def by_differences(queries, rows, k):
    """The k nearest by plain double-precision differences, the earlier row first."""
    distances = np.linalg.norm(queries[:, None].astype(float) - rows[None].astype(float), axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


WIDE = {"check_classifiers_train": "two columns for two classes", "check_classifiers_classes": "the same"}


@parametrize_with_checks([KNN(k=3), KNN(k=3, metric="cosine"), LinearSVM()], expected_failed_checks=lambda _: WIDE)
def test_scikit_learn_takes_it_for_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [Chance(3), KNN(5, "cosine", chunk=50), LinearSVM(0.5, tol=1e-2)])
def test_clones_and_pickles_keep_parameters_and_scores(estimator, rng):
    X, y = features(rng, 200)
    assert clone(estimator).get_params() == estimator.get_params()
    fitted = clone(estimator).fit(X, y)
    scores = fitted.decision_function(X)
    assert scores.shape == (200, 6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).decision_function(X), scores)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[scores.argmax(1)])


@pytest.mark.parametrize("estimator", [Chance(), KNN(3), LinearSVM()])
def test_two_classes_give_two_columns(estimator, rng):
    X, y = features(rng, 100, classes=2)
    assert estimator.fit(X, y).decision_function(X).shape == (100, 2)


def test_chance_is_one_in_the_number_of_classes(rng):
    y = rng.integers(37, size=50_000)
    accuracy = np.mean(Chance(1).fit(y, y).predict(y) == y)
    assert abs(accuracy - 1 / 37) < 4 * np.sqrt(1 / 37 / 50_000)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_brute_force(metric, rng):
    X, y = features(rng)
    queries, _ = features(rng, 150)
    distances, rows = KNN(10, metric, chunk=64).fit(X, y).kneighbors(queries)
    exact = NearestNeighbors(n_neighbors=10, algorithm="brute", metric=metric).fit(X.astype(float))
    expected, expected_rows = exact.kneighbors(queries.astype(float))
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, atol=1e-7)


@pytest.mark.parametrize("offset", [0, 3_000])
def test_a_burst_of_near_duplicates_is_ordered_in_double_precision(offset, rng):
    burst = (offset + rng.normal(size=64) + rng.normal(size=(80, 64)) * 1e-3).astype(np.float32)
    X = np.concatenate([(offset + rng.normal(size=(200, 64))).astype(np.float32), burst])
    distances, rows = KNN(chunk=90).fit(X, np.arange(280) % 2).kneighbors(burst[:20], 6)
    expected, expected_rows = by_differences(burst[:20], X, 6)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)


def test_equally_near_rows_come_in_their_own_order(rng):
    X, y = features(rng, 60)
    X = np.concatenate([X, X, X])
    distances, rows = KNN(6, chunk=50).fit(X, np.tile(y, 3)).kneighbors(X[:60])
    np.testing.assert_array_equal(rows[:, :3], np.arange(60)[:, None] + [0, 60, 120])
    assert (distances[:, :3] == 0).all()


def test_float32_products_that_are_not_float32_are_not_trusted(rng, monkeypatch):
    X, y = features(rng)
    expected = KNN(10).fit(X, y).kneighbors(X[:50])
    searched = []
    search = KNN._search
    monkeypatch.setattr(KNN, "_search", lambda self, *a: searched.append(a[-1]) or search(self, *a))
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    found = KNN(10).fit(X, y).kneighbors(X[:50])
    assert searched == [torch.float64]
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_votes_are_counted_and_ties_go_to_the_smaller_sum_of_distances(data):
    k = data.draw(st.integers(1, 8))
    labels = data.draw(st.lists(st.integers(0, 3), min_size=8, max_size=8))
    distances = np.sort(data.draw(st.lists(st.integers(0, 9), min_size=8, max_size=8)))[None] / 2
    knn = KNN().fit(np.zeros((12, 1)), [*labels, 0, 1, 2, 3])
    votes = knn.votes(distances, np.arange(8)[None], k)[0]
    counted = defaultdict(lambda: [0, 0.0])
    for label, distance in zip(labels[:k], distances[0, :k], strict=True):
        counted[label][0] += 1
        counted[label][1] -= distance
    best = max(counted.values())
    assert counted[int(votes.argmax())] == best
    np.testing.assert_allclose(votes, [counted[label][0] / k for label in range(4)], atol=1e-3 / k)


def test_one_search_gives_the_votes_of_every_smaller_k(rng):
    X, y = features(rng)
    queries, true = features(rng, 100)
    table = search_k(X, y, queries, true, ks=(7, 1, 20, 9_999), metric="cosine")
    assert table["k"].tolist() == [1, 7, 20]
    assert table["accuracy"].tolist() == [KNN(k, "cosine").fit(X, y).score(queries, true) for k in (1, 7, 20)]


def test_more_neighbours_than_training_rows_is_an_error(rng):
    X, y = features(rng, 12)
    with pytest.raises(ValueError, match="from 1 to n_samples = 12 training rows; found 20"):
        KNN().fit(X, y).predict(X)


def test_one_class_is_an_error(rng):
    with pytest.raises(ValueError, match="two classes or more; found one class"):
        LinearSVM().fit(features(rng, 10)[0], np.full(10, 3))


@pytest.mark.parametrize("estimator", [KNN(5), KNN(5, "cosine"), LinearSVM()])
def test_a_read_only_memory_map_in_blocks_equals_an_array_at_once(estimator, rng, tmp_path):
    X, y = features(rng)
    mapped = memory_map(X, tmp_path / "features.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocks = clone(estimator).set_params(chunk=77).fit(mapped, y).decision_function(mapped)
    np.testing.assert_allclose(blocks, clone(estimator).fit(X, y).decision_function(X), atol=1e-3)


@pytest.mark.parametrize("estimator", [KNN(5, chunk=500), LinearSVM(tol=0.1, chunk=500)])
def test_a_memory_map_is_never_copied_whole(estimator, rng, tmp_path):
    X, y = features(rng, 20_000, 100, classes=3)
    mapped = memory_map(X, tmp_path / "features.npy")
    tracemalloc.start()
    estimator.fit(mapped, y).predict(mapped[:100])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4


def problem(name, rng):
    X, y = make_classification(500, 30, n_informative=8, n_classes=5, flip_y=0.1, random_state=3)
    if name == "binary":
        y = y % 2
    elif name == "unbalanced":
        kept = (y > 0) | (np.arange(500) % 10 == 0)
        X, y = X[kept], y[kept]
    elif name == "badly scaled":
        X = X * np.logspace(-3, 2, 30)
    elif name == "far from the origin":
        X = X + 50
    elif name == "more features than rows":
        X, y = np.hstack([X[:80], rng.normal(size=(80, 120))]), y[:80]
    return X, y


def objective(coef, intercept, X, y, classes, C):
    """liblinear's own, summed over classes."""
    sign = np.where(y[:, None] == classes, 1, -1)
    losses = np.maximum(0, 1 - sign * (X @ coef.T + intercept)) ** 2
    return (coef**2).sum() / 2 + (intercept**2).sum() / 2 + C * losses.sum()


@pytest.mark.parametrize("C", [1e-3, 0.1, 10])
@pytest.mark.parametrize(
    "name", ["plain", "binary", "unbalanced", "badly scaled", "far from the origin", "more features than rows"]
)
def test_objective_is_within_a_thousandth_of_liblinear_s(name, C, rng):
    rng = np.random.default_rng(0)
    X, y = problem(name, rng)
    theirs = LinearSVC(C=C, dual=False, tol=1e-6, max_iter=20_000).fit(X, y)
    coef, intercept = theirs.coef_, theirs.intercept_
    if len(theirs.classes_) == 2:  # one problem there, its mirror image beside it here
        coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
    least = objective(coef, intercept, X, y, theirs.classes_, C)
    for dtype in (np.float64, np.float32):
        ours = LinearSVM(C).fit(X.astype(dtype), y)
        assert ours.converged_
        assert objective(ours.coef_, ours.intercept_, X, y, ours.classes_, C) <= least * 1.001
        assert ours.objective_ == pytest.approx(least, rel=1.1e-3)
        assert np.mean(ours.predict(X.astype(dtype)) == theirs.predict(X)) > 0.98


def test_a_path_of_c_ends_where_single_fits_end(rng):
    X, y = features(rng)
    for model in LinearSVM().path(X, y, [0.01, 0.1, 1]):
        alone = LinearSVM(model.C).fit(X, y)
        assert model.objective_ == pytest.approx(alone.objective_, rel=1e-3)


def test_the_axes_save_iterations_and_change_no_minimum(rng, monkeypatch):
    X, y = features(rng)
    X = X + 5
    short = LinearSVM(0.1).fit(X, y)
    monkeypatch.setattr("geoutils.classifiers._AXES", 1)
    long = LinearSVM(0.1).fit(X, y)
    assert short.objective_ == pytest.approx(long.objective_, rel=1e-3)
    assert short.n_iter_ < long.n_iter_


def test_running_out_of_iterations_warns(rng):
    X, y = features(rng)
    with pytest.warns(ConvergenceWarning, match="no minimum in 2 iterations"):
        model = LinearSVM(10, max_iter=2).fit(X, y)
    assert (model.converged_, model.n_iter_) == (False, 2)


def test_a_search_scores_each_c_and_flags_the_edges_of_its_grid(rng):
    X, y = features(rng)
    held, true = features(np.random.default_rng(7), 300)
    table = search_C(X, y, held, true, Cs=(1e-4, 1e-6, 1e-2))
    assert table["C"].tolist() == [1e-6, 1e-4, 1e-2]
    assert table["on_edge"].tolist() == [True, False, True]
    alone = [LinearSVM(C).fit(X, y).score(held, true) for C in table["C"]]
    np.testing.assert_allclose(table["accuracy"], alone, atol=0.01)  # warm-started, within its tolerance


def test_scalings_are_what_they_are_called_and_happen_in_place(rng):
    X, _ = features(rng, 50)
    centred = X - X.mean(0)
    expected = {"raw": X, "normalised": X, "centred": centred}
    for name, rows in expected.items():
        length, given = 1 if name == "raw" else np.linalg.norm(rows, axis=1, keepdims=True), X.copy()
        found = preprocess(name).fit_transform(given)
        np.testing.assert_allclose(found, rows / length, atol=1e-6)
        assert np.shares_memory(found, given)
    with pytest.raises(ValueError, match="scaling is one of"):
        preprocess("whitened")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("estimator", [KNN(5), KNN(5, "cosine"), LinearSVM()])
def test_a_gpu_gives_the_scores_of_a_cpu(estimator, rng):
    X, y = features(rng)
    cpu, gpu = (clone(estimator).set_params(device=device).fit(X, y) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu.decision_function(X), gpu.decision_function(X), atol=1e-3)
