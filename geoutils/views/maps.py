"""Maps of given tables: pages that ask the network for nothing, and their printed twins. Positions: WGS84 degrees."""

import base64
import contextlib
import functools
import html
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import folium
import geopandas
import numpy as np
import pandas as pd
from branca.element import Figure as BrancaFigure
from folium.template import Template
from matplotlib.figure import Figure
from xstatic.pkg import leaflet

from geoutils.cities import DATA
from geoutils.tables import MIN_TEST_PHOTOS, made_up
from geoutils.views.canvas import BLUE, GREY, RED, canvas, one_line, write_names
from geoutils.views.pages import template

BASEMAP = DATA / "basemap.geojson"
EQUAL_EARTH = "+proj=eqearth"  # Šavrič, Patterson and Jenny 2018
GLOBE = np.array([17_243_959, 8_392_928])  # metres from its middle to its sides, and to its poles
OCEAN, LAND, BORDER, UNCLAIMED = "#dde7ee", "#f8f6f1", "#cfcabd", "#9aa5ad"
SHADES = np.array(["#dfe318", "#4ac16d", "#238a8d", "#3d4e8a", "#440154"])  # matplotlib's viridis, dark for much
CELL_EDGES = (5, 20, 80, 320, 1_280)  # photos; a cell with fewer than the first is not drawn: nobody's home shows


class _Page(BrancaFigure):
    """The page around a folium map, in place of folium's own, which loads its scripts from the network."""

    ocean, ground, border = OCEAN, LAND, BORDER

    def _repr_html_(self, **kwargs: object) -> str:
        title, page = html.escape(self.title), html.escape(self.render(**kwargs))
        return f'<iframe title="{title}" srcdoc="{page}" style="width: 100%; height: 560px; border: 0"></iframe>'


class _Layer(folium.map.Layer):
    """A layer that the page's function `draw` makes of rows of data."""

    _template = Template("""{% macro script(this, kwargs) %}
        var {{ this.get_name() }} = {{ this.draw }}(DATA.{{ this.get_name() }});{% endmacro %}""")

    def __init__(self, name: str, draw: str, rows: list | dict) -> None:
        super().__init__(name=name, overlay=True)
        self._name, self.draw, self.rows = "layer", draw, rows


@functools.cache
def _leaflet() -> tuple[str, str]:
    """Return Leaflet's style, with its images inside, and its script."""
    folder = Path(leaflet.BASE_DIR)
    css, script = ((folder / name).read_text(encoding="utf-8") for name in ("leaflet.css", "leaflet.js"))
    for image in set(re.findall(r"images/[\w-]+\.png", css)):
        css = css.replace(image, "data:image/png;base64," + base64.b64encode((folder / image).read_bytes()).decode())
    return css, script.split("//# sourceMappingURL")[0]


def _page(title: str, origin: str, layers: Sequence[_Layer], legend: Sequence) -> folium.Map:
    page, chart = _Page(title=title), folium.Map(tiles=None, zoom_snap=0.25)
    page.add_child(chart)
    page._template, page.map, page.leaflet = template("map.html"), chart.get_name(), _leaflet()
    page.origin, page.synthetic, page.legend = origin, made_up(origin), legend
    page.rows, page.land = {layer.get_name(): layer.rows for layer in layers}, json.loads(BASEMAP.read_text("utf-8"))
    for element in (*layers, folium.LayerControl()):
        chart.add_child(element)
    return chart


def _sized(values: pd.Series, unit: str, colour: str = "#ffffff") -> tuple[pd.Series, list]:
    """Return radii in pixels, their squares proportional to the values, and the legend's lines, of values present."""
    if values.empty:
        return values, []
    present = np.unique(values)
    steps = np.unique([present[np.abs(present - present[-1] * share).argmin()] for share in (1, 0.3, 0.06)])
    most = 13 if values.min() < values.max() / 2 else 9  # nearly equal circles: small ones hide fewer others
    radii, marks = (np.maximum(most * np.sqrt(v / max(values.max(), 1)), 3).round(1) for v in (values, steps))
    return radii, [(mark, colour, f"{unit}: {step:,g}") for mark, step in zip(marks.tolist(), steps, strict=True)]


