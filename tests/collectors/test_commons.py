"""Collecting from a wiki on this machine that answers as documented, with its errors and its hostile pages."""

import csv
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoutils.collectors.commons import OPEN_LICENSE, collect, join_people, rebuild
from geoutils.collectors.mediawiki import Client, describe_files, find_files, plain_text
from geoutils.download import polite_session
from geoutils.geo import great_circle_km
from geoutils.readers.checks import Reading
from geoutils.tables import conform
from makers.commons_server import CommonsServer, camera, cut, cut_answer, lag, page, redirect, refuse, wait

PARIS = (48.8566, 2.3522)
CITIES = pd.DataFrame(
    {
        "city_id": [1, 2],
        "city": ["Paris", "Suva"],
        "latitude": [PARIS[0], -18.1416],
        "longitude": [PARIS[1], 179.99],
    }
)
Collect = Callable[..., Reading]


@pytest.fixture
def server() -> Iterator[CommonsServer]:
    with CommonsServer() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """Collects what would have been slept."""
    return []


@pytest.fixture
def options(server: CommonsServer, waits: list[float]) -> dict[str, Any]:
    """Lead to the server here, and sleep by taking note."""
    here = {"api": server.api, "image_hosts": {"127.0.0.1"}, "sleep": waits.append}
    return here | {"contact": "test@example.org"}


@pytest.fixture
def gather(tmp_path: Path, options: dict[str, Any]) -> Collect:
    """Collect from the server here."""

    def run(folder: str = "out", cities: pd.DataFrame = CITIES[:1], **changes: Any) -> Reading:
        settings = {"per_city": 5, "per_cell": 99, "radius_km": 5.0, "key_file": tmp_path / "key"} | options | changes
        return collect(cities, tmp_path / folder, **settings)

    return run


@pytest.fixture
def client(server: CommonsServer, tmp_path: Path, waits: list[float]) -> Client:
    session = polite_session("test@example.org")
    return Client(tmp_path / "answers", session, server.api, {"127.0.0.1"}, waits.append)


def add_many(server: CommonsServer, count: int, centre: tuple[float, float] = PARIS, spread: float = 0.02) -> None:
    """Add good photographs about a centre, `spread` degrees to each side, after those that are there."""
    offsets = np.random.default_rng(count).uniform(-spread, spread, (count, 2))
    for page_id, (north, east) in enumerate(offsets.tolist(), len(server.pages) + 1):
        longitude = (centre[1] + east + 180) % 360 - 180
        server.add(page_id, centre[0] + north, longitude)


def place_of(found: dict[str, Any]) -> tuple[float, float]:
    return found["coordinates"][0]["lat"], found["coordinates"][0]["lon"]


def reasons(reading: Reading) -> dict[str, str]:
    return dict(zip(reading.rejected["record"], reading.rejected["reason"], strict=True))


def without_path(photos: pd.DataFrame) -> pd.DataFrame:
    return photos.drop(columns="path").sort_values("photo_id").reset_index(drop=True)


# the wiki's client


@pytest.mark.parametrize(("centre", "spread"), [(PARIS, 0.001), (PARIS, 0.1), ((-18.1, 179.95), 0.05)])
def test_a_dense_circle_is_listed_completely_each_file_once(server, client, centre, spread):
    add_many(server, 1_300, centre, spread)
    assert sorted(find_files(client, *centre, 25.0)) == list(range(1, 1_301))
    assert len(server.log) == 3


def test_the_first_files_of_a_dense_centre_are_no_nearer_than_the_others(server, client):
    add_many(server, 3_000, spread=0.005)
    near = {n for n, p in server.pages.items() if np.hypot(*np.subtract(list(place_of(p)), PARIS)) < 0.0025}
    first = list(itertools.islice(find_files(client, *PARIS, 25.0), 500))
    assert abs(len(near & set(first)) / 500 - len(near) / 3_000) < 0.06  # 3.3 standard deviations


def test_a_list_is_asked_for_only_as_far_as_it_is_read(server, client):
    add_many(server, 1_300)
    next(find_files(client, *PARIS, 25.0))
    assert len(server.log) == 1


