"""How far off guesses are, in great-circle kilometres."""

import numpy as np
import pandas as pd

from geoutils.evaluation.accuracy import city_rows
from geoutils.geo import great_circle_km
from geoutils.tables import test_rows

# "street, city, region, country, continent": Vo et al. 2017, section 4
ERROR_THRESHOLDS_KM = (1.0, 25.0, 200.0, 750.0, 2_500.0)


def error_km(predictions: pd.DataFrame, cities: pd.DataFrame, sample: pd.DataFrame) -> pd.Series:
    """Return the distance from each test photo's own position to the guess: the position that the method answered
    with, or else the centre of the city that it predicted.

    Returns:
        Great-circle kilometres, float64, by photo_id.
    """
    test = test_rows(predictions)
    own = sample.set_index("photo_id")[["latitude", "longitude"]].reindex(test["photo_id"])
    if (unknown := own.index[own["latitude"].isna()]).size:
        raise ValueError(f"{len(unknown)} photos have no position in the sample, such as {list(unknown[:3])}")
    centres = cities[["latitude", "longitude"]].to_numpy()[city_rows(test["predicted"], cities)]
    answered = test.reindex(columns=["latitude", "longitude"]).to_numpy(np.float64)
    guesses = np.where(np.isnan(answered).any(axis=1, keepdims=True), centres, answered)
    distances = great_circle_km(*own.to_numpy().T, *guesses.T)
    return pd.Series(distances, own.index, name="error_km")


def within_thresholds(errors: pd.Series) -> pd.DataFrame:
    """Return threshold_km (street, city, region, country, continent) and the share of errors at most as large."""
    shares = [float(np.mean(errors <= threshold)) for threshold in ERROR_THRESHOLDS_KM]
    return pd.DataFrame({"threshold_km": ERROR_THRESHOLDS_KM, "share": shares})
