"""Pictures of made-up cities in a flat style, drawn with Pillow from what stands in scenery.toml."""

import functools
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageOps

WIDTH, HEIGHT = 200, 150  # units of the canvas, y down; a picture is a crop of it
HORIZON, KERB = 100, 122  # foot of the skyline, foot of the houses
_CIRCLE = np.exp(2j * np.pi * np.linspace(0, 1, 25)).view(float).reshape(-1, 2)
_rgb = functools.cache(ImageColor.getrgb)


class Scene(NamedTuple):
    """What a photo shows. Seeds: scenes of one `place` share their houses, of one `moment` everything."""

    kind: str  # street, view, indoor, food or portrait
    hour: str
    weather: str
    cues: dict[str, str]  # what can be seen of the city's character
    place: tuple[int, ...]
    moment: tuple[int, ...]


class Camera(NamedTuple):
    """What a photographer leaves in every picture."""

    gain: tuple[float, float, float]  # of red, green and blue
    noise: float  # standard deviation, grey levels
    vignette: float  # share of the light that the corners lose


@functools.cache
def drawings() -> dict[str, dict]:
    """Return scenery.toml: drawings and colours by section (landmark, roof, ...) and name."""
    return tomllib.loads(Path(__file__).with_name("scenery.toml").read_text(encoding="utf-8"))


def paint(scene: Scene, camera: Camera, *, side: int, seed: tuple[int, ...]) -> Image.Image:
    """Draw a scene and take a photo of it.

    Args:
        side: pixels of the longer side; the shorter has three quarters. One moment in five is taken upright.
        seed: of what differs within a burst: a slight shift and zoom, and the noise.
    """
    canvas, rng = _Canvas(side / 80, scene.moment), np.random.default_rng(seed)
    ratio, tall = (0.75 if canvas.rng.random() < 0.2 else 4 / 3), canvas.rng.uniform(109, 134)
    across, down = canvas.rng.uniform((0, 0.3), 1)
    middle = tall * ratio / 2 + across * (WIDTH - tall * ratio)
    (_city if scene.kind in ("street", "view") else _still)(canvas, scene, middle)
    tall += rng.uniform(-2, 2)
    room = np.array([WIDTH - tall * ratio, HEIGHT - tall])
    left, top = (room * (across, down) + rng.uniform(-2, 2, 2)).clip(0, room)
    box = tuple(canvas.scale * edge for edge in (left, top, left + tall * ratio, top + tall))
    size = (side, round(side * 0.75))[:: 1 if ratio > 1 else -1]
    pixels = np.asarray(canvas.image.resize(size, Image.Resampling.HAMMING, box), np.float32)
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in pixels.shape[:2])
    light = 1 - camera.vignette * (rows[:, None, None] + columns[:, None]) / 2
    noise = camera.noise * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray((pixels * np.float32(camera.gain) * light + noise).clip(0, 255).astype(np.uint8))


class _Canvas:
    """Draws in units, in the light of the hour, behind haze in the colour of the air."""

    def __init__(self, scale: float, seed: tuple[int, ...]):
        self.image = Image.new("RGB", (round(WIDTH * scale), round(HEIGHT * scale)))
        self.pen, self.scale, self.rng = ImageDraw.Draw(self.image), scale, np.random.default_rng(seed)
        self.light, self.air, self.haze = (1, 1, 1), (255, 255, 255), 0.0

    def colour(self, name: str, shade: float = 1.0) -> tuple[int, ...]:
        lit = (min(255.0, c * shade * g) for c, g in zip(_rgb(name), self.light, strict=True))
        return tuple(round(c + (a - c) * self.haze) for c, a in zip(lit, self.air, strict=True))

    def box(self, x, y, width, height, fill) -> None:
        """Fill a box, given its upper left corner."""
        s = self.scale
        self.pen.rectangle((x * s, y * s, (x + width) * s, (y + height) * s), fill)

    def draw(self, drawing: str, x, y, size, main: str = "#fff") -> None:
        """Draw shapes, or what scenery.toml has under "thing", standing on (x, y)."""
        for width, tone, points in _shapes(drawings()["thing"].get(drawing, drawing)):
            fill = self.colour(tone) if isinstance(tone, str) else self.colour(main, tone)
            xy = ((points * (size, -size) + (x, y)) * self.scale).ravel().tolist()
            if width:
                self.pen.line(xy, fill, max(1, round(width * size * self.scale)), joint="curve")
            else:
                self.pen.polygon(xy, fill)

    def gradient(self, top, bottom, first, last) -> None:
        """Fill the rows between two heights with the passage from one colour to another."""
        first, last = round(first * self.scale), round(last * self.scale)
        rows = np.linspace(top, bottom, last - first).clip(0, 255).astype(np.uint8)[:, None]
        self.image.paste(Image.fromarray(rows).resize((self.image.width, last - first)), (0, first))