def test_an_order_that_changes_in_between_gives_no_file_twice(server, client):
    add_many(server, 1_300)
    files = find_files(client, *PARIS, 25.0)
    first = next(files)
    client.session.headers["User-Agent"] = "another client"
    both = [first, *files]
    assert len(both) == len(set(both)) < 1_300


def test_a_list_ends_where_the_wiki_answers_no_further(server, client, monkeypatch):
    add_many(server, 1_300)
    server.deepest = 1_000
    monkeypatch.setattr("geoutils.collectors.mediawiki.SEARCH_DEPTH", 1_000)
    assert len(set(find_files(client, *PARIS, 25.0))) == 1_000


def test_a_busy_search_is_asked_again(server, client, waits):
    server.add(1, *PARIS)
    body = b'{"error": {"code": "cirrussearch-too-busy-error", "info": "Search is currently too busy."}}'
    server.fail("list=search", lambda handler: handler.reply(body, "application/json"))
    assert list(find_files(client, *PARIS, 5.0)) == [1]
    assert waits == [1]


def test_a_list_has_only_what_lies_in_the_circle(server, client):
    add_many(server, 300, spread=0.5)
    where = np.array([place_of(found) for found in server.pages.values()])
    inside = great_circle_km(*PARIS, *where.T) <= 25
    assert sorted(find_files(client, *PARIS, 25.0)) == list(np.flatnonzero(inside) + 1)


def test_what_follows_on_continue_is_joined_to_its_page(server, client, tmp_path):
    add_many(server, 20)
    server.pages[7]["coordinates"] = [
        *[camera(1, 1, type="city")] * 15,
        camera(48.5, 2.5),
        *[camera(1, 1, type="city")] * 15,
    ]
    whole = list(describe_files(client, range(1, 21), 500))
    assert len(server.log) == 1
    server.parts_an_answer = 3
    other = dataclasses.replace(client, answers=tmp_path / "other")
    assert list(describe_files(other, range(1, 21), 500)) == whole
    assert (whole[6]["latitude"], whole[6]["longitude"]) == (48.5, 2.5)
    assert len(server.asked("cocontinue")) > 10


@pytest.mark.parametrize("failure", [lag(5), wait(429, 5), wait(503, 5)])
def test_an_overloaded_wiki_gets_the_wait_that_it_asks_for(server, client, waits, failure):
    server.add(1, *PARIS)
    server.fail("pageids", failure, failure)
    assert next(describe_files(client, [1], 500))["sha1"]
    assert waits == [5, 5]


@pytest.mark.parametrize("failure", [page(b"<html>busy</html>"), page(b"[1, 2]"), cut_answer(9), refuse(500)])
def test_an_answer_that_is_none_is_asked_for_again(server, client, waits, failure):
    server.add(1, *PARIS)
    server.fail("pageids", failure)
    assert next(describe_files(client, [1], 500))["title"] == "File:Street 1.jpg"
    assert waits == [1]


def test_a_refused_query_names_the_wikis_reason(server, client):
    search = {"srsearch": "nearcoord:9m,1,1", "srnamespace": 6, "srsort": "user_random", "srlimit": 500}
    with pytest.raises(ValueError, match="offset-too-large"):
        client.ask({"list": "search", "sroffset": 10_000} | search)


def test_a_continuation_that_repeats_itself_ends(server, client):
    body = b'{"continue": {"cocontinue": "1|1"}, "query": {"pages": []}}'
    server.fail("pageids", *[lambda handler: handler.reply(body, "application/json")] * 9)
    with pytest.raises(ValueError, match="repeats"):
        list(describe_files(client, [1], 500))


def test_the_wiki_hears_who_asks_and_may_refuse_under_load(server, gather):
    add_many(server, 9)
    gather()
    assert all("(test@example.org)" in headers["User-Agent"] for _, headers in server.log)
    assert all("maxlag=5" in path for path in server.asked("api.php"))


