"""Properties of splits and of the balanced draw."""

import numpy as np
import pandas as pd
import pytest

from geoutils import sampling

CITIES = pd.DataFrame({"city_id": [1, 2, 3], "city": ["Aa", "Bb", "Cc"]})


@pytest.fixture
def photos() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 3_000
    city = rng.integers(1, 4, n)
    return pd.DataFrame(
        {
            "photo_id": [f"p{i}" for i in range(n)],
            "path": "x.jpg",
            "latitude": 10.0 * city + rng.normal(0, 0.05, n),
            "longitude": 20.0 + rng.normal(0, 0.05, n),
            "user_id": [f"u{i}" for i in rng.integers(0, 200, n)],
            "partition": rng.choice(["train", "val"], n, p=[0.7, 0.3]),
            "city_id": pd.array(city, dtype="Int64"),
            "source": "own",
        }
    )


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
def test_split_ignores_row_order_and_growth(photos, protocol):
    few, many = photos.head(1_500), photos.sample(frac=1.0, random_state=1)
    a, b = sampling.assign_split(few, protocol), sampling.assign_split(many, protocol)
    pd.testing.assert_series_equal(a, b.loc[few.index])


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
def test_split_meets_the_shares(photos, protocol):
    split = sampling.assign_split(photos, protocol, shares={"val": 0.2, "test": 0.3})
    shares = split.value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.3, abs=0.08)
    assert shares["val"] == pytest.approx(0.2, abs=0.08)


def test_split_by_user_shares_no_user(photos):
    split = sampling.assign_split(photos, "user")
    assert photos.groupby("user_id").apply(lambda rows: split[rows.index].nunique()).max() == 1


def test_split_by_place_shares_no_block(photos):
    split = sampling.assign_split(photos, "place")
    blocks = sampling.place_blocks(photos["latitude"], photos["longitude"])
    assert split.groupby(blocks).nunique().max() == 1


def test_two_blocks_a_city_are_always_torn_apart():
    for seed in range(20):
        photos = pd.DataFrame(
            {
                "photo_id": [str(i) for i in range(40)],
                "latitude": [10.0] * 20 + [10.5] * 20,
                "longitude": 5.0,
                "user_id": None,
                "city_id": 1,
            }
        )
        split = sampling.assign_split(photos, "place", seed=seed)
        test = split == "test"
        assert test[:20].all() != test[20:].all()
        assert test.sum() == 20
        assert {"train", "val"} >= set(split[~test])


def test_the_only_block_of_a_city_is_trained_on(photos):
    photos.loc[photos["city_id"] == 2, ["latitude", "longitude"]] = 20.0
    for seed in range(8):
        split = sampling.assign_split(photos, "place", seed=seed)
        assert "test" not in set(split[photos["city_id"] == 2])


def test_seeds_give_other_splits(photos):
    a, b = (sampling.assign_split(photos, "photo", seed=seed) for seed in (0, 1))
    assert (a != b).mean() > 0.3


def test_unknown_users_are_left_out(photos):
    photos.loc[:99, "user_id"] = None
    split = sampling.assign_split(photos, "user")
    assert split[:100].isna().all()
    assert split[100:].notna().all()


def test_given_val_is_the_test_where_there_is_no_test(photos):
    split = sampling.assign_split(photos, "given")
    assert ((split == "test") == (photos["partition"] == "val")).all()
    assert (split == "val").sum() > 0


def test_larger_draw_contains_the_smaller(photos):
    split = sampling.assign_split(photos, "photo")
    small = sampling.balance(photos, split, {"train": 10, "val": 2, "test": 5})
    large = sampling.balance(photos, split, {"train": 30, "val": 6, "test": 9})
    assert set(small.dropna().index) < set(large.dropna().index)
    assert (pd.crosstab(photos["city_id"], small)[["test", "train", "val"]] == [5, 10, 2]).all(axis=None)


def test_draw_names_every_shortfall(photos):
    photos = photos[(photos["city_id"] != 2) | (photos.index % 40 == 0)]
    per_city = {"train": 100, "val": 10, "test": 50}
    sample = sampling.draw_sample(photos, CITIES, protocols=["photo"], per_city=per_city)
    assert set(sample.shortfalls["city"]) == {"Bb"}
    counts = sampling.split_counts(sample.table, "photo").stack()
    for row in sample.shortfalls.itertuples():
        assert counts[row.city, row.split] == row.found < row.wanted


def test_ledger_adds_up(photos):
    sample = sampling.draw_sample(photos, CITIES.head(2), per_city={"train": 20, "val": 5, "test": 5})
    assert sample.ledger[0]["rows_in"] == len(photos)
    assert sample.ledger[0]["rows_out"] == sample.ledger[1]["rows_in"] == (photos["city_id"] != 3).sum()
    assert sample.ledger[1]["rows_out"] == len(sample.table)


def test_shared_users_by_protocol(photos):
    shared = sampling.shared_users(sampling.draw_sample(photos, CITIES).table).set_index("protocol")
    assert shared.loc["user", "photos_shared"] == 0
    assert shared.loc["photo", "photos_shared"] > 0.9 * shared.loc["photo", "photos_test"]


def test_impossible_protocol_says_what_is_possible(photos):
    with pytest.raises(ValueError, match=r"allow the protocols \['photo', 'place', 'given'\]"):
        sampling.draw_sample(photos.assign(user_id=None), CITIES, protocols=["user"])


def test_blocks_are_square_at_any_latitude():
    from geoutils.geo import great_circle_km

    for latitude in (0.005, 45.005, 70.005):
        longitude = pd.Series(np.linspace(10, 11, 20_001))
        block = sampling.place_blocks(pd.Series(latitude, index=longitude.index), longitude)
        inner = longitude[block == block[10_000]]
        assert great_circle_km(latitude, inner.min(), latitude, inner.max()) == pytest.approx(1.11, rel=0.02)
