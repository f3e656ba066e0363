"""Held against scikit-learn's metrics, scipy, statistics in closed form and plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import beta
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from geoutils import evaluation, tables
from geoutils.evaluation import accuracy_interval
from geoutils.geo import great_circle_km

CITIES = pd.DataFrame(
    {
        "city_id": [40, 10, 30, 20, 50, 60],
        "city": ["Rome", "Athens", "Vienna", "Athens, Georgia", "Sydney", "Lima"],
        "country": ["IT", "GR", "AT", "US", "AU", "PE"],
        "latitude": [41.9, 38.0, 48.2, 34.0, -33.9, -12.0],
        "longitude": [12.5, 23.7, 16.4, -83.4, 151.2, -77.0],
    }
)
IDS = CITIES["city_id"].to_numpy()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def sample(rng):
    city = rng.choice(IDS[:5], 300)  # no photo of Lima
    places = CITIES.set_index("city_id").loc[city]
    return pd.DataFrame(
        {
            "photo_id": [f"p{i:03}" for i in range(300)],
            "latitude": places["latitude"].to_numpy() + rng.normal(size=300) / 20,
            "longitude": places["longitude"].to_numpy() + rng.normal(size=300) / 20,
            "user_id": [f"u{i // 10}" for i in range(300)],
            "city_id": city,
            "split_photo": ["train"] * 60 + ["val"] * 80 + ["test"] * 160,
            "split_user": ["val"] * 60 + ["train"] * 80 + ["test"] * 160,
            "source": "own",
        }
    )


def scored(sample, rng, protocol="photo", skill=1.0):
    """The val and test rows of a sample, with noisy scores that lean to the true city."""
    asked = sample[sample[f"split_{protocol}"] != "train"]
    return asked, rng.normal(size=(len(asked), 6)) + skill * (asked["city_id"].to_numpy()[:, None] == IDS)


def predicted(sample, rng, protocol="photo", skill=1.0):
    asked, scores = scored(sample, rng, protocol, skill)
    return evaluation.predictions_table(asked["photo_id"], asked["city_id"], scores, IDS, asked[f"split_{protocol}"])


def sidecar(method="svm", backbone="places205_alexnet", protocol="photo"):
    return {
        "method": method,
        "backbone": backbone,
        "weights": "places205",
        "protocol": protocol,
        "origin": "photographs: x",
    }


def only_test(table):
    return table[table["split"] == "test"]


def test_predictions_hold_the_best_five_and_the_softmax_of_the_best(sample, rng):
    asked, scores = scored(sample, rng)
    table = evaluation.predictions_table(asked["photo_id"], asked["city_id"], scores, IDS, "test", temperature=2.0)
    assert table["predicted"].tolist() == IDS[scores.argmax(1)].tolist()
    expected = [[int(IDS[i]) for i in sorted(range(6), key=lambda i: -row[i])[:5]] for row in scores]
    assert [list(best) for best in table["top5"]] == expected
    powers = np.exp(scores / 2)
    np.testing.assert_allclose(table["confidence"], (powers / powers.sum(1, keepdims=True)).max(1))
    for k in (1, 3, 5):
        reference = top_k_accuracy_score(asked["city_id"], scores[:, np.argsort(IDS)], k=k, labels=np.sort(IDS))
        among = [city in best[:k] for city, best in zip(table["city_id"], table["top5"].map(list), strict=True)]
        assert np.mean(among) == pytest.approx(reference)


def test_equal_scores_are_ordered_as_the_classes_are():
    table = evaluation.predictions_table(["a", "b"], [10, 20], [[0, 1, 1, 2, 0, 1], [3] * 6], IDS, "test")
    assert [list(best) for best in table["top5"]] == [[20, 10, 30, 60, 40], [40, 10, 30, 20, 50]]


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected finite scores of shape \(2, 6\)"):
        evaluation.predictions_table(["a", "b"], [10, 20], np.ones((2, 5)), IDS, "test")
    with pytest.raises(ValueError, match="expected finite scores"):
        evaluation.predictions_table(["a", "b"], [10, 20], np.full((2, 6), np.nan), IDS, "test")


def test_the_fitted_temperature_has_the_least_log_loss(sample, rng):
    asked, scores = scored(sample, rng)
    true, order = asked["city_id"], np.argsort(IDS)

    def loss(temperature):
        return log_loss(true, evaluation.softmax(scores, temperature)[:, order], labels=np.sort(IDS))

    best = evaluation.fit_temperature(scores, true, IDS)
    assert loss(best) <= min(loss(t) for t in np.geomspace(0.05, 20, 200)) + 1e-6
    for factor in (0.01, 100):
        assert evaluation.fit_temperature(factor * scores, true, IDS) == pytest.approx(factor * best, rel=1e-3)
    more = [*true, 70, 80], np.vstack([scores, 9 * np.ones((2, 6))])  # of cities that were not trained on
    assert evaluation.fit_temperature(more[1], more[0], IDS) == best
    assert evaluation.fit_temperature(scores[:2], [70, 80], IDS) == 1


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


def test_confidence_is_calibrated_on_validation(sample, tmp_path):
    """Scores that are three times too sure come back as the probabilities they were drawn from."""
    rng = np.random.default_rng(0)
    n = 4_000
    logits = rng.normal(0, 1.5, (n, 2))
    city = np.array([11, 22])[(rng.random(n) > softmax(logits, axis=1)[:, 0]).astype(int)]
    table = pd.concat([sample.head(1)] * n, ignore_index=True)
    table = table.assign(photo_id=[str(i) for i in range(n)], city_id=city, split_photo=["val", "test"] * (n // 2))
    done = evaluation.write_scores(tmp_path, table, "photo", 3 * logits, [11, 22], {"method": "svm", "backbone": "net"})
    np.testing.assert_allclose(done["confidence"], softmax(logits, axis=1).max(axis=1), atol=0.03)
    (read, sidecar) = tables.read_predictions(tmp_path)["svm-net-photo"]
    assert sidecar["temperature"] == pytest.approx(3, rel=0.1)
    assert (sidecar["origin"], sidecar["class_ids"]) == ("photographs: own", [11, 22])
    assert len(read) == n


def test_the_likeliest_wrong_cities_are_named_with_their_shares():
    guesses = [10] * 12 + [40] * 6 + [50] * 4 + [60] * 2 + [30]
    scores = (np.array(guesses)[:, None] == IDS).astype(float)
    table = evaluation.predictions_table([f"p{i}" for i in range(25)], [10] * 25, scores, IDS, "test")
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
        return evaluation.predictions_table([f"p{i}" for i in range(30)], true, scores, IDS, "test").iloc[kept]

    found = evaluation.mcnemar(table(right_a, slice(None)), table(right_b, slice(None, None, -1)))
    tail = sum(1 for bits in range(2**13) if min(bits.bit_count(), 13 - bits.bit_count()) <= 3) / 2**13
    assert found == {"n": 30, "only_a": 10, "only_b": 3, "p_value": pytest.approx(tail)}
    assert evaluation.mcnemar(table(right_a, slice(20)), table(right_b, slice(10, None)))["n"] == 10
    assert evaluation.mcnemar(table(right_a, slice(None)), table(right_a, slice(None)))["p_value"] == 1
    with pytest.raises(ValueError, match="no photo in common"):
        evaluation.mcnemar(table(right_a, slice(10)), table(right_b, slice(10, None)))


def test_calibration_error_is_nothing_for_honest_confidence_and_the_gap_for_boasting():
    rng = np.random.default_rng(0)
    n, share = 20_000, 0.3
    confidence = rng.uniform(share, 1, n)
    right = rng.random(n) < confidence
    table = pd.DataFrame({"split": "test", "city_id": 1, "predicted": np.where(right, 1, 2), "confidence": confidence})
    assert evaluation.calibration_error(table) < 0.02
    assert evaluation.calibration_error(table.assign(confidence=1.0)) == pytest.approx(1 - right.mean())
    doubting = table.assign(confidence=confidence - share)
    assert evaluation.calibration_error(doubting) == pytest.approx(share, abs=0.02)


def test_risk_coverage_counts_the_photos_from_each_confidence_on(sample, rng):
    table = predicted(sample, rng)
    table["confidence"] = table["confidence"].round(2)  # some equal ones
    curve, test = evaluation.risk_coverage(table), only_test(table)
    assert curve["confidence"].tolist() == sorted(test["confidence"].unique(), reverse=True)
    for row in curve.itertuples():
        taken = test[test["confidence"] >= row.confidence]
        right = (taken["predicted"] == taken["city_id"]).mean()
        assert (row.number, row.coverage, row.accuracy) == pytest.approx((len(taken), len(taken) / len(test), right))


def test_the_threshold_answers_the_most_validation_photos_at_the_wanted_precision(sample, rng):
    table = predicted(sample, rng, skill=2.0)
    table["confidence"] = table["confidence"].round(1)  # many equal ones
    val = table[table["split"] == "val"]
    reachable = []
    for confidence in val["confidence"].unique():
        answered = val[val["confidence"] >= confidence]
        if (answered["predicted"] == answered["city_id"]).mean() >= 0.85 and len(answered) >= 20:
            reachable.append((len(answered), confidence))
    assert evaluation.confidence_threshold(table, 0.85) == max(reachable)[1]


def test_a_precision_out_of_reach_answers_nothing(sample, rng):
    assert evaluation.confidence_threshold(predicted(sample, rng, skill=0.0), 0.99) == np.inf


def test_a_precision_that_fewer_than_twenty_photos_reach_is_out_of_reach():
    right = np.arange(60) < 19
    scores = np.where(right[:, None], 9 * (IDS == 10), IDS == 20).astype(float)
    table = evaluation.predictions_table([f"p{i}" for i in range(60)], [10] * 60, scores, IDS, "val")
    assert evaluation.confidence_threshold(table, 0.9) == np.inf
    assert evaluation.confidence_threshold(table, 0.3) == table["confidence"].min()
