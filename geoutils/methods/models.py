"""A fine-tuned network's files: model.safetensors, mean.npy and model.json, which describes it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoutils.artifacts import atomic_path, read_json, write_json
from geoutils.networks import backbones, weights
from geoutils.networks.preprocessing import Preprocessing


def write_model(
    folder: Path, state: dict[str, torch.Tensor], backbone: backbones.Backbone, description: dict[str, Any]
) -> None:
    """Write the weights, then the description: a folder without one holds no finished model."""
    from safetensors.torch import save_file

    (folder / "model.json").unlink(missing_ok=True)
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in state.items()}, temporary)
    with atomic_path(folder / "mean.npy") as temporary:
        np.save(temporary, np.asarray(backbone.preprocessing.mean, dtype=np.float32))
    write_json(folder / "model.json", description)


def load_model(folder: Path) -> tuple[backbones.Backbone, dict[str, Any]]:
    """Load a fine-tuned network and its description.

    Raises:
        FileNotFoundError: if no finished model lies in the folder.
    """
    if not (Path(folder) / "model.json").exists():
        raise FileNotFoundError(f"{folder} holds no finished model; notebook 06_finetune or `train` makes one")
    description = read_json(Path(folder) / "model.json")
    config, classes = description["config"], description["classes"]
    network = {"size": config["size"], "num_classes": len(classes), "seed": config["seed"]}
    backbone = backbones.load(config["backbone"], weights_from="random", **network)
    mean = np.load(Path(folder) / "mean.npy")
    preprocessing = Preprocessing(**{**description["preprocessing"], "mean": mean})
    backbone.network.load_state_dict(weights.read(Path(folder) / "model.safetensors"))
    return dataclasses.replace(backbone, weights=description["weights"], preprocessing=preprocessing), description
