"""A sample drawn over batches, or on a cluster, is the one drawn in memory, whatever the batches are."""

import functools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoutils import cities, sampling, splits, streaming, tables
from geoutils.readers import checks, yfcc100m
from geoutils.streaming import draw_streamed, survey
from makers.corpus_files import (
    write_yfcc,
    yfcc_row,
)
from makers.scores import THREE_CITIES


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


def in_memory(photos: pd.DataFrame, *, min_photos: int, max_cities: int | None = None, protocols=None, **options):
    labelled = photos.assign(city_id=cities.label_cities(photos, THREE_CITIES))
    chosen = cities.eligible_cities(labelled["city_id"], min_photos, max_cities).merge(THREE_CITIES, on="city_id")
    if protocols is None:  # streaming takes a corpus's own split only if asked
        kept = labelled[labelled["city_id"].isin(chosen["city_id"])]
        splitting = {name: options[name] for name in ("shares", "seed") if name in options}
        protocols = splits.available_protocols(kept, among=("photo", "user", "place"), **splitting)
    return sampling.draw_sample(labelled, chosen, protocols=protocols, **options), chosen


def assert_same(drawn: streaming.Drawn, photos: pd.DataFrame, **options) -> None:
    sample, chosen = in_memory(photos, **options)
    pd.testing.assert_frame_equal(drawn.sample.table, sample.table)
    pd.testing.assert_frame_equal(drawn.sample.shortfalls, sample.shortfalls)
    pd.testing.assert_frame_equal(drawn.cities, chosen)
    assert drawn.sample.ledger[1:] == sample.ledger


def write_corpus(photos: pd.DataFrame, folder: Path, size: int) -> Path:
    """Write Parquet files of so many rows, each of which comes as one batch."""
    for start in range(0, len(photos), size):
        part = photos[start : start + size].reset_index(drop=True)
        tables.write_table(part, folder / f"{start:06}.parquet", "photos")
    return folder


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_batches_draw_what_memory_draws(tmp_path_factory, data):
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
        "max_cities": data.draw(st.sampled_from([None, 2])),
        "protocols": data.draw(st.sampled_from([None, ["photo"], ["user", "place"], ["place", "given"]])),
        "per_city": data.draw(st.sampled_from([None, {"train": 5, "val": 2, "test": 3}])),
        "shares": data.draw(st.sampled_from(shares)),
        "seed": data.draw(st.integers(0, 10)),
    }
    folder = write_corpus(photos, tmp_path_factory.mktemp("corpus"), data.draw(st.integers(20, 60)))
    try:
        drawn = draw_streamed(folder, THREE_CITIES, **options)
    except ValueError as refused:
        with pytest.raises(ValueError, match=re.escape(str(refused))):
            in_memory(photos, **options)
    else:
        assert_same(drawn, photos, **options)


@pytest.mark.parametrize("protocol", ["photo", "user", "place"])
@pytest.mark.parametrize("last", ["val", "test"])
def test_a_split_that_comes_last_is_known_to_the_first_batch(tmp_path, protocol, last):
    """Till then a city seems to have no validation, or all of its blocks on one side."""
    photos = made_up(300, users=40, blocks=8, partitions=[None])
    photos = photos[photos["latitude"] < 40]  # the others are in no city
    shares = {"val": 0.4, "test": 0.2}
    split = splits.assign_split(photos.assign(city_id=photos["latitude"]), protocol, shares=shares)
    split = split[f"split_{protocol}"]
    photos = photos.iloc[np.argsort(split == last, kind="stable")].reset_index(drop=True)
    options = {
        "min_photos": 20,
        "protocols": [protocol],
        "per_city": {"train": 5, "val": 2, "test": 3},
        "shares": shares,
    }
    assert_same(draw_streamed(write_corpus(photos, tmp_path, 75), THREE_CITIES, **options), photos, **options)


@pytest.mark.parametrize("protocol", splits.PROTOCOLS)
def test_a_survey_allows_the_protocols_that_the_photos_allow(protocol):
    """At the edge: two cities have both sides in some of these tables, and one or none in the others."""
    allowed = set()
    for seed in range(12):
        photos = made_up(24, users=6, blocks=2, partitions=["train", "val"], seed=seed)
        photos = photos.assign(city_id=cities.label_cities(photos, THREE_CITIES), photos=1).dropna(subset="city_id")
        own = splits.available_protocols(photos)
        assert splits.available_protocols(survey(photos, protocols=[*splits.PROTOCOLS])) == own
        allowed.add(protocol in own)
    assert True in allowed
    assert protocol in ("photo", "given") or False in allowed


@pytest.fixture
def corpus(tmp_path) -> tuple[pd.DataFrame, Path]:
    photos = made_up(4_000, users=300, blocks=12, partitions=[None])
    return photos, write_corpus(photos, tmp_path / "parts", 900)


PER_CITY = {"train": 50, "val": 10, "test": 20}
OPTIONS = {"min_photos": 400, "per_city": PER_CITY}


