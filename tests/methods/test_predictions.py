"""Scores become predictions, and confidence the probability that it says."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from geoutils import tables
from geoutils.methods import predictions
from makers.scores import IDS, make_sample, scored


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def sample(rng):
    return make_sample(rng)


def test_predictions_hold_the_best_five_and_the_softmax_of_the_best(sample, rng):
    asked, scores = scored(sample, rng)
    table = predictions.predictions_table(asked["photo_id"], asked["city_id"], scores, IDS, "test", temperature=2.0)
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
    table = predictions.predictions_table(["a", "b"], [10, 20], [[0, 1, 1, 2, 0, 1], [3] * 6], IDS, "test")
    assert [list(best) for best in table["top5"]] == [[20, 10, 30, 60, 40], [40, 10, 30, 20, 50]]


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected finite scores of shape \(2, 6\)"):
        predictions.predictions_table(["a", "b"], [10, 20], np.ones((2, 5)), IDS, "test")
    with pytest.raises(ValueError, match="expected finite scores"):
        predictions.predictions_table(["a", "b"], [10, 20], np.full((2, 6), np.nan), IDS, "test")


def test_the_fitted_temperature_has_the_least_log_loss(sample, rng):
    asked, scores = scored(sample, rng)
    true, order = asked["city_id"], np.argsort(IDS)

    def loss(temperature):
        return log_loss(true, predictions.softmax(scores, temperature)[:, order], labels=np.sort(IDS))

    best = predictions.fit_temperature(scores, true, IDS)
    assert loss(best) <= min(loss(t) for t in np.geomspace(0.05, 20, 200)) + 1e-6
    for factor in (0.01, 100):
        assert predictions.fit_temperature(factor * scores, true, IDS) == pytest.approx(factor * best, rel=1e-3)
    more = [*true, 70, 80], np.vstack([scores, 9 * np.ones((2, 6))])  # of cities that were not trained on
    assert predictions.fit_temperature(more[1], more[0], IDS) == best
    assert predictions.fit_temperature(scores[:2], [70, 80], IDS) == 1


def test_confidence_is_calibrated_on_validation(sample, tmp_path):
    """Scores that are three times too sure come back as the probabilities they were drawn from."""
    rng = np.random.default_rng(0)
    n = 4_000
    logits = rng.normal(0, 1.5, (n, 2))
    city = np.array([11, 22])[(rng.random(n) > softmax(logits, axis=1)[:, 0]).astype(int)]
    table = pd.concat([sample.head(1)] * n, ignore_index=True)
    table = table.assign(photo_id=[str(i) for i in range(n)], city_id=city, split_photo=["val", "test"] * (n // 2))
    done = predictions.write_scores(
        tmp_path, table, "photo", 3 * logits, [11, 22], {"method": "svm", "backbone": "net"}
    )
    np.testing.assert_allclose(done["confidence"], softmax(logits, axis=1).max(axis=1), atol=0.03)
    (read, sidecar) = tables.read_predictions(tmp_path)["svm-net-photo"]
    assert sidecar["temperature"] == pytest.approx(3, rel=0.1)
    assert (sidecar["origin"], sidecar["class_ids"]) == ("photographs: own", [11, 22])
    assert len(read) == n
