"""Photos come upright and in RGB, or say why not."""

import contextlib
import errno
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pandas as pd
import pillow_heif
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from geoutils.images import (
    BOMB,
    MISSING_FILE,
    TOO_LONG,
    TRUNCATED,
    UNREADABLE,
    PhotoError,
    check_photos,
    open_photo,
    opened,
)
from geoutils.readers.exif import read_exif
from makers.photos import difference, exif_with

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bomb_png() -> bytes:
    """A PNG of a few bytes that claims 20,000 x 20,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "avif", "heic"])
def test_every_format_gives_the_same_pixels(photo, tmp_path, suffix):
    pillow_heif.register_heif_opener()
    photo.save(tmp_path / f"photo.{suffix}", quality=95)
    opened = open_photo(tmp_path / f"photo.{suffix}")
    assert opened.mode == "RGB"
    assert difference(opened, photo) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured_as_by_pillow(photo, tmp_path, orientation):
    photo.save(tmp_path / "turned.jpg", exif=exif_with(orientation=orientation))
    with Image.open(tmp_path / "turned.jpg") as image:
        upright = ImageOps.exif_transpose(image)
    assert difference(open_photo(tmp_path / "turned.jpg"), upright) == 0


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "LA"])
def test_every_mode_becomes_rgb(photo, tmp_path, mode):
    photo.convert(mode).save(tmp_path / "photo.tif")
    assert open_photo(tmp_path / "photo.tif").mode == "RGB"


@pytest.mark.parametrize("shortest_side", [1, 40, 79, 80, 81, 159, 160, 161, 319, 320, 999])
def test_draft_is_never_smaller_than_asked_unless_the_photo_is(photo, tmp_path, shortest_side):
    photo.save(tmp_path / "photo.jpg")
    opened = open_photo(tmp_path / "photo.jpg", shortest_side=shortest_side)
    assert min(opened.size) >= min(shortest_side, 320)
    assert (opened.size == (400, 320)) == (shortest_side > 160)


def test_a_heic_without_its_suffix_opens_in_a_fresh_process(photo, tmp_path):
    pillow_heif.register_heif_opener()
    photo.save(tmp_path / "photo.heic")
    Path(tmp_path / "photo.heic").rename(tmp_path / "photo.jpg")
    program = f"from geoutils.images import open_photo; print(open_photo({str(tmp_path / 'photo.jpg')!r}).size)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(400, 320)"


def test_each_fault_has_its_reason_and_names_the_file(photo, tmp_path):
    photo.save(tmp_path / "good.jpg")
    whole = (tmp_path / "good.jpg").read_bytes()
    files = {"cut.jpg": whole[:-900], "truncated_text.jpg": b"no image", "empty.jpg": b"", "bomb.png": bomb_png()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = ["good.jpg", "cut.jpg", "truncated_text.jpg", "empty.jpg", "bomb.png", "absent.jpg", "nul\0.jpg", "."]
    paths = pd.Series([str(tmp_path / name) for name in names], index=range(10, 18))
    reasons = check_photos(paths)
    expected = [TRUNCATED, UNREADABLE, UNREADABLE, BOMB, MISSING_FILE, MISSING_FILE, MISSING_FILE]
    assert reasons.isna().tolist() == [True] + [False] * 7
    assert reasons.tolist()[1:] == expected
    assert reasons.index.equals(paths.index)
    with pytest.raises(ValueError, match=r"cut\.jpg: truncated image"):
        open_photo(tmp_path / "cut.jpg")


def test_a_postscript_file_is_not_interpreted(photo, tmp_path):
    photo.save(tmp_path / "photo.eps")
    with pytest.raises(PhotoError, match="cannot identify"):
        open_photo((tmp_path / "photo.eps").rename(tmp_path / "photo.jpg"))


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1), (100, 2_001)])
def test_a_line_is_no_photo_and_never_decoded(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "line.png")
    assert check_photos(pd.Series([tmp_path / "line.png"]))[0] == TOO_LONG
    Image.new("RGB", (100, 2_000)).save(tmp_path / "panorama.png")
    assert check_photos(pd.Series([tmp_path / "panorama.png"])).isna().all()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
def test_a_fault_of_the_machine_is_no_verdict_on_the_photo(photo, tmp_path, number):
    photo.save(tmp_path / "good.jpg")
    for error in (OSError(number, "the machine's"), MemoryError()):
        with pytest.raises(type(error)) as caught, opened(tmp_path / "good.jpg"):
            raise error
        assert caught.value is error


def test_no_memory_to_turn_a_photo_leaves_no_lying_one(photo, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise MemoryError

    photo.save(tmp_path / "turned.jpg", exif=exif_with(orientation=6))
    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    with pytest.raises(MemoryError):
        open_photo(tmp_path / "turned.jpg")


def test_no_photos_give_no_reasons():
    assert check_photos(pd.Series([], dtype="str")).tolist() == []


@FUZZ
@given(cut=st.integers(0, 6_000), progressive=st.booleans())
@example(cut=6_000, progressive=True)
def test_the_quick_check_sees_what_a_full_decode_sees(crops, tmp_path, cut, progressive):
    crops[0].save(tmp_path / "photo.jpg", quality=40, progressive=progressive)
    whole = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "photo.jpg").write_bytes(whole[:cut])
    try:
        open_photo(tmp_path / "photo.jpg")
        expected = None
    except PhotoError as error:
        expected = error.reason
    found = check_photos(pd.Series([tmp_path / "photo.jpg"]))[0]
    assert (found == expected) or (expected is None and pd.isna(found))
    assert (expected is None) == (cut >= len(whole) - 2)  # the last two bytes are the end mark


@FUZZ
@given(data=st.data(), suffix=st.sampled_from(["jpg", "png", "webp", "tif", "gif"]))
def test_flipped_bytes_give_pixels_or_a_reason(crops, tmp_path, data, suffix):
    path = tmp_path / f"photo.{suffix}"
    crops[0].resize((40, 30)).save(path, exif=exif_with((48.0, 51.0, 30.0), (2.0, 21.0, 0.0), orientation=6))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, min(len(content), 900) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    for read in (open_photo, read_exif):
        with contextlib.suppress(PhotoError):  # any other exception fails the test
            read(path)
