"""What the tests of methods share: a seed, and a small fine-tuning run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geoutils.methods.recipe import TrainingConfig


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def config(sample: pd.DataFrame, tmp_path: Path) -> TrainingConfig:
    return TrainingConfig(
        sample=str(tmp_path / "sample.parquet"),
        folder=str(tmp_path / "model"),
        backbone="torchvision/mobilenet_v3_small",  # has dropout and batch norm, and is fast
        weights="random",
        size=32,
        epochs=3,
        batch_size=8,
        learning_rate=0.01,
        workers=0,
    )
