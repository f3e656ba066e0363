"""The made-up world holds what was planted in it, and nothing that gives a city away."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoutils import readers, tables
from geoutils.cities import label_cities, leading_cities
from geoutils.readers import checks
from geoutils.world import generator, painter
from geoutils.world.generator import make_world, oracle_accuracy, profiles, read_truth, rules

FOUR = leading_cities(37).set_index("city", drop=False).loc[["London", "San Francisco", "Sydney", "Singapore"]]
REASONS = {
    "truncated": "truncated image",
    "empty": "unreadable image",
    "not an image": "unreadable image",
    "zero position": checks.NULL_ISLAND,
    "no position": checks.NO_POSITION,
}
STREET = {"ground": "lawn", "roof": "gable", "facade": "brick"}
PLAIN = painter.Camera(gain=(1, 1, 1), noise=0, vignette=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Four cities on all sides of equator and meridian, some 240 photos."""
    folder = tmp_path_factory.mktemp("made-up") / "world"
    return make_world(folder, FOUR, photos_per_city=60, side=80, seed=4, workers=1).parent


@pytest.fixture(scope="module")
def truth(world) -> pd.DataFrame:
    return read_truth(world)


@pytest.fixture(scope="module")
def plan() -> pd.DataFrame:
    """A world of the default size, planned but not drawn."""
    return generator._plan(leading_cities(37), 185, seed=0)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def scene(kind="street", hour="day", weather="clear", cues=STREET, place=(1,), moment=(2,)) -> np.ndarray:
    picture = painter.paint(painter.Scene(kind, hour, weather, cues, place, moment), PLAIN, side=80, seed=(3,))
    return np.asarray(picture, float)


def test_a_reader_rejects_exactly_the_photos_with_a_planted_fault(world, truth):
    reading = readers.read(world / "photos.csv")
    planted = truth[truth["fault"] != "none"].set_index("photo_id")["fault"]
    found = reading.rejected.set_index("record")["reason"]
    assert set(planted) == set(REASONS)
    assert found.to_dict() == planted.map(REASONS).to_dict()
    assert tables.origin(reading.photos).startswith("SYNTHETIC")


def test_labels_by_position_are_the_planted_ones(world, truth):
    table = pd.read_csv(world / "photos.csv").merge(truth, on="photo_id", validate="1:1")
    table = table[table["latitude"].notna()]
    labels = label_cities(table, FOUR).astype("Int64")
    pd.testing.assert_series_equal(labels, table["labelled_city_id"], check_names=False)
    moved = table["position"].eq("another city") & labels.notna()
    assert (labels[moved] != table["city_id"][moved]).all()
    assert labels[table["position"].eq("out of town")].isna().all()


def test_planted_shares_are_recovered(plan):
    bursts = plan[plan["frame"] == 0]
    for table, name in ((bursts, "scene"), (bursts, "hour"), (bursts, "position"), (plan, "fault")):
        for value, share in rules()[name].items():
            error = 4 * np.sqrt(share * (1 - share) / len(table))
            assert (table[name] == value).mean() == pytest.approx(share, abs=error), (name, value)


def test_cues_show_the_citys_own_value_as_often_as_planted(plan):
    own = profiles(leading_cities(37))
    bursts = plan[plan["frame"] == 0]
    for cue, (_, _, typical) in rules()["cue"].items():
        shown = bursts[bursts[cue].notna()]
        share = typical + (1 - typical) / len(generator._values(cue))
        hit = (shown[cue].to_numpy() == own.loc[shown["city_id"], cue].to_numpy()).mean()
        assert hit == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(shown))), cue


def test_the_default_world_is_large_skewed_and_well_travelled_enough(plan):
    usable = plan[plan["fault"].eq("none")].groupby("labelled_city_id").size()
    photographers = plan.groupby("city_id")["user_id"].nunique()
    assert len(plan) <= 7_000
    assert usable.min() >= 120
    assert usable.max() > 1.3 * usable.min()
    assert photographers.min() >= 40
    assert plan.groupby("user_id")["city_id"].nunique().median() > 1


