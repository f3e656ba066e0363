"""Properties of the report: what it shows, what it keeps apart, and how it behaves in a real browser."""

import functools
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from geoutils import tables
from geoutils.artifacts import provenance, write_json
from geoutils.evaluation import accuracy
from geoutils.readers import checks
from geoutils.splits import PROTOCOLS
from geoutils.views import maps, plots, report
from geoutils.views.canvas import save
from makers.scores import HOSTILE, MADE_UP, OWN

NUMBER = 20  # cities
FEW = "City 19"  # the last has too few test photos for a claim


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    """Test photos of all cities, 24 each but 6 of the last; a third are put into the right city."""
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(NUMBER), [24] * (NUMBER - 1) + [6])
    guessed = np.where(rng.random(len(true)) < 0.3, true, rng.integers(0, NUMBER, len(true)))
    ids = [f"p{i}" for i in range(len(true))]
    top5 = [[city] * 5 for city in guessed]
    columns = {"photo_id": ids, "city_id": true, "predicted": guessed, "top5": top5, "confidence": 0.5, "split": "test"}
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def cities() -> pd.DataFrame:
    names = [HOSTILE, "Llanfairpwllgwyngyllgogerychwyrndrobwll", *[f"City {i}" for i in range(2, NUMBER)]]
    latitude, longitude = np.linspace(-40, 60, NUMBER), np.linspace(-170, 170, NUMBER)
    columns = {"city_id": np.arange(NUMBER), "city": names, "country": "NA"}
    return pd.DataFrame({**columns, "latitude": latitude, "longitude": longitude})


@pytest.fixture(scope="module")
def table1() -> pd.DataFrame:
    rows = [
        ("chance", "none", "none", "photo", 0.024, 0.0270),
        ("chance", "none", "none", "user", 0.026, np.nan),
        ("knn", "places205_alexnet", "Places-205", "photo", 0.101, 0.0290),
        ("svm", "places205_alexnet", "Places-205", "photo", 0.203, 0.1877),
        ("svm", "places205_alexnet", "Places-205", "user", 0.152, np.nan),
        ("finetune", "places205_googlenet", "random", "photo", 0.031, 0.3330),
        (HOSTILE, "new", "own", "photo", 0.307, np.nan),
    ]
    table = pd.DataFrame(rows, columns=["method", "backbone", "weights", "protocol", "accuracy", "paper"])
    ends = {"ci_low": table["accuracy"] - 0.011, "ci_high": table["accuracy"] + 0.013}
    names = [f"row{i}" for i in range(len(rows))]
    titles = {"title": "method " + table["method"], "kind": table["method"].map({"chance": "none"}).fillna("frozen")}
    return table.assign(**ends, **titles, top5=table["accuracy"] * 2, n_test=942, interval="by user", name=names)


@pytest.fixture(scope="module")
def write(tmp_path_factory, table1, cities, predictions):
    """Write a run of made-up tables with the given origin, once, and return its report."""

    @functools.cache
    def write_run(origin: str = MADE_UP) -> Path:
        run = tmp_path_factory.mktemp("run")
        scores, counts = accuracy.per_city(predictions, cities), accuracy.confusion(predictions, cities)
        tables.write_csv(table1.assign(origin=origin), run / "results/table1.csv")
        tables.write_csv(scores, run / "results/per_city.csv")
        tables.write_csv(counts.reset_index(), run / "results/confusion.csv")
        tables.write_csv(checks.rejected_rows("abc", "unreadable image"), run / "rejected.csv")
        tables.write_ledger([tables.ledger_row("read", 1_009, 1_006, HOSTILE)], run, "01_photos")
        write_json(run / "results/summary.json", ["A third is right.", f"Not {HOSTILE}."])
        write_sources(run)
        save(maps.accuracy_map(scores, origin=origin).page(), run / "maps/accuracy.html")
        for name in ("confusion", "confusion_clustered"):
            save(plots.confusion_matrix(counts.iloc[:5, :5], origin=origin), run / f"figures/{name}.png")
        errors = plots.error_distances({"knn": np.arange(1, 900)}, thresholds_km=[1, 25], origin=origin)
        save(errors, run / "figures/error_distances.png")
        return report.write_report(run, ["07_results"])

    return write_run


