"""Small real files: crops of scikit-learn's two photographs, so that nothing is mocked."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoutils import tables
from geoutils.readers import checks, owners
from makers.photos import labelled_photos

CITIES = pd.DataFrame(
    {
        "city_id": [11, 22],
        "city": ["Temple", "Meadow"],
        "country": ["CN", "NL"],
        "latitude": [39.9, 52.4],
        "longitude": [116.4, 4.9],
        "population": [20, 10],
    }
)


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hash owners with a key of the tests' own, not with the one in data/."""
    hashing = functools.partial(owners.hash_users, key_file=tmp_path_factory.getbasetemp() / "user_key")
    monkeypatch.setattr(checks, "hash_users", hashing)


@pytest.fixture(scope="session")
def crops() -> list[Image.Image]:
    """Forty 200 x 160 crops, even ones of a temple, odd ones of a flower."""
    from sklearn.datasets import load_sample_image

    photos = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (440, 260), size=(40, 2))
    return [photos[i % 2].crop((x, y, x + 200, y + 160)) for i, (x, y) in enumerate(corners.tolist())]


@pytest.fixture
def photo(crops: list[Image.Image]) -> Image.Image:
    """One crop of 400 x 320 pixels."""
    return crops[0].resize((400, 320))


@pytest.fixture
def photos() -> pd.DataFrame:
    """Photos with `city_id`, to split and draw from."""
    return labelled_photos()


@pytest.fixture
def sample(tmp_path: Path, crops: list[Image.Image]) -> pd.DataFrame:
    """A sample of the crops as JPEG files: two cities, 24 train, 8 validation, 8 test."""
    paths = [tmp_path / "photos" / f"{i:02}.jpg" for i in range(len(crops))]
    paths[0].parent.mkdir()
    for path, crop in zip(paths, crops, strict=True):
        crop.save(path, quality=90)
    city = np.arange(len(crops)) % 2
    table = pd.DataFrame(
        {
            "photo_id": [path.stem for path in paths],
            "path": [str(path) for path in paths],
            "latitude": CITIES["latitude"].to_numpy()[city],
            "longitude": CITIES["longitude"].to_numpy()[city],
            "user_id": [f"user{i // 4}" for i in range(len(crops))],
            "city_id": CITIES["city_id"].to_numpy()[city],
            "city": CITIES["city"].to_numpy()[city],
            "split_photo": ["train"] * 24 + ["val"] * 8 + ["test"] * 8,
            "source": "own",
        }
    )
    return tables.write_table(table, tmp_path / "sample.parquet", "sample")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs and positions that tests marked `realdata` read."""
    folder = os.environ.get("DEEP_IM2GPS_TEST_DATA")
    if not folder:
        pytest.skip("DEEP_IM2GPS_TEST_DATA is not set: no real photos to test with")
    return Path(folder)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of profiles/test.yaml, run from end to end: every notebook, none excluded."""
    from geoutils import pipeline
    from geoutils.artifacts import ROOT

    profile = pipeline.read_profile(ROOT / "profiles/test.yaml", run_dir=tmp_path_factory.mktemp("runs") / "test")
    pipeline.run(profile)
    return profile.run_dir


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium, driven by Playwright."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("no chromium on the path, and CHROMIUM is not set")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Open pages from disk where every request but for a file is refused, and fail on any complaint at the end."""
    complaints, contexts = [], []

    def open_page(path: Path, width: int = 1280, height: int = 800):
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 600)
        contexts.append(context)
        context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
        page = context.new_page()
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
