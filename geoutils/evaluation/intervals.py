"""Intervals and tests: how sure an accuracy is, and whether two methods differ."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from geoutils.tables import test_rows

RESAMPLES = 2_000
Interval = tuple[float, float, float]  # a share and the ends of its 95 % interval


def accuracy_interval(correct: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0) -> Interval:
    """Return the share of correct photos and the ends of its 95 % interval; all nan for no photo.

    Args:
        correct: bool, shape (n,).
        groups: photographers, shape (n,), null where unknown (then each photo stands alone). With groups the
            interval also covers the percentiles of a bootstrap that draws whole groups, since the photos of one
            photographer are alike; without, photos are taken as independent (Wilson 1927).
    """
    correct = np.asarray(correct, bool)
    if not len(correct):
        return np.nan, np.nan, np.nan
    low, high = stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    if groups is not None:
        codes = pd.factorize(np.asarray(groups, object))[0]
        codes[codes < 0] = codes.max() + 1 + np.arange((codes < 0).sum())
        hits, sizes = np.bincount(codes, correct), np.bincount(codes)
        rng = np.random.default_rng(seed)
        draws = (rng.integers(len(sizes), size=len(sizes)) for _ in range(RESAMPLES))
        drawn_low, drawn_high = np.quantile([hits[draw].sum() / sizes[draw].sum() for draw in draws], [0.025, 0.975])
        low, high = min(low, drawn_low), max(high, drawn_high)
    return float(correct.mean()), float(low), float(high)


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, float]:
    """Test whether two methods differ on the test photos that both saw (McNemar's exact test, two-sided).

    Returns:
        n, only_a and only_b (photos that one alone got right), p_value.
    """
    both = test_rows(a).merge(test_rows(b), on="photo_id", suffixes=("_a", "_b"))
    if both.empty or (both["city_id_a"] != both["city_id_b"]).any():
        raise ValueError("expected predictions of the same photos; found no photo in common, or other cities")
    right_a, right_b = both["predicted_a"] == both["city_id_a"], both["predicted_b"] == both["city_id_b"]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return {"n": len(both), "only_a": only_a, "only_b": only_b, "p_value": float(p_value)}
