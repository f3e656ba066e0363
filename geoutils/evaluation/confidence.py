"""How far a method's confidence can be trusted."""

import numpy as np
import pandas as pd

from geoutils.tables import MIN_TEST_PHOTOS


def risk_coverage(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Return the accuracy on the surest photos: the surest one, the surest two, and so on to all of them.

    Returns:
        number and coverage (share) of the photos taken, their accuracy, and the least confidence among them.
    """
    rows = predictions[predictions["split"] == split].sort_values("confidence", ascending=False)
    right, number = (rows["predicted"] == rows["city_id"]).to_numpy(), np.arange(1, len(rows) + 1)
    curve = {"number": number, "coverage": number / len(rows), "accuracy": right.cumsum() / number}
    table = pd.DataFrame({**curve, "confidence": rows["confidence"].to_numpy()})
    return table[~table["confidence"].duplicated(keep="last")]  # equal confidences can't be told apart


def calibration_error(predictions: pd.DataFrame, *, bins: int = 10) -> float:
    """Return by how much confidence and accuracy of test photos differ: the mean over bins of equally many photos,
    sorted by confidence (the expected calibration error of Guo et al. 2017, equation 3, with such bins)."""
    rows = predictions[predictions["split"] == "test"].sort_values("confidence", kind="stable")
    gap = rows["confidence"].to_numpy() - (rows["predicted"] == rows["city_id"]).to_numpy()
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))


def confidence_threshold(predictions: pd.DataFrame, precision: float) -> float:
    """Choose on validation rows the lowest confidence from which guesses reach a precision.

    At least 20 photos must lie above it; where none does, it is infinite and nothing is answered.
    """
    curve = risk_coverage(predictions, split="val")
    reached = curve[(curve["accuracy"] >= precision) & (curve["number"] >= MIN_TEST_PHOTOS)]
    return float(min(reached["confidence"], default=np.inf))
