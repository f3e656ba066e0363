"""Neighbours are brute force's, ties and all."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from geoutils.methods.knn import KNN
from makers.features import features


def by_differences(queries, rows, k):
    """The k nearest by plain double-precision differences, the earlier row first."""
    distances = np.linalg.norm(queries[:, None].astype(float) - rows[None].astype(float), axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_neighbours_are_those_of_brute_force(dtype, rng):
    X, y = features(rng)
    X, queries = X.astype(dtype), features(rng, 150)[0].astype(dtype)
    distances, rows = KNN(10, chunk=64).fit(X, y).kneighbors(queries)
    exact = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(X.astype(float))
    expected, expected_rows = exact.kneighbors(queries.astype(float))
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, atol=1e-7)


def test_a_burst_of_near_duplicates_is_ordered_in_double_precision(rng):
    burst = (rng.normal(size=64) + rng.normal(size=(10, 64)) * 1e-4).astype(np.float32)
    X = np.concatenate([rng.normal(size=(200, 64)).astype(np.float32), burst])
    distances, rows = KNN(chunk=90).fit(X, np.arange(210) % 2).kneighbors(burst, 6)
    expected, expected_rows = by_differences(burst, X, 6)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)


def test_equally_near_rows_come_in_their_own_order(rng):
    X, y = features(rng, 60)
    X = np.concatenate([X, X, X])
    distances, rows = KNN(6, chunk=50).fit(X, np.tile(y, 3)).kneighbors(X[:60])
    np.testing.assert_array_equal(rows[:, :3], np.arange(60)[:, None] + [0, 60, 120])
    assert (distances[:, :3] == 0).all()


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
    table = KNN.search(X, y, queries, true, ks=(7, 1, 20, 9_999))
    assert table["k"].tolist() == [1, 7, 20]
    assert table["accuracy"].tolist() == [KNN(k).fit(X, y).score(queries, true) for k in (1, 7, 20)]


def test_more_neighbours_than_training_rows_is_an_error(rng):
    X, y = features(rng, 12)
    with pytest.raises(ValueError, match="from 1 to n_samples = 12 training rows; found 20"):
        KNN().fit(X, y).predict(X)