@given(st.text(max_size=300))
def test_plain_text_has_one_line_and_no_marks(text):
    plain = plain_text(text)
    assert plain == " ".join(plain.split())
    assert not set(plain) & set("\u200e\u200f\u202a\u202e\u2066\u2069\x00\x1b\n")


# the collection


def test_good_photographs_become_a_valid_photo_table(server, gather, tmp_path):
    add_many(server, 5)
    photos, rejected = gather()
    assert len(photos) == 5
    assert rejected.empty
    pd.testing.assert_frame_equal(photos, conform(photos, "photos"))
    row = photos.set_index("photo_id").loc["commons-3"]
    place = server.pages[3]["coordinates"][0]
    assert (row["latitude"], row["longitude"]) == (place["lat"], place["lon"])
    assert (row["license"], row["source"], row["keyword"]) == ("CC BY-SA 4.0", "commons", "Paris")
    assert row["taken_at"] == pd.Timestamp("2014-07-21 14:41:58")
    assert Path(row["path"]).is_absolute()
    assert Path(row["path"]).read_bytes() == server.files["/thumb/3/500px.jpg"]


def test_every_page_that_was_looked_at_is_taken_or_has_a_reason(server, gather):
    add_many(server, 40)
    for number in range(1, 41, 3):
        server.pages[number]["mime"] = "image/png"
    photos, rejected = gather(per_city=99)
    looked_at = [*photos["photo_id"], *rejected["record"]]
    assert sorted(looked_at) == sorted(f"commons-{number}" for number in range(1, 41))
    assert set(rejected["reason"]) == {"no photograph by file type or EXIF"}


def test_the_cameras_position_is_taken_not_the_objects(server, gather):
    thing = camera(48.86, 2.36, type="landmark")
    server.add(1, 0, 0, coordinates=[thing, camera(48.85, 2.35, primary=False)])
    server.add(2, 0, 0, coordinates=[thing])
    reading = gather()
    assert reading.photos[["latitude", "longitude"]].to_numpy().tolist() == [[48.85, 2.35]]
    assert reasons(reading) == {"commons-2": "no camera position"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"coordinates": []}, "no camera position"),
        ({"coordinates": [camera(*PARIS, globe="moon")]}, "no camera position"),
        ({"mime": "image/tiff"}, "no photograph by file type or EXIF"),
        ({"mediatype": "DRAWING"}, "no photograph by file type or EXIF"),
        ({"commonmetadata": None}, "no photograph by file type or EXIF"),
        ({"commonmetadata": [{"name": "Model", "value": "CanoScan 9000F"}]}, "no photograph by its description"),
        ({"title": "File:Map of Paris 1789.jpg"}, "no photograph by its description"),
        ({"width": 400, "height": 300}, "too small or too narrow"),
        ({"width": 9000, "height": 1000}, "too small or too narrow"),
        ({"extmetadata": {"LicenseShortName": {"value": "CC BY-NC 4.0"}}}, "no open licence"),
        ({"extmetadata": {}}, "no open licence"),
        ({"sha1": "../../../etc/passwd"}, "removed from the wiki"),
        ({"thumburl": "https://elsewhere.example/1.jpg"}, "image can't be had"),
    ],
)
def test_a_page_of_no_use_is_named_with_its_reason(server, client, gather, changes, reason):
    server.add(1, *PARIS, **changes)
    if "coordinates" in changes:  # what the index still lists
        body = b'{"query": {"search": [{"ns": 6, "title": "File:Street 1.jpg", "pageid": 1}]}}'
        server.fail("list=search", lambda handler: handler.reply(body, "application/json"))
    reading = gather()
    assert reading.photos.empty
    assert reasons(reading) == {"commons-1": reason}


@pytest.mark.parametrize("name", ["CC0", "CC BY 2.0", "CC BY-SA 3.0 de", "Public domain", "CC BY"])
def test_open_licences_pass(name):
    assert OPEN_LICENSE.match(name)


@pytest.mark.parametrize(
    "name", ["", "CC BY-NC 2.0", "CC BY-ND 4.0", "CC BY-NC-SA 3.0", "Fair use", "All rights reserved"]
)
def test_other_licences_do_not(name):
    assert not OPEN_LICENSE.match(name)


