"""Figures that draw given tables, stamp their `origin` (`tables.origin`) and compute nothing. Shares are fractions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator, PercentFormatter
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from geoutils.images import open_photo
from geoutils.tables import MIN_TEST_PHOTOS
from geoutils.views.canvas import BLUE, GREY, PALE, RED, canvas, one_line, write_names


def _rows(ax, names: Sequence, longest: int = 50) -> np.ndarray:
    ax.set_yticks(range(len(names)), [one_line(name, longest) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    return np.arange(len(names))


def _lines(ax, table: pd.DataFrame, x: str, y: str, by: str, *, log: bool = True) -> None:
    for name, group in table.groupby(by, sort=False):
        label = one_line(name if isinstance(name, str) else f"{name:g}")
        ax.plot(group[x], group[y], label=label, markevery=-(-len(group) // 15))
    ax.set_xlabel(x.replace("_", " "))
    if log and table[x].min() > 0:
        ax.set_xscale("log")
        ax.set_xticks(table[x].unique(), [f"{value:,g}" for value in table[x].unique()])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(title=by.replace("_", " "))


def _dots(ax, rows: pd.DataFrame, y: Sequence[float], color: str | None = BLUE, **style) -> None:
    sides = rows["accuracy"] - rows["ci_low"], rows["ci_high"] - rows["accuracy"]
    ax.errorbar(rows["accuracy"], y, xerr=sides, color=color, **{"marker": "o", "linestyle": "none", **style})


def bars(
    values: pd.Series, title: str, note: str, *, origin: str, color: ArrayLike = BLUE, labels: Sequence | None = None
) -> Figure:
    """Draw numbers by their index, from the top down, each with itself or its label at the end of its bar."""
    with canvas(title, note, origin, 1.4 + 0.22 * len(values)) as (figure, ax):
        patches = ax.barh(_rows(ax, values.index), values, color=color)
        ax.bar_label(patches, labels, fmt="{:,.6g}", padding=4, fontsize=8, color=GREY)
    return figure


def city_counts(cities: pd.DataFrame, *, minimum: int, origin: str) -> Figure:
    """Draw photos a city (columns city, photos), the largest first, those below the minimum pale."""
    counts = cities.set_index("city")["photos"].sort_values(ascending=False, kind="stable")
    color = np.where(counts >= minimum, BLUE, PALE)
    figure = bars(counts, "Photos a city", f"minimum: {minimum:,}", origin=origin, color=color)
    figure.axes[0].axvline(minimum, color=RED, linewidth=1.2)
    return figure


def eligibility(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw how many cities qualify (columns radius_km, min_photos, cities), the paper's number as a line."""
    with canvas("How many cities qualify", "dashed: the paper's 37", origin) as (figure, ax):
        _lines(ax, table, "min_photos", "cities", "radius_km")
        ax.axhline(37, color=GREY, linestyle="--", linewidth=1, marker="")
        ax.set(yscale="log", ylabel="cities")
    return figure