def write_sources(run: Path) -> None:
    """Write what says how a run was made: a feature store's key, a sidecar, an executed notebook."""
    key = {"backbone": "new", "weights": "own", "weights_sha256": "ab12" * 16, "preprocessing": {"size": 96}}
    write_json(run / "features.json", ["new"])
    write_json(run / "features/new/key.json", key)
    told = {"seed": 7, "settings": {"C": 10, "sample": str(run / "sample.parquet")}, "provenance": provenance()}
    write_json(run / "predictions/row3.json", told)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 07\n**Where does it fail?**")])
    notebook.metadata["papermill"] = {"parameters": {"run_dir": str(run), "focus": "Rome"}, "duration": 12.3}
    (run / "notebooks").mkdir()
    nbformat.write(notebook, run / "notebooks/07_results.ipynb")


def read(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def region(soup: BeautifulSoup, name: str) -> str:
    return soup.find(attrs={"aria-label": name}).get_text(" ", strip=True)


def percent(shares: pd.Series, digits: int = 1) -> list[str]:
    return [f"{share:.{digits}%}" for share in shares]


def test_every_row_that_counts_is_in_table_1_with_its_interval_and_photos(write, table1):
    shown = region(read(write()), "Table I")
    counted = table1[table1["weights"] != "random"]
    ends = [f"{row.ci_low * 100:.1f}–{row.ci_high:.1%}" for row in counted.itertuples()]
    for text in (*percent(counted["accuracy"]), *percent(counted["top5"]), *ends):
        assert text in shown
    assert shown.count("942") == len(counted)


def test_methods_stand_under_their_titles_and_splits_with_what_they_ask(write):
    shown = region(read(write()), "Table I")
    assert "method svm" in shown
    for protocol in ("photo", "user"):
        assert f"Split by {protocol} {PROTOCOLS[protocol].about}" in shown


def test_random_weights_stand_apart_as_a_check_of_the_path(write):
    soup = read(write())
    assert "3.1%" not in region(soup, "Table I")
    assert "3.1%" in region(soup, "Random weights")


def test_the_papers_numbers_stand_apart(write, table1):
    soup = read(write())
    paper = percent(table1["paper"].dropna(), 2)
    assert [text for text in paper if text in region(soup, "The paper's own numbers")] == paper
    assert not any(text in region(soup, "Table I") + region(soup, "Random weights") for text in paper)


def test_made_up_data_are_stamped_all_over_and_photographs_are_not(write):
    made_up = write(MADE_UP).read_text(encoding="utf-8")
    assert made_up.count("<title>SYNTHETIC") == 1
    assert re.search(r'body {[^}]*background-image: url\("[^"]*SYNTHETIC', made_up)
    assert MADE_UP in read(write(MADE_UP)).find(class_="origin").get_text()
    real = read(write(OWN))
    assert OWN in real.find(class_="origin").get_text()
    assert "SYNTHETIC" not in str(real.find("style")) + real.title.string + real.body.get_text()


def test_names_from_outside_are_text(write):
    page = write()
    assert HOSTILE not in page.read_text(encoding="utf-8")
    soup = read(page)
    for name in ("Table I", "Accuracy, city by city", "Confusion matrix", "Rows in, rows out, and why"):
        assert HOSTILE in region(soup, name)
    assert len(soup.find_all("script")) == 1


def test_nothing_is_loaded_from_an_address(write):
    soup = read(write())
    for document in (soup, BeautifulSoup(soup.iframe["srcdoc"], "html.parser")):
        loaded = [tag[name] for tag in document.find_all() for name in ("src", "href", "srcset") if tag.has_attr(name)]
        assert not [address for address in loaded if "//" in address.partition("base64,")[0]]
        style = "".join(tag.get_text() for tag in document.find_all("style"))
        assert "@import" not in style
        assert all(address.startswith(("data:", "#")) for address in re.findall(r"url\(['\"]?(.{5})", style))


def test_every_picture_has_words_and_the_size_that_it_had(write):
    page = write()
    pictures = read(page).find_all("img")
    assert all(picture["alt"].endswith(MADE_UP) for picture in pictures)
    names = ("confusion", "confusion_clustered", "error_distances")
    assert len({picture["alt"] for picture in pictures}) == len(names)
    for picture, name in zip(pictures, names, strict=True):
        with Image.open(page.parent / f"figures/{name}.png") as image:
            assert (int(picture["width"]), int(picture["height"])) == image.size


@pytest.fixture
def rewrite(write, tmp_path):
    """Write the page anew of a run whose cities' scores are changed, and return it."""

    def write_again(**columns: object) -> Path:
        run = shutil.copytree(write(OWN).parent, tmp_path / "again")
        tables.write_csv(pd.read_csv(run / "results/per_city.csv").assign(**columns), run / "results/per_city.csv")
        return report.write_report(run, [])

    return write_again


def test_one_made_up_row_makes_it_all_made_up(write, table1, tmp_path):
    run = shutil.copytree(write(OWN).parent, tmp_path / "mixed")
    tables.write_csv(table1.assign(origin=[OWN] * (len(table1) - 1) + [MADE_UP]), run / "results/table1.csv")
    assert "<title>SYNTHETIC" in report.write_report(run, []).read_text(encoding="utf-8")
    assert MADE_UP in report.table1_text(run)


def test_best_and_worst_cities_name_ties(rewrite):
    accuracy = [0.5, 0.5, *np.linspace(0.4, 0.2, NUMBER - 4), 0.1, 0.9]  # the last has too few photos to count
    said = read(rewrite(accuracy=accuracy)).find(id="cities").p.get_text(" ", strip=True)
    assert "best in <script>alert(1)</script> and Llanfairpwllgwyngyllgogerychwyrndrobwll , 50% each" in said
    assert "worst in City 18 , 10% of 24 test photos" in said
    assert FEW not in said


def test_where_no_city_has_enough_photos_nothing_is_ranked(rewrite):
    cities = read(rewrite(enough=False)).find(id="cities")
    (few,) = cities.find("table", class_="sortable").find_all("tbody")
    assert few.tr.get_text() == "Too few test photos for a claim"
    assert not cities.find_all("button")
    assert not cities.find_all(attrs={"aria-sort": True})
    assert "best in" not in cities.p.get_text()


def test_page_stays_far_under_5_mb(write):
    assert write().stat().st_size < 2e6


def test_matrix_shows_each_count_where_it_belongs(write, predictions, cities):
    rows = read(write()).find(id="matrix").tbody.find_all("tr")
    shown = np.array([[int(cell.get_text() or 0) for cell in row.find_all("td")] for row in rows])
    np.testing.assert_array_equal(shown, accuracy.confusion(predictions, cities))


def test_cities_with_too_few_photos_are_neither_ranked_nor_among_the_mistakes(write):
    soup = read(write())
    ranked, few = soup.find("table", class_="sortable").find_all("tbody")
    assert [row.th.get_text() for row in few.find_all("tr")] == ["Too few test photos for a claim", f"{FEW}NA"]
    assert len(ranked.find_all("tr")) == NUMBER - 1
    assert not [item for item in soup.find(id="confusion").ul.find_all("li") if item.get_text().startswith(f"{FEW},")]
    assert "pale" in soup.find(id="matrix").tbody.find_all("tr")[-1]["class"]


def test_provenance_names_checksum_seed_settings_and_seconds_but_no_folder(write):
    page = write()
    shown = read(page).find(id="made").get_text(" ", strip=True)
    for part in ("ab12" * 16, "7 C: 10, sample: sample.parquet", "focus: Rome", " 12 ", "Where does it fail?"):
        assert part in shown
    assert str(page.parent) not in page.read_text(encoding="utf-8")


def test_a_run_with_nothing_in_it_has_a_page_that_says_so(tmp_path):
    for left in ("predictions/.knn.1a2b3c4d.json", "maps/.accuracy.1a2b3c4d.html"):  # by a killed write
        (tmp_path / left).parent.mkdir()
        (tmp_path / left).write_text("{")
    page = report.write_report(tmp_path, ["01_photos"])
    assert "no results yet" in page.read_text(encoding="utf-8")
    assert "1a2b3c4d" not in page.read_text(encoding="utf-8")
    assert "no results/table1.csv" in report.table1_text(tmp_path)


def test_terminal_shows_every_row_and_the_origin(write, table1):
    text = report.table1_text(write().parent)
    assert MADE_UP in text
    assert all(share in text for share in percent(table1["accuracy"]))


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1280, 800), (390, 780)], ids=["desktop", "phone"])
def test_page_opens_offline_draws_its_map_and_never_scrolls_sideways(visit, write, size):
    page = visit(write(), *size)
    page.locator("iframe").scroll_into_view_if_needed()
    circles = page.frame_locator("iframe").locator("path.leaflet-interactive")
    circles.nth(NUMBER - 1).wait_for()
    assert circles.count() == NUMBER
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.set_viewport_size({"width": 700, "height": 800})  # charts shrink to fit, while they can still be read
    assert page.locator("figure .scroll").evaluate_all(
        "boxes => boxes.every(box => box.scrollWidth <= box.clientWidth)"
    )


