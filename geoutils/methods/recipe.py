"""What a fine-tuning run is: its settings, and Caffe's recipe of rates, decay and auxiliary losses."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoutils.networks.preprocessing import AUGMENTATIONS

CHOICES = {"schedule": ("cosine", "step"), "augment": AUGMENTATIONS}
COUNTS = ("epochs", "batch_size", "step_epochs", "checkpoint_steps")
AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's two extra heads: Szegedy et al. 2015, section 5


@dataclass(frozen=True)
class TrainingConfig:
    """What a fine-tuning run is. On a CPU, equal configs, photos and processes give equal weights to the bit.

    sample: the sample.parquet. folder: for the checkpoint, the log and the model. size: input side, None for the
    network's own. schedule: "cosine" to zero, or "step": times `gamma` every `step_epochs`, as Caffe's recipe has it.
    batch_size: of one process. new_layer_rate: how many times faster than the others those layers learn that got no
    trained weights; from scratch (`weights: random`) all learn alike.

    Raises:
        ValueError: for a setting that makes no sense, naming it, what was found and what is allowed.
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

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), CHOICES.get(field.name)
            if field.type is float:
                try:
                    object.__setattr__(self, field.name, float(value))  # YAML reads 1e-3 as a text
                except (TypeError, ValueError):
                    raise ValueError(f"{field.name} must be a number, found {value!r}") from None
            elif field.name in COUNTS and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{field.name} must be a whole number from 1, found {value!r}")
            elif allowed and value not in allowed:
                raise ValueError(f"{field.name} must be one of {allowed}, found {value!r}")

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the weights: not where things lie, nor how fast they come."""
        free = {"folder", "workers", "checkpoint_steps", "sample"}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}


def read_config(path: Path) -> TrainingConfig:
    """Read a training config from YAML.

    Raises:
        ValueError: for a key that is not known or a required one that is missing, or a setting that makes no sense.
    """
    import yaml

    given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(given, dict):
        raise ValueError(f"{path}: expected lines of `name: value`, `sample` and `folder` among them; found {given!r}")
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    unknown, missing = sorted(set(given) - known), sorted({"sample", "folder"} - set(given))
    if unknown or missing:
        raise ValueError(f"{path}: unknown keys {unknown}, missing keys {missing}; known are {sorted(known)}")
    return TrainingConfig(**given)


def parameter_groups(network: nn.Module, config: TrainingConfig, new_layers: Sequence[str]) -> list[dict[str, Any]]:
    """Group parameters by Caffe's recipe: new layers learn faster, biases twice as fast and without decay."""
    new = tuple(f"{layer}." for layer in new_layers)
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
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps_per_epoch)))


def loss_of(outputs: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy; auxiliary heads, where the network has them, count 0.3 each."""
    if isinstance(outputs, torch.Tensor):
        return nn.functional.cross_entropy(outputs, labels)
    main, *auxiliary = (nn.functional.cross_entropy(logits, labels) for logits in outputs)
    return main + AUXILIARY_WEIGHT * sum(auxiliary)
