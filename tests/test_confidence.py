"""Held against scikit-learn's log loss and top-k accuracy, plain loops, and probabilities that are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scores import IDS, make_sample, only_test, predicted, scored
from sklearn.metrics import log_loss, top_k_accuracy_score

from geoutils import confidence, tables


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def sample(rng):
    return make_sample(rng)


def test_predictions_hold_the_best_five_and_the_softmax_of_the_best(sample, rng):
    asked, scores = scored(sample, rng)
    table = confidence.predictions_table(asked["photo_id"], asked["city_id"], scores, IDS, "test", temperature=2.0)
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
    table = confidence.predictions_table(["a", "b"], [10, 20], [[0, 1, 1, 2, 0, 1], [3] * 6], IDS, "test")
    assert [list(best) for best in table["top5"]] == [[20, 10, 30, 60, 40], [40, 10, 30, 20, 50]]


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected finite scores of shape \(2, 6\)"):
        confidence.predictions_table(["a", "b"], [10, 20], np.ones((2, 5)), IDS, "test")
    with pytest.raises(ValueError, match="expected finite scores"):
        confidence.predictions_table(["a", "b"], [10, 20], np.full((2, 6), np.nan), IDS, "test")


def test_the_fitted_temperature_has_the_least_log_loss(sample, rng):
    asked, scores = scored(sample, rng)
    true, order = asked["city_id"], np.argsort(IDS)

    def loss(temperature):
        return log_loss(true, confidence.softmax(scores, temperature)[:, order], labels=np.sort(IDS))

    best = confidence.fit_temperature(scores, true, IDS)
    assert loss(best) <= min(loss(t) for t in np.geomspace(0.05, 20, 200)) + 1e-6
    for factor in (0.01, 100):
        assert confidence.fit_temperature(factor * scores, true, IDS) == pytest.approx(factor * best, rel=1e-3)
    more = [*true, 70, 80], np.vstack([scores, 9 * np.ones((2, 6))])  # of cities that were not trained on
    assert confidence.fit_temperature(more[1], more[0], IDS) == best
    assert confidence.fit_temperature(scores[:2], [70, 80], IDS) == 1


def test_confidence_is_calibrated_on_validation(sample, tmp_path):
    """Scores that are three times too sure come back as the probabilities they were drawn from."""
    rng = np.random.default_rng(0)
    n = 4_000
    logits = rng.normal(0, 1.5, (n, 2))
    city = np.array([11, 22])[(rng.random(n) > softmax(logits, axis=1)[:, 0]).astype(int)]
    table = pd.concat([sample.head(1)] * n, ignore_index=True)
    table = table.assign(photo_id=[str(i) for i in range(n)], city_id=city, split_photo=["val", "test"] * (n // 2))
    done = confidence.write_scores(tmp_path, table, "photo", 3 * logits, [11, 22], {"method": "svm", "backbone": "net"})
    np.testing.assert_allclose(done["confidence"], softmax(logits, axis=1).max(axis=1), atol=0.03)
    (read, sidecar) = tables.read_predictions(tmp_path)["svm-net-photo"]
    assert sidecar["temperature"] == pytest.approx(3, rel=0.1)
    assert (sidecar["origin"], sidecar["class_ids"]) == ("photographs: own", [11, 22])
    assert len(read) == n


def test_calibration_error_is_nothing_for_honest_confidence_and_the_gap_for_boasting():
    rng = np.random.default_rng(0)
    n, share = 20_000, 0.3
    sure = rng.uniform(share, 1, n)
    right = rng.random(n) < sure
    table = pd.DataFrame({"split": "test", "city_id": 1, "predicted": np.where(right, 1, 2), "confidence": sure})
    assert confidence.calibration_error(table) < 0.02
    assert confidence.calibration_error(table.assign(confidence=1.0)) == pytest.approx(1 - right.mean())
    doubting = table.assign(confidence=sure - share)
    assert confidence.calibration_error(doubting) == pytest.approx(share, abs=0.02)


def test_risk_coverage_counts_the_photos_from_each_confidence_on(sample, rng):
    table = predicted(sample, rng)
    table["confidence"] = table["confidence"].round(2)  # some equal ones
    curve, test = confidence.risk_coverage(table), only_test(table)
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
    for least in val["confidence"].unique():
        answered = val[val["confidence"] >= least]
        if (answered["predicted"] == answered["city_id"]).mean() >= 0.85 and len(answered) >= 20:
            reachable.append((len(answered), least))
    assert confidence.confidence_threshold(table, 0.85) == max(reachable)[1]


def test_a_precision_out_of_reach_answers_nothing(sample, rng):
    assert confidence.confidence_threshold(predicted(sample, rng, skill=0.0), 0.99) == np.inf


def test_a_precision_that_fewer_than_twenty_photos_reach_is_out_of_reach():
    right = np.arange(60) < 19
    scores = np.where(right[:, None], 9 * (IDS == 10), IDS == 20).astype(float)
    table = confidence.predictions_table([f"p{i}" for i in range(60)], [10] * 60, scores, IDS, "val")
    assert confidence.confidence_threshold(table, 0.9) == np.inf
    assert confidence.confidence_threshold(table, 0.3) == table["confidence"].min()
