"""README's pictures come from the small tables beside them, and say what their data are."""

import re

import numpy as np
import pandas as pd
from PIL import Image

from geoutils import figures
from geoutils.artifacts import ROOT

README = (ROOT / "README.md").read_text()


def test_pictures_can_be_drawn_again_from_the_tables_beside_them(tmp_path):
    for path in figures.redraw(ROOT / "figures", tmp_path):
        again, kept = (Image.open(p).convert("L").resize((300, 200)) for p in (path, ROOT / "figures" / path.name))
        difference = np.abs(np.asarray(again, dtype=float) - np.asarray(kept, dtype=float))
        assert difference.mean() < 4, path.name  # of 255; fonts may differ between machines


def test_every_picture_of_readme_is_there_and_described():
    pictures = re.findall(r"!\[([^]]+)\]\((figures/[^)]+)\)", README)
    assert len(pictures) >= 3
    for alt, path in pictures:
        assert alt
        assert "Description" in Image.open(ROOT / path).info, path


def test_made_up_numbers_in_readme_are_those_of_the_table_and_named_so():
    table = pd.read_csv(ROOT / "figures/table1.csv", keep_default_na=False, na_values=[""])
    section = README[README.index("### The default run") : README.index("### A real run")]
    assert table["origin"].str.startswith("SYNTHETIC").all()
    assert "say nothing about real photographs" in section
    for row in table.itertuples():
        assert f"{100 * row.accuracy:.1f} %" in section, row
