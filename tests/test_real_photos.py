"""Real photographs and positions, where they are at hand: numbers that a fault in the path would change."""

import pandas as pd
import pytest

from geoutils import cities, features, readers, sampling, tables
from geoutils.evaluation import accuracy
from geoutils.methods import frozen
from geoutils.networks import backbones

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def labelled(real_data) -> pd.DataFrame:
    table = readers.read(real_data / "photos/landmarks7/photos.csv", check_images=False).photos
    apart = cities.non_overlapping(cities.load_gazetteer(), 25.0)
    return table.assign(city_id=cities.label_cities(table, apart, 25.0))


@pytest.fixture(scope="module")
def chosen(labelled) -> pd.DataFrame:
    return cities.eligible_cities(labelled["city_id"], min_photos=20).merge(cities.load_gazetteer(), on="city_id")


def test_labelling_alone_finds_the_seven_cities(labelled, chosen):
    assert labelled["city_id"].notna().all()
    assert set(chosen["city"]) == {"Rome", "Vienna", "Barcelona", "Venice", "Berlin", "Istanbul", "Kuala Lumpur"}


def test_split_by_place_tears_the_two_landmarks_of_a_city_apart(labelled, chosen):
    sample = sampling.draw_sample(labelled, chosen, protocols=["place"], block_degrees=0.005).table
    counts = sampling.split_counts(sample, "place")
    tested = counts[counts["test"] > 0]
    assert len(tested) == 3  # the cities with two landmarks
    assert (tested["train"] > 0).all()


def test_frozen_features_know_landmarks_but_not_cities(labelled, chosen, tmp_path):
    """On the given split some 95 % are right, on landmarks never seen about chance: both, or the path has a fault."""
    part = labelled.groupby(["city_id", "partition"], group_keys=False).sample(60, random_state=0)
    sample = sampling.draw_sample(part, chosen, protocols=["given", "place"], block_degrees=0.005).table
    store = features.extract(sample, backbones.load("efficientnet_lite0", size=128), tmp_path)
    for protocol in ("given", "place"):
        frozen.tune_and_predict(sample, store, protocol, tmp_path / "p", methods=["svm"])
    table = accuracy.table1(tables.read_predictions(tmp_path / "p"), sample).set_index("protocol")
    assert 0.80 <= table.loc["given", "accuracy"] <= 0.99
    assert table.loc["place", "accuracy"] <= 0.45


def test_labels_of_real_positions_count_what_was_counted_by_hand(real_data):
    """Of the 100,000 positions so many lie within 25 km of four centres."""
    table = readers.read(real_data / "metadata/mp16_coordinates_100k.csv", check_images=False).photos
    counted = cities.count_photos(table, cities.load_gazetteer(), 25.0).set_index("city")["photos"]
    expected = {"London": 2_562, "New York City": 2_489, "San Francisco": 1_908, "Paris": 1_444}
    for city, number in expected.items():
        assert counted[city] == pytest.approx(number, rel=0.02)
