"""Properties of splits: sides follow hashes, and groups stay whole."""

import numpy as np
import pandas as pd
import pytest

from geoutils import sampling, splits, tables
from makers.scores import THREE_CITIES


def assigned(photos: pd.DataFrame, protocol: str, **settings) -> pd.Series:
    """The one column of a protocol that gives one."""
    return splits.assign_split(photos, protocol, **settings)[f"split_{protocol}"]


def small_cities(seed: int) -> pd.DataFrame:
    """Return 48 photos of four cities, which have 1, 2, 3 and 4 users and as many blocks."""
    rng = np.random.default_rng(seed)
    city = np.repeat([1, 2, 3, 4], 12)
    place, user = rng.integers(0, city), rng.integers(0, city)
    photos = pd.DataFrame({"city_id": city, "latitude": 10.0 * city, "longitude": 5.0 + 0.1 * place})
    photos["photo_id"] = [f"p{i}" for i in range(len(city))]
    photos["user_id"] = [f"u{c}-{u}" for c, u in zip(city, user, strict=True)]
    photos["block"] = splits.place_blocks(photos["latitude"], photos["longitude"])
    return photos.assign(partition=None)


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
def test_split_ignores_row_order_and_growth(photos, protocol):
    few, many = photos.head(1_500), photos.sample(frac=1.0, random_state=1)
    a, b = assigned(few, protocol), assigned(many, protocol)
    pd.testing.assert_series_equal(a, b.loc[few.index])


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
def test_in_small_cities_only_what_the_docstring_names_moves_with_growth(protocol):
    """Cities of 1 to 4 users or blocks: what hashes alone put on all sides stays, and no test photo is ever lost."""
    shares, settled_cities = {"val": 0.25, "test": 0.25}, 0
    for seed in range(60):
        many = small_cities(seed)
        few = many.sample(frac=0.6, random_state=seed)
        keys = {"photo": "photo_id", "user": "user_id", "place": "block"}[protocol]
        hashed = splits.hash_fractions(few[keys], seed=seed, purpose=protocol)
        sides = pd.Series(np.digitize(hashed, [0.25, 0.5]), few.index).groupby(few["city_id"]).agg(set)
        wanted = {0, 1, 2} if protocol == "place" else {1}
        settled = few["city_id"].map(sides.map(wanted.issubset)).astype(bool)
        a, b = (assigned(table, protocol, shares=shares, seed=seed) for table in (few, many))
        pd.testing.assert_series_equal(a[settled], b.loc[few.index][settled])
        if protocol != "place":
            assert ((a == "test") == (b.loc[few.index] == "test")).all()
        settled_cities += few.loc[settled, "city_id"].nunique()
    assert 10 < settled_cities < 230


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
def test_split_meets_the_shares(photos, protocol):
    split = assigned(photos, protocol, shares={"val": 0.2, "test": 0.3})
    shares = split.value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.3, abs=0.08)
    assert shares["val"] == pytest.approx(0.2, abs=0.08)


def test_split_by_user_shares_no_user(photos):
    split = assigned(photos, "user")
    assert photos.groupby("user_id").apply(lambda rows: split[rows.index].nunique()).max() == 1


def test_split_by_place_shares_no_block(photos):
    split = assigned(photos, "place")
    blocks = splits.place_blocks(photos["latitude"], photos["longitude"])
    assert split.groupby(blocks).nunique().max() == 1


@pytest.mark.parametrize(("protocol", "group"), [("user", "user_id"), ("place", "block")])
def test_validation_is_cut_by_whole_users_and_blocks_where_train_has_two(protocol, group):
    cut = 0
    for seed in range(40):
        photos = small_cities(seed)
        split = assigned(photos, protocol, shares={"val": 0.1, "test": 0.2}, seed=seed)
        learnt = photos[split != "test"].assign(split=split)
        for _, city in learnt.groupby("city_id"):
            if len(set(city[group])) > 1:
                assert city.groupby(group)["split"].nunique().max() == 1
                assert "val" in set(city["split"])
                cut += 1
    assert cut > 40


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
        split = assigned(photos, "place", seed=seed)
        test = split == "test"
        assert test[:20].all() != test[20:].all()
        assert test.sum() == 20
        assert {"train", "val"} >= set(split[~test])


def test_the_only_block_of_a_city_is_trained_on(photos):
    photos.loc[photos["city_id"] == 2, ["latitude", "longitude"]] = 20.0
    for seed in range(8):
        split = assigned(photos, "place", seed=seed)
        assert "test" not in set(split[photos["city_id"] == 2])


def test_seeds_give_other_splits(photos):
    a, b = (assigned(photos, "photo", seed=seed) for seed in (0, 1))
    assert (a != b).mean() > 0.3


