"""Labels against brute force, the gazetteer against its promises, counts against plain Python."""

import math
import subprocess
import sys
from collections import Counter

import geopandas
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, box
from sklearn.neighbors import BallTree

from geoutils import cities
from geoutils.cities import (
    count_photos,
    eligibility_table,
    eligible_cities,
    keyword_audit,
    label_by_polygon,
    label_cities,
    label_disagreement,
    leading_cities,
    load_gazetteer,
    load_photo_grid,
    non_overlapping,
)
from geoutils.geo import EARTH_RADIUS_KM, great_circle_km

PLACES = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=25)
# where a flat map breaks: poles, antimeridian, a few kilometres apart
AWKWARD = st.lists(
    st.tuples(st.sampled_from([-90.0, -89.9, 0.0, 89.9, 90.0]), st.sampled_from([-180.0, -179.9, 0.0, 179.9, 180.0])),
    min_size=1,
    max_size=12,
)


def places(positions, **columns) -> pd.DataFrame:
    """Make a table of positions, with a city_id that isn't the row number."""
    table = pd.DataFrame(positions, columns=["latitude", "longitude"], dtype="float64")
    return table.assign(city_id=np.arange(len(table)) * 7 + 3, **columns)


def brute_force(photos, cities, radius_km) -> list:
    """Label by the haversine from every photo to every centre."""
    distances = great_circle_km(
        photos["latitude"].to_numpy()[:, None],
        photos["longitude"].to_numpy()[:, None],
        cities["latitude"].to_numpy(),
        cities["longitude"].to_numpy(),
    )
    nearest = distances.argmin(axis=1)
    ids = cities["city_id"].to_numpy()[nearest]
    return [int(i) if d <= radius_km else None for i, d in zip(ids, distances.min(axis=1), strict=True)]


def as_list(labels: pd.Series) -> list:
    return [None if pd.isna(label) else int(label) for label in labels]


@pytest.fixture(scope="module")
def gazetteer():
    return load_gazetteer()


# --- the bundled data


def test_gazetteer_rows_are_whole_and_unique(gazetteer):
    assert len(gazetteer) >= 300
    assert gazetteer["city_id"].is_unique
    assert gazetteer["city"].is_unique  # two Portlands would be one in charts and menus
    assert gazetteer.notna().all(axis=None)
    assert (gazetteer[["city", "country_name"]] != "").all(axis=None)
    assert gazetteer["country"].str.fullmatch("[A-Z]{2}").all()
    assert gazetteer["latitude"].between(-90, 90).all()
    assert gazetteer["longitude"].between(-180, 180).all()
    assert (gazetteer["population"] > 0).all()


def test_gazetteer_has_the_photographed_cities_and_no_part_of_one(gazetteer):
    names = set(gazetteer["city"])
    assert {"Venice", "Edinburgh", "Las Vegas", "Dubrovnik", "Hong Kong", "San Diego", "Kyoto"} <= names
    parts = {"City of Westminster", "Kreuzberg", "Setagaya", "Mestre", "Hollywood", "Brooklyn", "Kowloon"}
    assert not parts & names


@pytest.mark.parametrize(
    ("city", "country", "latitude", "longitude"),
    [
        ("Toronto", "CA", 43.6426, -79.3871),  # CN Tower
        ("Dubai", "AE", 25.1972, 55.2744),  # Burj Khalifa
        ("Chicago", "US", 41.8827, -87.6233),  # Cloud Gate
        ("Venice", "IT", 45.4380, 12.3359),  # Rialto
        ("Ho Chi Minh City", "VN", 10.7798, 106.6990),  # Notre-Dame
    ],
)
def test_a_centre_lies_near_the_citys_landmark(gazetteer, city, country, latitude, longitude):
    row = gazetteer[(gazetteer["city"] == city) & (gazetteer["country"] == country)].iloc[0]
    assert great_circle_km(row["latitude"], row["longitude"], latitude, longitude) < 3


def test_photo_grid_holds_100_000_photos_in_cells_and_nothing_else():
    grid = load_photo_grid()
    assert list(grid.columns) == ["latitude", "longitude", "photos"]
    assert grid["photos"].sum() == 100_000
    assert not grid.duplicated(["latitude", "longitude"]).any()
    steps = grid[["latitude", "longitude"]] / 0.05 - 0.5
    np.testing.assert_allclose(steps, steps.round(), atol=1e-6)


