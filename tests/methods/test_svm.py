"""The linear SVM, held against scikit-learn's LinearSVC and its objective in plain numpy."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from geoutils.methods.svm import LinearSVM
from makers.features import features


def problem(name, rng):
    X, y = make_classification(500, 30, n_informative=8, n_classes=5, flip_y=0.1, random_state=3)
    if name == "binary":
        y = y % 2
    elif name == "unbalanced":
        rows = (y > 0) | (np.arange(500) % 10 == 0)
        X, y = X[rows], y[rows]
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


def test_a_path_leaves_its_estimator_alone(rng):
    X, y = features(rng)
    svm = LinearSVM(5)
    models = list(svm.path(X, y, [0.01, 1]))
    assert [model.C for model in models] == [0.01, 1]
    assert svm.C == 5
    assert not hasattr(svm, "coef_")


def test_the_axes_save_iterations_and_change_no_minimum(rng, monkeypatch):
    X, y = features(rng)
    X = X + 5
    short = LinearSVM(0.1).fit(X, y)
    monkeypatch.setattr("geoutils.methods.svm.AXES", 1)
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
    table = LinearSVM.search(X, y, held, true, Cs=(1e-4, 1e-6, 1e-2))
    assert table["C"].tolist() == [1e-6, 1e-4, 1e-2]
    assert table["on_edge"].tolist() == [True, False, True]
    alone = [LinearSVM(C).fit(X, y).score(held, true) for C in table["C"]]
    np.testing.assert_allclose(table["accuracy"], alone, atol=0.01)  # warm-started, within its tolerance
