"""Properties of the figures: every row is drawn, hostile names stay text, and the origin can't be cropped away."""

import itertools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image

from geoutils.views import canvas, plots
from makers.scores import MADE_UP, OWN

HOSTILE = ["$\\frac{1}{$", "<script>alert(1)</script>", "a_b^c $x$", "n" * 300, "two\nlines\tand %s {0}", "100 %"]


@pytest.fixture
def per_city() -> pd.DataFrame:
    n_test = np.array([40, 30, 60, 8, 19, 20])
    correct = np.array([10, 20, 6, 8, 0, 5])
    rates = {"accuracy": correct / n_test, "ci_low": correct / n_test / 2, "ci_high": (correct / n_test + 1) / 2}
    return pd.DataFrame({"city": list("ABCXYD"), "n_test": n_test, "correct": correct, **rates, "enough": n_test >= 20})


@pytest.fixture
def confusion() -> pd.DataFrame:
    return pd.DataFrame([[30, 5, 0], [2, 10, 8], [0, 0, 3]], list("ABC"), list("ABC"))


@pytest.fixture
def table1(per_city: pd.DataFrame) -> pd.DataFrame:
    methods = {"method": list("abccde"), "title": ["chance", "kNN", "SVM", "SVM", "CaffeNet", "GoogLeNet"]}
    backbones = {"backbone": [None, "Lite0", "Lite0", "Lite0", "CaffeNet", "GoogLeNet"], "weights": ["imagenet"] * 6}
    protocols = {"protocol": ["photo", "photo", "photo", "user", "photo", "photo"]}
    table = per_city.assign(**methods, **backbones, **protocols, paper=[0.027, 0.029, 0.1877, 0.1877, np.nan, 0.333])
    return table.assign(weights=table["weights"].mask(table["title"] == "CaffeNet", "random"))


def every_figure(per_city: pd.DataFrame, confusion: pd.DataFrame, table1: pd.DataFrame, origin: str) -> dict:
    """Draw one figure with each function of the module."""
    epochs = {"epoch": [1, 2], "train_loss": [3, 2], "val_loss": [3, 2.5]}
    log = pd.DataFrame({**epochs, "train_accuracy": [0.1, 0.2], "val_accuracy": [0.1, 0.15]})
    curve = pd.DataFrame({"k": [1, 5], "preprocess": "raw", "accuracy": [0.2, 0.3]})
    photos = pd.DataFrame({"city": ["A", "B"], "photos": [30, 5], "x": [0, 1.0], "y": [1, 0.0]})
    steps = pd.DataFrame({"step": ["read", "label"], "rows_in": [9, 8], "rows_out": [8, 8], "why": ["broken: 1", ""]})
    shared = pd.DataFrame({"protocol": ["photo", "user"], "photos_shared": [3, 0], "photos_test": [9, 9]})
    eligible = pd.DataFrame({"radius_km": [10, 10], "min_photos": [10, 20], "cities": [90, 40]})
    answered = pd.DataFrame({"number": [20, 40], "coverage": [0.5, 1], "accuracy": [0.4, 0.2], "method": "kNN"})
    gain = per_city.assign(kNN=per_city["accuracy"] / 2)
    return {
        "city_counts": plots.city_counts(photos, minimum=10, origin=origin),
        "eligibility": plots.eligibility(eligible, origin=origin),
        "ledger": plots.ledger(steps, origin=origin),
        "split_counts": plots.split_counts(confusion, origin=origin),
        "shared_users": plots.shared_users(shared, origin=origin),
        "bars": plots.bars(pd.Series({"no position": 3}), "Why records were rejected", "records", origin=origin),
        "feature_norms": plots.feature_norms(np.arange(1.0, 50.0), origin=origin),
        "projection": plots.projection(photos, origin=origin),
        "accuracy_curve": plots.accuracy_curve(curve, "k", "kNN", origin=origin),
        "risk_coverage": plots.risk_coverage(answered, origin=origin),
        "learning_curves": plots.learning_curves(log, origin=origin),
        "confusion_matrix": plots.confusion_matrix(confusion, origin=origin),
        "city_accuracy": plots.city_accuracy(per_city, origin=origin, chance=0.2),
        "city_gain": plots.city_gain(gain, before="kNN", after="accuracy", origin=origin),
        "table1": plots.table1(table1, origin=origin),
        "error_distances": plots.error_distances({"kNN": np.array([0, 30.0])}, thresholds_km=(1, 25), origin=origin),
        "protocol_gap": plots.protocol_gap(table1, origin=origin),
        "confused_with": plots.confused_with(confusion, origin=origin),
    }


