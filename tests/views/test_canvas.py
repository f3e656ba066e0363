"""Every figure says what its data are, and a kept one is whole."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image

from geoutils.views import canvas, plots
from makers.scores import MADE_UP, OWN


def watermark(figure: Figure) -> list[PathCollection]:
    return [artist for artist in figure.artists if isinstance(artist, PathCollection)]


@settings(max_examples=20, deadline=None)
@given(width=st.floats(2, 12), height=st.floats(1.5, 14), right=st.floats(0, 1), up=st.floats(0, 1))
def test_any_crop_of_1_7_by_0_6_inches_shows_a_whole_watermark_word(width, height, right, up):
    figure = Figure(figsize=(width, height))
    canvas.stamp(figure, MADE_UP)
    (words,) = watermark(figure)
    low = np.array([right * (width - 1.7), up * (height - 0.6)])
    box = words.get_paths()[0].get_extents()
    starts, ends = words.get_offsets() + box.min, words.get_offsets() + box.max
    assert ((starts >= low) & (ends <= low + np.array([1.7, 0.6]))).all(axis=1).any()


def test_the_watermark_shows_on_bars_of_every_colour_and_on_white():
    for color in (canvas.BLUE, canvas.RED, canvas.PALE, "black", "white"):
        pixels = []
        for origin in (MADE_UP, "x"):
            figure = Figure(figsize=(3, 2), dpi=100, facecolor=color)
            canvas.stamp(figure, origin)
            drawn = FigureCanvasAgg(figure)
            drawn.draw()
            pixels.append(np.asarray(drawn.buffer_rgba()).astype(int)[:180, :, :3])
        assert (np.abs(pixels[0] - pixels[1]).max(axis=2) > 20).mean() > 0.02, color


def test_a_kept_figure_is_whole_and_bears_its_words(tmp_path: Path):
    canvas.save(plots.feature_norms(np.arange(9.0), origin=OWN), tmp_path / "a" / "norms.png")
    with Image.open(tmp_path / "a" / "norms.png") as image:
        image.load()
        assert image.info["Description"].endswith(OWN)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["norms.png"]
