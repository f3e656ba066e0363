"""Pages open from disk, ask for nothing, escape what comes from outside and say where a method learnt."""

import warnings

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from geoutils.views import pages
from makers.scores import HOSTILE, MADE_UP, OWN


def test_page_of_good_and_bad_files_is_written_without_a_warning(tmp_path):
    rows = {"file": ["a", "b"], "answer": ["Rome", None], "confidence": [0.5, np.nan], "fault": [None, "unreadable"]}
    table = pd.DataFrame(rows).assign(first_5="", method="svm", origin=OWN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = pages.write(table, tmp_path / "o.html").read_text()
    assert "50 %" in page
    assert "unreadable" in page
    assert "nan" not in page
    assert "SYNTHETIC" not in page


def test_answers_of_what_learnt_from_drawings_say_so_all_over_and_names_are_text(tmp_path):
    row = {"file": HOSTILE, "answer": HOSTILE, "confidence": 0.5, "fault": None, "first_5": HOSTILE, "method": HOSTILE}
    page = pages.write(pd.DataFrame([row]).assign(origin=MADE_UP), tmp_path / "o.html", HOSTILE).read_text()
    assert HOSTILE not in page
    soup = BeautifulSoup(page, "html.parser")
    assert soup.get_text().count(HOSTILE) == 5
    assert MADE_UP in soup.find(class_="origin").get_text()
    assert soup.find(class_="watermark")
    assert ".watermark" in soup.style.get_text()


@pytest.mark.browser
def test_an_executed_notebooks_page_asks_for_nothing(visit, tmp_path):
    data = {"text/html": "<table><tr><td>1</td></tr></table>", "text/plain": "1"}
    cells = [nbformat.v4.new_markdown_cell("# A title"), nbformat.v4.new_code_cell("1")]
    cells[1].outputs = [nbformat.v4.new_output("execute_result", data=data)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    page = visit(pages.export_html(tmp_path / "n.ipynb"))
    assert page.inner_text("h1").startswith("A title")
