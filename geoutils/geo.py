"""Great-circle geometry on a sphere, vectorised over photos. Latitude before longitude, WGS84 degrees."""

import numpy as np
from numpy.typing import ArrayLike

EARTH_RADIUS_KM = 6_371.0088  # mean radius R1, IUGG 1980


def great_circle_km(
    latitude_a: ArrayLike, longitude_a: ArrayLike, latitude_b: ArrayLike, longitude_b: ArrayLike
) -> np.ndarray:
    """Return the great-circle distance between two sets of positions.

    Args:
        latitude_a, longitude_a, latitude_b, longitude_b: degrees, shapes that broadcast together.

    Returns:
        Kilometres, float64, of the broadcast shape (haversine formula; exact for near and far points).
    """
    lat_a, lon_a, lat_b, lon_b = (
        np.radians(np.asarray(a, dtype=np.float64)) for a in (latitude_a, longitude_a, latitude_b, longitude_b)
    )
    half = np.sin((lat_b - lat_a) / 2) ** 2
    half = half + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))


def unit_vectors(latitude: ArrayLike, longitude: ArrayLike) -> np.ndarray:
    """Return positions as points on the unit sphere.

    Args:
        latitude, longitude: degrees, shape (n,).

    Returns:
        float64, shape (n, 3): x towards (0, 0), y towards (0, 90 E), z towards the north pole.
    """
    lat, lon = np.radians(np.asarray(latitude, float)), np.radians(np.asarray(longitude, float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def chord(distance_km: ArrayLike) -> np.ndarray:
    """Return the straight-line distance between unit vectors that lie `distance_km` apart on the sphere."""
    return 2 * np.sin(np.minimum(np.asarray(distance_km, float) / EARTH_RADIUS_KM, np.pi) / 2)
