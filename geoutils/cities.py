"""Which city is a photo of, and which cities have enough photos: gazetteer, labels, counts.

Cities: GeoNames (www.geonames.org), CC BY 4.0, mended as data/README.md says. Photo grid: GeoCLIP (MIT).
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from geoutils.geo import chord, great_circle_km, unit_vectors

DATA = Path(__file__).parent / "data"
CHUNK = 2**17  # pairs of photo and centre in memory at once, about 25 MB


def load_gazetteer() -> pd.DataFrame:
    """Load the cities: city_id (GeoNames), city, country (ISO 3166), country_name, position, population."""
    return pd.read_csv(DATA / "cities.csv", keep_default_na=False)  # "NA" is Namibia


def load_photo_grid() -> pd.DataFrame:
    """Load 100,000 real positions as cells of 0.05 degrees: latitude, longitude (the centre), photos."""
    return pd.read_csv(DATA / "photo_grid.csv.gz")


def non_overlapping(cities: pd.DataFrame, radius_km: float) -> pd.DataFrame:
    """Keep cities whose discs do not overlap, taken from the largest population down (ties by city_id).

    Args:
        cities: city_id, latitude, longitude, population.
        radius_km: of the discs; a centre within twice that of one already taken is dropped.

    Returns:
        The rows kept, most populous first.
    """
    ranked = cities.sort_values(["population", "city_id"], ascending=[False, True], ignore_index=True)
    positions = ranked[["latitude", "longitude"]].to_numpy(float)
    kept: list[int] = []
    for row, position in enumerate(positions):
        if not (great_circle_km(*position, *positions[kept].T) < 2 * radius_km).any():
            kept.append(row)
    return ranked.iloc[kept].reset_index(drop=True)


def label_cities(
    photos: pd.DataFrame, cities: pd.DataFrame, radius_km: float = 25.0, *, workers: int = -1
) -> pd.Series:
    """Label each photo with the city whose centre is nearest, if that lies within the radius.

    Args:
        photos: latitude, longitude in degrees; any index.
        cities: city_id, latitude, longitude; they may overlap, ties go to the first row.
        radius_km: great-circle kilometres; a photo at just that distance counts.
        workers: threads that search; -1: one a core.

    Returns:
        Int64 `city_id` on the photos' index, null where no centre is near enough.
    """
    from scipy.spatial import cKDTree

    if not radius_km >= 0:
        raise ValueError(f"radius_km must be a distance of 0 km or more, found {radius_km}; 25 is usual")
    lat, lon = photos["latitude"].to_numpy(float), photos["longitude"].to_numpy(float)
    centre_lat, centre_lon = cities["latitude"].to_numpy(float), cities["longitude"].to_numpy(float)
    tree = cKDTree(unit_vectors(centre_lat, centre_lon))
    # reach further than the chord's rounding error: the tree proposes, the haversine decides
    reach, twice = chord([radius_km, 2 * radius_km]) * (1 + 1e-9) + 1e-12
    # centres near one photo are near each other, which bounds how many there are: 1 where none overlap
    candidates = int(tree.query_ball_point(tree.data, twice, return_length=True).max(initial=1))
    nearest = np.empty(len(photos), np.intp)
    step = CHUNK // candidates + 1
    for part in (slice(start, start + step) for start in range(0, len(photos), step)):
        vectors = unit_vectors(lat[part], lon[part])
        _, rows = tree.query(vectors, range(1, candidates + 1), distance_upper_bound=reach, workers=workers)
        rows.sort(axis=1)  # argmin then gives ties to the first row
        hit = rows < len(cities)
        photo, row = part.start + np.nonzero(hit)[0], rows[hit]
        distance = np.full(rows.shape, np.inf)
        distance[hit] = great_circle_km(lat[photo], lon[photo], centre_lat[row], centre_lon[row])
        rows[distance > radius_km] = len(cities)
        nearest[part] = rows[np.arange(len(rows)), distance.argmin(axis=1)]
    ids = np.append(cities["city_id"].to_numpy(np.int64), 0)[nearest]
    return pd.Series(pd.arrays.IntegerArray(ids, nearest == len(cities)), photos.index, name="city_id")


def eligible_cities(
    city_ids: pd.Series,
    min_photos: int = 11_000,
    max_cities: int | None = None,
    *,
    weights: pd.Series | int = 1,
) -> pd.DataFrame:
    """Count the photos of each city and keep the cities that have enough.

    Args:
        city_ids: a label a photo, null where it has none.
        min_photos: the paper asks for 11,000, and 37 cities had them (section III).
        max_cities: keep only the most photographed.
        weights: photos that a row stands for, where rows are cells of a grid.

    Returns:
        city_id (int64), photos; most photos first, ties by city_id.
    """
    counts = pd.Series(weights, city_ids.index).groupby(city_ids.astype("Int64")).sum().rename("photos")
    counts = counts[counts >= min_photos].rename_axis("city_id").reset_index().astype({"city_id": "int64"})
    return counts.sort_values(["photos", "city_id"], ascending=[False, True], ignore_index=True)[:max_cities]


def count_photos(positions: pd.DataFrame, cities: pd.DataFrame, radius_km: float = 25.0) -> pd.DataFrame:
    """Return the non-overlapping cities that have photos, with a column `photos`, most photos first.

    Args:
        positions: latitude, longitude, and `photos` where a row stands for several.
    """
    apart = non_overlapping(cities, radius_km)
    labels = label_cities(positions, apart, radius_km)
    counts = eligible_cities(labels, min_photos=1, weights=positions.get("photos", 1))
    return counts.merge(apart, on="city_id", validate="one_to_one")[[*apart.columns, "photos"]]


def eligibility_table(
    positions: pd.DataFrame,
    cities: pd.DataFrame,
    radii_km: Sequence[float],
    min_photos: Sequence[int],
    *,
    scale: float = 1.0,
) -> pd.DataFrame:
    """Count the non-overlapping cities that qualify at each radius and minimum.

    Args:
        positions: as for `count_photos`.
        scale: photos of the corpus for one of `positions`: 6,000,000 / 100,000 for Im2GPS and the grid.

    Returns:
        radius_km, min_photos, cities (their number); a row a combination.
    """
    counts = {radius_km: count_photos(positions, cities, radius_km)["photos"] * scale for radius_km in radii_km}
    rows = [(radius, least, int((photos >= least).sum())) for radius, photos in counts.items() for least in min_photos]
    return pd.DataFrame(rows, columns=["radius_km", "min_photos", "cities"])


def leading_cities(count: int = 37, radius_km: float = 25.0) -> pd.DataFrame:
    """Return the most photographed non-overlapping cities of the bundled grid, with `photos`."""
    if count < 1:
        raise ValueError(f"count must be a number of cities, 1 or more, found {count}; the paper has 37")
    return count_photos(load_photo_grid(), load_gazetteer(), radius_km)[:count]


def label_by_polygon(
    photos: pd.DataFrame, polygons: pd.DataFrame | Path | str, *, name_column: str = "name"
) -> pd.Series:
    """Label each photo with the polygon that holds it; of overlapping polygons the smallest counts.

    Args:
        photos: latitude, longitude in degrees.
        polygons: a GeoDataFrame in any stated reference system, or a file (GeoJSON, GeoPackage, ...).
        name_column: the polygons' column that becomes the label.

    Returns:
        Labels on the photos' index, null outside of every polygon.
    """
    import geopandas

    shapes = polygons if isinstance(polygons, geopandas.GeoDataFrame) else geopandas.read_file(polygons)
    if name_column not in shapes:
        raise ValueError(f"the polygons have no column {name_column!r}; name_column: {list(shapes.columns)}")
    if not (kinds := set(shapes.geom_type)) <= {"Polygon", "MultiPolygon"}:
        raise ValueError(f"every boundary must be a Polygon or MultiPolygon, found {kinds}; drop the others")
    shapes = shapes.set_geometry(shapes.make_valid())
    shapes = shapes.iloc[shapes.to_crs(6933).area.argsort()].to_crs(4326)  # EPSG:6933 is equal-area
    points = geopandas.points_from_xy(photos["longitude"], photos["latitude"])
    point, shape = shapes.sindex.query(points, predicate="intersects")
    smallest = pd.Series(shape).groupby(point).min()  # rows are in order of area
    names = shapes[name_column]
    names = names.astype("Int64") if names.dtype.kind in "iu" else names  # integers beside nulls
    return names.iloc[smallest].set_axis(smallest.index).reindex(range(len(photos))).set_axis(photos.index)


def label_disagreement(labels_a: pd.Series, labels_b: pd.Series) -> pd.DataFrame:
    """Cross-tabulate the photos that two labellings put into different cities; "none" is no label."""
    a, b = (labels.astype("object").where(labels.notna(), "none") for labels in (labels_a, labels_b))
    return pd.crosstab(a[a != b], b[a != b], rownames=["a"], colnames=["b"])


def keyword_audit(photos: pd.DataFrame, city_names: pd.Series) -> pd.DataFrame:
    """Compare the query that found a photo with the city that its position gives.

    Args:
        photos: with `keyword`; those without one, or without a city, are left out.
        city_names: of the labelled cities, on the photos' index; "new-york" names New York City.

    Returns:
        city, photos, named (photos whose keyword names the city), share; most photos first.
    """
    pairs = pd.DataFrame({"key": photos["keyword"].fillna("").map(_letters), "city": city_names}).dropna()
    pairs = pairs[pairs["key"] != ""].value_counts().rename("photos").reset_index()
    names = pairs["city"].map(_letters)
    named = [name in key or name.startswith(key) for name, key in zip(names, pairs["key"], strict=True)]
    table = pairs.assign(named=pairs["photos"].where(named, 0)).groupby("city")[["photos", "named"]].sum()
    table["share"] = table["named"] / table["photos"]
    return table.reset_index().sort_values(["photos", "city"], ascending=[False, True], ignore_index=True)


def _letters(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text).casefold() if letter.isalnum())
