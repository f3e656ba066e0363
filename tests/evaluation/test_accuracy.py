"""Table I, cities and confusion, held against scikit-learn's metrics and plain loops."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from geoutils.evaluation import accuracy
from geoutils.evaluation.intervals import accuracy_interval
from geoutils.methods import predictions
from makers.scores import CITIES, IDS, THREE_CITIES, guesses, only_test, predicted, told


def test_confusion_is_scikit_learn_s_and_keeps_absent_cities(sample, rng):
    table = predicted(sample, rng)
    counts = accuracy.confusion(table, CITIES)
    test = only_test(table)
    np.testing.assert_array_equal(counts, confusion_matrix(test["city_id"], test["predicted"], labels=IDS))
    assert counts.index.tolist() == CITIES["city"].tolist()
    assert counts.loc["Lima"].sum() == 0


def test_a_city_that_is_not_in_the_table_is_an_error(sample, rng):
    with pytest.raises(ValueError, match=r"cities are not in the table of 2 cities, such as \[20"):
        accuracy.confusion(predicted(sample, rng), CITIES.iloc[:2])


def test_per_city_counts_each_city_and_claims_nothing_below_twenty(sample, rng):
    table = predicted(sample, rng, skill=0.3)
    thin = table.drop(only_test(table).query("city_id == 30").index[5:])
    found = accuracy.per_city(thin, CITIES).set_index("city_id")
    for city, rows in only_test(thin).groupby("city_id"):
        right = rows["predicted"] == rows["city_id"]
        assert found.loc[city, ["n_test", "correct"]].tolist() == [len(rows), right.sum()]
        np.testing.assert_allclose(
            found.loc[city, ["accuracy", "ci_low", "ci_high"]].astype(float), accuracy_interval(right)
        )
    assert found.loc[[30, 60], "enough"].tolist() == [False, False]
    assert found.loc[[30, 60], "confused_with"].tolist() == ["", ""]
    assert np.isnan(found.loc[60, "accuracy"])


def test_a_citys_interval_covers_that_of_its_photographers(sample, rng):
    table = predicted(sample, rng)
    alone = accuracy.per_city(table, CITIES)
    by_user = accuracy.per_city(table, CITIES, sample.set_index("photo_id")["user_id"])
    assert (by_user["ci_low"] <= alone["ci_low"])[:5].all()
    rome = only_test(table).query("city_id == 40").merge(sample[["photo_id", "user_id"]])
    exact = accuracy_interval(rome["predicted"] == rome["city_id"], rome["user_id"])
    assert tuple(by_user.loc[0, ["accuracy", "ci_low", "ci_high"]]) == pytest.approx(tuple(exact))


def test_origin_is_the_samples_whatever_a_sidecar_says(sample, rng):
    made_up = sample.assign(source="synthetic")
    table = accuracy.table1({"a": (predicted(sample, rng), told())}, made_up)
    assert table["origin"].tolist() == ["SYNTHETIC: made-up photos"]


def test_the_likeliest_wrong_cities_are_named_with_their_shares():
    guesses = [10] * 12 + [40] * 6 + [50] * 4 + [60] * 2 + [30]
    scores = (np.array(guesses)[:, None] == IDS).astype(float)
    table = predictions.predictions_table([f"p{i}" for i in range(25)], [10] * 25, scores, IDS, "test")
    told = accuracy.per_city(table, CITIES).set_index("city_id").loc[10, "confused_with"]
    assert told == "Rome 24%, Sydney 16%, Lima 8%"


def test_table_1_stands_in_the_paper_s_order_with_its_numbers_apart(sample, rng):
    methods = [
        ("svm", "efficientnet_lite0", "photo"),
        ("finetune", "places205_googlenet", "photo"),
        ("svm", "places205_googlenet", "photo"),
        ("svm", "places205_alexnet", "user"),
        ("svm", "places205_alexnet", "photo"),
        ("finetune", "places205_alexnet", "photo"),
        ("chance", "none", "photo"),
        ("knn", "places205_alexnet", "photo"),
    ]
    files = {"-".join(kind): (predicted(sample, rng, kind[2]), told(kind[0], kind[2], kind[1])) for kind in methods}
    table = accuracy.table1(files, sample)
    order = [6, 7, 4, 3, 5, 1, 2, 0]
    assert list(zip(table["method"], table["backbone"], table["protocol"], strict=True)) == [methods[i] for i in order]
    np.testing.assert_array_equal(table["paper"], [0.027, 0.029, 0.1877, np.nan, 0.2203, 0.333, np.nan, np.nan])
    first = ["method", "backbone", "weights", "protocol", "accuracy", "ci_low", "ci_high", "n_test", "paper", "origin"]
    assert list(table.columns[:10]) == first
    unlike = {name: both for name, both in files.items() if "places205" not in name}
    assert accuracy.table1(unlike, sample)["paper"].isna().all()  # its chance, of 37 cities, says nothing alone


def test_methods_that_the_paper_has_not_come_after_by_title(sample, rng):
    table, titles = predicted(sample, rng), {"b": "trees", "a": "votes", "c": "cells"}
    files = {method: (table, told(method, title=title)) for method, title in titles.items()}
    files["knn"] = (table, told("knn"))
    assert accuracy.table1(files, sample)["title"].tolist() == ["kNN", "cells", "trees", "votes"]


def test_predictions_under_a_split_that_was_not_drawn_are_refused(sample, rng):
    with pytest.raises(ValueError, match=r"^a: the sample has no split by protocol 'place'"):
        accuracy.table1({"a": (predicted(sample, rng), told(protocol="place"))}, sample)


def test_table_1_scores_test_rows_by_photographer(sample, rng):
    table = predicted(sample, rng)
    row = accuracy.table1({"a": (table, told())}, sample).iloc[0]
    test = only_test(table).merge(sample[["photo_id", "user_id"]], on="photo_id")
    right = test["predicted"] == test["city_id"]
    assert (row["accuracy"], row["ci_low"], row["ci_high"]) == accuracy_interval(right, test["user_id"])
    assert row["top5"] == np.mean([city in best for city, best in zip(test["city_id"], test["top5"], strict=True)])
    assert (row["n_test"], row["interval"]) == (160, "by user")
    row = accuracy.table1({"a": (table, told())}, sample.assign(user_id=None)).iloc[0]
    assert (row["ci_low"], row["ci_high"]) == accuracy_interval(right)[1:]
    assert row["interval"] == "photos assumed independent"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.replace({"photo_id": {"p299": "stranger"}}),
            r"a: 1 photos are not in the sample, such as \['stranger'\]",
        ),
        (lambda t: t.assign(city_id=t["city_id"].replace(30, 40)), "of another city in the sample"),
        (lambda t: t.assign(split="test"), "on another side of split_photo"),
        (lambda t: t[t["photo_id"] != "p299"], "159 of the sample's 160 test photos"),
        (lambda t: t[t["split"] == "val"], "none among 80 rows"),
    ],
)
def test_predictions_of_other_photos_are_refused(sample, rng, change, message):
    with pytest.raises(ValueError, match=message):
        accuracy.table1({"a": (change(predicted(sample, rng)), told())}, sample)


def test_orders_are_permutations_that_keep_clusters_together(rng):
    centres = pd.DataFrame({"latitude": [50, -30, 10, 0], "longitude": [5, 150, 100, -70]})
    cities = centres.loc[rng.permutation(np.repeat(np.arange(4), 6))]
    cluster = cities.index.to_numpy()
    cities = cities.reset_index(drop=True) + rng.normal(size=(24, 2))
    blocks = pd.DataFrame((cluster[:, None] == cluster) * 5 + rng.integers(0, 2, size=(24, 24)))
    for order in (accuracy.order_geographically(cities), accuracy.order_by_confusion(blocks)):
        assert sorted(order) == list(range(24))
        assert (np.diff(cluster[order]) != 0).sum() == 3
    assert cities["longitude"][accuracy.order_geographically(cities)].iloc[0] < -60
    assert accuracy.order_geographically(cities.head(1)).tolist() == [0]


def test_cities_along_a_line_are_ordered_from_west_to_east(rng):
    longitude = rng.permutation(np.arange(-60, 60, 8))
    order = accuracy.order_geographically(pd.DataFrame({"latitude": 0 * longitude, "longitude": longitude}))
    assert order.tolist() == np.argsort(longitude).tolist()


def test_trained_rows_are_those_of_methods_that_learnt(sample, rng):
    table, more = predicted(sample, rng), {"a": told("coin", kind="none"), "b": told("svm", weights="random")}
    files = {name: (table, sidecar) for name, sidecar in more.items()} | {"c": (table, told("svm"))}
    assert accuracy.trained_rows(accuracy.table1(files, sample))["name"].tolist() == ["c"]


def test_mistaken_for_counts_every_test_photo_of_the_city():
    counts = pd.DataFrame([[3, 2, 0], [1, 4, 0], [0, 0, 5]], index=THREE_CITIES["city"], columns=THREE_CITIES["city"])
    assert accuracy.mistaken_for(counts, THREE_CITIES, "Aa")["photos"].tolist() == [3, 2, 0]
    with pytest.raises(ValueError, match="Aa, Bb, Cc"):
        accuracy.mistaken_for(counts, THREE_CITIES, "Nowhere")


def test_side_by_side_keeps_each_method_in_its_column():
    table = accuracy.side_by_side({"before": guesses(1, 2), "after": guesses(1, 7)}, THREE_CITIES)
    first = table.set_index("city").loc["Aa"]
    assert (first["before"], first["after"], first["n_test"]) == (0.2, 0.7, 10)
