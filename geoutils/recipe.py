"""What a fine-tuning run is: its settings, and Caffe's recipe of rates, decay and auxiliary losses."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's two extra heads: Szegedy et al. 2015, section 5


@dataclass(frozen=True)
class TrainingConfig:
    """What a fine-tuning run is. Two runs with equal configs and equal photos give equal weights.

    sample: the sample.parquet. folder: for the checkpoint, the log and the model. size: input side, None for the
    network's own. schedule: "cosine" to zero, or "step": times `gamma` every `step_epochs`, as Caffe's recipe has it.
    new_layer_rate: how many times faster the replaced layers learn. from_scratch: Caffe's initialisers, no weights.
    """

    sample: str
    folder: str
    backbone: str = "efficientnet_lite0"
    weights: str = "default"
    protocol: str = "photo"
    size: int | None = None
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 0.001
    new_layer_rate: float = 10.0
    bias_rate: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    step_epochs: int = 10
    gamma: float = 0.1
    augment: str | None = "resized_crop"
    seed: int = 0
    precision: str = "auto"
    workers: int | None = None
    checkpoint_steps: int = 500

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the weights: not where things lie, nor how fast they come."""
        free = {"folder", "workers", "checkpoint_steps", "sample"}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}


def read_config(path: Path) -> TrainingConfig:
    """Read a training config from YAML.

    Raises:
        ValueError: for a key that is not known or a required one that is missing.
    """
    import yaml

    given = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    unknown, missing = sorted(set(given) - known), sorted({"sample", "folder"} - set(given))
    if unknown or missing:
        raise ValueError(f"{path}: unknown keys {unknown}, missing keys {missing}; known are {sorted(known)}")
    return TrainingConfig(**given)


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group parameters by Caffe's recipe: replaced layers learn faster, biases twice as fast and without decay."""
    new = tuple(f"{layer}." for layer in network.new_layers())
    groups = {}
    for name, parameter in network.named_parameters():
        fast, bias = name.startswith(new), parameter.ndim == 1  # a norm's scale and shift count as biases
        rate = (config.new_layer_rate if fast else 1.0) * (config.bias_rate if bias else 1.0)
        decay = 0.0 if bias else config.weight_decay
        group = groups.setdefault((rate, decay), {"params": [], "weight_decay": decay, "rate": rate})
        group["params"].append(parameter)
    return list(groups.values())


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the base rate at an optimizer step."""
    if config.schedule == "step":
        return config.learning_rate * config.gamma ** (step // (config.step_epochs * steps_per_epoch))
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps_per_epoch)))
    raise ValueError(f"schedule must be 'step' or 'cosine', found {config.schedule!r}")


def loss_of(outputs: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy; auxiliary heads, where the network has them, count 0.3 each."""
    if isinstance(outputs, torch.Tensor):
        return nn.functional.cross_entropy(outputs, labels)
    main, *auxiliary = (nn.functional.cross_entropy(logits, labels) for logits in outputs)
    return main + AUXILIARY_WEIGHT * sum(auxiliary)