@functools.cache
def _shapes(drawing: str) -> list[tuple]:
    """Turn a drawing into (width of a line or 0 for a polygon, tone, points of shape (n, 2))."""
    shapes = []
    for head, *numbers in (piece.split() for piece in drawing.split(";")):
        kind, tone, v = head[0], head[1:], np.array(numbers, float) / 100
        tone = tone if tone[0] == "#" else float(tone)
        width, v = (v[0], v[1:]) if kind in "lr" else (0, v)
        if kind == "b":
            points = v[:2] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * v[2:4]
            for x in np.arange(round(v[4] * 100)) * v[5] if len(v) > 4 else [0]:
                shapes.append((0, tone, points + np.array([x, 0])))
        else:
            shapes.append((width, tone, v[:2] + _CIRCLE * v[2:] if kind in "or" else v.reshape(-1, 2)))
    return shapes


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _sky(canvas: _Canvas, scene: Scene) -> None:
    look, low, rng = drawings(), scene.hour in ("dawn", "dusk"), canvas.rng
    top, bottom, cloud, light = look["hour"][scene.hour]
    veil, clouds, haze = look["weather"][scene.weather]
    top, bottom = look["sky"].get(scene.cues.get("sky"), (top, bottom))
    top, bottom, grey = (np.array(_rgb(colour)) for colour in (top, bottom, cloud))
    top, bottom = top + (0.75 * grey - top) * veil, bottom + (0.9 * grey - bottom) * 0.8 * veil
    canvas.gradient(top, bottom, 0, HORIZON + 1)
    if veil < 0.5:
        for x, y in rng.uniform((0, 0), (WIDTH, 80), (40 * (scene.hour == "night"), 2)):
            canvas.draw("dot", x, y, 0.4, "#dce0f0")
        canvas.draw("dot", rng.uniform(20, 180), HORIZON - 18 if low else 26, 8 if low else 6, "#fff0c4")
    for x, y, size in rng.uniform((0, 12, 8), (WIDTH, 70, 20), (clouds, 3)):
        canvas.draw("cloud", x, y, size, cloud)
    canvas.light, canvas.air, canvas.haze = light, bottom, haze


def _city(canvas: _Canvas, scene: Scene, middle: float) -> None:
    """Draw a street or a view from afar, back to front."""
    look, cues, place = drawings(), scene.cues, np.random.default_rng(scene.place)
    street, beside = scene.kind == "street", middle + canvas.rng.uniform(-24, 24)
    _sky(canvas, scene)
    air = canvas.haze
    if "skyline" in cues:
        pieces, least, greatest, colour, variants = look["skyline"][cues["skyline"]]
        canvas.haze = air + 0.35
        for x, size in place.uniform((0, least), (WIDTH, greatest), (pieces, 2)):
            canvas.draw(_pick(place, variants), x, HORIZON + 1, size, colour)
    canvas.haze = air
    far, near, *surface = look["ground"][cues["ground"]]
    canvas.gradient(canvas.colour(far), canvas.colour(near), HORIZON, HEIGHT)
    canvas.box(0, HORIZON - 1, WIDTH, 2.5, canvas.colour(far, 0.75))
    if "landmark" in cues:
        material, name = cues["landmark"].split(" ")
        canvas.haze = air + 0.12
        canvas.draw(look["landmark"][name], beside, HORIZON + 1 + 10 * street, 62, look["material"][material])
    canvas.haze = air / 2
    if street:
        _houses(canvas, scene, place, beside if {"landmark", "skyline"} & cues.keys() else np.inf)
        canvas.gradient(canvas.colour(far), canvas.colour(near), KERB, HEIGHT)
        canvas.box(0, KERB, WIDTH, 1.5, canvas.colour(far, 0.8))
    if "vegetation" in cues:
        leaf, tree = look["vegetation"][cues["vegetation"]]
        for x, size in place.uniform((0, 0.8), (WIDTH, 1.2), (place.integers(3, 7), 2)):
            canvas.draw(tree, x, (KERB if street else HORIZON) + 1, size * (30 if street else 24), leaf)
    _foreground(canvas, scene, KERB if street else HORIZON, *surface)


