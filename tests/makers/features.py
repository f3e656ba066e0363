"""Features like a network's, for the classifiers on them."""

import numpy as np


def features(rng, rows=600, width=48, classes=6):
    """Non-negative, with a weak class signal."""
    y = rng.integers(classes, size=rows)
    X = np.maximum(rng.normal(size=(rows, width)) + 0.8 * rng.normal(size=(classes, width))[y], 0)
    return X.astype(np.float32), y
