"""Photos as batches of tensors for extraction and training."""

import os
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from geoutils.artifacts import content_key, file_sha256
from geoutils.images import open_photo


def photos_key(photos: pd.DataFrame) -> str:
    """Return a key of the ids and the bytes of photos (photo_id, path), in order."""
    with ThreadPool() as pool:
        digests = tqdm(pool.imap(file_sha256, photos["path"]), total=len(photos), desc="checksums", delay=5)
        return content_key(list(zip(photos["photo_id"], digests, strict=True)))


class PhotoDataset(Dataset):
    """Photos as a map-style dataset for torch: each item a dict of `pixels`, `label` and `index`.

    Augmentation follows (seed, epoch, index) alone, so it is the same whatever worker draws it and after a resume.
    """

    def __init__(
        self,
        paths: Sequence[str],
        preprocessing: Callable[..., torch.Tensor],
        *,
        labels: Sequence[int] | None = None,
        augment: str | None = None,
        seed: int = 0,
    ) -> None:
        self.paths, self.preprocessing, self.augment, self.seed = list(paths), preprocessing, augment, seed
        self.labels = [-1] * len(self.paths) if labels is None else [int(label) for label in labels]
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        photo = open_photo(self.paths[index], shortest_side=self.preprocessing.resize)
        rng = np.random.default_rng([self.seed, self.epoch, index]) if self.augment else None
        pixels = self.preprocessing(photo, augment=self.augment, rng=rng)
        return {"pixels": pixels, "label": self.labels[index], "index": index}


def photo_loader(
    dataset: PhotoDataset,
    indices: Sequence[int] | None = None,
    *,
    batch_size: int,
    workers: int | None = None,
    shuffle: bool = False,
) -> DataLoader:
    """Return a torch DataLoader over a dataset, or over some of its rows.

    Args:
        workers: decoding processes; by default one fewer than the cores, 8 at most, none for a single batch.
    """
    chosen = dataset if indices is None else Subset(dataset, indices)
    if workers is None:
        workers = min(8, max(1, (os.cpu_count() or 1) - 1)) if len(chosen) > batch_size else 0
    return DataLoader(chosen, batch_size, shuffle=shuffle, num_workers=workers, pin_memory=torch.cuda.is_available())
