"""Frozen-feature methods are tuned on validation, read test once, and write what Table I reads."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geoutils import tables
from geoutils.evaluation import accuracy
from geoutils.features import Features
from geoutils.methods import frozen


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
    frozen.tune_and_predict(sample, separable, "photo", tmp_path, scalings=["centred"])
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
    search = frozen.tune_and_predict(sample, separable, "photo", tmp_path).assign(backbone="net")
    grown = frozen.accuracy_by_training_size(sample, separable, "photo", search, "svm", shares=(0.5, 1.0))
    taken = search[(search["method"] == "svm") & search["taken"]]
    assert grown["accuracy"].iloc[-1] == taken["accuracy"].iloc[0]
    assert grown["training_photos"].iloc[-1] == (sample["split_photo"] == "train").sum()
    assert grown["training_photos"].is_monotonic_increasing
