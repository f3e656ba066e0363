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

import folium
import geopandas
import numpy as np
import pandas as pd
from branca.element import Figure as BrancaFigure
from folium.template import Template
from matplotlib.figure import Figure
from xstatic.pkg import leaflet

from geoutils.artifacts import write_text
from geoutils.plots import BLUE, ENOUGH, GREY, RED, canvas, short

BASEMAP = Path(__file__).with_name("data") / "basemap.geojson"
EQUAL_EARTH = "+proj=eqearth"  # Šavrič, Patterson and Jenny 2018
OCEAN, LAND, BORDER, UNCLAIMED = "#dde7ee", "#f8f6f1", "#cfcabd", "#9aa5ad"
SHADES = np.array(["#dfe318", "#4ac16d", "#238a8d", "#3d4e8a", "#440154"])  # matplotlib's viridis, dark for much
CELL_EDGES = (5, 20, 80, 320, 1_280)  # photos; a cell with fewer than the first is not drawn: nobody's home shows

# text from outside reaches the page only as JSON, and is set as text there, never as markup
PAGE = r"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ this.title|e }}</title>
<style>{{ this.leaflet[0] }}
html, body { height: 100%; margin: 0 }
body, main { display: flex; flex-direction: column; font: 14px/1.45 system-ui, sans-serif; color: #22303c }
header { padding: 10px 16px } h1 { font-size: 19px; margin: 0 } header p { margin: 0; color: #5b6770 }
main, .folium-map { position: relative; flex: 1; background: {{ this.ocean }}; font: inherit }
.leaflet-control-attribution { font-size: 11px } .clash { visibility: hidden } .name b { font-weight: normal }
.leaflet-tooltip { font-size: 13px; white-space: normal; width: max-content; max-width: 260px }
.leaflet-tooltip.name { background: none; border: 0; box-shadow: none; padding: 0; font-size: 11.5px; color: #22303c;
  white-space: nowrap; text-shadow: 0 0 3px #fff, 0 0 3px #fff, 0 0 2px #fff } .name::before { display: none }
.legend { position: absolute; left: 10px; bottom: 10px; z-index: 900; margin: 0; padding: 8px 12px; list-style: none;
  background: rgba(255, 255, 255, 0.93); border-radius: 6px; font-size: 12.5px }
.legend li { display: flex; align-items: center; gap: 8px } .legend svg { flex: none; width: 30px }
@media (max-width: 600px) { .legend { position: static; columns: 2; border-radius: 0 } .legend svg { zoom: 0.6 } }
.watermark { position: fixed; inset: 0; z-index: 2000; pointer-events: none; background: url("data:image/svg+xml,\
<svg xmlns='http://www.w3.org/2000/svg' width='190' height='84' font-family='sans-serif' font-weight='bold'>\
<g fill='%23333' fill-opacity='.17' stroke='%23fff' stroke-opacity='.25' stroke-width='.6' font-size='15'>\
<text x='8' y='38' transform='rotate(-15 8 38)'>SYNTHETIC</text>\
<text x='103' y='80' transform='rotate(-15 103 80)'>SYNTHETIC</text></g></svg>") }
</style><script>{{ this.leaflet[1] }}
const DATA = {{ this.rows|tojson }}, LAND = {{ this.land|tojson }}, bounds = L.latLngBounds([]);
const SCALE = matchMedia("(max-width: 600px)").matches ? 0.6 : 1;
function text(lines) {
  const box = document.createElement("div");
  lines.forEach((line, i) => { box.appendChild(document.createElement(i ? "div" : "b")).textContent = line; });
  return box;
}
function circles(rows) {
  return L.featureGroup(rows.flatMap(r => [
    L.circleMarker(bounds.extend(r.at) && r.at,
      { radius: SCALE * r.radius, fillColor: r.colour, fillOpacity: 0.85, color: "#fff", weight: 1 })
      .bindTooltip(text(r.lines)).on("add", e => Object.entries({ tabindex: 0, role: "img",
        "aria-label": r.lines.join(", ") }).forEach(([key, said]) => e.target.getElement().setAttribute(key, said))),
    L.tooltip(r.at, { content: text([r.city]), className: "name", permanent: true, direction: "right",
      offset: [SCALE * r.radius - 3, 0] }),
  ]));
}
function cells(grid) {
  const style = { renderer: L.canvas({ pane: "cells" }), stroke: false, fillOpacity: 0.85 };
  return L.featureGroup(grid.cells.map(([south, west, colour, photos]) => L.rectangle(
    bounds.extend([south, west]) && [[south, west], [south + grid.degrees, west + grid.degrees]],
    { ...style, fillColor: grid.colours[colour], photos })))
    .bindTooltip(cell => text([cell.options.photos.toLocaleString("en") + " photos"]), { sticky: true });
}
function declutter() {
  const taken = [...document.querySelectorAll("path.leaflet-interactive")].map(path => path.getBoundingClientRect());
  document.querySelectorAll(".name").forEach(name => {
    const a = name.getBoundingClientRect();
    const clash = taken.some(b => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom);
    if (!name.classList.toggle("clash", clash)) taken.push(a);
  });
}
L.Map.addInitHook(function () {
  const style = { color: "{{ this.border }}", weight: 0.7, fillColor: "{{ this.ground }}", fillOpacity: 1 };
  const filter = land => land.properties.country !== "AQ";  // Antarctica
  L.geoJSON(LAND, { pane: "tilePane", interactive: false, style, filter }).addTo(this);
  this.createPane("cells").style.zIndex = 300;
  this.setMaxBounds([[-80, -220], [86, 220]]).setMaxZoom(10).attributionControl.setPrefix("Leaflet, Natural Earth");
  // in a frame, the wheel and a finger scroll the page around it, until a click
  const held = parent === window ? [] : [this.scrollWheelZoom, ...(L.Browser.mobile ? [this.dragging] : [])];
  held.forEach(way => way.disable()); this.once("click", () => held.forEach(way => way.enable()));
  this.on("zoomend moveend resize layeradd layerremove", () => requestAnimationFrame(declutter));
});
</script></head>
<body><header><h1>{{ this.title|e }}</h1><p>{{ this.origin|e }}</p></header>
<main><div class="folium-map" id="{{ this.map }}" role="region" aria-label="Map: {{ this.title|e }}"></div>
<ul class="legend" aria-label="Legend">{% for radius, colour, note in this.legend %}
<li><svg height="{{ 2 * radius + 2 }}" aria-hidden="true"><circle cx="15" cy="{{ radius + 1 }}" r="{{ radius }}"
  fill="{{ colour }}" stroke="#5b6770" stroke-width="0.7"/></svg>{{ note|e }}</li>{% endfor %}</ul></main>
{% if this.origin.startswith("SYNTHETIC") %}<div class="watermark" aria-hidden="true"></div>{% endif %}
<script>{{ this.script.render(**kwargs) }}
if (bounds.isValid()) {{ this.map }}.fitBounds(bounds.pad(0.05), { padding: [40, 40], maxZoom: 6, animate: false });
</script></body></html>
"""


class _Page(BrancaFigure):
    """The page around a folium map, in place of folium's own, which loads its scripts from the network."""

    _template = Template(PAGE)
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
    page.map, page.origin, page.legend, page.leaflet = chart.get_name(), origin, legend, _leaflet()
    page.rows, page.land = {layer.get_name(): layer.rows for layer in layers}, json.loads(BASEMAP.read_text("utf-8"))
    for element in (*layers, folium.LayerControl()):
        chart.add_child(element)
    return chart


def save_map(chart: folium.Map, path: Path) -> Path:
    """Write a map as one self-contained page, atomically, and return the path."""
    return write_text(path, chart.get_root().render())


def _sized(values: pd.Series, unit: str, colour: str = "#ffffff") -> tuple[np.ndarray, list]:
    """Return radii in pixels, their squares proportional to the values, and the lines of the legend."""
    steps = np.unique([max(float(f"{values.max() * share:.1g}"), 1) for share in (1, 0.3, 0.06)])
    most = 13 if values.min() < values.max() / 2 else 9  # nearly equal circles: small ones hide fewer others
    radii, marks = (np.maximum(most * np.sqrt(v / max(values.max(), 1)), 3).round(1) for v in (values, steps))
    return radii, [(mark, colour, f"{unit}: {step:,g}") for mark, step in zip(marks.tolist(), steps, strict=True)]


def _cities(cities: pd.DataFrame, value: str) -> tuple[pd.DataFrame, list]:
    radius, legend = _sized(cities[value], value, BLUE)
    lines = [[f"{row.city}, {row.country}", f"{getattr(row, value):,} {value}"] for row in cities.itertuples()]
    return cities.assign(radius=radius, colour=BLUE, lines=lines, layer="cities"), legend


def _accuracies(per_city: pd.DataFrame) -> tuple[pd.DataFrame, list]:
    radius, legend = _sized(per_city["n_test"], "test photos")
    enough, few = per_city["enough"], "too few test photos for a claim"
    step = max(np.ceil(10 * per_city["accuracy"].where(enough, 0).max()), 1) / 50
    shade = SHADES[np.minimum(per_city["accuracy"].fillna(0) / step, 4).astype(int)]
    ranges = [f"{number * step:.0%} to {number * step + step:.0%} right" for number in range(5)]
    lines = per_city.apply(
        lambda r: [
            f"{r.city}, {r.country}: {r.correct:,} of {r.n_test:,} test photos right",
            f"{r.accuracy:.0%}, 95% interval {r.ci_low:.0%} to {r.ci_high:.0%}" if r.n_test else "no test photo",
            f"most often taken for: {r.confused_with}" if r.enough else few,
        ],
        axis=1,
    )
    legend += [(7, *line) for line in zip([*SHADES, UNCLAIMED], [*ranges, few], strict=True)]
    circles = per_city.assign(radius=radius, lines=lines, colour=np.where(enough, shade, UNCLAIMED))
    return circles.assign(layer=np.where(enough, "accuracy", few)), legend


def _mistaken(row: pd.DataFrame, city: str) -> tuple[pd.DataFrame, list]:
    home, total = row["city"] == city, row["photos"].sum()
    radius, legend = _sized(row["photos"], "test photos")
    lines = [[f"{r.city}, {r.country}", f"{r.photos:,} of {total:,} photos of {city}"] for r in row.itertuples()]
    right, wrong = (BLUE, RED) if total >= ENOUGH else (UNCLAIMED, UNCLAIMED)
    legend += [(7, right, f"taken for {city}, rightly"), (7, wrong, "taken for another city")]
    circles = row.assign(radius=radius, lines=lines, colour=np.where(home, right, wrong))
    return circles.assign(layer=np.where(home, "right", "mistaken"))[row["photos"] > 0], legend


def _circle_page(title: str, origin: str, circles: pd.DataFrame, legend: list) -> folium.Map:
    circles = circles.assign(at=circles[["latitude", "longitude"]].to_numpy().tolist())
    shown = circles.sort_values("radius", ascending=False)[["layer", "city", "at", "radius", "colour", "lines"]]
    layers = [_Layer(name, "circles", part.to_dict("records")) for name, part in shown.groupby("layer")]
    return _page(title, origin, layers, legend)


def city_map(cities: pd.DataFrame, *, origin: str, title: str = "The cities", value: str = "photos") -> folium.Map:
    """Show cities (columns city, country, latitude, longitude) as circles, their areas by the column `value`."""
    return _circle_page(title, origin, *_cities(cities, value))


def accuracy_map(per_city: pd.DataFrame, *, origin: str, title: str = "Accuracy, city by city") -> folium.Map:
    """Show a per-city table: areas by test photos, colours by accuracy; grey where there are too few photos."""
    return _circle_page(title, origin, *_accuracies(per_city))


def mistaken_map(row: pd.DataFrame, *, city: str, origin: str) -> folium.Map:
    """Show where a city's test photos are taken to be (columns city, country, latitude, longitude, photos)."""
    return _circle_page(f"Where photos of {city} are taken to be", origin, *_mistaken(row, city))


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
    width, height = np.maximum(high - low, (high - low)[::-1] * (1.7, 0.4))
    with canvas(title, "", origin, 1.15 + 10.8 * height / width, 11) as (figure, ax):
        turn = np.linspace(-90, 90, 91)
        ax.fill(*_project(np.repeat([-180, 180], 91), np.r_[turn, turn[::-1]]).T, color=OCEAN)
        for degree in range(-180, 181, 30):
            ax.plot(*_project(np.full(91, degree), turn).T, color="white", linewidth=0.5, marker="")
            ax.plot(*_project(2 * turn, np.full(91, degree / 2)).T, color="white", linewidth=0.5, marker="")
        geopandas.read_file(BASEMAP).to_crs(EQUAL_EARTH).plot(ax=ax, color=LAND, edgecolor=BORDER, linewidth=0.4)
        for radius, colour, text in legend:
            ax.scatter([], [], (1.3 * radius) ** 2, colour, edgecolors=GREY, linewidths=0.5, label=short(text))
        figure.legend(loc="outside lower left", ncols=6)
        x, y = (low + high) / 2
        ax.set(xlim=(x - width / 2, x + width / 2), ylim=(y - height / 2, y + height / 2))
        ax.set_axis_off()
        figure.draw_without_rendering()  # settles where a position falls on the paper
        yield figure, ax, points


def _write_names(ax, points: np.ndarray, circles: pd.DataFrame) -> None:
    """Write each name at the first free place around its circle; a name that finds none is left out."""
    angle = np.radians([0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240])
    ways, reach = np.tile(np.c_[np.cos(angle), np.sin(angle)], (8, 1)), np.repeat([2, 7, 14, 22, 32, 45, 60, 80], 12)
    scale, frame = ax.figure.dpi / 72, ax.get_window_extent().extents  # pixels a point, pixels
    at, radius = ax.transData.transform(points), 0.65 * scale * circles["radius"].to_numpy()[:, None]
    taken = np.c_[at - radius, at + radius]
    for here, own, city in zip(at, radius, circles["city"], strict=True):
        name = ax.text(0, 0, short(city, 24), ha="center", va="center", fontsize=7.5, in_layout=False)
        half = np.array(name.get_window_extent().size) / 2 + scale
        middle = here + ways * (own + scale * reach[:, None] + half)
        box = np.c_[middle - half, middle + half]
        clash = ((box[:, None, :2] < taken[:, 2:]) & (taken[:, :2] < box[:, None, 2:])).all(2).any(1)
        free = ~clash & (box[:, :2] > frame[:2]).all(1) & (box[:, 2:] < frame[2:]).all(1)
        best, taken = free.argmax(), np.vstack([taken, box[free][:1]])
        ends = ax.transData.inverted().transform([here, middle[best] - ways[best] * half, middle[best]])
        name.set(position=ends[2], visible=free.any())
        ax.plot(*ends[:2].T, color=GREY, linewidth=0.5, marker="", visible=free.any() and reach[best] > 7)


def _circle_picture(title: str, origin: str, circles: pd.DataFrame, legend: list) -> Figure:
    circles = circles.sort_values("radius", ascending=False)
    with _world(title, origin, legend, circles) as (figure, ax, points):
        sizes, style = (1.3 * circles["radius"]) ** 2, {"alpha": 0.85, "edgecolors": "white", "linewidths": 0.6}
        ax.scatter(*points.T, sizes, circles["colour"], zorder=3, **style)
        _write_names(ax, points, circles)
    return figure


def static_city_map(cities: pd.DataFrame, *, origin: str, title: str = "The cities", value: str = "photos") -> Figure:
    """Draw `city_map` for print."""
    return _circle_picture(title, origin, *_cities(cities, value))


def static_accuracy_map(per_city: pd.DataFrame, *, origin: str, title: str = "Accuracy, city by city") -> Figure:
    """Draw `accuracy_map` for print."""
    return _circle_picture(title, origin, *_accuracies(per_city))


def static_mistaken_map(row: pd.DataFrame, *, city: str, origin: str) -> Figure:
    """Draw `mistaken_map` for print."""
    return _circle_picture(f"Where photos of {city} are taken to be", origin, *_mistaken(row, city))


def static_density(positions: pd.DataFrame, *, origin: str, degrees: float = 0.5) -> Figure:
    """Draw `density_layer` for print."""
    cells, legend = _cells(positions, degrees)
    with _world("Where the photos are", origin, legend, cells) as (figure, ax, _):
        squares = geopandas.GeoSeries.from_xy(cells["longitude"] + degrees / 2, cells["latitude"] + degrees / 2)
        squares = squares.buffer(degrees / 2, cap_style="square").set_crs(4326).to_crs(EQUAL_EARTH)
        if len(squares):
            squares.plot(ax=ax, color=(shades := SHADES[cells["shade"]]), edgecolor=shades, linewidth=1.5)
    return figure
