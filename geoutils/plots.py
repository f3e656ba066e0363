"""Figures that draw given tables, stamp their `origin` (`tables.origin`) and compute nothing. Shares are fractions."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withSimplePatchShadow
from matplotlib.textpath import TextPath
from matplotlib.ticker import NullLocator, PercentFormatter
from matplotlib.transforms import Affine2D
from PIL import Image, ImageOps

from geoutils.artifacts import atomic_path

STYLE = Path(__file__).with_name("data") / "deep.mplstyle"
BLUE, RED, GREY, PALE = "#0072b2", "#d55e00", "#5b6770", "#c3ccd3"
ENOUGH = 20  # test photos below which a city gets no rank, colour or claim


class ShownFigure(Figure):
    """A figure that shows itself in a notebook without pyplot."""

    def _repr_png_(self) -> bytes:
        self.savefig(buffer := io.BytesIO(), format="png")
        return buffer.getvalue()


@contextlib.contextmanager
def canvas(title: str, note: str, origin: str, height: float = 4, width: float = 7, **grid: object) -> Iterator[tuple]:
    """Give a styled figure (inches) and its axes, laid out by `Figure.subplots`; stamp the origin at the end."""
    with matplotlib.style.context(STYLE):
        figure = ShownFigure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0.2 / height, 1, 1 - (0.75 if note else 0.6) / height))
        figure.text(0.12 / width, 1 - 0.28 / height, short(title, 90), fontsize=13, weight="bold")
        figure.text(0.12 / width, 1 - 0.48 / height, short(note, 140), color=GREY)
        percent = grid.pop("percent", "")  # the axes that show shares: "x", "y" or "xy"
        axes = figure.subplots(**grid)
        for axis in (getattr(ax, f"{name}axis") for ax in figure.axes for name in percent):
            axis.set_major_formatter(PercentFormatter(1))
        yield figure, axes
        figure.draw_without_rendering()  # makes the ticks while the style holds
        stamp(figure, origin)


def stamp(figure: Figure, origin: str) -> None:
    """Write the origin of the data under a figure; over made-up data so that any crop of 1.7 x 0.6 inches says it."""
    width, height = figure.get_size_inches()
    figure.text(1 - 0.1 / width, 0.07 / height, short(origin, 90), ha="right", fontsize=7.5, color=GREY)
    if origin.startswith("SYNTHETIC"):
        edge = withSimplePatchShadow((0.7, -0.7), shadow_rgbFace="white", alpha=0.5, rho=1)  # shows on dark bars
        word = TextPath((0, 0), "SYNTHETIC", size=0.11, prop={"weight": "bold"}).transformed(Affine2D().rotate_deg(15))
        rows = enumerate(np.arange(0.1, height, 0.34))
        places = [(x + row % 2 / 2, y) for row, y in rows for x in np.arange(-0.4, width)]  # inches
        words = PathCollection([word], offsets=places, offset_transform=figure.dpi_scale_trans, path_effects=[edge])
        words.set(transform=figure.dpi_scale_trans, color="#333333", alpha=0.16, linewidth=0, zorder=1_000)
        figure.add_artist(words)


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format that the path's suffix names."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def short(name: object, longest: int = 36) -> str:
    """Bring a name to one line of at most `longest` characters that matplotlib takes as text, not as a formula."""
    line = " ".join(str(name).split())
    return (line if len(line) <= longest else line[: longest - 1] + "…").replace("$", r"\$")


def _rows(ax, names: Sequence, longest: int = 50) -> np.ndarray:
    ax.set_yticks(range(len(names)), [short(name, longest) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    return np.arange(len(names))


def _bars(title, note, names, values, origin, labels=None, **style) -> Figure:
    with canvas(title, note, origin, 1.4 + 0.22 * len(names)) as (figure, ax):
        bars = ax.barh(_rows(ax, names), values, **style)
        ax.bar_label(bars, labels, fmt="{:,.6g}", padding=4, fontsize=8, color=GREY)
    return figure


def _lines(ax, table: pd.DataFrame, x: str, y: str, by: str, *, log: bool = True) -> None:
    for name, group in table.groupby(by, sort=False):
        ax.plot(group[x], group[y], label=short(name), markevery=-(-len(group) // 15))
    ax.set_xlabel(x.replace("_", " "))
    if log:
        ax.set_xscale("log")
        ax.set_xticks(table[x].unique(), [f"{value:,g}" for value in table[x].unique()])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(title=by.replace("_", " "))


def _dots(ax, rows: pd.DataFrame, y: Sequence[float], color: str | None = BLUE, **style) -> None:
    sides = rows["accuracy"] - rows["ci_low"], rows["ci_high"] - rows["accuracy"]
    ax.errorbar(rows["accuracy"], y, xerr=sides, color=color, **{"marker": "o", "linestyle": "none", **style})


def city_counts(cities: pd.DataFrame, *, minimum: int, origin: str) -> Figure:
    """Draw photos a city (columns city, photos), the largest first, those below the minimum pale."""
    rows = cities.sort_values("photos", ascending=False, kind="stable")
    color = np.where(rows["photos"] >= minimum, BLUE, PALE)
    figure = _bars("Photos a city", f"minimum: {minimum:,}", rows["city"], rows["photos"], origin, color=color)
    figure.axes[0].axvline(minimum, color=RED, linewidth=1.2)
    return figure


def eligibility(table: pd.DataFrame, *, origin: str, paper: int = 37) -> Figure:
    """Draw how many cities qualify (columns radius_km, min_photos, cities), the paper's number as a line."""
    with canvas("How many cities qualify", f"dashed: the paper's {paper}", origin) as (figure, ax):
        _lines(ax, table, "min_photos", "cities", "radius_km")
        ax.axhline(paper, color=GREY, linestyle="--", linewidth=1, marker="")
        ax.set(yscale="log", ylabel="cities")
    return figure