def test_no_more_than_the_cap_come_from_100_metres(server, gather):
    add_many(server, 60, spread=0.0004)  # 90 m
    add_many(server, 5)
    photos, rejected = gather(per_city=99, per_cell=2)
    metres = np.array([111_195, 111_195 * np.cos(np.radians(PARIS[0]))])
    cells = (photos[["latitude", "longitude"]].to_numpy() - PARIS) * metres // 100
    assert Counter(map(tuple, cells)).most_common(1)[0][1] == 2
    assert set(rejected["reason"]) == {"enough photos within 100 m"}


def test_a_camera_outside_the_circle_is_not_taken(server, gather):
    thing = camera(PARIS[0] + 0.04, PARIS[1], type="landmark")
    server.add(1, 0, 0, coordinates=[thing, camera(PARIS[0] + 0.05, PARIS[1], primary=False)])
    assert reasons(gather()) == {"commons-1": "outside the city's circle"}


def test_the_same_file_under_two_titles_is_taken_once(server, gather):
    for page_id in (1, 2, 3):
        server.add(page_id, *PARIS, sha1="a" * 40)
    reading = gather()
    assert len(reading.photos) == 1
    assert list(reasons(reading).values()) == ["duplicate", "duplicate"]


def test_a_larger_collection_contains_the_smaller(server, gather):
    add_many(server, 100)
    small, large = gather("a", per_city=5), gather("b", per_city=20)
    other = gather("c", per_city=5, contact="else@example.org")  # the wiki gives each client its own order
    assert set(small.photos["photo_id"]) < set(large.photos["photo_id"])
    assert set(small.photos["photo_id"]) != set(other.photos["photo_id"])


def test_the_first_photo_of_a_dense_city_comes_with_the_third_request(server, gather):
    add_many(server, 1_300)
    gather(per_city=1, radius_km=25.0)
    assert len(server.log) == 3


def test_a_city_that_falls_short_is_said_in_the_summary(server, gather, tmp_path):
    add_many(server, 3)
    for number, year in ((1, 2006), (2, 2021), (3, 2010)):
        server.pages[number]["commonmetadata"][2]["value"] = f"{year}:01:01 00:00:00"
        server.pages[number]["user"] = "Same"
    gather(cities=CITIES)
    paris, suva = pd.read_csv(tmp_path / "out" / "summary.csv").to_dict("records")
    assert (paris["asked"], paris["obtained"], paris["photographers"], paris["largest_share"]) == (5, 3, 1, 1.0)
    assert (paris["first_year"], paris["last_year"]) == (2006, 2021)
    assert (suva["city"], suva["obtained"]) == ("Suva", 0)


def test_two_cities_on_both_sides_of_the_date_line_are_collected(server, gather):
    add_many(server, 9)
    add_many(server, 9, (-18.1416, 179.99))
    photos = gather(cities=CITIES).photos
    assert photos["keyword"].value_counts().to_dict() == {"Paris": 5, "Suva": 5}


# interruptions


@pytest.mark.parametrize("requests", [0, 1, 2, 4, 6])
def test_an_interrupted_run_goes_on_without_asking_twice(server, gather, requests):
    add_many(server, 60)
    whole = gather("whole")
    server.log.clear()
    server.dies_after = requests
    with pytest.raises(ConnectionError, match="run the same command later"):
        gather("cut")
    server.dies_after = None
    resumed = gather("cut")
    assert Counter(server.asked()).most_common(1)[0][1] == 1
    pd.testing.assert_frame_equal(without_path(resumed.photos), without_path(whole.photos))
    pd.testing.assert_frame_equal(resumed.rejected, whole.rejected)


def test_an_interruption_leaves_only_whole_images(server, gather, tmp_path):
    add_many(server, 9)
    server.fail("/thumb/", cut(100), *[refuse(500)] * 5)
    with pytest.raises(ConnectionError):
        gather()
    assert list((tmp_path / "out" / "images").glob("*.jpg")) == []
    gather()
    for path in (tmp_path / "out" / "images").glob("*.jpg"):
        assert Image.open(path).convert("L").size == (500, 375)


