"""A finished run names cities of new photos: calibrated, unsure where it should be, honest about where it learnt."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoutils import predictor, tables
from geoutils.__main__ import SOME_UNREADABLE, main
from geoutils.artifacts import read_json, write_json
from geoutils.methods import frozen
from geoutils.methods.estimators import Scoring
from geoutils.methods.predictions import write_predictions

METHODS = ("svm-efficientnet_lite0-photo", "knn-efficientnet_lite0-user", "finetune-efficientnet_lite0-photo")


@pytest.mark.parametrize("method", METHODS)
def test_predictions_of_test_photos_are_those_of_the_run(finished_run, method):
    table, told = tables.read_predictions(finished_run / "predictions")[method]
    sample = tables.read_table(finished_run / "sample.parquet", "sample").set_index("photo_id")
    test = table[table["split"] == "test"].head(8)
    loaded = predictor.load_predictor(finished_run, method, allow_synthetic=True)
    found = predictor.name_cities(loaded, sample.loc[test["photo_id"], "path"].tolist(), min_confidence=0.0)
    names = loaded.cities.set_index("city_id")["city"]
    assert found["answer"].tolist() == test["predicted"].map(names).tolist()
    np.testing.assert_allclose(found["confidence"], test["confidence"], atol=1e-3)
    assert told["origin"] == found["origin"].iloc[0]


@pytest.mark.parametrize("name", ["efficientnet_lite0-other", None])
def test_the_store_that_was_learnt_from_is_opened_and_no_other_of_its_name(finished_run, tmp_path, name):
    """A store of the same network at another size does not stand in, and an old sidecar says what to do."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("*.npy", "html", "models"))
    sidecar = run / "predictions" / f"{METHODS[0]}.json"
    told = read_json(sidecar)
    told["settings"].pop("store")
    write_json(sidecar, {**told, "settings": {**told["settings"], **({"store": name} if name else {})}})
    with pytest.raises((ValueError, FileNotFoundError), match=name or "05_knn_svm"):
        predictor.load_predictor(run, METHODS[0], allow_synthetic=True)


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the finished run, without its models."""
    left_out = shutil.ignore_patterns("html", "models", "figures", "maps", "notebooks")
    return shutil.copytree(finished_run, tmp_path / "run", ignore=left_out)


def test_what_cannot_be_built_again_is_refused_with_a_sentence_and_is_no_default(run):
    """A sidecar that has all of the SVM's settings, but another method's name, never gets the SVM's answers."""
    for name in [name for name in tables.read_predictions(run / "predictions") if "user" in name]:
        (run / "predictions" / f"{name}.json").unlink()  # so that the default is one of those below
    table, told = tables.read_predictions(run / "predictions")[METHODS[0]]
    perfect = table.assign(predicted=table["city_id"], top5=table["city_id"].map(lambda city: [city]))
    scores = perfect["city_id"].to_numpy()[:, None] == np.array(told["class_ids"])
    write_predictions(perfect, scores, told | {"method": "forest"}, run / "predictions", "forest-photo")
    with pytest.raises(ValueError, match=r"forest-photo can't answer .* no classifier is called 'forest'"):
        predictor.load_predictor(run, "forest-photo", allow_synthetic=True)
    with pytest.raises(ValueError, match=r"holds no finished model\. Run 06_finetune again"):
        predictor.load_predictor(run, METHODS[2], allow_synthetic=True)
    with pytest.raises(ValueError, match="learnt nothing"):
        predictor.load_predictor(run, "chance-none-photo", allow_synthetic=True)
    assert predictor.load_predictor(run, allow_synthetic=True).sidecar["method"] in frozen.CLASSIFIERS


def test_cities_that_were_chosen_anew_are_noticed(run):
    cities = tables.read_csv(run / "cities.csv")
    tables.write_csv(cities.iloc[2:], run / "cities.csv")
    with pytest.raises(ValueError, match=r"cities.csv lacks 2 of the \d+ cities .* 02_cities has run again"):
        predictor.load_predictor(run, METHODS[0], allow_synthetic=True)


class FirstCity(Scoring):
    """Has the SVM's setting and says the first city of whatever photo."""

    title, grid = "first city", {"C": (1.0,)}

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y):
        self._labels(y)
        return self

    def decision_function(self, X):
        return np.eye(len(self.classes_))[np.zeros(len(X), int)]


