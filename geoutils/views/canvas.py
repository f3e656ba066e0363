"""What every figure wears (frame, origin, watermark, names that do not collide), and how a shown thing is kept."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import matplotlib.style
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withSimplePatchShadow, withStroke
from matplotlib.textpath import TextPath
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Affine2D

from geoutils.artifacts import atomic_path, write_text
from geoutils.tables import made_up

STYLE = Path(__file__).with_name("templates") / "deep.mplstyle"
GREY = "#5b6770"
BLUE, RED, PALE = "#0072b2", "#d55e00", "#c3ccd3"
Exhibit = TypeVar("Exhibit")  # a matplotlib figure or a folium map


class ShownFigure(Figure):
    """A figure that shows itself in a notebook without pyplot."""

    def _repr_png_(self) -> bytes:
        self.savefig(buffer := io.BytesIO(), format="png", metadata={"Description": alt_text(self)})
        return buffer.getvalue()


@contextlib.contextmanager
def canvas(title: str, note: str, origin: str, height: float = 4, width: float = 7, **grid: object) -> Iterator[tuple]:
    """Give a styled figure (inches) and its axes, laid out by `Figure.subplots`; stamp the origin at the end."""
    with matplotlib.style.context(STYLE):
        figure = ShownFigure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0.2 / height, 1, 1 - (0.75 if note else 0.6) / height))
        figure.text(0.12 / width, 1 - 0.28 / height, one_line(title, 90), fontsize=13, weight="bold")
        figure.text(0.12 / width, 1 - 0.48 / height, one_line(note, 140), color=GREY)
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
    figure.text(1 - 0.1 / width, 0.07 / height, one_line(origin, 90), ha="right", fontsize=7.5, color=GREY)
    if made_up(origin):
        edge = withSimplePatchShadow((0.7, -0.7), shadow_rgbFace="white", alpha=0.5, rho=1)  # shows on dark bars
        word = TextPath((0, 0), "SYNTHETIC", size=0.11, prop={"weight": "bold"}).transformed(Affine2D().rotate_deg(15))
        rows = enumerate(np.arange(0.1, height, 0.34))
        places = [(x + row % 2 / 2, y) for row, y in rows for x in np.arange(-0.4, width)]  # inches
        words = PathCollection([word], offsets=places, offset_transform=figure.dpi_scale_trans, path_effects=[edge])
        words.set(transform=figure.dpi_scale_trans, color="#333333", alpha=0.16, linewidth=0, zorder=1_000)
        figure.add_artist(words)


def one_line(name: object, longest: int = 36) -> str:
    """Bring a name to one line of at most `longest` characters that matplotlib takes as text, not as a formula."""
    line = " ".join(str(name).split())
    return (line if len(line) <= longest else line[: longest - 1] + "…").replace("$", r"\$")


class Places(NamedTuple):
    """Where one name may stand around its circle, a row a place, in pixels; a box is left, bottom, right, top.

    middle: of the name, (n, 2). box: around the name, (n, 4). line: (n, 16, 2), dots from the circle to the name. dots:
    the boxes of these, (n, 16, 4). reach: from circle to name, points, (n,).
    """

    middle: np.ndarray
    box: np.ndarray
    line: np.ndarray
    dots: np.ndarray
    reach: np.ndarray


def write_names(ax, points: np.ndarray, radii: np.ndarray, names: Sequence[str]) -> None:
    """Write each name once, where it can't be taken for another point's; a name that finds no such place is left out.

    A place is free of circles, names and lines. It is beside its own circle and nearer to it than to any other, or
    tied to it by a line of up to 42 points that crosses nothing.

    Args:
        points: (n, 2), data coordinates of axes whose layout is settled; the first choose first.
        radii: (n,), of the circles around them, points (1/72 inch).
    """
    pixel = ax.figure.dpi / 72  # a point, in pixels
    frame, to_data = ax.get_window_extent().extents, ax.transData.inverted().transform
    centres, radii = ax.transData.transform(points), pixel * np.asarray(radii, dtype=float)
    occupied = np.c_[centres - radii[:, None], centres + radii[:, None]]  # boxes: of circles, then of names and lines
    style = {"ha": "center", "va": "center", "fontsize": 7.5, "in_layout": False, "zorder": 4}
    style["path_effects"] = [withStroke(linewidth=1.8, foreground="white", alpha=0.7)]
    for own, name in enumerate(names):
        text = ax.text(0, 0, one_line(name, 24), **style)
        half = np.array(text.get_window_extent().size) / 2 + pixel
        places = _places(centres[own], radii[own], half, pixel)
        beside = (places.reach < 10) & _nearest_to(own, places.middle, half, centres, radii, slack=pixel)
        # a line may cross its own circle, and leave one that is much larger and around it
        around = (np.linalg.norm(centres - centres[own], axis=1) <= radii) & (radii > 1.5 * radii[own])
        obstacles = np.delete(occupied, [own, *np.flatnonzero(around)], axis=0)
        tied = (places.reach > 10) & ~_overlap(places.dots, obstacles).any(axis=1)
        inside = (places.box[:, :2] > frame[:2]).all(axis=1) & (places.box[:, 2:] < frame[2:]).all(axis=1)
        free = np.flatnonzero((beside | tied) & inside & ~_overlap(places.box, occupied))
        if not len(free):
            text.remove()
            continue
        place = free[0]
        text.set_position(to_data(places.middle[place]))
        occupied = np.vstack([occupied, places.box[place]])
        if not beside[place]:
            occupied = np.vstack([occupied, places.dots[place]])
            ax.plot(*to_data(places.line[place, [0, -1]]).T, color=GREY, linewidth=0.5, marker="")


def _places(centre: np.ndarray, radius: float, half: np.ndarray, pixel: float) -> Places:
    """Return the places around a circle for a name of 2 x `half` pixels, the nearest and straightest first."""
    turns = np.radians(sorted(range(0, 360, 15), key=lambda turn: (turn % 90 > 0, turn % 180 > 0)))
    distances = (2, 5, 12, 18, 24, 30, 36, 42)
    ways = np.tile(np.c_[np.cos(turns), np.sin(turns)], (len(distances), 1))
    reach = np.repeat(distances, len(turns))
    middle = centre + ways * (radius + pixel * reach[:, None] + half)
    line = np.linspace(centre + ways * radius, middle - ways * half, 16, axis=1)
    dots = np.concatenate([line - pixel, line + pixel], axis=2)
    return Places(middle, np.c_[middle - half, middle + half], line, dots, reach)


def _nearest_to(
    own: int, middle: np.ndarray, half: np.ndarray, centres: np.ndarray, radii: np.ndarray, *, slack: float
) -> np.ndarray:
    """Tell at which places a name is no further from its own circle than from any other."""
    gaps = np.linalg.norm((np.abs(middle[:, None] - centres) - half).clip(min=0), axis=2) - radii
    return gaps[:, own] <= gaps.min(axis=1) + slack


def _overlap(boxes: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Tell which boxes (left, bottom, right, top) of shape (..., 4) overlap any of those taken, shape (m, 4)."""
    boxes = boxes[..., None, :]
    return ((boxes[..., :2] < taken[:, 2:]) & (taken[:, :2] < boxes[..., 2:])).all(axis=-1).any(axis=-1)


def save(exhibit: Exhibit, path: Path) -> Exhibit:
    """Write a figure (.png, its words as the description that pages use as alt text) or a map (.html); return it."""
    if not isinstance(exhibit, Figure):
        write_text(path, exhibit.get_root().render())
        return exhibit
    with atomic_path(path) as temporary:
        exhibit.savefig(temporary, metadata={"Description": alt_text(exhibit)})
    return exhibit


def alt_text(figure: Figure) -> str:
    """Return the words on a figure, once each, which pages use as its alt text."""
    return ". ".join(dict.fromkeys(text.get_text() for text in figure.texts if text.get_text()))