@pytest.mark.realdata
def test_photo_grid_is_the_histogram_of_the_real_positions(real_data):
    real = pd.read_csv(real_data / "metadata" / "mp16_coordinates_100k.csv")
    positions = zip(real["LAT"], real["LON"], strict=True)
    expected = Counter((math.floor(lat * 20), math.floor(lon * 20)) for lat, lon in positions)
    cells = load_photo_grid().itertuples(index=False)
    assert expected == {(math.floor(lat * 20), math.floor(lon * 20)): photos for lat, lon, photos in cells}


def test_basemap_is_valid_and_small():
    path = cities.DATA / "basemap.geojson"
    countries = geopandas.read_file(path)
    assert path.stat().st_size < 300_000
    assert set(countries.columns) == {"name", "country", "geometry"}
    assert len(countries) == 177
    assert countries.is_valid.all()
    assert countries["name"].is_unique


# --- cities that do not overlap


def test_cambridge_hollywood_oakland_and_mestre_never_stand_beside_their_cities():
    rows = [
        ("Cambridge", 42.3751, -71.1056, 118_403), ("Boston", 42.3584, -71.0598, 653_833),
        ("Hollywood", 34.0983, -118.3267, 85_000), ("Los Angeles", 34.0522, -118.2437, 3_820_914),
        ("Oakland", 37.8044, -122.2708, 419_267), ("San Francisco", 37.7749, -122.4194, 827_526),
        ("Mestre", 45.4917, 12.2454, 147_662), ("Venice", 45.4371, 12.3327, 261_362),
    ]  # fmt: skip
    cities = pd.DataFrame(rows, columns=["city", "latitude", "longitude", "population"])
    cities["city_id"] = range(8)
    assert list(non_overlapping(cities, 25.0)["city"]) == ["Los Angeles", "San Francisco", "Boston", "Venice"]


@pytest.mark.parametrize("radius_km", [5.0, 25.0, 60.0])
def test_kept_cities_are_two_radii_apart_and_each_dropped_one_is_near_a_larger(gazetteer, radius_km):
    kept = non_overlapping(gazetteer, radius_km)
    dropped = gazetteer[~gazetteer["city_id"].isin(kept["city_id"])]
    tree = BallTree(np.radians(kept[["latitude", "longitude"]]), metric="haversine")
    apart = tree.query(np.radians(kept[["latitude", "longitude"]]), k=2)[0][:, 1] * EARTH_RADIUS_KM
    assert apart.min() >= 2 * radius_km
    near = tree.query_radius(np.radians(dropped[["latitude", "longitude"]]), 2 * radius_km / EARTH_RADIUS_KM)
    for rows, population in zip(near, dropped["population"], strict=True):
        assert kept["population"].iloc[rows].max() >= population


def test_row_order_does_not_change_which_cities_are_kept(gazetteer):
    shuffled = gazetteer.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(non_overlapping(shuffled, 25.0), non_overlapping(gazetteer, 25.0))


def test_the_leading_37_are_the_cities_one_expects():
    leading = leading_cities()
    names = set(leading["city"])
    assert len(leading) == 37
    assert leading["photos"].is_monotonic_decreasing
    assert {
        "London",
        "New York City",
        "Paris",
        "Tokyo",
        "Hong Kong",
        "San Diego",
        "Venice",
        "Boston",
    } <= names
    assert not {"Oakland", "Cambridge", "Shenzhen", "Tijuana", "Padua", "Long Beach"} & names


@pytest.mark.realdata
def test_the_real_positions_give_the_published_counts(real_data, gazetteer):
    real = pd.read_csv(real_data / "metadata" / "mp16_coordinates_100k.csv").set_axis(["latitude", "longitude"], axis=1)
    counts = count_photos(real, gazetteer, 25.0).set_index("city")["photos"]
    assert counts[:3].to_dict() == {"London": 2562, "New York City": 2489, "San Francisco": 1908}
    assert counts["Paris"] == 1444


# --- labels by radius


@settings(max_examples=80, deadline=None)
@given(PLACES | AWKWARD, PLACES | AWKWARD, st.sampled_from([0.0, 25.0, 500.0, 6_000.0, 20_100.0]))
def test_labels_equal_brute_force_haversine(photos, cities, radius_km):
    photos, cities = places(photos), places(cities)
    assert as_list(label_cities(photos, cities, radius_km)) == brute_force(photos, cities, radius_km)


