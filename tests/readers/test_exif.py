"""Photos placed by their EXIF: what no instrument writes is no position."""

import pandas as pd
import pillow_heif
import pytest
from PIL.TiffImagePlugin import IFDRational

from geoutils import images, readers
from geoutils.readers import checks
from geoutils.readers.exif import _degrees, read_exif
from makers.corpus_files import reasons, write_geotagged
from makers.photos import exif_with


def test_a_folder_tree_gives_positions_and_says_what_it_left_out(tmp_path, crops, capsys):
    write_geotagged(tmp_path / "a.jpg", crops[0])
    write_geotagged(tmp_path / "b" / "c" / "d.PNG", crops[0])
    crops[0].save(tmp_path / "b" / "plain.jpg")
    (tmp_path / "b" / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-700])
    (tmp_path / "b" / "text.jpeg").write_text("no image")
    (tmp_path / "notes.txt").write_text("no record")
    reading = readers.read(tmp_path)
    assert reading.photos["photo_id"].tolist() == ["a.jpg", "b/c/d.PNG"]
    assert reading.photos["longitude"].tolist() == pytest.approx([-2.35, -2.35])
    assert reasons(reading) == {
        "b/cut.jpg": images.TRUNCATED,
        "b/plain.jpg": checks.NO_POSITION,
        "b/text.jpeg": images.UNREADABLE,
    }
    assert "6 in, 5 out (others: ['.txt'])" in capsys.readouterr().out


def test_a_name_that_is_no_utf8_is_rejected_not_fatal(tmp_path, crops):
    write_geotagged(tmp_path / "good.jpg", crops[0])
    (tmp_path / "b\udce4d.jpg").hardlink_to(tmp_path / "good.jpg")
    reading = readers.read(tmp_path)
    assert reading.photos["photo_id"].tolist() == ["good.jpg"]
    assert reading.rejected["reason"].tolist() == [images.MISSING_FILE]


@pytest.mark.parametrize(
    ("refs", "signs"),
    [
        (("N", "E"), (1, 1)),
        (("S", "W"), (-1, -1)),
        (("s", "w"), (-1, -1)),
        ((b"S\0", b"W\0"), (-1, -1)),
        (("North", "West"), (1, -1)),
    ],
)
def test_degrees_minutes_seconds_take_the_hemispheres_sign(photo, tmp_path, refs, signs):
    photo.save(tmp_path / "photo.jpg", exif=exif_with((48.0, 51.0, 30.0), (2.0, 21.0, 0.0), refs=refs))
    found = read_exif(tmp_path / "photo.jpg")
    assert float(found["latitude"]) == pytest.approx(signs[0] * (48 + 51 / 60 + 30 / 3600))
    assert float(found["longitude"]) == pytest.approx(signs[1] * 2.35)


@pytest.mark.parametrize("refs", [(None, None), ("E", "N"), ("", "?")])
def test_a_position_without_hemisphere_is_no_number(photo, tmp_path, refs):
    photo.save(tmp_path / "photo.jpg", exif=exif_with((48.0, 51.0, 30.0), (2.0, 21.0, 0.0), refs=refs))
    for coordinate in ("latitude", "longitude"):
        with pytest.raises(ValueError, match="could not convert"):
            float(read_exif(tmp_path / "photo.jpg")[coordinate])


def test_a_zero_denominator_is_no_number(photo, tmp_path):
    seconds = IFDRational(30, 0)
    photo.save(tmp_path / "photo.jpg", exif=exif_with((48.0, 51.0, seconds), (2.0, 21.0, 0.0)))
    found = read_exif(tmp_path / "photo.jpg")
    assert "48.0" in found["latitude"]
    assert pd.isna(pd.to_numeric(found["latitude"], errors="coerce"))
    assert float(found["longitude"]) == pytest.approx(2.35)


def signed(*parts: int) -> tuple:
    return tuple(IFDRational(part, 1) for part in parts)


@pytest.mark.parametrize(
    ("parts", "ref"),
    [((-33, 30, 0), "S"), ((48, 75, 99), "N"), ((48, 60, 0), "N"), ((48, 0, 60), "N"), ((91, 0, 0), "N"), ((), "N")],
)
def test_degrees_that_no_instrument_writes_are_no_number(parts, ref):
    assert isinstance(_degrees(signed(*parts), ref, "NS", 90), str)
    assert _degrees(signed(179, 59, 59), "W", "EW", 180) == pytest.approx(-180, abs=1e-3)
    assert _degrees(signed(90), "S", "NS", 90) == -90


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "heic", "avif"])
def test_every_format_tells_its_position(photo, tmp_path, suffix):
    pillow_heif.register_heif_opener()
    photo.save(tmp_path / f"p.{suffix}", exif=exif_with((33.0, 30.0, 0.0), (70.0, 15.0, 0.0), refs="SW", artist="Ann"))
    found = read_exif(tmp_path / f"p.{suffix}")
    assert (float(found["latitude"]), float(found["longitude"])) == (-33.5, -70.25)


def test_time_and_artist_come_from_exif_and_their_absence_is_null(photo, tmp_path):
    photo.save(tmp_path / "with.jpg", exif=exif_with(time="2005:07:21 14:41:58", artist="Ann"))
    photo.save(tmp_path / "without.jpg")
    assert read_exif(tmp_path / "with.jpg") | {"latitude": None} == {
        "latitude": None,
        "longitude": None,
        "taken_at": "2005-07-21 14:41:58",
        "user_id": "Ann",
    }
    assert set(read_exif(tmp_path / "without.jpg").values()) == {None}
