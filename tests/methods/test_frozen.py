"""Frozen-feature methods are tuned on validation, read test once, and write what Table I reads."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from geoutils import tables
from geoutils.evaluation import accuracy
from geoutils.features import Features
from geoutils.methods import frozen
from geoutils.methods.estimators import Scoring
from geoutils.splits import hash_fractions


@pytest.fixture
def separable(sample) -> Features:
    """Features in which the two cities lie apart, with some noise."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (len(sample), 8)) + 3.0 * (sample["city_id"] == 11).to_numpy()[:, None]
    key = {"backbone": "net", "weights": "ImageNet", "layer": "pooled"}
    return Features(rows.astype(np.float32), Path("net-0123"), key)


def test_methods_find_cities_that_lie_apart_and_chance_does_not(sample, separable, tmp_path):
    frozen.predict_chance(sample, "photo", tmp_path)
    frozen.tune_and_predict(sample, separable, "photo", tmp_path)
    table = accuracy.table1(tables.read_predictions(tmp_path), sample).set_index("method")
    assert table.loc["knn", "accuracy"] == table.loc["svm", "accuracy"] == 1.0
    assert table.loc["chance", "accuracy"] < 1.0
    assert table.loc["svm", "n_test"] == (sample["split_photo"] == "test").sum()


def test_labels_of_test_photos_have_no_influence(sample, separable, tmp_path):
    """The same predictions come out when every test label is wrong."""
    swapped = sample["city_id"].where(sample["split_photo"] != "test", 33 - sample["city_id"])
    for name, table in (("a", sample), ("b", sample.assign(city_id=swapped))):
        frozen.tune_and_predict(table, separable, "photo", tmp_path / name)
    for method in ("knn", "svm"):
        (a, told_a), (b, told_b) = (tables.read_predictions(tmp_path / n)[f"{method}-net-photo"] for n in "ab")
        pd.testing.assert_series_equal(a["predicted"], b["predicted"])
        assert told_a["settings"] == told_b["settings"]


def test_without_validation_photos_the_defaults_are_taken(sample, separable, tmp_path):
    sample = sample.assign(split_photo=sample["split_photo"].replace({"val": "train"}))
    search = frozen.tune_and_predict(sample, separable, "photo", tmp_path)
    assert search["accuracy"].isna().all()
    assert len(tables.read_predictions(tmp_path)) == 2


def test_a_method_built_from_its_sidecar_predicts_the_same_and_leaves_the_store_as_it_is(sample, separable, tmp_path):
    stored = separable.rows.copy()
    frozen.tune_and_predict(sample, separable, "photo", tmp_path)
    for table, told in tables.read_predictions(tmp_path).values():
        model = frozen.build(told["method"], told["settings"])
        model = frozen.fit(model, sample, separable.rows, "photo")
        asked = sample["photo_id"].isin(table["photo_id"]).to_numpy()
        assert model.predict(separable.rows[asked]).tolist() == table["predicted"].tolist()
    np.testing.assert_array_equal(separable.rows, stored)


def test_a_method_that_is_no_classifier_is_refused_by_name(sample, separable, tmp_path):
    with pytest.raises(ValueError, match=r"'forest'; there are \['knn', 'svm'\]"):
        frozen.build("forest", {"preprocess": "raw", "C": 1.0})
    with pytest.raises(ValueError, match=r"'forest'; there are"):
        frozen.tune_and_predict(sample, separable, "photo", tmp_path, methods=["forest"])


def test_sidecar_names_the_store(sample, separable, tmp_path):
    frozen.tune_and_predict(sample, separable, "photo", tmp_path, methods=["knn"])
    assert tables.read_predictions(tmp_path)["knn-net-photo"][1]["settings"]["store"] == "net-0123"


def test_growth_ends_at_what_the_search_found_with_all_photos(sample, separable, tmp_path):
    search = frozen.tune_and_predict(sample, separable, "photo", tmp_path)
    taken = search[(search["method"] == "svm") & search["taken"]].iloc[0]
    grown = frozen.accuracy_by_training_size(sample, separable, taken, shares=(0.5, 1.0))
    assert grown["accuracy"].iloc[-1] == taken["accuracy"]
    assert grown["training_photos"].iloc[-1] == (sample["split_photo"] == "train").sum()
    assert grown["training_photos"].is_monotonic_increasing


class Bayes(GaussianNB):
    """A classifier of scikit-learn as it is: it has no search, and probabilities for scores."""

    title, grid, scalings = "naive Bayes", {"var_smoothing": (1e-9, 1e9)}, ("raw",)


class Median(Scoring):
    """The median training photo of a city; it asks for the photos and answers with a position."""

    title, grid, backbones = "median photo", {}, ("net",)

    def fit(self, X, y, photos=None):
        self._labels(y)
        self.middle_ = np.stack([np.median(X[y == city], axis=0) for city in self.classes_])
        self.positions_ = photos.groupby("city_id")[["latitude", "longitude"]].median().to_numpy()
        return self

    def decision_function(self, X):
        return -np.linalg.norm(X[:, None] - self.middle_, axis=2)

    def locate(self, X):
        return self.positions_[self.decision_function(X).argmax(axis=1)]