def test_a_finished_folder_is_not_asked_for_again(server, gather):
    add_many(server, 20)
    server.pages[3]["mime"] = "image/png"
    first = gather(per_city=99)
    server.log.clear()
    again = gather(per_city=99)
    assert server.log == []
    pd.testing.assert_frame_equal(again.photos, first.photos)
    pd.testing.assert_frame_equal(again.rejected, first.rejected)


def test_names_left_by_a_kill_go_at_the_next_call(server, gather, tmp_path):
    add_many(server, 9)
    gather()
    (tmp_path / "out" / "answers").mkdir()  # what a kill before the last step leaves
    (tmp_path / "out" / "answers" / "1.json").write_text("Uploader 1")
    gather()
    assert not (tmp_path / "out" / "answers").exists()


def images_of(photos: pd.DataFrame) -> set[str]:
    return {Path(path).name for path in photos["path"]}


@pytest.mark.parametrize("changes", [{"per_city": 3}, {"width": 330}, {"contact": "else@example.org", "seed": 1}])
def test_no_image_stays_without_attribution(server, gather, tmp_path, changes):
    add_many(server, 30)
    gather(per_city=9)
    images = tmp_path / "out" / "images"
    (images / f"{'a' * 40}_500.jpg.part").write_bytes(b"cut")
    (images / "mine.jpg").write_bytes(b"not of this module")
    chosen = images_of(gather(per_city=changes.pop("per_city", 9), **changes).photos)
    assert {path.name for path in images.iterdir()} == chosen | {"mine.jpg"}


def test_settings_given_again_after_a_cut_run_with_others_give_their_own_photos(server, gather, tmp_path):
    add_many(server, 30)
    first = gather(per_city=3).photos
    server.dies_after = len(server.log) + 4  # two answers and two images
    with pytest.raises(ConnectionError):
        gather(per_city=9)
    server.dies_after = None
    again = gather(per_city=3).photos
    pd.testing.assert_frame_equal(again, first)
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == images_of(again)


# images


@pytest.mark.parametrize(
    "answer",
    [
        page(b"<html><script>alert(1)</script></html>"),
        lambda handler: handler.reply(handler.server.files["/thumb/1/500px.jpg"][:900], "image/jpeg"),
        lambda handler: handler.reply(b"\x89PNG\r\n\x1a\n", "image/png"),
        lambda handler: handler.reply(b"", "image/jpeg"),
        redirect("http://localhost:1/evil.jpg"),
        refuse(404),
        refuse(400),
    ],
)
def test_what_is_no_image_is_rejected_once(server, gather, tmp_path, answer):
    server.add(1, *PARIS)
    server.add(2, *PARIS)
    server.fail("/thumb/1/", answer)
    server.fail("/thumb/2/", *[refuse(500)] * 6)
    with pytest.raises(ConnectionError):
        gather(seed=3)
    reading = gather(seed=3)
    assert list(reading.photos["photo_id"]) == ["commons-2"]
    assert reasons(reading) == {"commons-1": "image can't be had"}
    assert len(server.asked("/thumb/1/")) == 1
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1


def test_a_server_that_bars_this_client_is_asked_no_more(server, gather):
    add_many(server, 5)
    server.fail("/thumb/", *[refuse(403)] * 5)
    with pytest.raises(PermissionError):
        gather()
    assert len(server.asked("/thumb/")) == 1


def test_a_cut_image_is_completed(server, gather, waits):
    add_many(server, 1)
    server.fail("/thumb/", cut(700))
    path = gather().photos["path"][0]
    assert Path(path).read_bytes() == server.files["/thumb/1/500px.jpg"]
    assert waits == [1]


HOSTILE = [
    "File:../../../../tmp/evil.jpg",
    "File:..\\..\\evil.jpg",
    "File:<script>alert('Eve')</script>.jpg",
    "File:" + "x" * 300 + ".jpg",
    "File:\u202egpj.exe\u200f\u2066.jpg",
    "File:a\r\nb\x00\x1b[2J.jpg",
    '=HYPERLINK("http://evil.example")',
    "File:%2e%2e%2fevil.jpg",
]


