"""Properties of the maps: in a real browser with the network off, and on paper."""

import io
import json
from pathlib import Path

import folium
import geopandas
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoutils.views import maps
from geoutils.views.canvas import save
from makers.scores import HOSTILE, MADE_UP, OWN

NASTY = [HOSTILE, "`${alert(1)}`", "{{ 7 * 7 }}{% raw %}", "</script><img src=x onerror=alert(1)>", "$a$ \\ \"b\" 'c'"]
PLACES = """London 51.51 -0.13 2562, New_York 40.71 -74.01 2489, San_Francisco 37.77 -122.42 1908,
Paris 48.85 2.35 1444,
Los_Angeles 34.05 -118.24 1300, Chicago 41.88 -87.63 1100, Washington 38.90 -77.04 1050, Seattle 47.61 -122.33 980,
Barcelona 41.39 2.16 950, Tokyo 35.69 139.69 900, Rome 41.89 12.48 870, Berlin 52.52 13.41 850, Boston 42.36 -71.06 820,
Amsterdam 52.37 4.89 790, Toronto 43.70 -79.42 700, Vancouver 49.25 -123.12 680, San_Diego 32.72 -117.16 640,
Las_Vegas 36.17 -115.14 620, Madrid 40.42 -3.70 600, Hong_Kong 22.28 114.17 580, Philadelphia 39.95 -75.16 560,
Portland 45.52 -122.68 540, Sydney -33.87 151.21 520, Taipei 25.05 121.53 500, Venice 45.44 12.33 480,
Singapore 1.29 103.85 470, Austin 30.27 -97.74 450, Vienna 48.21 16.37 430, Melbourne -37.81 144.96 420,
Edinburgh 55.95 -3.20 410, Dublin 53.33 -6.25 400, Lisbon 38.72 -9.13 390, Florence 43.77 11.25 380,
Prague 50.09 14.42 370, Istanbul 41.01 28.95 360, Mexico_City 19.43 -99.13 350, Rio_de_Janeiro -22.91 -43.17 340"""


@pytest.fixture(scope="module")
def cities() -> pd.DataFrame:
    rows = [place.split() for place in PLACES.replace("\n", " ").split(",")]
    table = pd.DataFrame(rows, columns=["city", "latitude", "longitude", "photos"]).assign(country="XX")
    return table.assign(city=table["city"].str.replace("_", " ")).astype(
        {"latitude": float, "longitude": float, "photos": int}
    )


@pytest.fixture(scope="module")
def per_city(cities: pd.DataFrame) -> pd.DataFrame:
    n_test = np.where(np.arange(len(cities)) % 9 == 4, 12, 40 + np.arange(len(cities)))
    correct = n_test // 3
    rates = {"accuracy": correct / n_test, "ci_low": correct / n_test - 0.1, "ci_high": correct / n_test + 0.1}
    return cities.assign(n_test=n_test, correct=correct, **rates, enough=n_test >= 20, confused_with="Rome 8, Oslo 5")


@pytest.fixture
def opened(visit, tmp_path: Path):
    """Open a map as a page, and wait until it is drawn."""

    def open_map(chart: folium.Map, *size: int):
        save(chart, tmp_path / "map.html")
        page = visit(tmp_path / "map.html", *size)
        page.wait_for_selector(".leaflet-control-layers")
        return page

    return open_map


CIRCLES = "path.leaflet-interactive"


@pytest.mark.browser
def test_each_city_is_one_circle_at_desktop_and_phone_width(opened, cities, per_city):
    row = cities.assign(photos=np.arange(len(cities)) + 1)
    charts = [maps.city_map(cities, origin=OWN), maps.accuracy_map(per_city, origin=MADE_UP)]
    charts.append(maps.mistaken_map(row, city="Paris", origin=OWN))
    for chart, size in zip([*charts, charts[1]], [(1280, 800)] * 3 + [(390, 780)], strict=True):
        page = opened(chart.page(), *size)
        assert page.locator(CIRCLES).count() == len(cities)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.browser