def test_a_classifier_without_a_search_is_tuned_over_its_grid(sample, separable, tmp_path, monkeypatch):
    """Against scikit-learn alone: the validation accuracy of each setting, and the test photos of the better one."""
    monkeypatch.setitem(frozen.CLASSIFIERS, "bayes", Bayes)
    search = frozen.tune_and_predict(sample, separable, "photo", tmp_path, methods=["bayes"])
    train, val, test = ((sample["split_photo"] == side).to_numpy() for side in ("train", "val", "test"))
    X, y = separable.rows, sample["city_id"].to_numpy()
    models = [GaussianNB(var_smoothing=value).fit(X[train], y[train]) for value in Bayes.grid["var_smoothing"]]
    assert search["accuracy"].tolist() == [model.score(X[val], y[val]) for model in models]
    assert search["settings"].tolist() == [{"preprocess": "raw", "var_smoothing": value} for value in (1e-9, 1e9)]
    table, sidecar = tables.read_predictions(tmp_path)["bayes-net-photo"]
    assert (sidecar["title"], sidecar["settings"]["var_smoothing"]) == ("naive Bayes", 1e-9)
    predicted = table.loc[table["split"] == "test", "predicted"]
    assert predicted.tolist() == models[0].predict(X[test]).tolist()


def test_probabilities_keep_their_order_however_small_and_none_is_minus_infinity(rng):
    y = np.arange(60) % 6
    X = rng.normal(size=(60, 40)) + 5 * y[:, None]
    bayes, forest = GaussianNB().fit(X, y), RandomForestClassifier(5, max_depth=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(frozen.score(bayes, X), bayes.predict_log_proba(X))
    assert (bayes.predict_proba(X) < 1e-12).sum() > 60  # which a floor would tie
    neighbours = KNeighborsClassifier(3).fit(X, y)  # which has no logarithms of its own
    for model in (bayes, forest, neighbours):
        scores = frozen.score(model, X)
        assert np.isfinite(scores).all()
        assert (scores.argmax(axis=1) == model.predict_proba(X).argmax(axis=1)).all()


def test_growth_leaves_out_a_share_of_one_city(sample, separable, tmp_path):
    search = frozen.tune_and_predict(sample, separable, "photo", tmp_path, methods=["svm"])
    train = sample[sample["split_photo"] == "train"]
    order = hash_fractions(train["photo_id"], seed=0, purpose="growth").sort_values()
    one = order.iloc[0] + 1e-9  # the first photo alone
    grown = frozen.accuracy_by_training_size(sample, separable, search[search["taken"]].iloc[0], shares=(one, 1.0))
    assert grown["training_photos"].tolist() == [len(train)]


class Forest(RandomForestClassifier):
    """Settings of mixed kinds, which a column of a table would turn into others."""

    title, grid, scalings = "random forest", {"max_depth": (2, None), "max_features": ("sqrt", 0.5)}, ("raw",)


def test_settings_of_mixed_kinds_come_through_and_the_seed_decides_what_is_random(
    sample, separable, tmp_path, monkeypatch
):
    monkeypatch.setitem(frozen.CLASSIFIERS, "forest", Forest)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        search = frozen.tune_and_predict(sample, separable, "photo", tmp_path / name, methods=["forest"], seed=seed)
    assert [type(own["max_depth"]) for own in search["settings"]] == [int, int, type(None), type(None)]
    a, b, c = (tables.read_scores(tmp_path / name, "forest-net-photo") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    table, sidecar = tables.read_predictions(tmp_path / "a")["forest-net-photo"]
    again = frozen.fit(frozen.build("forest", sidecar["settings"], seed=1), sample, separable.rows, "photo")
    rows = pd.Index(sample["photo_id"]).get_indexer(table["photo_id"])
    np.testing.assert_allclose(frozen.score(again, separable.rows[rows]), a, rtol=1e-6)


def test_a_classifier_may_ask_for_photos_answer_with_a_position_and_be_for_one_network(
    sample, separable, tmp_path, monkeypatch
):
    monkeypatch.setitem(frozen.CLASSIFIERS, "median", Median)
    assert "median" in frozen.classifiers_for("net")
    assert "median" not in frozen.classifiers_for("another")
    frozen.tune_and_predict(sample, separable, "photo", tmp_path, methods=["median"])
    table, _ = tables.read_predictions(tmp_path)["median-net-photo"]
    train = sample[sample["split_photo"] == "train"]
    medians = train.groupby("city_id")[["latitude", "longitude"]].median().loc[table["predicted"]]
    np.testing.assert_array_equal(table[["latitude", "longitude"]], medians)


def test_rows_are_matched_by_place_whatever_the_index_of_the_sample(sample, separable, tmp_path):
    for name, table in (("a", sample), ("b", sample.set_axis(sample.index[::-1]))):
        frozen.tune_and_predict(table, separable, "photo", tmp_path / name, methods=["knn"])
    a, b = (tables.read_predictions(tmp_path / name)["knn-net-photo"][0] for name in "ab")
    pd.testing.assert_frame_equal(a, b)