@settings(max_examples=80, deadline=None)
@given(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_a_photo_at_just_the_radius_counts_and_one_beyond_does_not(centre, north, east):
    photo = places([(np.clip(centre[0] + north, -90, 90), np.clip(centre[1] + east, -180, 180))])
    city = places([centre])
    radius = float(great_circle_km(*photo.iloc[0, :2].astype(float), *centre))
    assert label_cities(photo, city, radius).notna().all()
    if radius > 0:
        assert label_cities(photo, city, float(np.nextafter(radius, 0))).isna().all()


def test_labels_equal_balltree_on_the_real_grid(gazetteer):
    grid, cities = load_photo_grid(), non_overlapping(gazetteer, 25.0)
    tree = BallTree(np.radians(cities[["latitude", "longitude"]]), metric="haversine")
    distance, row = tree.query(np.radians(grid[["latitude", "longitude"]]), k=1)
    expected = cities["city_id"].astype("Int64").iloc[row[:, 0]].reset_index(drop=True)
    expected = expected.where(distance[:, 0] * EARTH_RADIUS_KM <= 25.0)
    pd.testing.assert_series_equal(label_cities(grid, cities, 25.0), expected, check_names=False)


def test_the_antimeridian_and_the_poles_separate_nothing():
    cities = places([(-17.0, 179.95), (90.0, 0.0), (-89.9, 100.0)])
    photos = places([(-17.0, -179.95), (89.95, 135.0), (-89.9, -80.0), (0.0, 0.0)])
    assert as_list(label_cities(photos, cities)) == [3, 10, 17, None]


def test_ties_and_duplicate_centres_go_to_the_first_row():
    # enough copies that the tree splits them over leaves, and meets the first one late
    cities = places([(0.0, 1.0), (0.0, -1.0)] * 200)
    photos = places([(0.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
    assert as_list(label_cities(photos, cities, 200.0)) == [3, 3, 10]


def test_labels_do_not_depend_on_the_chunk_size(gazetteer, monkeypatch):
    photos = load_photo_grid()[:1000]
    whole = label_cities(photos, gazetteer, 60.0)
    monkeypatch.setattr("geoutils.cities.CHUNK", 7)
    pd.testing.assert_series_equal(label_cities(photos, gazetteer, 60.0), whole)


def test_labels_keep_the_photos_index_and_are_nullable_integers(gazetteer):
    photos = load_photo_grid()[:50].set_axis([f"p{i}" for i in range(50)])
    labels = label_cities(photos, gazetteer)
    assert (labels.name, str(labels.dtype)) == ("city_id", "Int64")
    assert labels.index.equals(photos.index)


def test_no_photos_and_no_cities_give_no_labels(gazetteer):
    photos = load_photo_grid()[:5]
    assert len(label_cities(photos[:0], gazetteer)) == 0
    assert label_cities(photos, gazetteer[:0]).isna().all()


@pytest.mark.parametrize("radius_km", [-1.0, float("nan")])
def test_a_radius_that_is_no_distance_is_refused(gazetteer, radius_km):
    with pytest.raises(ValueError, match="distance of 0 km or more, found"):
        label_cities(load_photo_grid(), gazetteer, radius_km)


@pytest.mark.realdata
def test_labelling_alone_finds_the_seven_cities_of_landmarks7(real_data, gazetteer):
    photos = pd.read_csv(real_data / "photos" / "landmarks7" / "photos.csv")
    labels = label_cities(photos, non_overlapping(gazetteer, 25.0))
    assert labels.notna().all()
    assert labels.nunique() == 7
    assert photos.groupby("landmark").ngroups == 10
    names = set(gazetteer.set_index("city_id").loc[labels.unique(), "city"])
    assert {"Rome", "Vienna", "Barcelona", "Venice", "Kuala Lumpur"} <= names


# --- which cities qualify

IDS = st.lists(st.sampled_from([5, 1, 9, 4, None]), max_size=60)


@settings(deadline=None, max_examples=50)
@given(IDS, st.integers(1, 8), st.none() | st.integers(1, 3))
def test_eligible_cities_equal_a_counter(ids, min_photos, max_cities):
    found = eligible_cities(pd.Series(ids, dtype="Int64"), min_photos, max_cities)
    counts = Counter(i for i in ids if i is not None)
    expected = sorted(((-n, i) for i, n in counts.items() if n >= min_photos))[:max_cities]
    assert list(zip(-found["photos"], found["city_id"], strict=True)) == expected
    assert str(found["city_id"].dtype) == "int64"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([5, 1, None]), st.integers(1, 9)), max_size=30))
def test_weights_count_as_repeated_rows(rows):
    ids = pd.Series([i for i, _ in rows], dtype="Int64")
    weights = pd.Series([w for _, w in rows], dtype="int64")
    repeated = ids.repeat(weights).reset_index(drop=True)
    pd.testing.assert_frame_equal(
        eligible_cities(ids, 1, weights=weights), eligible_cities(repeated, 1), check_dtype=False
    )


def test_eligibility_table_counts_what_count_photos_gives(gazetteer):
    grid = load_photo_grid()
    table = eligibility_table(grid, gazetteer, [10.0, 25.0], [5_000, 11_000], scale=60)
    assert table.shape == (4, 3)
    for radius_km, min_photos, number in table.itertuples(index=False):
        photos = count_photos(grid, gazetteer, radius_km)["photos"]
        assert number == sum(60 * n >= min_photos for n in photos)


def test_mp16_scaled_to_im2gps_has_far_more_than_37_cities_at_25_km(gazetteer):
    table = eligibility_table(load_photo_grid(), gazetteer, [25.0], [11_000], scale=60)
    assert table["cities"].item() > 50


# --- labels by polygon, audits

SQUARES = geopandas.GeoDataFrame(
    {"name": ["region", "town", "other"]},
    geometry=[box(0, 0, 10, 10), box(2, 2, 4, 4), box(20, 0, 25, 5)],
    crs=4326,
)


def test_polygon_labels_equal_point_in_polygon_and_the_smallest_wins():
    positions = np.random.default_rng(4).uniform(-2, 27, (300, 2))
    labels = label_by_polygon(places(positions), SQUARES)
    for (latitude, longitude), label in zip(positions, labels, strict=True):
        inside = SQUARES[SQUARES.intersects(Point(longitude, latitude))]
        expected = inside["name"].iloc[-1] if len(inside) else None
        assert label == expected or (expected is None and pd.isna(label))


@pytest.mark.parametrize("file", ["areas.geojson", "areas.gpkg"])
def test_polygons_are_read_from_files_in_any_reference_system(tmp_path, file):
    photos = places(np.random.default_rng(5).uniform(0, 25, (100, 2))).set_axis(range(500, 600))
    SQUARES.to_crs(4326 if file.endswith("json") else 3857).to_file(tmp_path / file)
    pd.testing.assert_series_equal(
        label_by_polygon(photos, tmp_path / file), label_by_polygon(photos, SQUARES), check_dtype=False
    )


def test_a_label_column_of_integers_stays_integer():
    labels = label_by_polygon(places([(3, 3), (50, 50)]), SQUARES.assign(city_id=[1, 2, 3]), name_column="city_id")
    assert as_list(labels) == [2, None]
    assert str(labels.dtype) == "Int64"


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        (SQUARES.rename(columns={"name": "NAME"}), "no column 'name'.*NAME"),
        (SQUARES.set_geometry(SQUARES.boundary), "Polygon or MultiPolygon, found"),
        (SQUARES.set_crs(None, allow_override=True), "set a crs"),
    ],
)
def test_polygons_that_cannot_label_are_refused(polygons, message):
    with pytest.raises(ValueError, match=message):
        label_by_polygon(places([(1, 1)]), polygons)