def test_layer_control_takes_a_layer_away_and_brings_it_back(opened, per_city):
    page = opened(maps.accuracy_map(per_city, origin=OWN).page())
    page.hover(".leaflet-control-layers")
    box = page.locator(".leaflet-control-layers-overlays label", has_text="accuracy").locator("input")
    box.uncheck()
    assert page.locator(CIRCLES).count() == (~per_city["enough"]).sum()
    box.check()
    assert page.locator(CIRCLES).count() == len(per_city)


@pytest.mark.browser
def test_tooltip_tells_city_country_accuracy_interval_n_and_confusions(opened, per_city):
    one = per_city[per_city["city"] == "Tokyo"].assign(accuracy=0.25, ci_low=0.2, ci_high=0.3, n_test=80, correct=20)
    page = opened(maps.accuracy_map(one, origin=OWN).page())
    page.hover(CIRCLES)
    said = page.locator(".leaflet-tooltip:not(.name)").inner_text()
    for part in ("Tokyo, XX", "25%, 95% interval 20% to 30%", "20 of 80 test photos", "Rome 8, Oslo 5"):
        assert part in said


@pytest.mark.browser
def test_tooltip_opens_from_the_keyboard_and_circles_have_names(opened, cities):
    page = opened(maps.city_map(cities.head(2), origin=OWN).page())
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "path":
            break
    assert "2,562 photos" in page.locator(".leaflet-tooltip:not(.name)").inner_text()
    assert page.locator(CIRCLES).nth(0).get_attribute("tabindex") == "0"  # not every browser stops there without
    assert page.locator(CIRCLES).nth(0).get_attribute("aria-label") == "London, XX, 2,562 photos"


@pytest.mark.browser
def test_hostile_names_are_shown_as_text(opened, per_city):
    few = per_city.head(len(NASTY)).assign(city=NASTY, confused_with=HOSTILE, enough=True)
    page = opened(maps.accuracy_map(few, origin=HOSTILE)._replace(title=HOSTILE).page())
    assert set(page.locator(".name").all_text_contents()) == set(NASTY)
    assert page.inner_text("h1") == page.inner_text("header p") == page.title() == HOSTILE
    page.locator(CIRCLES).nth(0).focus()
    assert f"most often taken for: {HOSTILE}" in page.locator(".leaflet-tooltip:not(.name)").inner_text()


@pytest.mark.browser
def test_names_on_the_page_do_not_collide(opened, cities):
    page = opened(maps.city_map(cities, origin=OWN).page())
    page.wait_for_timeout(300)
    code = """() => [...document.querySelectorAll(".name:not(.clash)")].map(name => {
        const box = name.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; })"""
    boxes = np.array(page.evaluate(code))
    assert len(boxes) >= 12
    assert not overlapping(boxes)


@pytest.mark.browser
def test_made_up_data_are_marked_all_over_the_page_and_clicks_pass_through(opened, cities):
    page = opened(maps.city_map(cities, origin=MADE_UP).page())
    box, style = page.locator(".watermark").bounding_box(), "getComputedStyle(document.querySelector('.watermark'))"
    assert (box["width"], box["height"]) == (1280, 800)
    assert page.evaluate(f"{style}.pointerEvents") == "none"
    assert "SYNTHETIC" in page.evaluate(f"{style}.backgroundImage")
    assert opened(maps.city_map(cities, origin=OWN).page()).locator(".watermark").count() == 0


