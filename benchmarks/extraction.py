"""Feature extraction against the network's forward pass alone: what decoding and writing cost.

    python benchmarks/extraction.py [PHOTOS]

Draws photos of 1024 x 768 as JPEG from scikit-learn's two pictures, then times both in this process.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from geoutils import features
from geoutils.networks import backbones

BATCH = 64


def draw_photos(folder: Path, number: int) -> pd.DataFrame:
    """Write photos that differ a little each, since equal ones would be cached by nobody in real life."""
    pictures = [Image.fromarray(load_sample_image(name)).resize((1100, 820)) for name in ("china.jpg", "flower.jpg")]
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(number)]
    for i, path in enumerate(paths):
        x, y = rng.integers(0, (76, 52))
        pictures[i % 2].crop((x, y, x + 1024, y + 768)).save(path, quality=90)
    return pd.DataFrame({"photo_id": [path.stem for path in paths], "path": [str(path) for path in paths]})


def forward_rate(backbone: backbones.Backbone, number: int) -> float:
    """Return images a second of the forward pass alone."""
    network = backbone.network.to(memory_format=torch.channels_last)
    batch = torch.randn(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    features.embed(network, batch)
    started = perf_counter()
    for _ in range(number // BATCH):
        features.embed(network, batch)
    return number // BATCH * BATCH / (perf_counter() - started)


def main(number: int) -> None:
    """Measure both and print the ratio."""
    backbone = backbones.load("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_photos(Path(folder), number)
        alone = forward_rate(backbone, number)
        extracted = features.extract(photos, backbone, Path(folder) / "store", batch_size=BATCH)
    whole = extracted.key["photos_per_second"]
    print(f"forward alone {alone:.1f}, extraction {whole:.1f} photos/s: ratio {whole / alone:.2f} (target 0.80)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