def _houses(canvas: _Canvas, scene: Scene, place: np.random.Generator, gap: float) -> None:
    """Draw a row of houses along the kerb, open around `gap`."""
    look, x = drawings(), -place.uniform(0, 20)
    walls, pane, frame, wide, high = look["facade"][scene.cues["facade"]]
    zoom, lights = place.uniform(0.9, 1.3), 0.5 if scene.hour == "night" else 0.03
    frame, panes = canvas.colour(frame), (canvas.colour(pane), _rgb("#ffd67a"))
    while x < WIDTH:
        width, floors, storey = place.uniform(18, 30) * zoom, int(place.integers(3, 6)), 8.5 * zoom
        wall, door, top = _pick(place, walls), _pick(place, look["hues"]), KERB - floors * storey
        bays = int(width / (6.5 * zoom))
        bay, w, h = width / bays, wide / 100 * width / bays, high / 100 * storey
        lit = canvas.rng.random((floors - 1, bays)) < lights
        if not gap - 24 < x + width / 2 < gap + 24:
            canvas.draw(look["roof"][scene.cues["roof"]], x + width / 2, top, width)
            canvas.box(x, top, width - 0.5, KERB - top, canvas.colour(wall))
            for (floor, column), on in np.ndenumerate(lit.astype(int)):
                left, upper = x + column * bay + (bay - w) / 2, top + floor * storey + (storey - h) / 2
                canvas.box(left - 0.6, upper - 0.6, w + 1.2, h + 1.2, frame)
                canvas.box(left, upper, w, h, panes[on])
            canvas.draw("shop", x + width / 2, KERB, width, door)
        x += width


def _foreground(canvas: _Canvas, scene: Scene, base: float, streak, count, length, thing, water) -> None:
    """Draw the ground below `base`: what water mirrors, streaks, things and people, rain."""
    rng, height = canvas.rng, HEIGHT - base
    if water:
        shore, (right, foot) = round(base * canvas.scale), canvas.image.size
        mirrored = ImageOps.flip(canvas.image.crop((0, 2 * shore - foot, right, shore)))
        canvas.image.paste(Image.blend(canvas.image.crop((0, shore, right, foot)), mirrored, 0.35), (0, shore))
    fill = canvas.colour(streak)
    for depth, x in rng.uniform((0, -length), (1, WIDTH), (count, 2)):
        canvas.box(x, base + 3 + depth * height, length * (0.3 + depth), 0.3 + depth, fill)
    crowd = [thing] * int(rng.integers(1, 4)) + ["person"] * int(rng.integers(0, 7)) * (not water)
    for kind, y in zip(crowd, np.sort(rng.uniform(base + 6, HEIGHT - 4, len(crowd))), strict=True):
        size = (7 + 0.2 * (y - base)) * (1.4 if kind == "person" else 1)
        canvas.draw(kind, rng.uniform(0, WIDTH), y, size, _pick(rng, drawings()["hues"]))
    for x, y in rng.uniform((0, 0), (WIDTH, HEIGHT), (120 * (scene.weather == "rain"), 2)):
        canvas.draw("drop", x, y, 6, "#dfe6ee")


def _still(canvas: _Canvas, scene: Scene, middle: float) -> None:
    rng, look = canvas.rng, drawings()
    for names, x, y, size in look["still"][scene.kind]:
        dx, dy, grow = rng.uniform((-6, -4, 0.9), (6, 4, 1.15)) if size < 100 else (0, 0, 1)  # a backdrop stays
        canvas.draw(_pick(rng, names.split()), middle + x + dx, y + dy, size * grow, _pick(rng, look["hues"]))
