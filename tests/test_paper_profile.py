"""The paper's own setting is known to run: its profile, on a tiny Im2GPS tree and weight files that the tests write."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geoutils import pipeline, tables
from geoutils.artifacts import ROOT, read_json
from geoutils.networks import weights
from makers import caffe_files
from makers.corpus_files import write_im2gps_tree

PAPER = ROOT / "profiles" / "paper.yaml"
# the paper's steps and methods, on 48 photos of two cities at a small size
SMALL = [
    "02_cities.min_photos=20",
    "02_cities.max_cities=2",
    "03_sample.train_per_city=12",
    "03_sample.val_per_city=2",
    "03_sample.test_per_city=4",
    "03_sample.val_share=0.2",
    "03_sample.test_share=0.3",
    "04_features.networks=[{name: places205_googlenet, size: 64}, {name: places205_alexnet, size: 64}]",
    *(
        f"06_finetune_{name}.{what}"
        for name in ("alexnet", "googlenet")
        for what in ("size=64", "epochs=1", "batch_size=8")
    ),
]


@pytest.fixture(scope="module")
def weight_folder(tmp_path_factory) -> Path:
    """Both networks with random weights and mean images, as the Places project's archives unpack."""
    folder = tmp_path_factory.mktemp("weights")
    for name, definition in (
        ("places205_alexnet", caffe_files.caffenet(205)),
        ("places205_googlenet", caffe_files.googlenet(205)),
    ):
        (folder / name).mkdir()
        path = folder / name / weights.known_files()[name].file
        layers = caffe_files.random_weights(definition)
        layers |= {layer: [weight, bias / 1_000] for layer, (weight, bias) in layers.items()}
        first = next(iter(layers))
        layers[first][0] /= 100  # pixels are 0 to 255: brought to a size that a step of training survives
        caffe_files.write_caffemodel(path, layers, form="V1")
        mean = np.random.default_rng(0).uniform(90, 130, (3, 256, 256)).astype(np.float32)
        caffe_files.write_binaryproto(path.with_name("mean.binaryproto"), mean)
    return folder


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory, weight_folder, crops) -> Path:
    queries = {"Paris_Tower": (48.8566, 2.3522), "Tokyo_Temple": (35.6895, 139.6917)}
    tree = write_im2gps_tree(tmp_path_factory.mktemp("im2gps"), queries, crops + crops[:8])
    settings = [f"01_photos.photos={tree}", *SMALL]
    profile = pipeline.read_profile(PAPER, settings=settings, run_dir=tmp_path_factory.mktemp("runs") / "paper")
    profile.steps.pop()  # 08 only shows, and costs 20 s
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEP_IM2GPS_WEIGHTS", str(weight_folder))  # for the notebooks' processes
        patch.setattr(weights, "FOLDER", weight_folder)  # for this one
        pipeline.run(profile)
    return profile.run_dir


def test_paper_profile_runs_to_table1_with_every_row_of_the_paper(paper_run):
    table = pd.read_csv(paper_run / "results/table1.csv", keep_default_na=False)
    rows = set(zip(table["method"], table["backbone"], table["weights"], strict=True))
    networks = ("places205_alexnet", "places205_googlenet")
    expected = {(method, network, "Places-205") for method in ("knn", "svm", "finetune") for network in networks}
    assert rows == expected | {("chance", "none", "none")}
    assert set(table["protocol"]) == {"photo"}
    assert table["origin"].str.contains("im2gps").all()


def test_paper_profile_reads_the_collection_whole(paper_run):
    photos = tables.read_table(paper_run / "photos.parquet", "photos")
    assert len(photos) == 48
    assert set(photos["keyword"]) == {"Paris_Tower", "Tokyo_Temple"}
    assert set(pd.read_csv(paper_run / "cities.csv")["city"]) == {"Paris", "Tokyo"}


def test_paper_profile_fine_tunes_by_caffes_recipe(paper_run):
    config = read_json(paper_run / "models/finetune-places205_alexnet-photo/model.json")["config"]
    recipe = {"schedule": "step", "augment": "crop", "new_layer_rate": 10, "bias_rate": 2.0, "momentum": 0.9}
    assert recipe.items() <= config.items()
    assert config["weight_decay"] == 5e-4


def test_paper_profile_takes_as_many_steps_as_caffes_recipe_for_flickr_photos():
    steps = {step.name: step.parameters for step in pipeline.read_profile(PAPER).steps}
    train, tuned = 37 * steps["03_sample"]["train_per_city"], steps["06_finetune_alexnet"]
    assert tuned["epochs"] * train / tuned["batch_size"] == pytest.approx(100_000, rel=0.05)
    assert tuned["more"]["step_epochs"] * train / tuned["batch_size"] == pytest.approx(20_000, rel=0.1)


def test_paper_profile_states_the_papers_numbers():
    steps = {step.name: step.parameters for step in pipeline.read_profile(PAPER).steps}
    assert (steps["02_cities"]["min_photos"], steps["02_cities"]["max_cities"]) == (11_000, 37)
    per_city = {split: steps["03_sample"][f"{split}_per_city"] for split in tables.SPLITS}
    assert sum(per_city.values()) == 373_618 // 37
    assert per_city["test"] / sum(per_city.values()) == pytest.approx(0.1, abs=1e-3)
    sizes = {network["name"]: network.get("size") for network in steps["04_features"]["networks"]}
    assert sizes == {"places205_alexnet": None, "places205_googlenet": None}  # None: the network's own


def test_what_is_missing_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    settings = [f"01_photos.photos={tmp_path / 'im2gps'}"]
    profile = pipeline.read_profile(PAPER, settings=settings, run_dir=tmp_path / "run")
    with pytest.raises(FileNotFoundError) as error:
        pipeline.run(profile)
    said = str(error.value)
    for words in (str(tmp_path / "im2gps"), "Hays and Efros", "--set 01_photos.photos=PATH"):
        assert words in said
    for name in ("places205_alexnet", "places205_googlenet"):
        assert f"weights fetch {name}" in said
        assert str(tmp_path / "weights" / name) in said
    assert not (tmp_path / "run").exists()
