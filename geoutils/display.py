"""Keep what a notebook shows: a figure as a picture, a map as a page."""

from pathlib import Path
from typing import TypeVar

import folium
from matplotlib.figure import Figure

from geoutils.artifacts import atomic_path
from geoutils.maps import save_map

Exhibit = TypeVar("Exhibit", Figure, folium.Map)


def show(exhibit: Exhibit, path: Path) -> Exhibit:
    """Write a figure (.png, its words as the description that pages use as alt text) or a map (.html); return it."""
    if isinstance(exhibit, folium.Map):
        save_map(exhibit, path)
        return exhibit
    words = ". ".join(dict.fromkeys(text.get_text() for text in exhibit.texts if text.get_text()))
    with atomic_path(path) as temporary:
        exhibit.savefig(temporary, metadata={"Description": words})
    return exhibit
