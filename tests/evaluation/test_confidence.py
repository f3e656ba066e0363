"""Confidence, held against plain loops and probabilities that are known."""

import numpy as np
import pandas as pd
import pytest

from geoutils.evaluation import confidence
from geoutils.methods import predictions
from makers.scores import IDS, only_test, predicted


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
    table = predictions.predictions_table([f"p{i}" for i in range(60)], [10] * 60, scores, IDS, "val")
    assert confidence.confidence_threshold(table, 0.9) == np.inf
    assert confidence.confidence_threshold(table, 0.3) == table["confidence"].min()
