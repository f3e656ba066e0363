"""A network and photos become rows of a keyed store: extracted once, resumable, never mixed up."""

from multiprocessing.pool import ThreadPool
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from geoutils.artifacts import content_key, file_sha256, read_json, write_json
from geoutils.networks.backbones import Backbone
from geoutils.networks.batches import PRECISIONS, PhotoDataset, make_accelerator, photo_loader, run_network

SCAN_ROWS = 4_096  # looked at in one go for what is missing
SPOT_CHECKS = 4  # rows recomputed at every use of a finished store
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}  # of a row's norm


class Features(NamedTuple):
    """An opened store: `rows` (n, width) float32, in the order of the photos; its `folder`; what made it."""

    rows: np.ndarray
    folder: Path
    key: dict[str, Any]


@torch.inference_mode()
def embed(network: torch.nn.Module, pixels: torch.Tensor, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the features of a batch as float32 on the network's own device, (n, width).

    Args:
        pixels: float32, (n, 3, size, size), on any device.
        dtype: of the forward pass; float32 means no autocast.
    """
    device = next(network.parameters()).device
    pixels = pixels.to(device, memory_format=torch.channels_last, non_blocking=True)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        return network.features(pixels).float()


def embed_photos(backbone: Backbone, paths: pd.Series) -> np.ndarray:
    """Return the features of a few photos in memory, float32 (n, width)."""
    engine = make_accelerator()
    network = backbone.network.to(engine.device, memory_format=torch.channels_last)
    return run_network(engine, network.features, PhotoDataset(paths, backbone.preprocessing)).numpy()


def extract(
    photos: pd.DataFrame,
    backbone: Backbone,
    store: Path,
    *,
    batch_size: int = 64,
    workers: int | None = None,
    precision: str = "auto",
) -> Features:
    """Compute the features of photos, or go on where a killed run stopped, or open what is finished.

    The store's key covers the network, its weights, preprocessing and layer, the forward dtype, and the id and bytes
    of every photo in order. Several processes started by `torchrun` share the work and the file.

    Args:
        photos: photo_id, path; the order of the rows is the order of the features.
        store: the folder that holds one folder a key.

    Raises:
        ValueError: if features are not finite, if a row was left out, or if rows recomputed from a finished store do
            not match it.
    """
    engine = make_accelerator(precision)
    dtype = PRECISIONS.get(engine.mixed_precision, torch.float32)  # "no" is none of them
    key = {**backbone.describe(), "dtype": str(dtype), "photos": photos_key(photos)}
    folder = Path(store) / f"{backbone.name.replace('/', '-')}-{content_key(key)}"
    network = backbone.network.to(engine.device, memory_format=torch.channels_last).eval()
    dataset = PhotoDataset(photos["path"], backbone.preprocessing)
    if (folder / "key.json").exists():
        features = open_store(folder, photos)
        _spot_check(features, network, dataset, dtype)
        return features
    rows = _rows_on_disk(folder / "partial.npy", (len(photos), backbone.width), engine)
    missing = _unfinished(rows)
    engine.wait_for_everyone()  # no process writes before each has seen what is missing
    started = perf_counter()
    loader = engine.prepare(photo_loader(dataset, missing, batch_size=batch_size, workers=workers))
    bar = tqdm(total=len(photos), initial=len(photos) - len(missing), unit="photo", desc=f"features {backbone.name}")
    for batch in loader:
        rows_of_batch = embed(network, batch["pixels"], dtype=dtype).cpu().numpy()
        if not np.isfinite(rows_of_batch).all():
            raise ValueError(f"{backbone.name} gave features that are not finite: use precision='fp32'")
        rows[batch["index"].cpu().numpy()] = rows_of_batch
        bar.update(len(rows_of_batch) * engine.num_processes)
    bar.close()
    rows.flush()
    engine.wait_for_everyone()
    if left := len(_unfinished(rows)):  # before others take the store for finished
        raise ValueError(f"{left:,} of {len(rows):,} rows of {folder} are not computed: run 04_features again")
    del rows  # Windows renames no file that is mapped
    engine.wait_for_everyone()
    if engine.is_main_process:
        (folder / "partial.npy").replace(folder / "features.npy")
        rate = len(missing) / (perf_counter() - started) if len(missing) else None
        described = {**key, "photos_per_second": rate, "made_with": backbone.made_with}
        write_json(folder / "key.json", described)  # last: it says that the store is whole
    engine.wait_for_everyone()
    return open_store(folder, photos)


def open_stores(run_dir: Path, sample: pd.DataFrame) -> list[Features]:
    """Open the stores that notebook 04 listed, in its order."""
    names = read_json(Path(run_dir) / "features.json")
    return [open_store(Path(run_dir) / "features" / name, sample) for name in names]


def network_of(run_dir: Path, name: str | None = None) -> dict[str, Any]:
    """Return what notebook 04 said of a network, as arguments of `backbones.load`.

    Args:
        name: a network; None: the last one of notebook 04. One that is not among them has its default weights.

    Raises:
        FileNotFoundError: if none is named and notebook 04 has not run.
    """
    listed = Path(run_dir) / "features.json"
    if name is None and not listed.exists():
        raise FileNotFoundError(f"{listed} is not there: run 04_features first, or name a backbone")
    stores = read_json(listed) if listed.exists() else []
    keys = [read_json(Path(run_dir) / "features" / store / "key.json") for store in stores]
    networks = [key["made_with"] for key in keys if name in (None, key["backbone"])]
    return networks[-1] if networks else {"name": name, "weights_from": "default"}


def open_store(folder: Path, photos: pd.DataFrame) -> Features:
    """Open a finished store as a read-only memory map.

    Raises:
        FileNotFoundError: if it is not finished.
        ValueError: if it was made from other photos, in another order, or from other bytes under the same names.
    """
    folder = Path(folder)
    if not (folder / "key.json").exists():
        raise FileNotFoundError(f"{folder} holds no finished features; notebook 04_features makes them")
    key = read_json(folder / "key.json")
    rows = np.load(folder / "features.npy", mmap_mode="r")
    if key["photos"] != photos_key(photos) or len(rows) != len(photos):
        raise ValueError(f"{folder.name} is stale: made from other photos than these {len(photos)}; run 04_features")
    return Features(rows, folder, key)


def _rows_on_disk(path: Path, shape: tuple[int, int], engine: Accelerator) -> np.ndarray:
    """Open the unfinished rows; those not done yet are NaN."""
    if engine.is_main_process and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = np.lib.format.open_memmap(path.with_suffix(".new.npy"), "w+", np.float32, shape)
        fresh[:] = np.nan
        fresh.flush()
        del fresh  # Windows renames no file that is mapped
        path.with_suffix(".new.npy").replace(path)
    engine.wait_for_everyone()
    return np.load(path, mmap_mode="r+")


def _unfinished(rows: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows that hold a NaN, int64 (m,), a block of rows at a time."""
    blocks = ((start, rows[start : start + SCAN_ROWS]) for start in range(0, len(rows), SCAN_ROWS))
    numbers = [start + np.flatnonzero(np.isnan(block).any(axis=1)) for start, block in blocks]
    return np.concatenate([np.empty(0, dtype=np.int64), *numbers])


def _spot_check(features: Features, network: torch.nn.Module, dataset: PhotoDataset, dtype: torch.dtype) -> None:
    """Recompute a few rows spread over the store and compare."""
    numbers = np.unique(np.linspace(0, len(dataset) - 1, SPOT_CHECKS).astype(int))
    pixels = torch.stack([dataset[i]["pixels"] for i in numbers])
    again, stored = embed(network, pixels, dtype=dtype).cpu().numpy(), features.rows[numbers]
    error = np.linalg.norm(again - stored, axis=1) / np.maximum(np.linalg.norm(stored, axis=1), 1e-12)
    if (error > TOLERANCE[dtype]).any():
        raise ValueError(
            f"{features.folder} does not hold what {type(network).__name__} computes now (relative error "
            f"{error.max():.2g}): delete that folder and run notebook 04_features again"
        )


def photos_key(photos: pd.DataFrame) -> str:
    """Return a key of the ids and the bytes of photos (photo_id, path), in order."""
    with ThreadPool() as pool:
        digests = tqdm(pool.imap(file_sha256, photos["path"]), total=len(photos), desc="checksums", delay=5)
        return content_key(list(zip(photos["photo_id"], digests, strict=True)))