@pytest.mark.browser
def test_cells_tell_their_photos_above_the_land(opened):
    page = opened(maps.density_layer(pd.DataFrame({"latitude": [48.1] * 7, "longitude": [11.1] * 7}), origin=OWN))
    picture = np.asarray(Image.open(io.BytesIO(page.locator(".folium-map").screenshot())).convert("RGB")).astype(int)
    yellow = np.array([0xDF, 0xE3, 0x18]) * 0.85 + np.array([0xF8, 0xF6, 0xF1]) * 0.15
    assert np.abs(picture[picture.shape[0] // 2, picture.shape[1] // 2] - yellow).max() < 6
    page.hover(".folium-map")  # in its middle
    assert page.locator(".leaflet-tooltip").inner_text().strip() == "7 photos"


@pytest.mark.browser
def test_no_serious_accessibility_fault(opened, per_city):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    faults = axe.run(opened(maps.accuracy_map(per_city, origin=MADE_UP).page())).response["violations"]
    assert [fault["id"] for fault in faults if fault["impact"] in ("serious", "critical")] == []


@pytest.mark.browser
def test_a_map_shown_in_a_notebook_is_a_titled_frame_and_can_still_be_saved(opened, cities, tmp_path):
    chart = maps.city_map(cities, origin=OWN).page()
    (tmp_path / "notebook.html").write_text(chart._repr_html_(), encoding="utf-8")
    page = opened(chart)
    assert page.locator(CIRCLES).count() == len(cities)
    page.goto((tmp_path / "notebook.html").as_uri())
    frame = page.frame_locator("iframe[title='The cities']")
    frame.locator(".leaflet-control-layers").wait_for()
    assert frame.locator(CIRCLES).count() == len(cities)


def overlapping(boxes: np.ndarray) -> bool:
    """Tell whether any two boxes (left, top, right, bottom) of an array overlap."""
    clash = ((boxes[:, None, :2] < boxes[:, 2:]) & (boxes[:, :2] < boxes[:, None, 2:])).all(2)
    return bool((clash & ~np.eye(len(boxes), dtype=bool)).any())


def test_pages_name_no_address_to_load_from(cities, tmp_path):
    save(maps.city_map(cities, origin=OWN).page(), tmp_path / "a" / "map.html")
    page = (tmp_path / "a" / "map.html").read_text(encoding="utf-8")
    for loads in ("<link", "<script src", "<img", "@import", "url(http", "url(images", "sourceMappingURL", "cdn"):
        assert loads not in page, loads
    assert len(page) < 5e6
    assert '<html lang="en">' in page
    assert 'content="width=device-width, initial-scale=1"' in page


def test_areas_are_proportional_to_photos(cities):
    radius = maps.city_map(cities, origin=OWN).circles["radius"]
    np.testing.assert_allclose(radius**2 / radius.max() ** 2, cities["photos"] / cities["photos"].max(), atol=0.02)


def test_cities_with_too_few_photos_have_no_colour_and_no_claim(per_city):
    circles = maps.accuracy_map(per_city, origin=OWN).circles
    few = circles[~per_city["enough"]]
    assert set(few["colour"]) == {maps.UNCLAIMED}
    assert not set(circles.loc[per_city["enough"], "colour"]) & {maps.UNCLAIMED}
    assert not any("most often" in line for lines in few["lines"] for line in lines)
    assert all("of 12 test photos" in lines[0] and "95% interval" in lines[1] for lines in few["lines"])


def test_a_city_without_a_test_photo_says_so(per_city):
    unknown = dict.fromkeys(("accuracy", "ci_low", "ci_high"), np.nan)
    two = per_city.head(2).assign(n_test=[0, 40], correct=[0, 8], enough=[False, True], **unknown)
    circles = maps.accuracy_map(two, origin=OWN).circles
    assert circles["lines"][0][1] == "no test photo"
    assert circles["colour"][0] == maps.UNCLAIMED


def test_accuracy_colours_follow_the_legend(per_city):
    rates = pd.Series([0.0, 0.05, 0.1, 0.35, 0.5])
    five = per_city[per_city["enough"]].head(5).reset_index().assign(accuracy=rates)
    chart = maps.accuracy_map(five, origin=OWN)
    named = {text: colour for _, colour, text in chart.legend}
    said = ["0% to 10% right", "0% to 10% right", "10% to 20% right", "30% to 40% right", "40% to 50% right"]
    assert [named[text] for text in said] == chart.circles["colour"].tolist()


def test_legend_shows_only_what_is_on_the_map(per_city):
    alike = per_city.assign(n_test=20)
    legend = maps.accuracy_map(alike.assign(enough=True), origin=OWN).legend
    assert [text for *_, text in legend if "photos" in text] == ["test photos: 20"]
    legend = maps.accuracy_map(alike.assign(enough=False), origin=OWN).legend
    assert not any("right" in text for *_, text in legend)
    legend = maps.city_map(per_city, origin=OWN).legend
    assert {int(text.split(": ")[1].replace(",", "")) for *_, text in legend} <= set(per_city["photos"])


def test_mistakes_are_red_and_a_city_with_few_photos_makes_no_claim(cities):
    row = cities.head(4).assign(photos=[30, 0, 5, 2])
    many = maps.mistaken_map(row, city="London", origin=OWN)
    assert many.circles["colour"].tolist() == [maps.BLUE, maps.RED, maps.RED]
    few = maps.mistaken_map(row.assign(photos=[3, 0, 5, 2]), city="London", origin=OWN)
    assert few.circles["colour"].tolist() == [maps.GREY, maps.UNCLAIMED, maps.UNCLAIMED]  # told apart, without a colour
    assert few.legend[-1][2].endswith("too few photos for a claim")


def test_a_city_without_a_test_photo_has_an_empty_map_of_mistakes(cities):
    chart = maps.mistaken_map(cities.assign(photos=0), city="Paris", origin=OWN)
    assert chart.circles.empty
    assert names_on(chart.picture()) == []
    chart.page().get_root().render()


def test_no_cell_holds_fewer_than_five_photos_and_counts_agree_with_a_histogram():
    rng = np.random.default_rng(0)
    positions = pd.DataFrame({"latitude": rng.normal(45, 3, 4_000), "longitude": rng.normal(9, 3, 4_000)})
    cells, _ = maps._cells(positions, 0.5)
    counts, _, _ = np.histogram2d(*positions.to_numpy().T, bins=[np.arange(0, 90, 0.5), np.arange(-30, 60, 0.5)])
    assert sorted(cells["photos"]) == sorted(counts[counts >= 5])
    assert cells["photos"].min() == 5
    counted = positions.assign(photos=3)
    assert maps._cells(counted, 0.5)[0]["photos"].sum() == 3 * counts[counts >= 2].sum()


def test_density_of_400_000_photos_stays_under_3_mb():
    rng = np.random.default_rng(0)
    positions = pd.DataFrame({"latitude": rng.uniform(-60, 75, 400_000), "longitude": rng.uniform(-180, 180, 400_000)})
    page = maps.density_layer(positions, origin=OWN).get_root().render()
    assert page.count("[") > 20_000
    assert len(page) < 3e6


def test_density_without_a_single_cell_is_an_empty_map():
    nowhere = pd.DataFrame({"latitude": [1.0], "longitude": [1.0]})
    assert maps._cells(nowhere, 0.5)[0].empty
    maps.density_layer(nowhere, origin=OWN).get_root().render()
    maps.static_density(nowhere, origin=OWN)


@pytest.fixture(scope="module")
def printed(cities):
    return maps.city_map(cities, origin=MADE_UP).picture()


def names_on(figure) -> list:
    return [text for text in figure.axes[0].texts if text.get_visible()]


def test_printed_names_of_37_cities_are_nearly_all_there_and_do_not_collide(cities, printed):
    names = names_on(printed)
    assert {name.get_text() for name in names} <= set(cities["city"])
    assert len(names) >= len(cities) - 3
    assert not overlapping(np.array([name.get_window_extent().extents for name in names]))


def circles_on(figure) -> np.ndarray:
    """Return the middles of the circles of a printed map, in pixels, the largest first as they are drawn."""
    ax = figure.axes[0]
    return ax.transData.transform(max(ax.collections, key=lambda drawn: len(drawn.get_offsets())).get_offsets())


@pytest.mark.parametrize("photos", [None, 20], ids=["by photos", "all alike"])
def test_a_printed_name_is_nearest_to_its_own_circle_or_tied_to_it(cities, photos):
    cities = cities if photos is None else cities.assign(photos=photos)
    chart = maps.city_map(cities, origin=OWN)
    figure = chart.picture()
    shown, at = cities.sort_values("photos", ascending=False)["city"].tolist(), circles_on(figure)
    radius = chart.circles["radius"].sort_values(ascending=False).to_numpy() * 0.65 * 150 / 72
    starts = figure.axes[0].transData.transform([line.get_xydata()[0] for line in figure.axes[0].lines[-37:]])
    for name in names_on(figure):
        box, own = name.get_window_extent(), shown.index(name.get_text())
        gap = np.hypot(*(np.maximum(np.abs(at - box.get_points().mean(axis=0)) - box.size / 2, 0)).T) - radius
        tied = (np.abs(np.hypot(*(starts - at[own]).T) - radius[own]) < 1).any()
        assert gap[own] < 100  # pixels: a third of an inch and what a circle takes
        assert tied or gap[own] <= gap.min() + 3, name.get_text()


def test_a_map_of_a_few_latitudes_shows_no_blank_beyond_the_pole(per_city):
    share = np.linspace(0, 1, len(per_city))
    north = per_city.assign(latitude=52 + 14 * share, longitude=260 * share - 120)
    low, high = maps.accuracy_map(north, origin=OWN).picture().axes[0].get_ylim()
    assert high <= maps.GLOBE[1]
    assert low >= -maps.GLOBE[1]


def test_printed_names_stay_inside_the_map_and_off_other_circles(printed):
    frame, at = printed.axes[0].get_window_extent(), circles_on(printed)
    for name in names_on(printed):
        box = name.get_window_extent()
        assert frame.contains(box.x0, box.y0)
        assert frame.contains(box.x1, box.y1)
        assert not any(box.contains(*point) for point in at)


def test_printed_circles_stand_where_equal_earth_puts_the_cities(cities):
    """Against the projection's own polynomial: Šavrič, Patterson and Jenny 2018, equations 1 and 2, on a sphere."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(cities["latitude"].to_numpy())))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2 * np.sqrt(3) * np.radians(cities["longitude"].to_numpy()) * np.cos(theta) / (3 * slope)
    y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
    drawn = maps._project(cities["longitude"], cities["latitude"]) / 6_371_007  # the ellipsoid's authalic radius
    np.testing.assert_allclose(drawn, np.c_[x, y], atol=0.005)


def test_printed_maps_draw_a_circle_a_city_and_say_their_origin(cities, per_city, printed):
    accuracy = maps.accuracy_map(per_city, origin=MADE_UP).picture()
    mistaken = maps.mistaken_map(cities.assign(photos=1), city="Paris", origin=MADE_UP).picture()
    for figure in (printed, accuracy, mistaken):
        assert MADE_UP in [text.get_text() for text in figure.texts]
        assert len(figure.artists) == 1
        assert max(len(drawn.get_offsets()) for drawn in figure.axes[0].collections) == len(cities)


def test_printed_maps_bear_hostile_names_and_leave_nothing_in_pyplot(per_city):
    import matplotlib.pyplot as plt

    few = per_city.head(len(NASTY)).assign(city=NASTY)
    figure = maps.accuracy_map(few, origin=OWN).picture()
    assert len(names_on(figure)) == len(NASTY)
    assert plt.get_fignums() == []


def test_basemap_is_valid_and_says_its_names():
    land = geopandas.read_file(maps.BASEMAP)
    assert land.geometry.is_valid.all()
    assert land["name"].is_unique
    assert {"France", "Japan", "Antarctica"} <= set(land["name"])
    assert len(json.loads(maps.BASEMAP.read_text(encoding="utf-8"))["features"]) == len(land) > 170
