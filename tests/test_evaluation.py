"""Held against scikit-learn's metrics, scipy, statistics in closed form and plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from scores import CITIES, IDS, make_sample, only_test, predicted
from sklearn.metrics import confusion_matrix

from geoutils import confidence, evaluation
from geoutils.evaluation import accuracy_interval
from geoutils.geo import great_circle_km


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def sample(rng):
    return make_sample(rng)


def sidecar(method="svm", backbone="places205_alexnet", protocol="photo"):
    return {
        "method": method,
        "backbone": backbone,
        "weights": "places205",
        "protocol": protocol,
        "origin": "photographs: x",
    }


@given(st.integers(1, 500), st.data())
def test_the_interval_without_groups_is_wilson_s(n, data):
    right = data.draw(st.integers(0, n))
    value, low, high = accuracy_interval(np.arange(n) < right)
    z2, share = 1.959963984540054**2, right / n
    half = np.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n * n)) / (1 + z2 / n)
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    np.testing.assert_allclose([value, low, high], [share, centre - half, centre + half], atol=1e-12)


def test_the_interval_of_photos_alike_within_photographers_is_that_of_photographers():
    right = np.repeat(np.arange(100) < 30, 20)  # 100 photographers, each right on all 20 photos or on none
    _, low, high = accuracy_interval(right, np.repeat(np.arange(100), 20))
    exact = beta.ppf([0.025, 0.975], [30, 31], [71, 70])
    np.testing.assert_allclose([low, high], exact, atol=0.02)
    _, wilson_low, wilson_high = accuracy_interval(right)
    assert high - low > 3 * (wilson_high - wilson_low)


def test_unknown_photographers_stand_alone_and_no_group_narrows_the_interval(rng):
    right = rng.random(200) < 0.4
    unknown = np.array(["a"] * 80 + ["b"] * 60 + [None] * 60, object)
    assert accuracy_interval(right, unknown) == accuracy_interval(right, [*unknown[:140], *range(60)])
    assert accuracy_interval(np.ones(30, bool), np.arange(30)) == accuracy_interval(np.ones(30, bool))
    assert accuracy_interval(right, np.arange(200) // 5, seed=3) == accuracy_interval(
        right, np.arange(200) // 5, seed=3
    )


def test_no_photo_has_no_accuracy():
    assert np.isnan(accuracy_interval([])).all()


def test_confusion_is_scikit_learn_s_and_keeps_absent_cities(sample, rng):
    table = predicted(sample, rng)
    counts = evaluation.confusion(table, CITIES)
    test = only_test(table)
    np.testing.assert_array_equal(counts, confusion_matrix(test["city_id"], test["predicted"], labels=IDS))
    assert counts.index.tolist() == CITIES["city"].tolist()
    assert counts.loc["Lima"].sum() == 0


def test_a_city_that_is_not_in_the_table_is_an_error(sample, rng):
    with pytest.raises(ValueError, match=r"cities are not in the table of 2 cities, such as \[20"):
        evaluation.confusion(predicted(sample, rng), CITIES.iloc[:2])


def test_per_city_counts_each_city_and_claims_nothing_below_twenty(sample, rng):
    table = predicted(sample, rng, skill=0.3)
    thin = table.drop(only_test(table).query("city_id == 30").index[5:])
    found = evaluation.per_city(thin, CITIES).set_index("city_id")
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
    alone = evaluation.per_city(table, CITIES)
    by_user = evaluation.per_city(table, CITIES, sample.set_index("photo_id")["user_id"])
    assert (by_user["ci_low"] <= alone["ci_low"])[:5].all()
    rome = only_test(table).query("city_id == 40").merge(sample[["photo_id", "user_id"]])
    exact = accuracy_interval(rome["predicted"] == rome["city_id"], rome["user_id"])
    assert tuple(by_user.loc[0, ["accuracy", "ci_low", "ci_high"]]) == pytest.approx(tuple(exact))


def test_origin_is_the_samples_whatever_a_sidecar_says(sample, rng):
    made_up = sample.assign(source="synthetic")
    table = evaluation.table1({"a": (predicted(sample, rng), sidecar())}, made_up)
    assert table["origin"].tolist() == ["SYNTHETIC: made-up photos"]


def test_the_likeliest_wrong_cities_are_named_with_their_shares():
    guesses = [10] * 12 + [40] * 6 + [50] * 4 + [60] * 2 + [30]
    scores = (np.array(guesses)[:, None] == IDS).astype(float)
    table = confidence.predictions_table([f"p{i}" for i in range(25)], [10] * 25, scores, IDS, "test")
    told = evaluation.per_city(table, CITIES).set_index("city_id").loc[10, "confused_with"]
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
    files = {"-".join(kind): (predicted(sample, rng, kind[2]), sidecar(*kind)) for kind in methods}
    table = evaluation.table1(files, sample)
    order = [6, 7, 4, 3, 5, 1, 2, 0]
    assert list(zip(table["method"], table["backbone"], table["protocol"], strict=True)) == [methods[i] for i in order]
    np.testing.assert_array_equal(table["paper"], [0.027, 0.029, 0.1877, np.nan, 0.2203, 0.333, np.nan, np.nan])
    first = ["method", "backbone", "weights", "protocol", "accuracy", "ci_low", "ci_high", "n_test", "paper", "origin"]
    assert list(table.columns[:10]) == first
    unlike = {name: both for name, both in files.items() if "places205" not in name}
    assert evaluation.table1(unlike, sample)["paper"].isna().all()  # its chance, of 37 cities, says nothing alone


def test_table_1_scores_test_rows_by_photographer(sample, rng):
    table = predicted(sample, rng)
    row = evaluation.table1({"a": (table, sidecar())}, sample).iloc[0]
    test = only_test(table).merge(sample[["photo_id", "user_id"]], on="photo_id")
    right = test["predicted"] == test["city_id"]
    assert (row["accuracy"], row["ci_low"], row["ci_high"]) == accuracy_interval(right, test["user_id"])
    assert row["top5"] == np.mean([city in best for city, best in zip(test["city_id"], test["top5"], strict=True)])
    assert (row["n_test"], row["interval"]) == (160, "by user")
    row = evaluation.table1({"a": (table, sidecar())}, sample.assign(user_id=None)).iloc[0]
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
        evaluation.table1({"a": (change(predicted(sample, rng)), sidecar())}, sample)


def test_a_sidecar_that_lacks_a_key_is_named(sample, rng):
    told = sidecar()
    del told["origin"]
    with pytest.raises(ValueError, match=r"a.json lacks \['origin'\]"):
        evaluation.table1({"a": (predicted(sample, rng), told)}, sample)


def test_errors_run_from_the_photo_to_the_predicted_centre(sample, rng):
    table = predicted(sample, rng)
    errors = evaluation.error_km(table, CITIES, sample)
    assert errors.index.tolist() == only_test(table)["photo_id"].tolist()
    photos, cities = sample.set_index("photo_id"), CITIES.set_index("city_id")
    for photo, city in only_test(table).set_index("photo_id")["predicted"].head(20).items():
        a, b = photos.loc[photo], cities.loc[city]
        expected = great_circle_km(a["latitude"], a["longitude"], b["latitude"], b["longitude"])
        assert errors[photo] == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="160 photos have no position in the sample"):
        evaluation.error_km(table, CITIES, sample.head(100))


def test_an_error_at_a_threshold_is_within_it():
    shares = evaluation.within_thresholds(pd.Series([0.5, 25.0, 25.1, 3_000.0]))
    assert shares["threshold_km"].tolist() == [1, 25, 200, 750, 2_500]
    assert shares["share"].tolist() == [0.25, 0.5, 0.75, 0.75, 0.75]


def test_orders_are_permutations_that_keep_clusters_together(rng):
    centres = pd.DataFrame({"latitude": [50, -30, 10, 0], "longitude": [5, 150, 100, -70]})
    cities = centres.loc[rng.permutation(np.repeat(np.arange(4), 6))]
    cluster = cities.index.to_numpy()
    cities = cities.reset_index(drop=True) + rng.normal(size=(24, 2))
    blocks = pd.DataFrame((cluster[:, None] == cluster) * 5 + rng.integers(0, 2, size=(24, 24)))
    for order in (evaluation.order_geographically(cities), evaluation.order_by_confusion(blocks)):
        assert sorted(order) == list(range(24))
        assert (np.diff(cluster[order]) != 0).sum() == 3
    assert cities["longitude"][evaluation.order_geographically(cities)].iloc[0] < -60
    assert evaluation.order_geographically(cities.head(1)).tolist() == [0]


def test_cities_along_a_line_are_ordered_from_west_to_east(rng):
    longitude = rng.permutation(np.arange(-60, 60, 8))
    order = evaluation.order_geographically(pd.DataFrame({"latitude": 0 * longitude, "longitude": longitude}))
    assert order.tolist() == np.argsort(longitude).tolist()


def test_mcnemar_is_the_two_sided_sign_test_of_the_photos_one_alone_got_right():
    true, wrong = np.full(30, 10), np.full(30, 20)
    right_a, right_b = np.arange(30) < 12, (np.arange(30) >= 10) & (np.arange(30) < 15)

    def table(right, kept):
        scores = (np.where(right, true, wrong)[:, None] == IDS).astype(float)
        return confidence.predictions_table([f"p{i}" for i in range(30)], true, scores, IDS, "test").iloc[kept]

    found = evaluation.mcnemar(table(right_a, slice(None)), table(right_b, slice(None, None, -1)))
    tail = sum(1 for bits in range(2**13) if min(bits.bit_count(), 13 - bits.bit_count()) <= 3) / 2**13
    assert found == {"n": 30, "only_a": 10, "only_b": 3, "p_value": pytest.approx(tail)}
    assert evaluation.mcnemar(table(right_a, slice(20)), table(right_b, slice(10, None)))["n"] == 10
    assert evaluation.mcnemar(table(right_a, slice(None)), table(right_a, slice(None)))["p_value"] == 1
    with pytest.raises(ValueError, match="no photo in common"):
        evaluation.mcnemar(table(right_a, slice(10)), table(right_b, slice(10, None)))
