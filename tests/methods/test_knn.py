"""Neighbours are brute force's, ties and all."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from geoutils.methods.knn import KNN
from makers.features import features

METRICS = ("euclidean", "cosine")


def by_differences(queries, rows, k):
    """The k nearest by plain double-precision differences, the earlier row first."""
    distances = np.linalg.norm(queries[:, None].astype(float) - rows[None].astype(float), axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


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
    table = KNN.search(X, y, queries, true, ks=(7, 1, 20, 9_999), metric="cosine")
    assert table["k"].tolist() == [1, 7, 20]
    assert table["accuracy"].tolist() == [KNN(k, "cosine").fit(X, y).score(queries, true) for k in (1, 7, 20)]


def test_more_neighbours_than_training_rows_is_an_error(rng):
    X, y = features(rng, 12)
    with pytest.raises(ValueError, match="from 1 to n_samples = 12 training rows; found 20"):
        KNN().fit(X, y).predict(X)