def watermark(figure: Figure) -> list[PathCollection]:
    return [artist for artist in figure.artists if isinstance(artist, PathCollection)]


def tick_names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def test_every_figure_says_what_its_data_are(per_city, confusion, table1):
    for name, figure in every_figure(per_city, confusion, table1, MADE_UP).items():
        assert MADE_UP in [text.get_text() for text in figure.texts], name
        assert len(watermark(figure)) == 1, name


def test_real_data_are_named_beneath_and_left_in_peace():
    figure = plots.feature_norms(np.arange(9.0), origin=OWN)
    assert OWN in [text.get_text() for text in figure.texts]
    assert not watermark(figure)


def test_hostile_names_are_drawn_as_they_are(per_city, table1, tmp_path):
    per_city, table1 = per_city.assign(city=HOSTILE), table1.assign(method=HOSTILE, protocol=HOSTILE)
    confusion = pd.DataFrame(np.eye(6, dtype=int) + 1, HOSTILE, HOSTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = every_figure(per_city, confusion, table1, OWN)
        canvas.save(figures["confusion_matrix"], tmp_path / "matrix.png")
    for label, name in zip(figures["confusion_matrix"].axes[0].get_yticklabels(), HOSTILE, strict=True):
        shown, is_formula = label._preprocess_math(label.get_text())
        assert not is_formula
        assert shown.rstrip("…") == " ".join(name.split())[: len(shown.rstrip("…"))]


def test_no_figure_lives_in_pyplot_and_pyplot_is_not_even_loaded():
    code = (
        "import sys, pandas as pd; from geoutils.views import plots;"
        "f = plots.bars(pd.Series({'a': 1}), 'Title', 'note', origin='x');"
        "assert f._repr_png_().startswith(b'\\x89PNG'); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_style_does_not_leak():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.feature_norms(np.arange(9.0), origin=MADE_UP)
    assert dict(matplotlib.rcParams) == before


def test_city_counts_are_sorted_and_pale_below_the_minimum():
    cities = pd.DataFrame({"city": ["few", "many", "some"], "photos": [4, 90, 30]})
    ax = plots.city_counts(cities, minimum=30, origin=OWN).axes[0]
    assert tick_names(ax) == ["many", "some", "few"]
    assert [bar.get_width() for bar in ax.patches] == [90, 30, 4]
    colors = [bar.get_facecolor() for bar in ax.patches]
    assert colors[0] == colors[1] != colors[2]


def test_the_ledger_shows_what_stayed_what_went_and_why():
    steps = pd.DataFrame(
        {"step": ["read", "keep"], "rows_in": [1_000, 900], "rows_out": [900, 900], "why": ["bad", "in no city"]}
    )
    ax = plots.ledger(steps, origin=OWN).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [1_000, 900, 900, 900]
    assert [text.get_text() for text in ax.texts] == ["900 of 1,000: bad", "900 of 900"]
    assert not any(line.get_visible() for line in ax.get_xgridlines())


def test_shared_photographers_are_counted_in_photos():
    shared = pd.DataFrame({"protocol": ["photo", "user"], "photos_shared": [612, 0], "photos_test": [740, 737]})
    figure = plots.shared_users(shared, origin=OWN)
    assert [text.get_text() for text in figure.axes[0].texts] == ["612 of 740 photos", "0 of 737 photos"]
    assert figure.texts[0].get_text() == "Test photos whose photographer is also in training"


def test_curve_of_answered_photos_starts_with_20_of_them():
    coverage = np.arange(1, 101) / 100
    table = pd.DataFrame({"number": np.arange(1, 101), "coverage": coverage, "accuracy": 0.5, "method": "svm"})
    tied = pd.DataFrame({"number": [7], "coverage": [1.0], "accuracy": 0.4, "method": "knn"})
    sure, all_alike = plots.risk_coverage(pd.concat([table, tied]), origin=OWN).axes[0].lines
    np.testing.assert_allclose(sure.get_xdata(), coverage[19:])
    assert all_alike.get_xdata().tolist() == [1.0]


def test_names_in_a_projection_do_not_overprint_each_other():
    rng = np.random.default_rng(0)
    points = pd.DataFrame(rng.normal(size=(300, 2)), columns=["x", "y"])
    points = points.assign(city=[f"City {number % 12}" for number in range(300)])
    names = [text for text in plots.projection(points, origin=OWN).axes[0].texts if text.get_visible()]
    boxes = [name.get_window_extent() for name in names]
    assert len(names) >= 6
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_stacked_splits_add_up_to_the_photos_of_a_city(confusion):
    ax = plots.split_counts(confusion, origin=OWN).axes[0]
    ends = [max(bar.get_x() + bar.get_width() for bar in ax.patches[row::3]) for row in range(3)]
    assert ends == confusion.sum(axis=1).tolist()


def test_cities_with_too_few_photos_are_hollow_and_unranked(per_city):
    ax = plots.city_accuracy(per_city, origin=OWN, chance=0.2).axes[0]
    assert tick_names(ax) == ["B (30)", "A (40)", "D (20)", "C (60)", "X (8)", "Y (19)"]
    ranked, hollow = (container.lines[0] for container in ax.containers)
    np.testing.assert_allclose(ranked.get_xdata(orig=False), [20 / 30, 0.25, 0.25, 0.1])
    assert hollow.get_markerfacecolor() == "white"


def test_intervals_are_drawn_from_ci_low_to_ci_high(per_city):
    ax = plots.city_accuracy(per_city, origin=OWN, chance=0.2).axes[0]
    (ends,) = ax.containers[0].lines[2]
    best = per_city[per_city["enough"]].sort_values("accuracy", ascending=False)
    drawn = np.array([segment[:, 0] for segment in ends.get_segments()])
    np.testing.assert_allclose(drawn, best[["ci_low", "ci_high"]])


def test_gains_are_sorted_with_too_few_photos_last(per_city):
    gain = per_city.assign(old=0.2)
    ax = plots.city_gain(gain, before="old", after="accuracy", origin=OWN).axes[0]
    assert tick_names(ax)[0].startswith("B")
    assert [name[0] for name in tick_names(ax)[-2:]] == ["X", "Y"]
    assert all(len(dots.get_offsets()) == len(per_city) for dots in ax.collections[1:])


def test_table1_keeps_random_weights_and_the_papers_numbers_off_the_main_panel(table1):
    figure = plots.table1(table1, origin=OWN)
    here, paper = figure.axes
    assert len(tick_names(here)) == 5
    assert not any("CaffeNet" in name for name in tick_names(here))
    assert "CaffeNet" in figure.get_supxlabel()
    np.testing.assert_allclose(here.containers[0].lines[0].get_xdata(orig=False), table1["accuracy"].drop(4))
    once = table1.dropna(subset="paper").drop_duplicates(["method", "backbone"])
    assert [text.get_text().strip() for text in paper.texts] == [f"{share:.2%}" for share in once["paper"]]
    assert [name.partition(" · ")[0] for name in tick_names(paper)] == once["title"].tolist()


def test_table1_draws_the_papers_numbers_under_ours_and_above_the_watermark(table1):
    panels = []
    for origin in (MADE_UP, OWN):
        figure = plots.table1(table1, origin=origin)
        here, paper = figure.axes
        drawn = FigureCanvasAgg(figure)
        drawn.draw()
        left, low, right, high = paper.get_tightbbox().extents.astype(int)
        panels.append(np.asarray(drawn.buffer_rgba())[::-1][low:high, left:right])
    assert paper.get_window_extent().y1 < here.get_window_extent().y0  # no row of one beside a row of the other
    np.testing.assert_array_equal(*panels)
    assert len(plots.table1(table1.assign(paper=np.nan), origin=OWN).axes) == 1


def test_table1_says_nothing_of_random_weights_where_there_are_none(table1):
    assert plots.table1(table1.assign(weights="imagenet"), origin=OWN).get_supxlabel() == ""


def test_methods_by_split_keep_to_their_own_row_however_many_splits_there_are():
    rows = pd.DataFrame([(m, f"seed {i}", 0.5, 0.4, 0.6) for m in "ab" for i in range(12)])
    rows.columns = ["method", "protocol", "accuracy", "ci_low", "ci_high"]
    figure = plots.protocol_gap(rows, origin=OWN)
    heights = np.array([line.lines[0].get_ydata(orig=False) for line in figure.axes[0].containers])
    assert heights.shape == (12, 2)
    assert (np.abs(heights - [0, 1]) < 0.5).all()


def test_the_best_point_is_ringed_and_an_optimum_on_the_edge_is_said():
    curve = pd.DataFrame({"k": [1, 5, 20], "preprocess": "raw", "accuracy": [0.2, 0.3, 0.25]})
    for best, said in ((5, False), (20, True)):
        table = curve.assign(accuracy=curve["accuracy"].mask(curve["k"] == best, 0.9))
        worse = table.assign(accuracy=0.1)  # of a second setting, which the figure has no axis for
        figure = plots.accuracy_curve(pd.concat([table, worse]), "k", "kNN", origin=OWN)
        assert figure.axes[0].lines[-1].get_xydata().tolist() == [[best, 0.9]]
        assert ("edge" in figure.texts[1].get_text()) == said


def test_error_curve_ends_at_one_and_counts_the_photos_within_a_threshold():
    kilometres = np.array([0.0, 10, 30, 4_000])
    figure = plots.error_distances({"kNN": kilometres}, thresholds_km=(1, 25, 200), origin=OWN)
    x, y = figure.axes[0].lines[0].get_data()
    assert y[-1] == 1
    assert y[x <= 25].max() == np.mean(kilometres <= 25)


def test_confusion_cells_are_shares_of_their_row_on_a_linear_scale_and_untested_rows_say_so():
    counts = pd.DataFrame([[3, 1], [0, 0]], list("AB"), list("AB"))
    ax, _ = plots.confusion_matrix(counts, origin=OWN).axes
    (picture,) = ax.images
    np.testing.assert_allclose(picture.get_array()[0], [0.75, 0.25])
    np.testing.assert_allclose(picture.norm([0.0, 0.25, 0.5, 0.75]), [0, 1 / 3, 2 / 3, 1])
    assert picture.get_array().mask[1].all()
    assert [text.get_text() for text in ax.texts if text.get_position()[1] == 1 and text.get_text()] == ["not tested"]


def test_all_37_names_of_a_large_matrix_are_written_without_touching():
    names = [f"a rather long city {number}" for number in range(37)]
    counts = pd.DataFrame(np.eye(37, dtype=int) * 9, names, names)
    figure = plots.confusion_matrix(counts, origin=OWN)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 37
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))