def ledger(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw the rows through each filter (columns step, rows_in, rows_out, why), in order."""
    with canvas("Rows through each filter", "grey: dropped", origin, 1.4 + 0.42 * len(table)) as (figure, ax):
        ax.barh(_rows(ax, table["step"]), table["rows_in"], height=0.4, color=PALE)
        ax.barh(range(len(table)), table["rows_out"], height=0.4, color=BLUE)
        for at, row in enumerate(table.itertuples()):
            why = f": {row.why}" if row.why and row.rows_out < row.rows_in else ""
            text = one_line(f"{row.rows_out:,} of {row.rows_in:,}{why}", 100)
            ax.text(0, at + 0.38, text, va="center", fontsize=7.5, color=GREY)
        ax.grid(visible=False)  # its lines would strike through the text
        ax.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def split_counts(counts: pd.DataFrame, *, origin: str) -> Figure:
    """Draw photos a city and split: cities on the index, one column a split."""
    with canvas("Photos a city and split", "photos", origin, 1.4 + 0.2 * len(counts)) as (figure, ax):
        y, left = _rows(ax, counts.index), counts.cumsum(axis=1) - counts
        for split in counts:
            ax.barh(y, counts[split], left=left[split], height=0.72, label=one_line(split))
        figure.legend(loc="upper right", ncols=3)
    return figure


def shared_users(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw the test photos whose photographer also took training photos (from `splits.shared_users`)."""
    shared = table.set_index("protocol")["photos_shared"]
    labels = [f"{row.photos_shared:,} of {row.photos_test:,} photos" for row in table.itertuples()]
    title = "Test photos whose photographer is also in training"
    return bars(shared, title, "by split", origin=origin, color=RED, labels=labels)


def feature_norms(norms: np.ndarray, *, origin: str) -> Figure:
    """Draw a histogram of the lengths of feature vectors, shape (photos,)."""
    with canvas("How long the feature vectors are", "photos by Euclidean norm", origin, 3.4) as (figure, ax):
        ax.hist(norms, bins=60)
    return figure


def projection(points: pd.DataFrame, *, origin: str) -> Figure:
    """Draw photos in a plane (columns x, y, city), a large dot and the city's name at each city's median."""
    note = "large dots: a city's median; a name that finds no room is left out"
    with canvas("Photos as the network sees them", note, origin, 7, 8) as (figure, ax):
        medians = points.groupby("city")[["x", "y"]].median()
        for city, own in points.groupby("city"):
            dots, *_ = ax.plot(own["x"], own["y"], "o", markersize=2.6, alpha=0.5, markeredgewidth=0)
            ax.plot(*medians.loc[city], "o", markersize=8, color=dots.get_color(), markeredgecolor="white")
        ax.set(xticks=[], yticks=[])
        figure.draw_without_rendering()  # settles where a median falls on the paper
        write_names(ax, medians.to_numpy(), np.full(len(medians), 4), medians.index)
    return figure


def accuracy_curve(table: pd.DataFrame, x: str, title: str, *, origin: str, by: str = "preprocess") -> Figure:
    """Draw accuracy on validation photos against `x`, numbers, a line a value of `by`, and ring the best point; of
    several rows of `table` with one `x` the best counts."""
    best = table.groupby([by, x], sort=False)["accuracy"].max().reset_index()
    top = best.loc[best["accuracy"].idxmax()]
    edge = ", on the grid's edge" if top[x] in (best[x].min(), best[x].max()) else ""  # it might have gone on
    best_one = f"best: {x} = {top[x]:,g}{edge}, {top[by]}: {top['accuracy']:.1%}"
    note = "on validation photos" if x == "training_photos" else best_one
    with canvas(f"{title}: accuracy against {x.replace('_', ' ')}", note, origin, percent="y") as (figure, ax):
        _lines(ax, best, x, "accuracy", by)
        ax.plot(top[x], top["accuracy"], "o", markersize=12, markerfacecolor="none", color=GREY)
    return figure


def risk_coverage(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw how right a method is on the photos that it answers (columns number, coverage, accuracy, method), from 20
    on, or all where there are fewer."""
    rows = table[table["number"] >= table.groupby("method")["number"].transform("max").clip(upper=MIN_TEST_PHOTOS)]
    note = f"from {MIN_TEST_PHOTOS} photos on: the share of so few more is chance"
    with canvas("Accuracy by the share of photos answered", note, origin, percent="xy") as (figure, ax):
        _lines(ax, rows, "coverage", "accuracy", "method", log=False)
    return figure


def learning_curves(log: pd.DataFrame, *, origin: str) -> Figure:
    """Draw a training log (columns epoch, train_loss, val_loss, train_accuracy, val_accuracy)."""
    with canvas("Fine-tuning", "by epoch", origin, 3.6, ncols=2) as (figure, axes):
        for ax, measure in zip(axes, ("loss", "accuracy"), strict=True):
            ax.plot(log["epoch"], log[[f"train_{measure}", f"val_{measure}"]], label=["training", "validation"])
            ax.set(title=measure, ylim=(0, None))
            ax.locator_params(axis="x", integer=True, min_n_ticks=1)
        axes[1].yaxis.set_major_formatter(PercentFormatter(1))
        axes[0].legend()
    return figure


def confusion_matrix(confusion: pd.DataFrame, *, origin: str) -> Figure:
    """Draw counts (true city a row, predicted a column) as shares of their row; a row without photos is hatched."""
    cells, side = confusion.div(confusion.sum(axis=1), axis=0), 2.6 + 0.21 * len(confusion)
    note = "share of a city's test photos; white: none"
    with canvas("Which city is taken for which", note, origin, side, side + 0.5) as (figure, ax):
        picture = ax.imshow(cells.where(cells > 0), norm=Normalize(0, cells.max(axis=None)))
        for (row, column), count in np.ndenumerate(confusion) if len(cells) <= 12 else ():
            color = "kw"[bool(picture.norm(cells.iloc[row, column]) > 0.5)]
            ax.text(column, row, f"{count:,}" if count else "", ha="center", va="center", color=color)
        for row in np.flatnonzero(confusion.sum(axis=1) == 0):
            ax.axhspan(row - 0.45, row + 0.45, facecolor="white", edgecolor=PALE, hatch="/////", linewidth=0)
            ax.text(0, row, "not tested", va="center", fontsize=8, color=GREY, bbox={"fc": "white", "lw": 0, "pad": 1})
        ax.set_xticks(_rows(ax, cells.index, 20), [one_line(city, 20) for city in cells], rotation=90)
        ax.set(xlabel="predicted", ylabel="true")
        ax.grid(visible=False)
        figure.colorbar(picture, shrink=0.5, aspect=30, format=PercentFormatter(1, 0))
    return figure


def city_accuracy(per_city: pd.DataFrame, *, origin: str, chance: float) -> Figure:
    """Draw accuracy with intervals, the best city on top; with too few photos hollow, beneath, by name."""
    best = per_city[per_city["enough"]].sort_values("accuracy", ascending=False)
    rows = pd.concat([best, few := per_city[~per_city["enough"]].sort_values("city")])
    note = "95% intervals, (test photos); dashed: chance; hollow, not ranked: too few test photos"
    with canvas("Accuracy, city by city", note, origin, 1.4 + 0.2 * len(rows), percent="x") as (figure, ax):
        y = _rows(ax, rows["city"] + rows["n_test"].map(" ({:,})".format))
        _dots(ax, best, y[: len(best)])
        _dots(ax, few, y[len(best) :], GREY, markerfacecolor="white")
        ax.axvline(chance, color=RED, linestyle="--", linewidth=1)
    return figure


def city_gain(table: pd.DataFrame, *, before: str, after: str, origin: str) -> Figure:
    """Draw what method `after` gained over `before`, columns of accuracies beside city and n_test."""
    gain = (table[after] - table[before]).where(table["n_test"] >= MIN_TEST_PHOTOS)
    rows = table.assign(gain=gain).sort_values(["gain", "city"], ascending=[False, True])
    color = np.select([rows["gain"] >= 0, rows["gain"] < 0], [BLUE, RED], PALE)
    note = f"accuracy: {before} hollow, {after} filled (test photos); grey: too few photos"
    with canvas("Gain, city by city", note, origin, 1.4 + 0.2 * len(rows), percent="x") as (figure, ax):
        y = _rows(ax, rows["city"] + rows["n_test"].map(" ({:,})".format))
        ax.hlines(y, rows[before], rows[after], color=color, linewidth=2.2)
        ax.scatter(rows[before], y, s=24, c="white", edgecolors=color, zorder=3)
        ax.scatter(rows[after], y, s=24, c=color, zorder=3)
    return figure


def table1(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw Table I with intervals; the paper's numbers in a panel of their own, random weights only named beneath."""
    names = table[["title", "backbone", "protocol"]].fillna("").agg(" · ".join, axis=1).str.replace("·  ·", "·")
    names += ": " + table["accuracy"].map("{:.1%}".format) + table["n_test"].map(" of {:,}".format)
    ours, random = table[table["weights"] != "random"], names[table["weights"] == "random"]
    paper = table.dropna(subset="paper").drop_duplicates(["method", "backbone"])
    rows = [len(ours) + 0.4, len(paper) + 0.4][: 1 + bool(len(paper))]
    grid = {"nrows": len(rows), "height_ratios": rows, "sharex": True, "squeeze": False, "percent": "x"}
    height = 1.2 + 0.25 * sum(rows) + 0.6 * len(rows) + 0.17 * len(random)
    with canvas("Table I", "accuracy, 95% intervals", origin, height, 8, **grid) as (figure, axes):
        figure.get_layout_engine().set(h_pad=0.16)
        here, *apart = axes.flat
        _dots(here, ours, _rows(here, names[ours.index], 60))
        here.set(xlim=(0, None), title="here")
        for ax in apart:
            _papers_panel(ax, paper)
        beneath = ["Random weights: a check of the path, no result", *random.map(lambda name: one_line(name, 90))]
        figure.supxlabel("\n".join(beneath) if len(random) else "", x=0.01, ha="left", fontsize=8)
    return figure


def _papers_panel(ax, paper: pd.DataFrame) -> None:
    """Draw the paper's numbers above the watermark: they are no made-up data."""
    y = _rows(ax, (paper["title"] + " · " + paper["backbone"].fillna("none")).str.removesuffix(" · none"), 60)
    ax.plot(paper["paper"], y, marker="D", linestyle="none", color=GREY, markerfacecolor="white")
    for at, share in paper["paper"].set_axis(y).items():
        ax.text(share, at, f"   {share:.2%}", va="center", fontsize=8)
    ax.set_title("the paper, on its own photos: not comparable row by row")
    ax.set_zorder(1_001)
    inch = 4 / (len(paper) + 0.4)  # as a share of the panel's height
    under = {"transform": ax.transAxes, "color": "white", "zorder": -1, "clip_on": False, "in_layout": False}
    ax.add_patch(Rectangle((-2, -0.3 * inch), 3.2, 1 + 0.6 * inch, **under))


def error_distances(distances: Mapping[str, np.ndarray], *, thresholds_km: Sequence, origin: str) -> Figure:
    """Draw the share of photos whose predicted city lies within a distance: kilometres by method."""
    with canvas("How far off the predictions are", "photos within kilometres", origin, percent="y") as (figure, ax):
        for method, kilometres in distances.items():
            ax.ecdf(np.maximum(kilometres, 0.1), label=one_line(method), marker="")
        ax.set(xscale="log", xticks=thresholds_km, xticklabels=[f"{threshold:,g}" for threshold in thresholds_km])
        ax.legend()
    return figure


def protocol_gap(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw accuracy by method and split protocol (columns method, protocol, accuracy, ci_low, ci_high)."""
    methods, count = list(table["method"].unique()), table["protocol"].nunique()
    height = 1.6 + max(0.5, 0.13 * count) * len(methods)
    with canvas("Methods by split", "95% intervals", origin, height, percent="x") as (figure, ax):
        _rows(ax, methods)
        for number, (protocol, rows) in enumerate(table.groupby("protocol", sort=False)):
            y = [methods.index(m) + min(0.18, 0.7 / count) * (number - (count - 1) / 2) for m in rows["method"]]
            _dots(ax, rows, y, None, marker="os^DvP*X"[number % 8], label=one_line(f"split by {protocol}"))
        figure.legend(loc="upper right", ncols=4)
    return figure


def confused_with(confusion: pd.DataFrame, *, origin: str) -> Figure:
    """Draw, a small panel a city, the three that its photos are most often taken for, as shares of its test photos."""
    note = "share of a city's (test photos); grey: too few photos for a claim"
    grid = {"nrows": -(-len(confusion) // 4), "ncols": 4, "sharex": True, "squeeze": False}
    grid["subplot_kw"] = {"visible": False, "xticks": []}
    with canvas("What each city is taken for", note, origin, 0.9 + 0.8 * grid["nrows"], 9, **grid) as (figure, axes):
        for ax, (city, row) in zip(axes.flat, confusion.iterrows(), strict=False):
            wrong = row.drop(city)[lambda counts: counts > 0].nlargest(3) / row.sum()
            bars = ax.barh(_rows(ax, wrong.index, 18), wrong, color=BLUE if row.sum() >= MIN_TEST_PHOTOS else PALE)
            ax.bar_label(bars, wrong.map("{:.1%}".format), padding=3, fontsize=7.5, color=GREY)
            ax.set(visible=True, title=f"{one_line(city, 20)} ({row.sum():,})", ylim=(2.6, -0.6))
    return figure


def photo_grid(
    photos: Sequence[Path | Image.Image], titles: Sequence[str], *, origin: str, columns: int = 6, title: str = "Photos"
) -> Figure:
    """Draw a contact sheet of photos (files or pictures), turned as EXIF says."""
    grid = {"nrows": -(-len(photos) // columns), "ncols": columns, "squeeze": False}
    grid["subplot_kw"] = {"frame_on": False, "xticks": [], "yticks": [], "anchor": "N"}
    with canvas(title, "", origin, 0.9 + 1.6 * grid["nrows"], 1.6 * columns, **grid) as (figure, axes):
        for ax, photo, name in zip(axes.flat, photos, titles, strict=False):
            image = photo if isinstance(photo, Image.Image) else open_photo(photo, shortest_side=320)
            ax.imshow(ImageOps.contain(image, (320, 320)))
            ax.set_title(one_line(name, 24), fontsize=7.5)
    return figure