def test_photos_of_a_burst_are_near_duplicates_and_others_are_not(world, truth):
    good = truth[~truth["fault"].isin(["truncated", "empty", "not an image"])]
    opened = (Image.open(world / "images" / f"{name}.jpg") for name in good["photo_id"])
    small = np.stack([np.asarray(image.convert("L").resize((16, 16)), float).ravel() for image in opened])
    distance = np.abs(small[:, None] - small).mean(axis=2)
    same = good["burst"].to_numpy()[:, None] == good["burst"].to_numpy()
    within, between = distance[same & ~np.eye(len(good), dtype=bool)], distance[~same]
    assert len(within) > 50
    assert within.min() > 0
    assert np.quantile(within, 0.95) < np.quantile(between, 0.05)


def test_the_number_of_workers_changes_no_byte_and_the_seed_changes_every_picture(tmp_path):
    make = functools.partial(make_world, cities=FOUR[:2], photos_per_city=8, side=64)
    one, two = make(tmp_path / "1", workers=1).parent, make(tmp_path / "2", workers=2).parent
    other = make(tmp_path / "3", workers=1, seed=1).parent
    assert digests(one) == digests(two)
    pictures = {digest for name, digest in digests(one).items() if "images" in name}
    assert not pictures & set(digests(other).values())


def test_a_whole_world_is_reused_and_another_leaves_it_as_it_is(tmp_path):
    make = functools.partial(make_world, tmp_path / "w", FOUR[:2], photos_per_city=4, side=64, workers=1)
    first = make()
    before = digests(first.parent)
    (first.parent / "mark").touch()
    assert make() == first
    assert (first.parent / "mark").exists()
    other = make(seed=1)
    assert other != first
    assert digests(first.parent).items() >= before.items()
    assert {path.name for path in (tmp_path / "w").iterdir()} == {first.parent.name, other.parent.name}