def test_disagreement_counts_each_photo_that_differs_and_no_other():
    a = pd.Series(["Rome", "Rome", None, "Venice", None])
    b = pd.Series(["Rome", "Vatican", "Rome", None, None])
    table = label_disagreement(a, b)
    assert table.to_numpy().sum() == 3
    assert table.loc["Rome", "Vatican"] == table.loc["none", "Rome"] == table.loc["Venice", "none"] == 1


def test_keyword_audit_ignores_spelling_and_counts_shares():
    photos = pd.DataFrame({"keyword": ["Tokyo", "sao_paulo brasil", "New-York", "London", None, "", "Tokyo"]})
    cities = pd.Series(["Tokyo", "São Paulo", "New York City", "Tokyo", "Tokyo", "Tokyo", None])
    table = keyword_audit(photos, cities).set_index("city")
    assert table["photos"].to_dict() == {"Tokyo": 2, "New York City": 1, "São Paulo": 1}
    assert table["share"].to_dict() == {"Tokyo": 0.5, "New York City": 1.0, "São Paulo": 1.0}


def test_importing_cities_loads_neither_geopandas_nor_torch():
    code = "import sys, geoutils.cities; sys.exit(bool({'geopandas', 'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("count", [0, -1])
def test_leading_cities_are_at_least_one(count):
    with pytest.raises(ValueError, match=f"1 or more.*{count}"):
        leading_cities(count)


def test_one_worker_labels_as_all_cores_do(gazetteer):
    photos = load_photo_grid().head(5_000)
    pd.testing.assert_series_equal(label_cities(photos, gazetteer, workers=1), label_cities(photos, gazetteer))
