"""The command: clear refusals, exit codes, and what `weights` prints."""

import numpy as np
import pandas as pd
import pytest

from geoutils import cities, readers, sampling, tables
from geoutils.__main__ import main
from geoutils.artifacts import ROOT
from geoutils.networks import weights
from geoutils.pipeline import read_profile
from makers.corpus_files import write_yfcc, yfcc_row


def test_an_error_the_user_can_mend_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert main(["run", str(tmp_path / "nothing.yaml")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("deep-im2gps: no profile")
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [[], ["fly"], ["predict", "a.jpg"], ["weights", "eat"]])
def test_a_wrong_command_line_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_weights_list_names_every_network_with_its_licence_and_source(capsys):
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    for name, known in weights.known_files().items():
        assert name in said
        assert known.url in said


def test_weights_check_tells_what_the_bundled_file_is(capsys):
    assert main(["weights", "check", str(weights.locate("efficientnet_lite0"))]) == 0
    assert "it fits efficientnet_lite0" in capsys.readouterr().out


def test_unknown_weights_name_those_there_are(capsys):
    assert main(["weights", "fetch", "places999"]) == 1
    assert "places205_alexnet" in capsys.readouterr().err


def test_predict_on_an_empty_run_says_what_to_run(tmp_path, capsys):
    assert main(["predict", "a.jpg", "--run", str(tmp_path)]) == 1
    assert "deep-im2gps run" in capsys.readouterr().err


@pytest.fixture
def yfcc(tmp_path):
    """A corpus of 300 photos in Paris, 200 in Tokyo, 60 in London, and one broken line."""
    rng = np.random.default_rng(0)
    lines = ["broken\n"]
    for city, count in (("Paris", 300), ("Tokyo", 200), ("London", 60)):
        place = cities.load_gazetteer().set_index("city").loc[city]
        for latitude, longitude in rng.normal((place["latitude"], place["longitude"]), 0.02, (count, 2)).round(6):
            lines.append(yfcc_row(len(lines), latitude=latitude, longitude=longitude))
    return write_yfcc(tmp_path / "yfcc100m_dataset", lines)


def test_sample_draws_from_a_corpus_what_memory_draws(yfcc, tmp_path, capsys):
    out, images = tmp_path / "out", tmp_path / "images"
    command = ["sample", str(yfcc), "--reader", "yfcc100m", "--out", str(out), "--image-root", str(images)]
    command += ["--min-photos", "100", "--per-city", "40", "--seed", "3"]
    assert main(command) == 0
    photos = readers.read(yfcc, "yfcc100m", image_root=images, check_images=False).photos
    apart = cities.non_overlapping(cities.load_gazetteer(), 25.0)
    photos["city_id"] = cities.label_cities(photos, apart)
    chosen = cities.eligible_cities(photos["city_id"], 100).merge(apart, on="city_id")
    per_city = {"train": 26, "val": 4, "test": 10}
    sample = sampling.draw_sample(photos, chosen, protocols=["photo"], per_city=per_city, seed=3)
    drawn = tables.read_table(out / "photos.parquet", "photos")
    assert list(drawn["photo_id"]) == list(sample.table["photo_id"])
    assert len(drawn) == 2 * 40
    assert list(pd.read_csv(out / "cities.csv")["photos"]) == [300, 200]
    assert tables.read_ledger(out)["rows_out"].to_list() == [560, 500, 80]
    said = capsys.readouterr().out
    assert "80 photos of 2 cities" in said
    assert f"deep-im2gps run profiles/corpus.yaml --set 01_photos.photos={out}" in said


def test_sample_goes_on_with_the_parts_that_are_there(yfcc, tmp_path, capsys):
    command = ["sample", str(yfcc), "--reader", "yfcc100m", "--out", str(tmp_path / "out"), "--image-root", "images"]
    assert main([*command, "--min-photos", "9000"]) == 1
    assert "lower min_photos" in capsys.readouterr().err
    assert main([*command, "--min-photos", "100", "--max-cities", "2"]) == 0
    assert "as they are" in capsys.readouterr().out
    assert len(tables.read_table(tmp_path / "out" / "photos.parquet", "photos")) == 500


def test_sample_without_the_place_of_images_says_so_before_it_draws(yfcc, tmp_path, capsys):
    assert main(["sample", str(yfcc), "--reader", "yfcc100m", "--out", str(tmp_path / "out")]) == 1
    assert "--image-root" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


def test_the_profile_for_a_sample_names_the_command_that_makes_it():
    profile = read_profile(ROOT / "profiles" / "corpus.yaml")
    assert "deep-im2gps sample" in profile.requires.files["01_photos.photos"]
    assert profile.steps[0].parameters["reader"] == "table"