class CircleMap(NamedTuple):
    """Circles on the world (city, latitude, longitude, colour, radius in pixels, lines to read, layer) and a legend."""

    title: str
    origin: str
    circles: pd.DataFrame
    legend: list

    def page(self) -> folium.Map:
        """Return the map as a page, a layer for each value of `layer`."""
        circles = self.circles.assign(at=self.circles[["latitude", "longitude"]].to_numpy().tolist())
        shown = circles.sort_values("radius", ascending=False)[["layer", "city", "at", "radius", "colour", "lines"]]
        layers = [_Layer(name, "circles", part.to_dict("records")) for name, part in shown.groupby("layer")]
        return _page(self.title, self.origin, layers, self.legend)

    def picture(self) -> Figure:
        """Return the same map as a figure."""
        circles = self.circles.sort_values("radius", ascending=False)
        with _world(self.title, self.origin, self.legend, circles) as (figure, ax, points):
            sizes, style = (1.3 * circles["radius"]) ** 2, {"alpha": 0.85, "edgecolors": "white", "linewidths": 0.6}
            ax.scatter(*points.T, sizes, circles["colour"], zorder=3, **style)
            write_names(ax, points, 0.65 * circles["radius"], circles["city"])
        return figure


def city_map(cities: pd.DataFrame, *, origin: str, title: str = "The cities", value: str = "photos") -> CircleMap:
    """Show cities (columns city, country, latitude, longitude) as circles, their areas by the column `value`."""
    radius, legend = _sized(cities[value], value, BLUE)
    lines = [[f"{row.city}, {row.country}", f"{getattr(row, value):,} {value}"] for row in cities.itertuples()]
    return CircleMap(title, origin, cities.assign(radius=radius, colour=BLUE, lines=lines, layer="cities"), legend)


def accuracy_map(per_city: pd.DataFrame, *, origin: str) -> CircleMap:
    """Show a per-city table: areas by test photos, colours by accuracy; grey where there are too few photos."""
    radius, legend = _sized(per_city["n_test"], "test photos")
    enough, few = per_city["enough"], "too few test photos for a claim"
    step = max(np.ceil(10 * per_city["accuracy"].where(enough, 0).max()), 1) / 50
    shade = SHADES[np.minimum(per_city["accuracy"].fillna(0) / step, 4).astype(int)]
    ranges = [f"{number * step:.0%} to {number * step + step:.0%} right" for number in range(5)]
    lines = [
        [
            f"{r.city}, {r.country}: {r.correct:,} of {r.n_test:,} test photos right",
            f"{r.accuracy:.0%}, 95% interval {r.ci_low:.0%} to {r.ci_high:.0%}" if r.n_test else "no test photo",
            f"most often taken for: {r.confused_with}" if r.enough else few,
        ]
        for r in per_city.itertuples()
    ]
    legend += [(7, *line) for line in zip(SHADES, ranges, strict=True)] if enough.any() else []
    legend += [] if enough.all() else [(7, UNCLAIMED, few)]
    circles = per_city.assign(radius=radius, lines=lines, colour=np.where(enough, shade, UNCLAIMED))
    return CircleMap("Accuracy, city by city", origin, circles.assign(layer=np.where(enough, "accuracy", few)), legend)


def mistaken_map(row: pd.DataFrame, *, city: str, origin: str) -> CircleMap:
    """Show where a city's test photos are taken to be (columns city, country, latitude, longitude, photos)."""
    row, total = row[row["photos"] > 0], row["photos"].sum()
    radius, legend = _sized(row["photos"], "test photos")
    lines = [[f"{r.city}, {r.country}", f"{r.photos:,} of {total:,} photos of {city}"] for r in row.itertuples()]
    right, wrong, few = (
        (BLUE, RED, "") if total >= MIN_TEST_PHOTOS else (GREY, UNCLAIMED, "; too few photos for a claim")
    )
    legend += [(7, right, f"taken for {city}, rightly"), (7, wrong, f"taken for another city{few}")]
    home = row["city"] == city
    layer, colour = np.where(home, "right", "mistaken"), np.where(home, right, wrong)
    circles = row.assign(radius=radius, lines=lines, colour=colour, layer=layer)
    return CircleMap(f"Where photos of {city} are taken to be", origin, circles, legend)