def test_small_multiples_name_the_commonest_mistakes_first(confusion):
    panels = [ax for ax in plots.confused_with(confusion, origin=OWN).axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == ["A (35)", "B (20)", "C (3)"]
    assert tick_names(panels[1]) == ["C", "A"]
    np.testing.assert_allclose([bar.get_width() for bar in panels[1].patches], [0.4, 0.1])


def test_contact_sheet_shows_heic_photos_photos_with_broken_exif_and_pictures(tmp_path: Path):
    import pillow_heif

    image = Image.new("RGB", (60, 40), "red")
    pillow_heif.from_pillow(image).save(tmp_path / "a.heic")
    image.save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff")
    (tmp_path / "sheet.py").write_text(
        "import sys; from geoutils.views import plots; from PIL import Image\n"
        "f = plots.photo_grid([*sys.argv[1:], Image.new('RGB', (9, 9))], list('abc'), origin='x')\n"
        "print(sum(len(ax.images) for ax in f.axes))"
    )
    run = [sys.executable, tmp_path / "sheet.py", tmp_path / "a.heic", tmp_path / "b.jpg"]  # a fresh kernel
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == "3"


def test_contact_sheet_turns_photos_as_exif_says(tmp_path: Path):
    image, exif = Image.new("RGB", (60, 20), "red"), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif)
    figure = plots.photo_grid([tmp_path / "a.jpg"] * 4, ["one", "two", "three", "$four$"], origin=OWN, columns=3)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 4
    height, width = shown[0].images[0].get_array().shape[:2]
    assert height == 3 * width or abs(height / width - 3) < 0.05
