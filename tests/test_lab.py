"""`make lab`: a notebook is opened in JupyterLab, run from its menu, and its outputs are seen."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import numpy as np
import pandas as pd
import pytest

from geoutils import tables
from geoutils.artifacts import ROOT

TOKEN, START_S, CELLS_S = "made-up-for-this-test", 60, 120


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder with what notebook 03 reads: 60 photos of ten photographers in two cities."""
    run, city = tmp_path / "run", np.arange(60) % 2
    cities = pd.DataFrame({"city_id": [11, 22], "city": ["Here", "There"], "latitude": [48.0, 40.0]})
    cities = cities.assign(longitude=[2.0, -74.0], country="XX", country_name="X", population=1, photos=30)
    offsets = np.random.default_rng(0).normal(0, 0.05, (60, 2))
    position = cities[["latitude", "longitude"]].to_numpy()[city] + offsets
    photos = pd.DataFrame(position, columns=["latitude", "longitude"]).assign(source="own", path="none.jpg")
    photos = photos.assign(photo_id=[f"p{i}" for i in range(60)], user_id=[f"u{i // 6}" for i in range(60)])
    tables.write_table(photos, run / "photos.parquet", "photos")
    photos[["photo_id"]].assign(city_id=cities["city_id"].to_numpy()[city]).to_parquet(run / "labels.parquet")
    tables.write_csv(cities, run / "cities.csv")
    return run


@pytest.fixture
def lab(tmp_path: Path, run_dir: Path):
    """The address of a JupyterLab that the Makefile's command started beside a copy of notebook 03."""
    notebook = nbformat.read(ROOT / "notebooks" / "03_sample.ipynb", as_version=4)
    source = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    source.source += f"\nrun_dir = {str(run_dir)!r}\ntrain_per_city = val_per_city = test_per_city = None"
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "03_sample.ipynb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = re.search(r"^lab:.*\n\t\$\(BIN\)/jupyter (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    own = {name: str(tmp_path / name) for name in (*folders, "IPYTHONDIR")}  # no setting of whoever runs the test
    with open(tmp_path / "lab.log", "wb") as log:
        start = [sys.executable, "-m", "jupyter", *shlex.split(command), *options]
        server = subprocess.Popen(start, cwd=tmp_path, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        _wait(server, f"http://127.0.0.1:{port}/api/status?token={TOKEN}", tmp_path / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/03_sample.ipynb?token={TOKEN}"
    finally:
        server.terminate()  # takes its kernels with it
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(server: subprocess.Popen, address: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < until:
        try:
            return urlopen(address, timeout=5).close()
        except (URLError, TimeoutError):
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start in {START_S} s:\n{log.read_text()[-2_000:]}")


@pytest.mark.browser
def test_notebook_runs_in_jupyterlab_from_its_menu(browser, lab, run_dir):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    try:
        page.goto(lab)
        page.get_by_text(re.compile(r"\| Idle$")).first.wait_for(timeout=1_000 * START_S)
        page.locator(".lm-MenuBar-item", has_text=re.compile("^Run$")).click()
        page.get_by_text("Run All Cells", exact=True).click()
        said = page.locator(".jp-OutputArea-output", has_text="60 photos")
        said.wait_for(timeout=1_000 * CELLS_S, state="attached")
        said.scroll_into_view_if_needed()
        assert page.locator(".jp-Notebook h1").count() == 1  # prose is no heading
        assert page.locator(".jp-OutputArea-output img").count() >= 2
        assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
        assert tables.read_table(run_dir / "sample.parquet", "sample")["city"].nunique() == 2
    finally:
        context.close()
