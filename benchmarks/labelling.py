"""Label positions by our k-d tree, scikit-learn's BallTree and geopandas' sjoin_nearest, and print the ratios.

    python benchmarks/labelling.py [--positions 6500000] [--peer-positions 500000] [--cities 600] [--radius-km 25]

All run in one process, on the bundled cities and made-up ones that fill up to `--cities`, and on positions drawn from
the bundled grid. Ours runs on one thread, as the peers do, and on all cores. The peers would take minutes at full size:
they label the first `--peer-positions`, and ratios compare positions a second. Give both sizes the same number to
compare seconds.
"""

import argparse
import os
import time
from functools import partial

import geopandas
import numpy as np
import pandas as pd
from sklearn.neighbors import BallTree

from geoutils.cities import label_cities, load_gazetteer, load_photo_grid
from geoutils.geo import EARTH_RADIUS_KM

CELL_DEGREES = 0.05


def draw_positions(count: int) -> pd.DataFrame:
    """Draw positions as often as the grid has them, anywhere in their cell."""
    rng = np.random.default_rng(0)
    grid = load_photo_grid()
    rows = rng.choice(len(grid), count, p=grid["photos"] / grid["photos"].sum())
    cells = grid[["latitude", "longitude"]].iloc[rows].reset_index(drop=True)
    return cells + rng.uniform(-CELL_DEGREES / 2, CELL_DEGREES / 2, cells.shape)


def draw_cities(count: int) -> pd.DataFrame:
    """Take bundled cities, and beyond those places that lie anywhere on the sphere."""
    rng, known = np.random.default_rng(1), load_gazetteer()[["city_id", "latitude", "longitude"]].head(count)
    more = count - len(known)
    made = {"city_id": -2 - np.arange(more), "latitude": np.degrees(np.arcsin(rng.uniform(-1, 1, more)))}
    return pd.concat([known, pd.DataFrame(made).assign(longitude=rng.uniform(-180, 180, more))], ignore_index=True)


def by_kdtree(photos: pd.DataFrame, cities: pd.DataFrame, radius_km: float, workers: int) -> np.ndarray:
    """Label as the project does; -1 for none."""
    return label_cities(photos, cities, radius_km, workers=workers).to_numpy(np.int64, na_value=-1)


def by_balltree(photos: pd.DataFrame, cities: pd.DataFrame, radius_km: float) -> np.ndarray:
    """Label by the haversine metric of scikit-learn's tree; -1 for none."""
    tree = BallTree(np.radians(cities[["latitude", "longitude"]].to_numpy()), metric="haversine")
    distance, row = tree.query(np.radians(photos[["latitude", "longitude"]].to_numpy()), k=1)
    within = distance[:, 0] * EARTH_RADIUS_KM <= radius_km
    return np.where(within, cities["city_id"].to_numpy()[row[:, 0]], -1)


def by_sjoin_nearest(photos: pd.DataFrame, cities: pd.DataFrame, radius_km: float) -> np.ndarray:
    """Label by the nearest point on the Mercator plane; -1 for none. Its radius shrinks away from the equator."""
    points, centres = (
        geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(t["longitude"], t["latitude"], crs=4326)).to_crs(3857)
        for t in (photos, cities)
    )
    joined = points.sjoin_nearest(centres, how="left", max_distance=1_000 * radius_km)
    row = joined.loc[~joined.index.duplicated(), "index_right"]
    return np.where(row.notna(), cities["city_id"].to_numpy()[row.fillna(0).astype(int)], -1)


def main() -> None:
    """Time each and print seconds, positions a second, the ratios and the share of equal labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--positions", type=int, default=6_500_000)
    parser.add_argument("--peer-positions", type=int, default=500_000)
    parser.add_argument("--cities", type=int, default=600)
    parser.add_argument("--radius-km", type=float, default=25.0)
    options = parser.parse_args()
    cities, photos = draw_cities(options.cities), draw_positions(options.positions)
    print(f"{len(cities)} cities, radius {options.radius_km:g} km, {os.cpu_count()} cores")
    ours, rates = None, {}
    for name, method, count in (
        ("ours, one thread", partial(by_kdtree, workers=1), options.positions),
        ("ours, all cores", partial(by_kdtree, workers=-1), options.positions),
        ("BallTree", by_balltree, options.peer_positions),
        ("sjoin_nearest", by_sjoin_nearest, options.peer_positions),
    ):
        start = time.perf_counter()
        labels = method(photos[:count], cities, options.radius_km)
        seconds = time.perf_counter() - start
        ours, rates[name] = labels if ours is None else ours, len(labels) / seconds
        print(
            f"{name:16}{len(labels):>10,} positions {seconds:7.2f} s {rates[name]:>10,.0f} a second;"
            f" labels equal: {np.mean(labels == ours[:count]):.4%}"
        )
    for name in ("BallTree", "sjoin_nearest"):
        one, many = (rates[own] / rates[name] for own in ("ours, one thread", "ours, all cores"))
        print(f"ours is {one:.1f} times as fast as {name} on one thread, {many:.1f} times on all cores")


if __name__ == "__main__":
    main()
