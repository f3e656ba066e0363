"""What a fine-tuning run is: its settings, and Caffe's recipe of rates, decay and auxiliary losses."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import nn

from geoutils.networks.preprocessing import AUGMENTATIONS

AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's two extra heads: Szegedy et al. 2015, section 5

# whole numbers as they are, never true or "3"; other numbers also as text, for YAML reads 1e-3 as one
Count = Annotated[int, Field(strict=True, ge=1)]
CountOrZero = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]


class TrainingConfig(BaseModel):
    """What a fine-tuning run is. On a CPU, equal configs, photos and processes give equal weights to the bit.

    sample: the sample.parquet. folder: for the checkpoint, the log and the model. size: input side, None for the
    network's own. schedule: "cosine" to zero, or "step": times `gamma` every `step_epochs`, as Caffe's recipe has it.
    batch_size: of one process. new_layer_rate: how many times faster than the others those layers learn that got no
    trained weights; from scratch (`weights: random`) all learn alike.

    Raises:
        ValueError: for a setting that is unknown, missing or makes no sense, naming it, what was found and what is
            allowed (pydantic's ValidationError).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: str
    folder: str
    backbone: str = "efficientnet_lite0"
    weights: str = "default"
    protocol: str = "photo"
    size: Count | None = None
    epochs: Count = 3
    batch_size: Count = 32
    learning_rate: Positive = 0.001
    new_layer_rate: NotNegative = 10.0
    bias_rate: NotNegative = 2.0
    momentum: NotNegative = 0.9
    weight_decay: NotNegative = 5e-4
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: Count = 10
    gamma: Positive = 0.1
    augment: Literal[AUGMENTATIONS] = "resized_crop"
    seed: CountOrZero = 0
    precision: str = "auto"
    workers: CountOrZero | None = None
    checkpoint_steps: Count = 500

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the weights: not where things lie, nor how fast they come."""
        return self.model_dump(exclude={"folder", "workers", "checkpoint_steps", "sample"})


def read_config(path: Path) -> TrainingConfig:
    """Read a training config from YAML.

    Raises:
        ValueError: for a setting that is unknown, missing or makes no sense, naming the file and the setting.
    """
    try:
        return TrainingConfig.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ValueError(f"{path}: {error}\nsettings are {[*TrainingConfig.model_fields]}") from None


def parameter_groups(network: nn.Module, config: TrainingConfig, new_layers: Sequence[str]) -> list[dict[str, Any]]:
    """Group parameters by Caffe's recipe: new layers learn faster, biases twice as fast and without decay."""
    prefixes = tuple(f"{layer}." for layer in new_layers)
    groups = {}
    for name, parameter in network.named_parameters():
        fast, bias = name.startswith(prefixes), parameter.ndim == 1  # a norm's scale and shift count as biases
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