def test_a_failing_run_leaves_nothing_half_made(tmp_path, monkeypatch):
    make = functools.partial(make_world, tmp_path / "w", FOUR[:2], photos_per_city=4, side=64, workers=1)
    make()
    before = digests(tmp_path)
    monkeypatch.setattr(generator, "_exif", lambda photo: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(seed=1)
    assert digests(tmp_path) == before


def test_a_world_of_one_city_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two cities or more, found 1"):
        make_world(tmp_path / "w", FOUR[:1])


def test_exif_says_what_the_csv_says(world, truth):
    table = pd.read_csv(world / "photos.csv", parse_dates=["taken_at"]).set_index("path")
    table = table[truth["fault"].eq("none").to_numpy()]
    exif = readers.read(world / "images").photos
    exif = exif.set_index("images/" + exif["photo_id"]).loc[table.index]
    for name in ("latitude", "longitude"):
        np.testing.assert_allclose(exif[name], table[name], atol=1e-8)
    assert (exif["taken_at"] == table["taken_at"]).all()
    assert set(np.sign(exif["latitude"])) == set(np.sign(exif["longitude"])) == {-1, 1}


def test_the_users_table_gives_no_truth_away(world, truth):
    table = pd.read_csv(world / "photos.csv")
    city = truth["city_id"].to_numpy()
    assert list(table) == ["photo_id", "path", "latitude", "longitude", "user_id", "taken_at", "keyword"]
    assert (table["path"] == "images/" + table["photo_id"] + ".jpg").all()
    expected = (truth["city_id"].value_counts(normalize=True) ** 2).sum()  # neighbours in a shuffled table
    assert (city[1:] == city[:-1]).mean() == pytest.approx(expected, abs=0.12)
    number = table["photo_id"].map(lambda name: int(name, 16)).astype(float)
    assert abs(np.corrcoef(number, truth["informative"])[0, 1]) < 0.25
    assert table["user_id"].str.fullmatch("[0-9a-f]{12}").all()


def test_keywords_say_nothing_about_city_or_scene(plan):
    from scipy.stats import chi2_contingency

    bursts = plan[plan["frame"] == 0]
    for name in ("city_id", "scene", "position"):
        assert chi2_contingency(pd.crosstab(bursts["keyword"], bursts[name])).pvalue > 1e-4


@pytest.mark.parametrize("cue", list(rules()["cue"]))
def test_every_value_of_a_cue_is_a_picture_of_its_own(cue):
    pictures = [scene(cues=STREET | {cue: value}) for value in generator._values(cue)]
    flat = np.stack(pictures).reshape(len(pictures), -1)
    gaps = [np.abs(flat - row).mean(axis=1) for row in flat]
    assert np.stack(gaps)[~np.eye(len(flat), dtype=bool)].min() > 0.2  # grey levels, over the whole picture


def test_pictures_that_say_nothing_do_not_depend_on_cues_or_place():
    for kind in ("indoor", "food", "portrait"):
        assert (scene(kind) == scene(kind, cues={"sky": "azure"}, place=(9,), hour="night", weather="fog")).all()
        assert (scene(kind) != scene(kind, moment=(9,))).any()


def test_a_camera_leaves_its_gain_in_the_pixels():
    gain = (0.9, 0.8, 0.7)
    made = painter.Scene("street", "day", "clear", STREET, (1,), (2,))
    cast = np.asarray(painter.paint(made, painter.Camera(gain, 0, 0), side=80, seed=(3,)), float)
    np.testing.assert_allclose(cast.mean(axis=(0, 1)) / scene().mean(axis=(0, 1)), gain, atol=0.01)


def test_a_citys_profile_does_not_depend_on_other_cities_and_follows_latitude():
    many = pd.DataFrame({"city_id": range(600), "latitude": np.linspace(-65, 65, 600)})
    table = profiles(many)
    pd.testing.assert_frame_equal(profiles(many[100:103]), table[100:103])
    north = many["latitude"].abs().groupby(table["vegetation"].to_numpy()).mean()
    assert list(north.sort_values().index) == ["palm", "umbrella-pine", "cypress", "broadleaf", "conifer"]
    assert not profiles(many, seed=1).equals(table)


def test_the_oracles_posterior_is_bayes_rule_by_enumeration(plan):
    known, rows = profiles(leading_cities(37)), plan[plan["informative"]].head(5)
    for (_, photo), found in zip(rows.iterrows(), generator._posterior(rows, known), strict=True):
        likelihood = np.ones(len(known))
        for city, (_, own) in enumerate(known.iterrows()):
            for cue, (_, _, typical) in rules()["cue"].items():
                if isinstance(photo[cue], str):
                    any_value = (1 - typical) / len(generator._values(cue))
                    likelihood[city] *= any_value + (typical if photo[cue] == own[cue] else 0)
        np.testing.assert_allclose(found, likelihood / likelihood.sum())


def test_the_oracle_is_right_as_often_as_it_expects_and_never_always(world, truth):
    table = oracle_accuracy(world, truth["photo_id"])
    n = table["photos"].sum()
    assert 1 / 4 + 0.1 < table["expected"].mean() < 0.9
    known = profiles(FOUR, seed=4)
    used = truth[truth["labelled_city_id"].notna() & truth["fault"].eq("none")]
    right = known.index[generator._posterior(used, known).argmax(axis=1)] == used["labelled_city_id"]
    accuracy = right.groupby(used["labelled_city_id"]).mean()
    assert accuracy.mean() == pytest.approx(table["expected"].mean(), abs=4 * 0.5 / np.sqrt(n))
    dull = oracle_accuracy(world, truth.loc[~truth["informative"], "photo_id"])
    np.testing.assert_allclose(dull["expected"], 1 / 4)
    assert dull["photos"].sum() < n


def test_the_oracle_knows_that_some_positions_are_wrong(world, truth):
    sure = oracle_accuracy(world, truth.loc[truth["landmark"].notna(), "photo_id"])["expected"]
    right, other = rules()["position"]["right"], rules()["position"]["another city"]
    assert 0.9 < sure.mean() <= right / (right + other)