def ledger(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw the rows through each filter (columns step, rows_in, rows_out, why), in order."""
    with canvas("Rows through each filter", "grey: dropped", origin, 1.4 + 0.42 * len(table)) as (figure, ax):
        ax.barh(_rows(ax, table["step"]), table["rows_in"], height=0.4, color=PALE)
        ax.barh(range(len(table)), table["rows_out"], height=0.4, color=BLUE)
        for at, row in enumerate(table.itertuples()):
            text = f"{row.rows_out:,} of {row.rows_in:,}" + f": {row.why}" * bool(row.why)
            ax.text(0, at + 0.38, short(text, 100), va="center", fontsize=7.5, color=GREY)
    return figure


def split_counts(counts: pd.DataFrame, *, origin: str) -> Figure:
    """Draw photos a city and split: cities on the index, one column a split."""
    with canvas("Photos a city and split", "photos", origin, 1.4 + 0.2 * len(counts)) as (figure, ax):
        y, left = _rows(ax, counts.index), counts.cumsum(axis=1) - counts
        for split in counts:
            ax.barh(y, counts[split], left=left[split], height=0.72, label=short(split))
        figure.legend(loc="upper right", ncols=3)
    return figure


def shared_users(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw the photographers who stand in both training and test (columns protocol, shared, users)."""
    labels = [f"{row.shared:,} of {row.users:,}" for row in table.itertuples()]
    return _bars("Photographers in train and test", "", table["protocol"], table["shared"], origin, labels, color=RED)


def photos_over_time(table: pd.DataFrame, *, origin: str, by: str = "year") -> Figure:
    """Draw the column `photos` by year, or by another column such as a photographer's rank."""
    return _bars(f"Photos by {by}", "photos", table[by], table["photos"], origin)


def rejections(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw why records were rejected (columns reason, count)."""
    return _bars("Why records were rejected", "records", table["reason"], table["count"], origin, color=RED)


def throughput(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw the speed of extraction (columns name, images_per_second)."""
    return _bars("Speed", "images a second", table["name"], table["images_per_second"].round(1), origin)


def feature_norms(norms: np.ndarray, *, origin: str) -> Figure:
    """Draw a histogram of the lengths of feature vectors, shape (photos,)."""
    with canvas("How long the feature vectors are", "photos by Euclidean norm", origin, 3.4) as (figure, ax):
        ax.hist(norms, bins=60)
    return figure


def projection(points: pd.DataFrame, *, origin: str) -> Figure:
    """Draw photos in a plane (columns x, y, city), each city's name at its median."""
    style = {"ha": "center", "va": "center", "fontsize": 7, "bbox": {"fc": "white", "alpha": 0.75, "lw": 0, "pad": 1}}
    with canvas("Photos as the network sees them", "names at medians", origin, 7, 8) as (figure, ax):
        for city, own in points.groupby("city"):
            dots, *_ = ax.plot(own["x"], own["y"], "o", markersize=2.6, alpha=0.5, markeredgewidth=0)
            ax.text(*own[["x", "y"]].median(), short(city, 20), color=dots.get_color(), **style)
        ax.set(xticks=[], yticks=[])
    return figure


def accuracy_curve(table: pd.DataFrame, *, x: str, origin: str, by: str = "preprocess") -> Figure:
    """Draw accuracy against `x` (k, C, train_photos), a line a value of `by`, and ring the best point."""
    top = table.loc[table["accuracy"].idxmax()]
    edge = ", on the grid's edge" if top[x] in (table[x].min(), table[x].max()) else ""
    note = f"best: {x} = {top[x]:,g}{edge}, {top[by]}: {top['accuracy']:.1%}"
    with canvas(f"Accuracy against {x.replace('_', ' ')}", note, origin, percent="y") as (figure, ax):
        _lines(ax, table, x, "accuracy", by)
        ax.plot(top[x], top["accuracy"], "o", markersize=12, markerfacecolor="none", color=GREY)
    return figure


def risk_coverage(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw how right a method is on the photos that it answers (columns coverage, accuracy, method)."""
    with canvas("Accuracy by the share of photos answered", "", origin, percent="xy") as (figure, ax):
        _lines(ax, table, "coverage", "accuracy", "method", log=False)
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


def confusion_matrix(confusion: pd.DataFrame, *, origin: str, log: bool = False) -> Figure:
    """Draw counts (true city a row, predicted a column) as shares of their row, or on a logarithmic scale."""
    cells = confusion if log else confusion.div(confusion.sum(axis=1), axis=0)
    note, side = "test photos" if log else "share of a city's test photos; white: none", 2.6 + 0.21 * len(cells)
    with canvas("Which city is taken for which", note, origin, side, side + 0.5) as (figure, ax):
        picture = ax.imshow(cells.where(cells > 0), norm="log" if log else PowerNorm(0.5, 0, 1))
        for (row, column), count in np.ndenumerate(confusion) if len(cells) <= 12 else ():
            color = "kw"[bool(picture.norm(cells.iloc[row, column]) > 0.5)]
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=color)
        ax.set_xticks(_rows(ax, cells.index, 20), [short(city, 20) for city in cells], rotation=90)
        ax.set(xlabel="predicted", ylabel="true")
        ax.grid(visible=False)
        figure.colorbar(picture, shrink=0.5, aspect=30, format=None if log else PercentFormatter(1))
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
    gain = (table[after] - table[before]).where(table["n_test"] >= ENOUGH)
    rows = table.assign(gain=gain).sort_values(["gain", "city"], ascending=[False, True])
    color = np.select([rows["gain"] >= 0, rows["gain"] < 0], [BLUE, RED], PALE)
    note = f"accuracy: {before} hollow, {after} filled, (test photos); grey, not ranked: too few photos"
    with canvas("Gain, city by city", note, origin, 1.4 + 0.2 * len(rows), percent="x") as (figure, ax):
        y = _rows(ax, rows["city"] + rows["n_test"].map(" ({:,})".format))
        ax.hlines(y, rows[before], rows[after], color=color, linewidth=2.2)
        ax.scatter(rows[before], y, s=24, c="white", edgecolors=color, zorder=3)
        ax.scatter(rows[after], y, s=24, c=color, zorder=3)
    return figure


def table1(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw Table I with intervals, the paper's numbers apart and random weights only named beneath."""
    names = table[["method", "backbone", "protocol"]].fillna("").agg(" · ".join, axis=1).str.replace("·  ·", "·")
    names += ": " + table["accuracy"].map("{:.1%}".format) + table["n_test"].map(" of {:,}".format)
    ours, random = table[table["weights"] != "random"], names[table["weights"] == "random"]
    paper = table.dropna(subset="paper").drop_duplicates(["method", "backbone"])
    papers = paper["method"] + " · " + paper["backbone"].fillna("none")
    grid = {"ncols": 2, "sharex": True, "width_ratios": (3, 2), "percent": "x"}
    with canvas("Table I", "accuracy, 95% intervals", origin, 1.6 + 0.27 * len(table), 10, **grid) as (figure, axes):
        _dots(axes[0], ours, _rows(axes[0], names[ours.index], 60))
        y = _rows(axes[1], papers.str.removesuffix(" · none"), 32)
        axes[1].plot(paper["paper"], y, marker="D", linestyle="none", color=GREY, markerfacecolor="white")
        for at, share in paper["paper"].set_axis(y).items():
            axes[1].text(share, at, f"   {share:.2%}", va="center", fontsize=8)
        axes[1].set_ylim(axes[0].get_ylim())
        axes[0].set(xlim=(0, None), title="here")
        axes[1].set_title("the paper, on its own photos")
        beneath = ["Random weights: a check of the path, no result", *random.map(lambda name: short(name, 90))]
        figure.supxlabel("\n".join(beneath) if len(random) else "", x=0.01, ha="left", fontsize=8)
    return figure


def error_distances(distances: Mapping[str, np.ndarray], *, thresholds_km: Sequence, origin: str) -> Figure:
    """Draw the share of photos whose predicted city lies within a distance: kilometres by method."""
    with canvas("How far off the predictions are", "photos within kilometres", origin, percent="y") as (figure, ax):
        for method, kilometres in distances.items():
            ax.ecdf(np.maximum(kilometres, 0.1), label=short(method), marker="")
        ax.set(xscale="log", xticks=thresholds_km, xticklabels=[f"{threshold:,g}" for threshold in thresholds_km])
        ax.legend()
    return figure


def protocol_gap(table: pd.DataFrame, *, origin: str) -> Figure:
    """Draw accuracy by method and split protocol (columns method, protocol, accuracy, ci_low, ci_high)."""
    methods = list(table["method"].unique())
    with canvas("Methods by split", "95% intervals", origin, 1.6 + 0.5 * len(methods), percent="x") as (figure, ax):
        _rows(ax, methods)
        for number, (protocol, rows) in enumerate(table.groupby("protocol", sort=False)):
            y = [methods.index(method) + 0.18 * number - 0.2 for method in rows["method"]]
            _dots(ax, rows, y, None, marker="os^D"[number % 4], label=short(f"split by {protocol}"))
        figure.legend(loc="upper right", ncols=4)
    return figure


def confused_with(confusion: pd.DataFrame, *, origin: str, top: int = 3) -> Figure:
    """Draw, a small panel a city, what its photos are most often taken for, as shares of its test photos."""
    note = "share of a city's (test photos); grey: too few photos for a claim"
    grid = {"nrows": -(-len(confusion) // 4), "ncols": 4, "sharex": True, "squeeze": False}
    grid["subplot_kw"] = {"visible": False, "xticks": []}
    with canvas("What each city is taken for", note, origin, 0.9 + 0.8 * grid["nrows"], 9, **grid) as (figure, axes):
        for ax, (city, row) in zip(axes.flat, confusion.iterrows(), strict=False):
            wrong = row.drop(city)[lambda counts: counts > 0].nlargest(top) / row.sum()
            bars = ax.barh(_rows(ax, wrong.index, 18), wrong, color=BLUE if row.sum() >= ENOUGH else PALE)
            ax.bar_label(bars, wrong.map("{:.1%}".format), padding=3, fontsize=7.5, color=GREY)
            ax.set(visible=True, title=f"{short(city, 20)} ({row.sum():,})", ylim=(top - 0.4, -0.6))
    return figure


def photo_grid(paths: Sequence[Path], titles: Sequence[str], *, origin: str, columns: int = 6) -> Figure:
    """Draw a contact sheet of photos, turned as EXIF says."""
    grid = {"nrows": -(-len(paths) // columns), "ncols": columns, "squeeze": False}
    grid["subplot_kw"] = {"frame_on": False, "xticks": [], "yticks": [], "anchor": "N"}
    with canvas("Photos", "", origin, 0.9 + 1.6 * grid["nrows"], 1.6 * columns, **grid) as (figure, axes):
        for ax, path, title in zip(axes.flat, paths, titles, strict=False):
            ax.imshow(ImageOps.contain(ImageOps.exif_transpose(Image.open(path)), (320, 320)).convert("RGB"))
            ax.set_title(short(title, 24), fontsize=7.5)
    return figure
