"""What the tests of numbers share: a seed, and a sample of five cities."""

import numpy as np
import pandas as pd
import pytest

from makers.scores import make_sample


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def sample(rng: np.random.Generator) -> pd.DataFrame:
    return make_sample(rng)