def test_unknown_users_are_left_out(photos):
    photos.loc[:99, "user_id"] = None
    split = assigned(photos, "user")
    assert split[:100].isna().all()
    assert split[100:].notna().all()


def test_given_val_is_the_test_where_there_is_no_test(photos):
    split = assigned(photos, "given")
    assert ((split == "test") == (photos["partition"] == "val")).all()
    assert (split == "val").sum() > 0


def test_shared_users_by_protocol(photos):
    shared = splits.shared_users(sampling.draw_sample(photos, THREE_CITIES).table).set_index("protocol")
    assert shared.loc["user", "photos_shared"] == 0
    assert shared.loc["photo", "photos_shared"] > 0.9 * shared.loc["photo", "photos_test"]


def test_a_protocol_needs_two_cities_with_both_train_and_test(photos):
    """Two users, and both are tested on: a table that allows no split by user."""
    fraction = splits.hash_fractions(pd.Series([f"u{i}" for i in range(99)]), seed=0, purpose="user")
    tested = np.flatnonzero(fraction < 0.25)[:2]
    photos["user_id"] = [f"u{tested[i % 2]}" for i in range(len(photos))]
    assert splits.available_protocols(photos) == ["photo", "place", "given"]
    with pytest.raises(ValueError, match=r"two are needed: 'user' leaves 0 .*too few photographers"):
        sampling.draw_sample(photos, THREE_CITIES, protocols=["photo", "user"])
    with pytest.raises(ValueError, match=r"'photo' leaves 1 "):
        sampling.draw_sample(photos, THREE_CITIES.head(1))


@pytest.mark.parametrize(
    ("lost", "protocol"), [({"user_id": None}, "user"), ({"partition": None}, "given"), ({"longitude": 20.0}, "place")]
)
def test_an_impossible_protocol_names_what_is_missing(photos, lost, protocol):
    why = {"user": "photographers", "given": "partition", "place": "blocks"}[protocol]
    lost = lost | ({"latitude": 10.0 * photos["city_id"]} if protocol == "place" else {})
    with pytest.raises(ValueError, match=f"'{protocol}' leaves 0 .*{why}"):
        sampling.draw_sample(photos.assign(**lost), THREE_CITIES, protocols=[protocol])


@pytest.mark.parametrize("wrong", [{"block_degrees": 0}, {"block_degrees": float("nan")}, {"shares": {"test": 0.2}}])
def test_settings_that_split_nothing_are_refused_by_name(photos, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        assigned(photos, "place", **wrong)


def test_blocks_are_square_at_any_latitude():
    from geoutils.geo import great_circle_km

    for latitude in (0.005, 45.005, 70.005):
        longitude = pd.Series(np.linspace(10, 11, 20_001))
        block = splits.place_blocks(pd.Series(latitude, index=longitude.index), longitude)
        inner = longitude[block == block[10_000]]
        assert great_circle_km(latitude, inner.min(), latitude, inner.max()) == pytest.approx(1.11, rel=0.02)


def by_half(photos: pd.DataFrame, *, shares, seed, **_) -> pd.DataFrame:
    """A protocol of two columns: what the one tests on, the other trains on."""
    order = splits.hash_fractions(photos["photo_id"], seed=seed, purpose="halves")
    sides = {"split_half a": order < 0.5, "split_half b": order >= 0.5}
    return pd.DataFrame({name: np.where(test, "test", "train") for name, test in sides.items()}, photos.index)


def one_sided(photos: pd.DataFrame, **settings) -> pd.DataFrame:
    """Two columns, one of which tests on nothing."""
    return by_half(photos, **settings).assign(**{"split_half b": "train"})


def test_a_registered_protocol_of_several_columns_is_drawn_as_any_other(photos, monkeypatch):
    monkeypatch.setitem(splits.PROTOCOLS, "halves", splits.Protocol(by_half, "two halves, each in turn", "halves"))
    assert "halves" in splits.available_protocols(photos)
    per_city = {"train": 40, "val": 0, "test": 30}
    sample = sampling.draw_sample(photos, THREE_CITIES, protocols=["halves", "photo"], per_city=per_city)
    assert tables.drawn_protocols(sample.table) == ["photo", "half a", "half b"]
    for name in ("half a", "half b"):
        counts = sampling.split_counts(sample.table, name)
        assert (counts[["train", "val", "test"]] == [40, 0, 30]).all(axis=None)
    halves = splits.assign_split(photos, "halves")
    assert ((halves["split_half a"] == "test") == (halves["split_half b"] == "train")).all()
    monkeypatch.setitem(splits.PROTOCOLS, "one", splits.Protocol(one_sided, "one of two columns tests", "sides"))
    with pytest.raises(ValueError, match=r"'one' leaves 0 \(sides\?\)"):
        splits.available_protocols(photos, ["one"])
