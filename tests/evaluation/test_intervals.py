"""Intervals and tests, held against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from geoutils.evaluation import intervals
from geoutils.evaluation.intervals import accuracy_interval
from geoutils.methods import predictions
from makers.scores import IDS


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


def test_mcnemar_is_the_two_sided_sign_test_of_the_photos_one_alone_got_right():
    true, wrong = np.full(30, 10), np.full(30, 20)
    right_a, right_b = np.arange(30) < 12, (np.arange(30) >= 10) & (np.arange(30) < 15)

    def table(right, kept):
        scores = (np.where(right, true, wrong)[:, None] == IDS).astype(float)
        return predictions.predictions_table([f"p{i}" for i in range(30)], true, scores, IDS, "test").iloc[kept]

    found = intervals.mcnemar(table(right_a, slice(None)), table(right_b, slice(None, None, -1)))
    tail = sum(1 for bits in range(2**13) if min(bits.bit_count(), 13 - bits.bit_count()) <= 3) / 2**13
    assert found == {"n": 30, "only_a": 10, "only_b": 3, "p_value": pytest.approx(tail)}
    assert intervals.mcnemar(table(right_a, slice(20)), table(right_b, slice(10, None)))["n"] == 10
    assert intervals.mcnemar(table(right_a, slice(None)), table(right_a, slice(None)))["p_value"] == 1
    with pytest.raises(ValueError, match="no photo in common"):
        intervals.mcnemar(table(right_a, slice(10)), table(right_b, slice(10, None)))