def test_a_classifier_that_no_longer_answers_as_it_did_is_refused(run, monkeypatch):
    monkeypatch.setitem(frozen.CLASSIFIERS, "svm", FirstCity)
    with pytest.raises(ValueError, match=rf"{METHODS[0]}, fitted anew, predicts \d+ of \d+ photos as it did"):
        predictor.load_predictor(run, METHODS[0], allow_synthetic=True)


def test_a_made_up_world_is_refused_unless_asked_for(finished_run):
    with pytest.raises(ValueError, match="made-up drawings"):
        predictor.load_predictor(finished_run)


def test_below_the_threshold_it_names_no_city(finished_run, crops, tmp_path):
    crops[0].save(tmp_path / "a.jpg")
    loaded = predictor.load_predictor(finished_run, METHODS[0], allow_synthetic=True)
    sure, unsure = (predictor.name_cities(loaded, [tmp_path], min_confidence=c)["answer"][0] for c in (0.0, 1.0))
    assert sure in set(loaded.cities["city"])
    assert unsure == predictor.NONE_OF_THESE


def test_by_default_the_threshold_of_the_validation_photos_holds_and_is_told(finished_run, crops, tmp_path):
    crops[0].save(tmp_path / "a.jpg")
    loaded = predictor.load_predictor(finished_run, METHODS[0], allow_synthetic=True)
    own = predictor.name_cities(loaded, [tmp_path], min_confidence=0.0)["confidence"][0]
    for threshold, named in ((own - 0.01, True), (own + 0.01, False), (np.inf, False)):
        asked = loaded._replace(threshold=threshold)
        assert (predictor.name_cities(asked, [tmp_path])["answer"][0] != predictor.NONE_OF_THESE) == named
        assert ("No city is named" in predictor.describe_threshold(asked)) == np.isinf(threshold)
    with pytest.raises(ValueError, match="from 0 to 1, found 50"):
        predictor.name_cities(loaded, [tmp_path], min_confidence=50)


def test_upright_and_turned_photo_get_one_answer(finished_run, crops, tmp_path):
    """A camera that stores a turned picture and says so in EXIF must not change the answer."""
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    crops[0].save(tmp_path / "a.png")
    crops[0].transpose(Image.Transpose.ROTATE_180).save(tmp_path / "b.png", exif=exif)
    loaded = predictor.load_predictor(finished_run, METHODS[0], allow_synthetic=True)
    found = predictor.name_cities(loaded, [tmp_path / "a.png", tmp_path / "b.png"])
    assert found["first_5"][0] == found["first_5"][1]


def test_command_counts_bad_files_and_still_predicts_the_good(finished_run, crops, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    crops[0].save(tmp_path / "photos/good.jpg")
    (tmp_path / "photos/bad.jpg").write_bytes(b"no photo")
    crops[1].save(tmp_path / "photos/<script>.jpg")
    arguments = ["predict", str(tmp_path / "photos"), "--run", str(finished_run), "--method", METHODS[0]]
    assert main([*arguments, "--allow-synthetic", "--out", str(tmp_path / "o.csv")]) == SOME_UNREADABLE
    table = pd.read_csv(tmp_path / "o.csv")
    assert len(table) == 3
    assert table["fault"].notna().sum() == table["answer"].isna().sum() == 1
    assert "1 of them unreadable" in capsys.readouterr().out
    main([*arguments, "--allow-synthetic", "--out", str(tmp_path / "o.html")])
    page = (tmp_path / "o.html").read_text()
    assert "&lt;script&gt;" in page
    assert "SYNTHETIC" in page
    assert main(arguments) == 1
    assert main([*arguments, "--allow-synthetic", "--out", "o.txt"]) == 1
    assert ".csv or .html" in capsys.readouterr().err


def test_nothing_finer_than_a_city_is_given(finished_run, crops, tmp_path):
    crops[0].save(tmp_path / "a.jpg")
    loaded = predictor.load_predictor(finished_run, METHODS[0], allow_synthetic=True)
    assert not {"latitude", "longitude"} & set(predictor.name_cities(loaded, [tmp_path]).columns)


def test_no_photo_says_what_was_expected(finished_run, tmp_path):
    loaded = predictor.load_predictor(finished_run, METHODS[0], allow_synthetic=True)
    with pytest.raises(FileNotFoundError, match=r"\.jpg"):
        predictor.name_cities(loaded, [tmp_path])
