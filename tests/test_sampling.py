"""Properties of the balanced draw."""

import pandas as pd
import pytest

from geoutils import sampling, splits, tables
from makers.scores import THREE_CITIES


def test_larger_draw_contains_the_smaller(photos):
    split = splits.assign_split(photos, "photo")["split_photo"]
    small = sampling.balance(photos, split, {"train": 10, "val": 2, "test": 5})
    large = sampling.balance(photos, split, {"train": 30, "val": 6, "test": 9})
    assert set(small.dropna().index) < set(large.dropna().index)
    assert (pd.crosstab(photos["city_id"], small)[["test", "train", "val"]] == [5, 10, 2]).all(axis=None)


def test_none_for_one_split_means_all_there_are(photos):
    split = splits.assign_split(photos, "photo")["split_photo"]
    kept = sampling.balance(photos, split, {"train": 5, "val": 2, "test": None})
    assert (kept == "test").sum() == (split == "test").sum()
    assert (kept == "train").sum() == 3 * 5
    sample = sampling.draw_sample(photos, THREE_CITIES, per_city={"train": 9_000, "val": None, "test": None})
    assert set(sample.shortfalls["split"]) == {"train"}


def test_draw_names_every_shortfall(photos):
    photos = photos[(photos["city_id"] != 2) | (photos.index % 40 == 0)]
    per_city = {"train": 100, "val": 10, "test": 50}
    sample = sampling.draw_sample(photos, THREE_CITIES, protocols=["photo"], per_city=per_city)
    assert tables.drawn_protocols(sample.table) == ["photo"]
    assert set(sample.shortfalls["city"]) == {"Bb"}
    counts = sampling.split_counts(sample.table, "photo").stack()
    for row in sample.shortfalls.itertuples():
        assert counts[row.city, row.split] == row.found < row.wanted


def test_a_corpus_s_own_split_is_taken_whole_and_falls_short_of_nothing(photos):
    sample = sampling.draw_sample(photos, THREE_CITIES, per_city={"train": 9_000, "val": 9_000, "test": 9_000})
    assert set(sample.shortfalls["protocol"]) == {"photo", "user", "place"}
    few = sampling.draw_sample(photos, THREE_CITIES, protocols=["given"], per_city={"train": 1, "val": 1, "test": 1})
    assert len(few.table) == len(photos)


def test_protocols_that_the_photos_do_not_allow_are_named(photos):
    assert sampling.draw_sample(photos.assign(user_id=None), THREE_CITIES).left_out == ["user"]
    assert sampling.draw_sample(photos, THREE_CITIES, protocols=["photo"]).left_out == []


def test_ledger_adds_up(photos):
    sample = sampling.draw_sample(photos, THREE_CITIES.head(2), per_city={"train": 20, "val": 5, "test": 5})
    assert sample.ledger[0]["rows_in"] == len(photos)
    assert sample.ledger[0]["rows_out"] == sample.ledger[1]["rows_in"] == (photos["city_id"] != 3).sum()
    assert sample.ledger[1]["rows_out"] == len(sample.table)


def test_photos_without_an_image_are_refused_with_what_to_give(photos):
    photos.loc[photos.index[:7], "path"] = None
    with pytest.raises(ValueError, match=r"7 of 3,000 photos have no image.*image_root"):
        sampling.draw_sample(photos, THREE_CITIES)
