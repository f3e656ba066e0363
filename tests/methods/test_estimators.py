"""What all classifiers on frozen features keep of scikit-learn's contract."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from geoutils.methods.estimators import Chance, scaling
from geoutils.methods.knn import KNN
from geoutils.methods.svm import LinearSVM
from makers.features import features


def memory_map(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


WIDE = {"check_classifiers_train": "two columns for two classes", "check_classifiers_classes": "the same"}


@parametrize_with_checks([KNN(k=3), LinearSVM()], expected_failed_checks=lambda _: WIDE)
def test_scikit_learn_takes_it_for_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [Chance(3), KNN(5, chunk=50), LinearSVM(0.5, tol=1e-2)])
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


def test_one_class_is_an_error(rng):
    with pytest.raises(ValueError, match="two classes or more; found one class"):
        LinearSVM().fit(features(rng, 10)[0], np.full(10, 3))


@pytest.mark.parametrize("estimator", [KNN(5), LinearSVM()])
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


def test_scalings_are_what_they_are_called_and_happen_in_place(rng):
    X, _ = features(rng, 50)
    centred = X - X.mean(0)
    expected = {"raw": X, "normalised": X, "centred": centred}
    for name, rows in expected.items():
        length, given = 1 if name == "raw" else np.linalg.norm(rows, axis=1, keepdims=True), X.copy()
        found = scaling(name).fit_transform(given)
        np.testing.assert_allclose(found, rows / length, atol=1e-6)
        assert np.shares_memory(found, given)
    with pytest.raises(ValueError, match="scaling is one of"):
        scaling("whitened")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("estimator", [KNN(5), LinearSVM()])
def test_a_gpu_gives_the_scores_of_a_cpu(estimator, rng):
    X, y = features(rng)
    cpu, gpu = (clone(estimator).set_params(device=device).fit(X, y) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu.decision_function(X), gpu.decision_function(X), atol=1e-3)
