"""Photos in batches through a network, on whatever device there is, for extraction, training and prediction."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from geoutils.images import open_photo
from geoutils.networks.preprocessing import Preprocessing

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def make_accelerator(precision: str = "auto") -> Accelerator:
    """Return an Accelerator on CUDA, MPS or the CPU, whichever is there, or on this process's share under `torchrun`.

    Args:
        precision: "fp32", "bf16" or "fp16" autocast; "auto" takes bf16 on CUDA (fp16 on cards without it) and fp32
            elsewhere, since a CPU without AVX512-BF16 emulates bf16, hundreds of times slower.
    """
    if precision == "auto":
        precision = "fp32"
        if torch.cuda.is_available():
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be 'auto' or one of {sorted(PRECISIONS)}, found {precision!r}")
    return Accelerator(
        cpu=not torch.accelerator.is_available(),  # unless told, Accelerate joins no processes of `torchrun` on a CPU
        mixed_precision="no" if precision == "fp32" else precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),  # the shuffle can be resumed
    )


class PhotoDataset(Dataset):
    """Photos as a map-style dataset for torch: each item a dict of `pixels`, `label` and `index`.

    Training sets `augment`, `seed` and `epoch`. Augmentation follows (seed, epoch, index) alone, so it is the same
    whatever worker draws it and after a resume.
    """

    def __init__(self, paths: Sequence[str], preprocessing: Preprocessing, labels: Sequence[int] | None = None) -> None:
        self.paths, self.preprocessing = list(paths), preprocessing
        self.labels = [-1] * len(self.paths) if labels is None else [int(label) for label in labels]
        self.augment, self.seed, self.epoch = None, 0, 0

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
    rows = dataset if indices is None else Subset(dataset, indices)
    if workers is None:
        workers = min(8, max(1, (os.cpu_count() or 1) - 1)) if len(rows) > batch_size else 0
    return DataLoader(rows, batch_size, shuffle=shuffle, num_workers=workers, pin_memory=torch.cuda.is_available())


@torch.inference_mode()
def run_network(
    engine: Accelerator,
    network: Callable[[torch.Tensor], torch.Tensor],
    dataset: PhotoDataset,
    *,
    batch_size: int = 64,
) -> torch.Tensor:
    """Return what a network on the engine's device gives for photos, float32 (n, width) on the CPU.

    The rows are in the dataset's order, whatever the number of processes.
    """
    loader, answers = engine.prepare(photo_loader(dataset, batch_size=batch_size)), []
    for batch in tqdm(loader, desc="predict", unit="batch", delay=5, disable=not engine.is_local_main_process):
        with engine.autocast():
            answer = network(batch["pixels"].contiguous(memory_format=torch.channels_last))
        answers.append(engine.gather_for_metrics(answer.float()).cpu())
    return torch.cat(answers)