def test_hostile_titles_stay_text_and_name_no_file(server, gather, tmp_path):
    for page_id, title in enumerate(HOSTILE, 1):
        server.add(page_id, *PARIS, title=title, user=title, descriptionurl=f"https://example.org/{title}")
    photos = gather(per_city=99).photos
    assert len(photos) == len(HOSTILE)
    names = {path.name for path in (tmp_path / "out" / "images").iterdir()}
    assert names == {f"{found['sha1']}_500.jpg" for found in server.pages.values()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key", "out"]
    with open(tmp_path / "out" / "ATTRIBUTION.csv", newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert all(cell.isprintable() and not cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert not any("<" in cell for cell in cells)


# people


def test_names_are_in_the_attribution_alone(server, gather, tmp_path):
    add_many(server, 30)
    server.pages[5]["title"] = "File:Street by Uploader 5.jpg"
    server.pages[5]["thumburl"] += "&title=Street_by_Uploader_5"
    server.fail("/thumb/5/", refuse(404))
    photos = gather(per_city=99).photos
    assert not photos.astype("str").apply(lambda column: column.str.contains("Uploader|Artist")).any(axis=None)
    with_names = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file() and b"Uploader" in p.read_bytes()}
    assert with_names == {"ATTRIBUTION.csv"}


def test_the_attribution_says_what_a_licence_asks_for(server, gather, tmp_path):
    add_many(server, 1)
    gather()
    row = pd.read_csv(tmp_path / "out" / "ATTRIBUTION.csv").loc[0]
    assert (row["author"], row["uploaded_by"], row["credit"]) == ("Artist 1", "Uploader 1", "Own work")
    assert (row["license"], row["license_url"]) == ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0")
    assert (row["title"], row["page"]) == ("File:Street 1.jpg", server.pages[1]["descriptionurl"])
    assert (row["uploaded"], row["changes"]) == ("2015-05-01T10:00:00Z", "scaled to a width of 500")


def artist(name: str) -> dict[str, Any]:
    return {"extmetadata": {"Artist": {"value": name}, "LicenseShortName": {"value": "CC0"}}}


def test_photos_agree_in_person_by_uploader_or_by_artist(server, gather):
    server.add(1, *PARIS, user="Ann", **artist("Ann"))
    server.add(2, *PARIS, user="Ann", **artist("Bob"))
    server.add(3, *PARIS, user="Cid", **artist('<bdi><a href="//w/User:Bob">User:Bob</a></bdi>'))
    server.add(4, *PARIS, user="Dan", **artist("Unknown author"))
    server.add(5, *PARIS, user="Eva", **artist("Unknown author"))
    users = gather().photos.set_index("photo_id")["user_id"]
    assert len(set(users[["commons-1", "commons-2", "commons-3"]])) == 1
    assert len(set(users)) == 3


def test_a_bot_joins_nobody(server, gather):
    for page_id in (1, 2):
        server.add(page_id, *PARIS, user="Flickr upload bot", **artist(f"Artist {page_id}"))
    assert len(set(gather().photos["user_id"])) == 2


def test_no_person_is_on_two_sides_of_the_partition(server, gather):
    add_many(server, 120)
    for number, found in server.pages.items():
        found["user"] = f"User {number % 61}"
    photos = gather(per_city=120).photos
    assert not photos.drop_duplicates(["user_id", "partition"])["user_id"].duplicated().any()
    assert set(photos["partition"]) == {"train", "val", "test"}


@settings(deadline=None)  # the first call imports scipy
@given(st.lists(st.tuples(*[st.sampled_from([None, *"abcdefgh"])] * 2), max_size=12))
def test_people_are_the_connected_components(pairs):
    people = [{name for name in pair if name} for pair in pairs]
    for _ in people:
        people = [set().union(one, *(other for other in people if one & other)) for one in people]
    table = pd.DataFrame(pairs, columns=["uploader", "artist"], dtype="str")
    found = join_people(table["uploader"], table["artist"])
    assert [None if pd.isna(name) else name for name in found] == [min(one, default=None) for one in people]


# the manifest


def test_a_manifest_gives_the_same_set_again(server, gather, options, tmp_path):
    add_many(server, 30)
    server.pages[2]["commonmetadata"][2]["value"] = "0000:00:00 00:00:00"
    photos = gather(per_city=20).photos
    again = rebuild(tmp_path / "out" / "manifest.csv", tmp_path / "again", **options)
    assert again.rejected.empty
    pd.testing.assert_frame_equal(without_path(again.photos), without_path(photos))
    lines = [sorted((tmp_path / f / "ATTRIBUTION.csv").read_text().splitlines()) for f in ("out", "again")]
    assert lines[0] == lines[1]
    pairs = zip(photos["path"].map(Path), again.photos["path"].map(Path), strict=True)
    assert all(old.read_bytes() == new.read_bytes() for old, new in pairs)


def test_a_rebuild_keeps_the_manifests_split_where_a_new_collection_may_not(server, gather, options, tmp_path):
    add_many(server, 60)
    split = gather(per_city=60).photos.set_index("photo_id")["partition"]
    other = gather("other", per_city=60, key_file=tmp_path / "other_key").photos.set_index("photo_id")["partition"]
    for found in server.pages.values():
        found["user"] = "One and the same"
    again = rebuild(tmp_path / "out" / "manifest.csv", tmp_path / "again", **options)
    assert again.photos.set_index("photo_id")["partition"].to_dict() == split.to_dict()
    assert other.to_dict() != split.to_dict()


def test_a_manifest_is_not_shortened_by_a_rebuild_beside_it(server, gather, options, tmp_path):
    add_many(server, 9)
    gather()
    before = (tmp_path / "out" / "manifest.csv").read_bytes()
    server.pages.clear()
    rebuild(tmp_path / "out" / "manifest.csv", tmp_path / "out", **options)
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == before


def test_a_manifest_says_what_was_removed_or_changed(server, gather, options, tmp_path):
    add_many(server, 9)
    gather(per_city=9)
    del server.pages[2]
    server.pages[3]["sha1"] = "b" * 40
    server.files["/thumb/4/500px.jpg"] = server.files["/thumb/5/500px.jpg"]
    server.fail("/thumb/6/", refuse(404))
    again = rebuild(tmp_path / "out" / "manifest.csv", tmp_path / "again", **options)
    assert reasons(again) == {
        "commons-2": "removed from the wiki",
        "commons-3": "changed on the wiki",
        "commons-4": "image can't be had",
        "commons-6": "image can't be had",
    }
    assert len(again.photos) == 5
    assert again.rejected.set_index("record").loc["commons-4", "detail"].count("sha256") == 1
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "again" / "rejected.csv", dtype="str", na_filter=False), again.rejected
    )


def test_a_manifest_holds_no_name_and_no_position_finer_than_the_wikis(server, gather, tmp_path):
    add_many(server, 5)
    gather()
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert manifest["uploader"].str.fullmatch("[0-9a-f]{16}").all()
    assert manifest["artist"].str.fullmatch("[0-9a-f]{16}").all()
    assert manifest["user_id"].isin({*manifest["uploader"], *manifest["artist"]}).all()
    assert list(manifest["width"]) == [500] * 5


def test_a_foreign_table_is_no_manifest(tmp_path, options):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no manifest"):
        rebuild(tmp_path / "m.csv", tmp_path / "again", **options)


# settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contact": None}, "contact"),
        ({"width": 640}, "a width .* found 1, 5 and 640"),
        ({"per_city": 0}, "per_city >= 1 .* found 1, 0 and 500"),
        ({"cities": CITIES[:0]}, "cities >= 1.* found 0, 5 and 500"),
    ],
)
def test_a_bad_setting_is_refused_before_anything_is_asked(server, gather, monkeypatch, changes, message):
    monkeypatch.delenv("DEEP_IM2GPS_CONTACT", raising=False)
    with pytest.raises(ValueError, match=message):
        gather(**changes)
    assert server.log == []
