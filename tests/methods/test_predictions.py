"""Scores become predictions, and confidence the probability that it says."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from geoutils import tables
from geoutils.methods import predictions
from makers.scores import IDS, make_sample, scored, told


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
    done = predictions.write_scores(tmp_path, table, "photo", 3 * logits, [11, 22], told("svm"))
    np.testing.assert_allclose(done["confidence"], softmax(logits, axis=1).max(axis=1), atol=0.03)
    (read, sidecar) = tables.read_predictions(tmp_path)["svm-net-photo"]
    assert sidecar["temperature"] == pytest.approx(3, rel=0.1)
    assert (sidecar["origin"], sidecar["class_ids"]) == ("photographs: own", [11, 22])
    assert len(read) == n


def test_all_scores_are_kept_and_the_best_of_a_row_is_what_is_predicted(sample, rng, tmp_path):
    asked, scores = scored(sample, rng)
    scores[0] = 1 + 1e-9 * np.arange(6)  # the last is best by less than float32 can tell
    table = predictions.write_scores(tmp_path, sample, "photo", scores, IDS, told("svm"))
    kept = tables.read_scores(tmp_path, "svm-net-photo")
    np.testing.assert_array_equal(kept[1:], scores.astype(np.float32)[1:])
    np.testing.assert_allclose(kept[0], 1, rtol=1e-6)
    assert table["photo_id"].tolist() == asked["photo_id"].tolist()
    assert table["predicted"].tolist() == IDS[scores.argmax(axis=1)].tolist() == IDS[kept.argmax(axis=1)].tolist()
    assert tables.read_predictions(tmp_path)["svm-net-photo"][1]["class_ids"] == IDS.tolist()


def test_a_method_may_answer_with_a_position(sample, rng, tmp_path):
    asked, scores = scored(sample, rng)
    positions = np.where(np.arange(len(asked))[:, None] % 3, rng.uniform(-90, 90, (len(asked), 2)), np.nan)
    table = predictions.write_scores(tmp_path, sample, "photo", scores, IDS, told("svm"), positions=positions)
    np.testing.assert_array_equal(table[["latitude", "longitude"]], positions)
    assert predictions.write_scores(tmp_path, sample, "photo", scores, IDS, told("knn"))["latitude"].isna().all()


def test_positions_and_scores_that_do_not_fit_are_refused(sample, rng, tmp_path):
    asked, scores = scored(sample, rng)
    half = np.full((len(asked), 2), np.nan)
    half[3, 0] = 10.0
    for positions in (half, half[:, :1], half[1:]):
        with pytest.raises(ValueError, match=rf"positions are {len(asked)} rows of latitude and longitude"):
            predictions.write_scores(tmp_path, sample, "photo", scores, IDS, told("svm"), positions=positions)
    with pytest.raises(ValueError, match=rf"scores of {len(asked)} val and test photos.*found {len(asked) - 1}"):
        predictions.write_scores(tmp_path, sample, "photo", scores[1:], IDS, told("svm"))
    with pytest.raises(ValueError, match="finite as float32"):
        predictions.write_scores(tmp_path, sample, "photo", 1e200 * scores, IDS, told("svm"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("change", "named"), [({"title": None}, "title"), ({"kind": "frozzen"}, "frozzen")])
def test_a_sidecar_without_a_name_for_people_or_of_no_kind_is_refused(sample, rng, tmp_path, change, named):
    sidecar = {key: value for key, value in (told("svm") | change).items() if value is not None}
    with pytest.raises(ValueError, match=named):
        predictions.write_scores(tmp_path, sample, "photo", scored(sample, rng)[1], IDS, sidecar)
    assert not list(tmp_path.iterdir())


def small(best=(2, 1)) -> tuple[pd.DataFrame, np.ndarray]:
    """Two test photos of city 1, put into the cities `best`, and their scores."""
    rows = {"photo_id": ["a", "b"], "city_id": 1, "predicted": best, "top5": [[2, 1], [1, 2]], "confidence": 0.5}
    return pd.DataFrame(rows).assign(split="test"), np.array([[0.0, 1.0], [1.0, 0.0]])


def test_predictions_keep_order_and_sidecar(tmp_path):
    sidecar = told("knn", class_ids=[1, 2])
    predictions.write_predictions(*small(), sidecar, tmp_path, "knn-photo")
    ((name, (read, kept)),) = tables.read_predictions(tmp_path).items()
    assert (name, kept) == ("knn-photo", sidecar)
    assert [list(top) for top in read["top5"]] == [[2, 1], [1, 2]]


def test_scores_that_name_another_city_are_refused(tmp_path):
    table, scores = small(best=(1, 1))
    with pytest.raises(ValueError, match="best where `predicted` is"):
        predictions.write_predictions(table, scores, {"class_ids": [1, 2]}, tmp_path, "knn")
    with pytest.raises(ValueError, match=r"scores of shape \(2, 3\).*found \(2, 2\)"):
        predictions.write_predictions(*small(), {"class_ids": [1, 2, 3]}, tmp_path, "knn")


def test_predictions_killed_half_way_have_no_older_sidecar(tmp_path, monkeypatch):
    table, scores = small()
    older, newer = (told("knn", class_ids=[1, 2], seed=seed) for seed in (0, 1))
    predictions.write_predictions(table, scores, older, tmp_path, "knn")
    with pytest.raises(ValueError, match="predictions"):  # what is refused leaves the older files
        predictions.write_predictions(table.drop(columns="split"), scores, newer, tmp_path, "knn")
    assert tables.read_predictions(tmp_path)["knn"][1] == older
    monkeypatch.setattr(predictions, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        predictions.write_predictions(table, scores, newer, tmp_path, "knn")
    assert tables.read_predictions(tmp_path) == {}
