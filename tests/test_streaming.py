"""A sample drawn over batches, or on a cluster, is the one drawn in memory, whatever the batches are."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoutils import cities, sampling, streaming, tables
from geoutils.streaming import draw_streamed, survey

CITIES = pd.DataFrame(
    {"city_id": [1, 2, 3], "city": ["Aa", "Bb", "Cc"], "latitude": [10.0, 20.0, 30.0], "longitude": 5.0}
)


def made_up(rows: int, *, users: int, blocks: int, partitions: list[str | None], seed: int = 0) -> pd.DataFrame:
    """Return a photo table: a tenth of it in no city, with as few users, blocks a city and partitions as asked for."""
    rng = np.random.default_rng(seed)
    known = rng.random(rows) < 0.8
    return tables.conform(
        pd.DataFrame(
            {
                "photo_id": [f"p{i}" for i in rng.permutation(rows)],
                "path": "/x.jpg",
                "latitude": rng.choice([10.0, 20.0, 30.0, 50.0], rows, p=[0.5, 0.3, 0.1, 0.1]),
                "longitude": 5.0 + 0.02 * rng.integers(0, blocks, rows),
                "user_id": np.where(known, [f"u{i}" for i in rng.integers(0, users, rows)], None),
                "partition": rng.choice(partitions, rows),
                "source": "own",
            }
        ),
        "photos",
    )


def in_memory(photos: pd.DataFrame, *, min_photos: int, max_cities: int | None = None, **options):
    labelled = photos.assign(city_id=cities.label_cities(photos, CITIES))
    chosen = cities.eligible_cities(labelled["city_id"], min_photos, max_cities).merge(CITIES, on="city_id")
    return sampling.draw_sample(labelled, chosen, **options), chosen


def assert_same(drawn: streaming.Drawn, photos: pd.DataFrame, **options) -> None:
    sample, chosen = in_memory(photos, **options)
    pd.testing.assert_frame_equal(drawn.sample.table, sample.table)
    pd.testing.assert_frame_equal(drawn.sample.shortfalls, sample.shortfalls)
    pd.testing.assert_frame_equal(drawn.cities, chosen)
    assert drawn.sample.ledger[1:] == sample.ledger


def cut(photos: pd.DataFrame, size: int) -> list[pd.DataFrame]:
    return [photos[start : start + size].reset_index(drop=True) for start in range(0, len(photos), size)]


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_batches_draw_what_memory_draws(data):
    """Few users and blocks, so that cities without validation or with all blocks on one side are common."""
    photos = made_up(
        data.draw(st.integers(40, 120)),
        users=data.draw(st.integers(1, 6)),
        blocks=data.draw(st.integers(1, 4)),
        partitions=data.draw(st.sampled_from([["train", "val"], ["train", "val", "test", None], ["train"], [None]])),
        seed=data.draw(st.integers(0, 10_000)),
    )
    shares = [{"val": 0.1, "test": 0.25}, {"val": 0.5, "test": 0.4}, {"val": 0.0, "test": 0.1}]
    options = {
        "min_photos": data.draw(st.integers(1, 8)),
        "max_cities": data.draw(st.sampled_from([None, 1, 2])),
        "per_city": data.draw(st.sampled_from([None, {"train": 5, "val": 2, "test": 3}])),
        "shares": data.draw(st.sampled_from(shares)),
        "seed": data.draw(st.integers(0, 10)),
    }
    batches = cut(photos, data.draw(st.integers(20, 60)))
    assert_same(draw_streamed(batches, CITIES, **options), photos, **options)


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
@pytest.mark.parametrize("last", ["val", "test"])
def test_a_split_that_comes_last_is_known_to_the_first_batch(protocol, last):
    """Till then a city seems to have no validation, or all of its blocks on one side."""
    photos = made_up(300, users=40, blocks=8, partitions=[None])
    photos = photos[photos["latitude"] < 40]  # the others are in no city
    shares = {"val": 0.4, "test": 0.2}
    split = sampling.assign_split(photos.assign(city_id=photos["latitude"]), protocol, shares=shares)
    photos = photos.iloc[np.argsort(split == last, kind="stable")].reset_index(drop=True)
    options = {
        "min_photos": 20,
        "protocols": [protocol],
        "per_city": {"train": 5, "val": 2, "test": 3},
        "shares": shares,
    }
    assert_same(draw_streamed(cut(photos, 75), CITIES, **options), photos, **options)


@pytest.mark.parametrize("column", ["user_id", "longitude", "partition"])
def test_a_survey_keeps_the_only_photo_of_another_user_block_or_partition(column):
    for seed in range(5):
        photos = made_up(30, users=1, blocks=1, partitions=["train"]).assign(user_id="u0", city_id=1, photos=1)
        photos.loc[11 + seed, column] = {"user_id": "u1", "longitude": 5.1, "partition": "val"}[column]
        allowed = sampling.available_protocols(photos.assign(latitude=10.0))
        surveyed = survey(photos.assign(latitude=10.0), shares={"val": 0.0, "test": 0.1}, seed=seed)
        assert sampling.available_protocols(surveyed) == allowed
        assert len(allowed) == 2


@pytest.fixture
def corpus(tmp_path) -> tuple[pd.DataFrame, str]:
    photos = made_up(4_000, users=300, blocks=12, partitions=[None])
    for number, part in enumerate(cut(photos, 900)):
        tables.write_table(part, tmp_path / "parts" / f"{number:05}.parquet", "photos")
    return photos, tmp_path / "parts"


PER_CITY = {"train": 50, "val": 10, "test": 20}
OPTIONS = {"min_photos": 400, "per_city": PER_CITY}


def test_parquet_files_draw_what_memory_draws(corpus, monkeypatch):
    photos, folder = corpus
    monkeypatch.setattr(streaming, "BATCH_ROWS", 450)
    assert_same(draw_streamed(folder, CITIES, **OPTIONS), photos, **OPTIONS)


def test_a_cluster_draws_what_memory_draws(corpus):
    distributed = pytest.importorskip("dask.distributed", reason="the extra `cluster` is not installed")
    photos, folder = corpus
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(protocol="tcp://", **options) as cluster:
        drawn = draw_streamed(folder, CITIES, cluster=cluster.scheduler_address, **OPTIONS)
    assert_same(drawn, photos, **OPTIONS)


def test_what_is_held_grows_with_the_sample_and_not_with_the_corpus():
    photos = made_up(40_000, users=5_000, blocks=60, partitions=["train", "val", "test"])
    labelled = photos.assign(city_id=cities.label_cities(photos, CITIES), photos=1)
    surveyed = survey(labelled)
    assert len(surveyed) <= 3 * (2 + 4 * 4) + 1
    assert surveyed["photos"].sum() == len(photos)
    drawn = streaming.keep_drawn(
        labelled,
        deciding=surveyed.dropna(subset="city_id"),
        protocols=["photo", "user", "place"],
        per_city=PER_CITY,
    )
    assert len(drawn) <= 3 * 3 * 80 + len(surveyed)


def test_the_photos_drawn_give_the_same_sample_when_drawn_from_alone(corpus):
    """So notebooks 02 and 03 can start from them."""
    _, folder = corpus
    drawn = draw_streamed(folder, CITIES, **OPTIONS)
    again, _ = in_memory(drawn.photos, min_photos=1, per_city=PER_CITY)
    pd.testing.assert_frame_equal(again.table, drawn.sample.table)


def test_what_cannot_be_drawn_is_said_with_what_there_is(corpus):
    with pytest.raises(ValueError, match=r"no city has 9,000 photos, the largest has [12],\d{3}"):
        draw_streamed(corpus[1], CITIES, min_photos=9_000)
    with pytest.raises(ValueError, match=r"allow the protocols \['photo', 'user', 'place'\], not \['given'\]"):
        draw_streamed(corpus[1], CITIES, protocols=["given"], **OPTIONS)