def _cells(positions: pd.DataFrame, degrees: float) -> tuple[pd.DataFrame, list]:
    """Count photos in square cells by their south-western corner, and return them with the legend."""
    corners = np.floor(positions[["latitude", "longitude"]] / degrees) * degrees
    cells = corners.assign(photos=positions.get("photos", 1)).groupby(["latitude", "longitude"], as_index=False).sum()
    cells = cells[cells["photos"] >= CELL_EDGES[0]].round(4)
    names = [f"{low:,} to {high - 1:,} photos" for low, high in itertools.pairwise(CELL_EDGES)]
    legend = [(7, *line) for line in zip(SHADES, [*names, f"{CELL_EDGES[-1]:,} photos or more"], strict=True)]
    return cells.assign(shade=np.searchsorted(CELL_EDGES, cells["photos"], side="right") - 1), legend


def density_layer(positions: pd.DataFrame, *, origin: str, degrees: float = 0.5) -> folium.Map:
    """Show positions, or counts of them (columns latitude, longitude, photos), in cells `degrees` wide."""
    cells, legend = _cells(positions, degrees)
    rows = cells[["latitude", "longitude", "shade", "photos"]].to_dict("split")["data"]
    layer = _Layer("photos", "cells", {"degrees": degrees, "colours": SHADES.tolist(), "cells": rows})
    return _page("Where the photos are", origin, [layer], legend)


def _project(longitude: Sequence[float], latitude: Sequence[float]) -> np.ndarray:
    return geopandas.GeoSeries.from_xy(longitude, latitude, crs=4326).to_crs(EQUAL_EARTH).get_coordinates().to_numpy()


@contextlib.contextmanager
def _world(title: str, origin: str, legend: list, positions: pd.DataFrame) -> Iterator[tuple]:
    """Give axes with the basemap around the positions, and the positions projected, in metres."""
    points = _project(positions["longitude"], positions["latitude"])
    shown = points if len(points) else _project([-160, 170], [-50, 70])
    low, high = shown.min(0) - 8e5, shown.max(0) + 8e5
    size = np.minimum(np.maximum(high - low, (high - low)[::-1] * (1.7, 0.4)), 2 * GLOBE)
    middle = ((low + high) / 2).clip(size / 2 - GLOBE, GLOBE - size / 2)  # no blank band beyond the poles
    with canvas(title, "", origin, 1.15 + 10.8 * size[1] / size[0], 11) as (figure, ax):
        turn = np.linspace(-90, 90, 91)
        ax.fill(*_project(np.repeat([-180, 180], 91), np.r_[turn, turn[::-1]]).T, color=OCEAN)
        for degree in range(-180, 181, 30):
            ax.plot(*_project(np.full(91, degree), turn).T, color="white", linewidth=0.5, marker="")
            ax.plot(*_project(2 * turn, np.full(91, degree / 2)).T, color="white", linewidth=0.5, marker="")
        geopandas.read_file(BASEMAP).to_crs(EQUAL_EARTH).plot(ax=ax, color=LAND, edgecolor=BORDER, linewidth=0.4)
        for radius, colour, text in legend:
            ax.scatter([], [], (1.3 * radius) ** 2, colour, edgecolors=GREY, linewidths=0.5, label=one_line(text, 64))
        figure.legend(loc="outside lower left", ncols=6)
        ax.set(**dict(zip(("xlim", "ylim"), np.c_[middle - size / 2, middle + size / 2], strict=True)))
        ax.set_axis_off()
        figure.draw_without_rendering()  # settles where a position falls on the paper
        yield figure, ax, points


def static_density(positions: pd.DataFrame, *, origin: str, degrees: float = 2) -> Figure:
    """Draw `density_layer` for print, in cells large enough to be seen there."""
    cells, legend = _cells(positions, degrees)
    with _world("Where the photos are", origin, legend, cells) as (figure, ax, _):
        squares = geopandas.GeoSeries.from_xy(cells["longitude"] + degrees / 2, cells["latitude"] + degrees / 2)
        squares = squares.buffer(degrees / 2, cap_style="square").set_crs(4326).to_crs(EQUAL_EARTH)
        if len(squares):
            squares.plot(ax=ax, color=(shades := SHADES[cells["shade"]]), edgecolor=shades, linewidth=1.5)
    return figure
