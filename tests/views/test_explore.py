"""What notebook 08 shows of a city and of a photo is that city's and that photo's."""

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from geoutils import features, predictor
from geoutils.networks.backbones import Backbone
from geoutils.networks.preprocessing import Preprocessing
from geoutils.views import explore
from makers.scores import THREE_CITIES, told

SVM = "svm-efficientnet_lite0-photo"


def predicted(cities: list[int], *, right: int) -> pd.DataFrame:
    """Three validation photos of city 1, so many of them recognised, and a test photo of each of `cities`."""
    guess = [1] * right + [2] * (3 - right) + [1] * len(cities)
    table = {"photo_id": [str(i) for i in range(len(guess))], "city_id": [1, 1, 1, *cities], "predicted": guess}
    split, confidence = ["val"] * 3 + ["test"] * len(cities), np.linspace(1, 0, len(guess))
    return pd.DataFrame({**table, "top5": [[g] for g in guess], "confidence": confidence, "split": split})


def opened(**predictions: tuple) -> explore.Run:
    names = [str(i) for i in range(6)]
    sample = pd.DataFrame({"photo_id": names, "path": [f"p{i}" for i in names], "city_id": 1, "city": "Aa"})
    return explore.Run(None, sample, THREE_CITIES, predictions, {}, "svm")


def test_a_sentence_says_what_a_method_makes_of_a_city_and_claims_nothing_of_few_photos():
    counted = THREE_CITIES.assign(photos=[30, 5, 5])
    assert explore.describe_city(counted, "Aa", "svm") == (
        "svm recognises 30 of 40 test photos of Aa; it takes the others most often for Bb, Cc (5 each)."
    )
    assert explore.describe_city(THREE_CITIES.assign(photos=[30, 0, 0]), "Aa", "svm").endswith("30 test photos of Aa.")
    assert explore.describe_city(THREE_CITIES.assign(photos=[3, 0, 2]), "Aa", "svm").endswith("too few for a claim.")


def test_grad_cam_falls_back_on_the_fine_tuned_network_that_validates_best():
    svm = predicted([1], right=3), told("svm")
    worse, better = ((predicted([1], right=right), told("finetune")) for right in (1, 2))
    look = opened(svm=svm, a=worse, b=better)
    assert look.finetuned == "b"
    assert look._replace(refusals={"b": "its model is gone"}).finetuned == "a"
    assert opened(svm=svm).finetuned is None


def test_a_method_that_cannot_answer_says_why_and_who_can(capsys):
    files = {"svm": (predicted([1], right=3), told("svm")), "odd": (predicted([1], right=1), told("odd"))}
    explore.show_photo(opened(**files)._replace(refusals={"odd": "odd can't answer"}), "odd", "photo.jpg")
    assert capsys.readouterr().out == "odd can't answer. These can answer: svm.\n"


def test_photos_to_choose_from_are_named_by_city_and_confidence_surest_first():
    look = opened(svm=(predicted([1, 1, 1], right=1), told("svm")))
    assert look.test_photos("svm") == [("Aa, 40%", "p3"), ("Aa, 20%", "p4"), ("Aa, 0%", "p5")]


def test_a_city_that_was_not_tested_is_not_offered_and_said_to_be_so(capsys):
    look = opened(svm=(predicted([1, 3], right=1), told("svm")))
    assert look.test_cities("svm") == ["Aa", "Cc"]
    explore.show_city(look, "svm", "Bb")
    said = "linear SVM on net (split by photo) recognises 0 of 0 test photos of Bb: too few for a claim.\n"
    assert capsys.readouterr().out == said


def test_nearest_photos_are_training_photos_and_find_a_twin(finished_run):
    look = explore.open_run(finished_run)
    loaded = predictor.load_predictor(finished_run, SVM, allow_synthetic=True)
    train = look.sample[look.sample["split_photo"] == "train"]
    twin = Image.open(train["path"].iloc[0])
    copy = finished_run / "twin.png"
    twin.save(copy)
    near = explore.nearest_photos(loaded, look, copy)
    assert near["photo_id"][0] == train["photo_id"].iloc[0]
    assert near["similarity"][0] > 0.99
    assert set(near["photo_id"]) <= set(train["photo_id"])


def test_nearest_photos_are_so_in_the_features_that_the_method_learnt_from(finished_run):
    look = explore.open_run(finished_run)
    loaded = predictor.load_predictor(finished_run, "knn-places205_alexnet-photo", allow_synthetic=True)
    rows = features.open_store(finished_run / "features" / loaded.sidecar["settings"]["store"], look.sample).rows
    split = look.sample["split_photo"]
    asked = np.flatnonzero(split == "test")[0]
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    alike = directions[(split == "train").to_numpy()] @ directions[asked]
    near = explore.nearest_photos(loaded, look, look.sample["path"][asked])
    np.testing.assert_allclose(near["similarity"], np.sort(alike)[::-1][: len(near)], atol=1e-4)


def test_city_photos_are_of_the_city_and_of_their_kind(finished_run):
    look = explore.open_run(finished_run)
    city = look.cities["city"].iloc[0]
    chosen = explore.city_photos(look.predictions[look.best][0], look.sample, city)
    assert (look.sample.set_index("photo_id").loc[chosen["photo_id"], "city"] == city).all()
    assert ((chosen["predicted"] == city) == (chosen["kind"] == "right"))[chosen["kind"] != "unsure"].all()


def test_grad_cam_lights_up_the_part_that_decides(tmp_path):
    """A network that only looks at the left half paints the left half."""

    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            torch.nn.init.constant_(self.conv.weight, 0.1)
            self.classifier = nn.Linear(4, 2)
            torch.nn.init.constant_(self.classifier.weight, 1.0)

        def forward(self, x):
            mask = torch.zeros_like(x)
            mask[..., : x.shape[-1] // 2] = 1
            return self.classifier(self.conv(x * mask).mean((2, 3)))

    backbone = Backbone("left", Left(), Preprocessing(32, 32, mean=(0, 0, 0), std=(1, 1, 1)), "", 4, "random", None)
    Image.new("RGB", (32, 32), (90, 90, 90)).save(tmp_path / "grey.png")
    painted = explore.grad_cam(backbone, tmp_path / "grey.png", 0)
    values = np.asarray(painted, dtype=float)
    assert values[:, :14].mean() > values[:, 18:].mean()
