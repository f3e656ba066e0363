"""Errors in kilometres, held against plain loops."""

import numpy as np
import pandas as pd
import pytest

from geoutils.evaluation import distances
from geoutils.geo import great_circle_km
from makers.scores import CITIES, only_test, predicted


def test_errors_run_from_the_photo_to_the_predicted_centre(sample, rng):
    table = predicted(sample, rng)
    errors = distances.error_km(table, CITIES, sample)
    assert errors.index.tolist() == only_test(table)["photo_id"].tolist()
    photos, cities = sample.set_index("photo_id"), CITIES.set_index("city_id")
    for photo, city in only_test(table).set_index("photo_id")["predicted"].head(20).items():
        a, b = photos.loc[photo], cities.loc[city]
        expected = great_circle_km(a["latitude"], a["longitude"], b["latitude"], b["longitude"])
        assert errors[photo] == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="160 photos have no position in the sample"):
        distances.error_km(table, CITIES, sample.head(100))


def test_a_position_that_a_method_answered_with_is_its_guess(sample, rng):
    table = predicted(sample, rng)
    centres = distances.error_km(table, CITIES, sample)
    own = sample.set_index("photo_id").loc[table["photo_id"]]
    answered = np.arange(len(table)) % 2 == 0
    table["latitude"], table["longitude"] = (
        np.where(answered, own[name], np.nan) for name in ("latitude", "longitude")
    )
    errors, test = distances.error_km(table, CITIES, sample), only_test(table)
    exact = test["photo_id"][test["latitude"].notna()]
    assert (errors[exact] == 0).all()
    others = test["photo_id"][test["latitude"].isna()]
    pd.testing.assert_series_equal(errors[others], centres[others])


def test_an_error_at_a_threshold_is_within_it():
    shares = distances.within_thresholds(pd.Series([0.5, 25.0, 25.1, 3_000.0]))
    assert shares["threshold_km"].tolist() == [1, 25, 200, 750, 2_500]
    assert shares["share"].tolist() == [0.25, 0.5, 0.75, 0.75, 0.75]
