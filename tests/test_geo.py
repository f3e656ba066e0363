"""Distances against the vector formula in extended precision, and the geometry of the unit sphere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoutils.geo import EARTH_RADIUS_KM, chord, great_circle_km, unit_vectors

LATITUDE, LONGITUDE = st.floats(-90, 90), st.floats(-180, 180)
PLACE = st.tuples(LATITUDE, LONGITUDE)
CENTIMETRE = 1e-5


def vector_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Angle between two vectors as atan2(|a x b|, a . b), exact at every distance, in long double."""
    (lat_a, lon_a), (lat_b, lon_b) = (np.radians(np.array(place, np.longdouble)) for place in (a, b))
    u, v = (
        np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        for lat, lon in ((lat_a, lon_a), (lat_b, lon_b))
    )
    return float(EARTH_RADIUS_KM * np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v))


@settings(deadline=None)
@given(PLACE, PLACE)
def test_distance_equals_the_vector_formula(a, b):
    expected = vector_km(a, b)
    # the haversine's arcsin loses half of the digits only at the antipode
    tolerance = CENTIMETRE if expected < 20_000 else 1e-3
    assert great_circle_km(*a, *b) == pytest.approx(expected, abs=tolerance)


@settings(deadline=None)
@given(PLACE, st.floats(-1e-5, 1e-5), st.floats(-1e-5, 1e-5))
def test_near_points_keep_their_digits(a, north, east):
    b = (float(np.clip(a[0] + north, -90, 90)), float(np.clip(a[1] + east, -180, 180)))
    assert great_circle_km(*a, *b) == pytest.approx(vector_km(a, b), rel=1e-9, abs=1e-11)


def test_antipodes_are_half_a_circumference_away():
    # some of so many haversines round to more than 1
    rng = np.random.default_rng(0)
    latitude, longitude = rng.uniform(-90, 90, 100_000), rng.uniform(-180, 0, 100_000)
    km = great_circle_km(latitude, longitude, -latitude, longitude + 180)
    np.testing.assert_allclose(km, np.pi * EARTH_RADIUS_KM, atol=1e-3, rtol=0)


def test_a_degree_along_a_meridian_is_an_arc_of_one_degree():
    latitude = np.arange(-90.0, 90.0)
    km = great_circle_km(latitude, 17.0, latitude + 1, 17.0)
    np.testing.assert_allclose(km, EARTH_RADIUS_KM * np.pi / 180, rtol=1e-12)


def test_all_longitudes_meet_at_the_poles_and_at_the_antimeridian():
    longitude = np.linspace(-180, 180, 37)
    np.testing.assert_allclose(great_circle_km(90, longitude, 90, 11.0), 0, atol=CENTIMETRE)
    np.testing.assert_allclose(great_circle_km(-17, 180, -17, -180), 0, atol=CENTIMETRE)


def test_shapes_broadcast():
    assert great_circle_km(np.zeros((3, 1)), 0.0, 0.0, np.arange(4.0)).shape == (3, 4)


def test_unit_vectors_point_where_they_say():
    axes = unit_vectors([0, 0, 90], [0, 90, -123])
    np.testing.assert_allclose(axes, np.eye(3), atol=1e-15)


@settings(deadline=None)
@given(PLACE, PLACE)
def test_chord_is_the_straight_line_between_unit_vectors(a, b):
    u, v = unit_vectors(*np.transpose([a, b]))
    assert np.linalg.norm(u) == pytest.approx(1, abs=1e-15)
    assert chord(great_circle_km(*a, *b)) == pytest.approx(np.linalg.norm(u - v), abs=1e-14)


def test_chord_never_exceeds_the_diameter():
    np.testing.assert_allclose(chord([0, np.pi * EARTH_RADIUS_KM, 1e9]), [0, 2, 2])
