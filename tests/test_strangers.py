"""Who never read the package adds a method, a corpus or a network: one file, and one line in its folder's table.

Each test copies the package, writes the file and the line, and runs the copy.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from geoutils import tables
from geoutils.artifacts import ROOT, read_json

METHOD = '''
import numpy as np
from geoutils.methods.estimators import Scoring


class NearestMean(Scoring):
    """The city whose mean feature vector, drawn to the mean of all, is nearest."""

    title, grid = "nearest mean", {"shrink": (0.0, 0.5)}

    def __init__(self, shrink=0.0):
        self.shrink = shrink

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        means = np.stack([X[y == city].mean(axis=0) for city in self.classes_])
        self.means_ = (1 - self.shrink) * means + self.shrink * X.mean(axis=0)
        return self

    def decision_function(self, X):
        return -np.linalg.norm(X[:, None] - self.means_, axis=2)
'''
CORPUS = '''
import json
import pandas as pd
from geoutils.readers.checks import check_batches


def read_pins(path, *, image_root=None, check_images=True):
    """Read a corpus of my own form: a JSON object a line."""
    with open(path) as file:
        pins = [json.loads(line) for line in file]
    rows = pd.DataFrame(
        {"photo_id": [pin["id"] for pin in pins], "path": [pin["id"] + ".jpg" for pin in pins],
         "latitude": [pin["at"][0] for pin in pins], "longitude": [pin["at"][1] for pin in pins],
         "user_id": [pin["by"] for pin in pins]}
    )
    return check_batches([rows], "pins", image_root, check_images)
'''
NETWORK = '''
from torch import nn
from geoutils.networks.preprocessing import Preprocessing


def build_thumbnail(downloaded):
    """Eight by eight pixels, and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 10)), Preprocessing(32, 32), "pixels"
'''


def code_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, as a stranger has it."""
    for name in ("geoutils", "notebooks", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def add(copy: Path, file: str, text: str, table: str, after: str, line: str) -> None:
    """Write a file, and its line with its import into the module that holds the folder's table."""
    assert code_lines(text) <= 20
    (copy / "geoutils" / file).write_text(text)
    module = copy / "geoutils" / table
    content = module.read_text()
    assert content.count(after) == 1, after
    name = file.removesuffix(".py").replace("/", ".")
    head, middle, tail = content.partition(after)
    head = head.replace(
        "\nfrom geoutils", f"\nfrom geoutils.{name} import {line.split()[-1].rstrip(',')}\nfrom geoutils", 1
    )
    module.write_text(head + middle + "\n    " + line + tail)


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_method_of_20_lines_stands_in_table_figures_and_report_and_answers(copy, finished_run, crops):
    add(copy, "methods/mean.py", METHOD, "methods/frozen.py", '"svm": LinearSVM,', '"mean": NearestMean,')
    run = copy / "runs" / "mine"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("state.json", "notebooks", "figures", "results"))
    steps = [{"notebook": name} for name in ("05_knn_svm", "07_results", "08_explore")]
    steps[0]["parameters"] = {"protocols": ["photo"]}
    steps[1]["parameters"] = steps[2]["parameters"] = {"method": "mean-efficientnet_lite0-photo"}
    (copy / "mine.json").write_text(json.dumps({"name": "mine", "notebooks": steps}))  # JSON is YAML
    printed = python(copy, "-m", "geoutils", "run", "mine.json").stdout
    assert "nearest mean" in printed

    table1 = tables.read_csv(run / "results" / "table1.csv").query("method == 'mean'")
    assert set(table1["title"]) == {"nearest mean"}
    files = tables.read_predictions(run / "predictions")
    predictions, sidecar = files["mean-efficientnet_lite0-photo"]
    assert sidecar["settings"]["shrink"] in (0.0, 0.5)
    assert (run / "figures" / "search_mean_shrink.png").exists()
    assert "nearest mean on efficientnet_lite0" in " ".join(read_json(run / "results" / "summary.json"))
    assert "nearest mean" in (run / "index.html").read_text()
    explored = (run / "notebooks" / "08_explore.ipynb").read_text()
    assert "nearest mean on efficientnet_lite0 (split by photo) puts this photo into" in explored

    sample = tables.read_table(run / "sample.parquet", "sample").set_index("photo_id")
    test = predictions[predictions["split"] == "test"].iloc[0]
    asked = ["predict", sample.loc[test["photo_id"], "path"], "--run", str(run), "--method"]
    how = ["mean-efficientnet_lite0-photo", "--allow-synthetic", "--min-confidence", "0", "--out", "answers.csv"]
    python(copy, "-m", "geoutils", *asked, *how)
    answer = pd.read_csv(copy / "answers.csv").iloc[0]
    assert answer["answer"] == sample.loc[sample["city_id"] == test["predicted"], "city"].iloc[0]


def test_a_corpus_of_20_lines_is_read_checked_and_sampled(copy, crops):
    add(copy, "readers/pins.py", CORPUS, "readers/__init__.py", '"test_list": read_test_list,', '"pins": read_pins,')
    pins = [{"id": f"p{i}", "at": [48.85 + i / 1000, 2.35], "by": f"someone {i % 3}"} for i in range(6)]
    pins.append({"id": "nowhere", "at": [0, 0], "by": "x"})
    (copy / "pins.jsonl").write_text("\n".join(map(json.dumps, pins)))
    for number, pin in enumerate(pins):
        crops[number % len(crops)].resize((300 + number, 300)).save(copy / f"{pin['id']}.jpg")
    script = (
        "from geoutils import readers, tables;"
        "reading = readers.read('pins.jsonl', 'pins', image_root='.');"
        "tables.write_table(reading.photos, 'photos.parquet', 'photos');"
        "print(reading.rejected.to_string())"
    )
    assert "position (0, 0)" in python(copy, "-c", script).stdout
    photos = tables.read_table(copy / "photos.parquet", "photos")
    assert photos["photo_id"].tolist() == [f"p{i}" for i in range(6)]
    assert photos["user_id"].nunique() == 3
    assert not photos["user_id"].str.contains("someone").any()


def test_a_network_of_20_lines_gives_features_and_learns(copy):
    line = '"thumbnail": build_thumbnail,'
    after = '"efficientnet_lite0": partial(build_timm, "tf_efficientnet_lite0"),'
    add(copy, "networks/thumbnail.py", NETWORK, "networks/backbones.py", after, line)
    script = (
        "import torch; from geoutils.networks import backbones;"
        "mine = backbones.load('thumbnail', weights_from='random', num_classes=5);"
        "pixels = torch.rand(2, 3, 32, 32);"
        "print(mine.width, tuple(mine.network.features(pixels).shape), tuple(mine.network(pixels).shape))"
    )
    assert python(copy, "-c", script).stdout.strip() == "192 (2, 192) (2, 5)"