def test_parquet_files_draw_what_memory_draws(corpus, monkeypatch):
    photos, folder = corpus
    monkeypatch.setattr(streaming, "BATCH_ROWS", 450)
    assert_same(draw_streamed(folder, THREE_CITIES, **OPTIONS), photos, **OPTIONS)


def test_a_cluster_draws_what_memory_draws(corpus):
    distributed = pytest.importorskip("dask.distributed", reason="the extra `cluster` is not installed")
    photos, folder = corpus
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(protocol="tcp://", **options) as cluster:
        drawn = draw_streamed(folder, THREE_CITIES, cluster=cluster.scheduler_address, **OPTIONS)
    assert_same(drawn, photos, **OPTIONS)


def test_what_is_held_grows_with_the_sample_and_not_with_the_corpus(tmp_path, monkeypatch):
    sizes = []
    for name in ("survey", "keep_drawn"):
        work = getattr(streaming, name)

        @functools.wraps(work)
        def watched(*given, work=work, **options):
            sizes.append(len(held := work(*given, **options)))
            return held

        monkeypatch.setattr(streaming, name, watched)
    held = {}
    for rows in (8_000, 40_000):
        photos = made_up(rows, users=2_000, blocks=60, partitions=["train", "val", "test"])
        folder = write_corpus(photos, tmp_path / str(rows), 4_000)
        drawn = draw_streamed(folder, THREE_CITIES, min_photos=500, per_city=PER_CITY)
        assert len(drawn.sample.shortfalls) == 0
        held[rows], sizes[:] = max(sizes), []
    kept_by_survey = 3 * 3 * 4 + 1  # cities, protocols, splits or none; in no city
    assert max(held.values()) <= 3 * 3 * sum(PER_CITY.values()) + kept_by_survey
    assert held[40_000] <= held[8_000] + 3 * 80  # of the protocols' photos fewer are the same ones


def test_a_split_of_the_corpus_is_held_only_if_asked_for(tmp_path):
    photos = made_up(2_000, users=90, blocks=12, partitions=["train", "val", "test"])
    folder = write_corpus(photos, tmp_path, len(photos))
    default = draw_streamed(folder, THREE_CITIES, min_photos=100, per_city=PER_CITY).sample.table
    assert "given" not in tables.drawn_protocols(default)
    whole = draw_streamed(folder, THREE_CITIES, min_photos=100, per_city=PER_CITY, protocols=["given"]).sample.table
    assert len(whole) > 1_500 > len(default)


def test_the_photos_drawn_give_the_same_sample_when_drawn_from_alone(corpus):
    """So notebooks 02 and 03 can start from them."""
    _, folder = corpus
    drawn = draw_streamed(folder, THREE_CITIES, **OPTIONS)
    again, _ = in_memory(drawn.photos, min_photos=1, per_city=PER_CITY)
    pd.testing.assert_frame_equal(again.table, drawn.sample.table)


def test_what_cannot_be_drawn_is_said_with_what_there_is(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"no city has 9,000 photos, the largest has [12],\d{3}"):
        draw_streamed(corpus[1], THREE_CITIES, min_photos=9_000)
    with pytest.raises(ValueError, match=r"'given' leaves 0 .*partition"):
        draw_streamed(corpus[1], THREE_CITIES, protocols=["given"], **OPTIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no photos: expected a Parquet file"):
        draw_streamed(tmp_path / "empty", THREE_CITIES)


def test_parts_hold_what_the_stream_gave(tmp_path, capsys):
    lines = [yfcc_row(i) for i in range(40)] + ["broken\n", yfcc_row(7)]
    path = write_yfcc(tmp_path / "yfcc100m_dataset", lines)

    def stream():
        return yfcc100m.read_yfcc100m(path, image_root="/images", check_images=False, batch_rows=10)

    parts = streaming.write_parts(stream(), tmp_path / "out")
    whole = checks.concat_readings(stream())
    pd.testing.assert_frame_equal(pd.read_parquet(parts), whole.photos)
    assert len(pd.read_csv(tmp_path / "out/rejected.csv")) == len(whole.rejected) == 2
    assert "42 in, 40 out" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="earlier reading"):
        streaming.write_parts(stream(), tmp_path / "out")


def test_parts_of_nothing_are_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="no records"):
        streaming.write_parts(iter([]), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_positions_without_images_are_refused_at_the_first_batch_that_has_photos(tmp_path):
    photos, rejected = made_up(9, users=3, blocks=2, partitions=[None]), checks.rejected_rows(["1"], checks.BROKEN)
    some_images = photos.assign(path=[None] * 8 + ["/x.jpg"])
    tables_of_photos = iter([photos.head(0), some_images, photos.assign(path=None), photos])
    with pytest.raises(ValueError, match="positions without images: say with --image-root where"):
        streaming.write_parts((checks.Reading(table, rejected) for table in tables_of_photos), tmp_path / "out")
    assert len(list(tables_of_photos)) == 1
    assert not (tmp_path / "out" / "parts").exists()
