"""Pictures with EXIF, and tables of photos that lie in cities."""

import numpy as np
import pandas as pd
from PIL import Image


def exif_with(latitude=None, longitude=None, *, refs=("N", "E"), **tags: object) -> Image.Exif:
    """EXIF with a position and other tags."""
    exif = Image.Exif()
    gps = {1: refs[0], 2: latitude, 3: refs[1], 4: longitude}
    exif.get_ifd(0x8825).update({tag: value for tag, value in gps.items() if value is not None})
    exif.update({{"orientation": 0x0112, "artist": 0x013B, "time": 0x0132}[name]: v for name, v in tags.items()})
    return exif


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures' values, of 255."""
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def labelled_photos() -> pd.DataFrame:
    """Three thousand photos of three cities by two hundred photographers."""
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