@pytest.mark.browser
def test_wheel_over_the_map_scrolls_the_page_until_a_click(visit, write):
    page = visit(write())
    page.locator("iframe").scroll_into_view_if_needed()
    page.frame_locator("iframe").locator("path.leaflet-interactive").nth(NUMBER - 1).wait_for()
    page.locator("iframe").hover()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 200)
    page.wait_for_function("before => scrollY > before", arg=before)
    page.frame_locator("iframe").locator(".folium-map").click(position={"x": 300, "y": 200})
    after = page.evaluate("scrollY")
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(400)
    assert page.evaluate("scrollY") == after


@pytest.mark.browser
@pytest.mark.parametrize(("origin", "size"), [(MADE_UP, (1280, 800)), (OWN, (390, 780))], ids=["made up", "own"])
def test_no_serious_accessibility_fault(visit, write, origin, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    faults = axe.run(visit(write(origin), *size), options={"iframes": False}).response["violations"]
    serious = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
    assert json.dumps([(fault["id"], fault["nodes"][0]["html"][:200]) for fault in serious]) == "[]"


@pytest.mark.browser
def test_tab_order_reaches_every_section(visit, write):
    page = visit(write())
    targets = page.locator("nav a").evaluate_all("links => links.map(link => link.hash)")
    for target in targets:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.hash") == target
    page.keyboard.press("Enter")
    assert page.locator(targets[-1]).evaluate("section => section.getBoundingClientRect().top") < 800
    page.keyboard.press("Tab")
    assert page.evaluate("(id) => document.querySelector(id).contains(document.activeElement)", targets[-1])


@pytest.mark.browser
def test_headings_sort_and_too_few_photos_stay_last(visit, write):
    page = visit(write(OWN))
    table = page.locator("table.sortable")
    table.get_by_role("button", name="accuracy").press("Enter")
    shares = table.locator("tbody:first-of-type td[data-value]").evaluate_all("all => all.map(td => +td.dataset.value)")
    assert shares == sorted(shares)
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert table.locator("tbody tr").last.inner_text().startswith(FEW)


@pytest.mark.browser
def test_ordered_by_accuracy_cities_with_too_few_photos_stay_last_by_name(visit, rewrite, predictions, cities):
    enough = np.arange(NUMBER) % 6 != 2
    page = visit(rewrite(enough=enough))
    page.select_option("#order", "right")
    names = page.locator("#matrix tbody th").all_inner_texts()
    counts = accuracy.confusion(predictions, cities).set_axis(cities["city"])
    right = pd.Series(np.diag(counts) / counts.sum(axis=1), counts.index)
    assert names[enough.sum() :] == ["City 14", "City 2", "City 8"]
    assert right[names[: enough.sum()]].is_monotonic_decreasing


@pytest.mark.browser
def test_a_chosen_city_is_told_in_words_in_any_order(visit, write, predictions, cities):
    counts = accuracy.confusion(predictions, cities)
    page = visit(write(OWN), 390, 780)
    page.select_option("#order", "right")
    page.select_option("#look", label="City 5")
    said = page.locator("#said").inner_text()
    row, column = counts.loc["City 5"].drop("City 5"), counts["City 5"].drop("City 5")
    assert said.startswith(f"City 5: {counts.loc['City 5', 'City 5']} of 24 test photos right.")
    names = page.locator("#matrix tbody th").all_inner_texts()
    assert sorted(names) == sorted(counts.index)
    assert [text.strip() for text in page.locator("#matrix thead span").all_text_contents()] == names
    for part, photos in zip(said.split("Taken for")[1:], (row, column), strict=True):
        assert sorted(map(int, re.findall(r" (\d+)[,.]", part))) == sorted(photos[photos > 0])
