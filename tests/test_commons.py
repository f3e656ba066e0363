"""Collecting from a wiki on this machine that answers as documented, with its errors and its hostile pages."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commons_server import CommonsServer, camera, cut, cut_answer, lag, page, redirect, refuse, wait
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoutils.commons import OPEN_LICENSE, collect, join_people, rebuild
from geoutils.download import polite_session
from geoutils.geo import great_circle_km
from geoutils.mediawiki import Client, describe_files, find_files, plain_text
from geoutils.tables import Reading, conform

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
    answers = tmp_path / "answers"
    return Client(server.api, {"127.0.0.1"}, answers, polite_session("test@example.org"), waits.append)


def add_many(server: CommonsServer, count: int, centre: tuple[float, float] = PARIS, spread: float = 0.02) -> None:
    """Add good photographs about a centre, `spread` degrees to each side, after those that are there."""
    offsets = np.random.default_rng(count).uniform(-spread, spread, (count, 2))
    for page_id, (north, east) in enumerate(offsets.tolist(), len(server.pages) + 1):
        longitude = (centre[1] + east + 180) % 360 - 180
        server.add(page_id, centre[0] + north, longitude)


def reasons(reading: Reading) -> dict[str, str]:
    return dict(zip(reading.rejected["record"], reading.rejected["reason"], strict=True))


def without_path(photos: pd.DataFrame) -> pd.DataFrame:
    return photos.drop(columns="path").sort_values("photo_id").reset_index(drop=True)


# the wiki's client


@pytest.mark.parametrize(("centre", "spread"), [(PARIS, 0.03), (PARIS, 0.2), ((-18.1, 179.95), 0.05)])
def test_dense_places_are_listed_completely(server, client, centre, spread):
    add_many(server, 1_500, centre, spread)
    beside = (centre[0] - 0.02, (centre[1] + 0.06 + 180) % 360 - 180)
    assert find_files(client, *beside, 25.0) == list(range(1, 1_501))


def test_a_spot_with_more_than_the_limit_ends_the_search(server, client):
    for page_id in range(600):
        server.add(page_id, *PARIS)
    assert len(find_files(client, *PARIS, 5.0)) == 500
    assert len(server.log) < 40


def test_a_list_has_only_what_lies_in_the_square(server, client):
    add_many(server, 300, spread=0.5)
    where = pd.DataFrame({number: found["coordinates"][0] for number, found in server.pages.items()}).T
    side = great_circle_km(*PARIS, where["lat"].astype(float), PARIS[1]) <= 25
    side &= great_circle_km(PARIS[0], PARIS[1], PARIS[0], where["lon"].astype(float)) <= 25
    assert find_files(client, *PARIS, 25.0) == list(where.index[side])


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
    other = Client(server.api, {"127.0.0.1"}, tmp_path / "other", client.session, client.sleep)
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
    with pytest.raises(ValueError, match="invalid-bbox"):
        client.ask({"list": "geosearch", "gsbbox": "1|1|2|2", "gslimit": 500})


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
    if changes.get("coordinates") == []:  # what the index still lists
        listed = {"pageid": 1, "ns": 6, "title": "File:Street 1.jpg", "lat": PARIS[0], "lon": PARIS[1]}
        body = str({"query": {"geosearch": [listed]}}).replace("'", '"').encode()
        server.fail("geosearch", lambda handler: handler.reply(body, "application/json"))
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


def test_the_corners_of_the_square_are_outside_the_circle(server, gather):
    server.add(1, PARIS[0] + 0.04, PARIS[1] + 0.06)
    assert reasons(gather()) == {"commons-1": "outside the city's circle"}


def test_the_same_file_under_two_titles_is_taken_once(server, gather):
    for page_id in (1, 2, 3):
        server.add(page_id, *PARIS, sha1="a" * 40)
    reading = gather()
    assert len(reading.photos) == 1
    assert list(reasons(reading).values()) == ["duplicate", "duplicate"]


def test_a_larger_collection_contains_the_smaller(server, gather):
    add_many(server, 100)
    small, large, other = gather("a", per_city=5), gather("b", per_city=20), gather("c", per_city=5, seed=1)
    assert set(small.photos["photo_id"]) < set(large.photos["photo_id"])
    assert set(small.photos["photo_id"]) != set(other.photos["photo_id"])


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
    ("changes", "message"), [({"contact": None}, "contact"), ({"width": 640}, "width"), ({"per_city": 0}, "per_city")]
)
def test_a_bad_setting_is_refused_before_anything_is_asked(server, gather, monkeypatch, changes, message):
    monkeypatch.delenv("DEEP_IM2GPS_CONTACT", raising=False)
    with pytest.raises(ValueError, match=message):
        gather(**changes)
    assert server.log == []
