"""torchvision's and timm's networks, each split into a trunk that gives features and a linear classifier."""

import torch
from torch import nn

from geoutils.networks.preprocessing import Preprocessing

AUXILIARY_HEADS = ("googlenet", "inception_v3")  # torchvision's networks that have them
Built = tuple[nn.Module, Preprocessing, str]  # a network, what it expects of a photo, the layer of its features


class Headless(nn.Module):
    """A trunk that ends in features, and a linear classifier on them: the form of torchvision's and timm's networks."""

    def __init__(self, trunk: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.trunk, self.classifier = trunk, classifier

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return pooled features, (n, width)."""
        return self.trunk(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, num_classes)."""
        return self.classifier(self.trunk(x))

    def new_layers(self) -> list[str]:
        """Name the layers that fine-tuning replaces."""
        return ["classifier"]

    def replace_classifier(self, num_classes: int) -> None:
        """Put a fresh classifier for `num_classes` in place of the old one."""
        self.classifier = nn.Linear(self.classifier.in_features, num_classes)


def build_vgg16() -> Headless:
    """Build torchvision's VGG16 as trunk and classifier; it is also Caffe's, layer by layer under other names."""
    from torchvision import models

    return without_head(models.vgg16(weights=None))


def without_head(network: nn.Module) -> Headless:
    """Split a network at its classifier (timm tells which, torchvision has it last) into trunk and classifier.

    Raises:
        ValueError: if that is no linear layer.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    head = network.get_classifier() if hasattr(network, "get_classifier") else linear[-1] if linear else None
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"{type(network).__name__} can't be used: its classifier is no linear layer, but {type(head).__name__}; "
            "take another network"
        )
    path = next(path for path, module in network.named_modules() if module is head)
    network.set_submodule(path, nn.Identity())
    return Headless(network, head)


def build_torchvision(name: str, downloaded: bool) -> Built:
    """Build a network by its name in torchvision, with its own weights or random ones."""
    from torchvision import models

    if name not in models.list_models(models):
        raise ValueError(f"torchvision has no network {name!r}; it has {', '.join(models.list_models(models))}")
    options = {"weights": "DEFAULT" if downloaded else None}
    if name in AUXILIARY_HEADS:  # whose outputs a single classifier can't replace
        options |= {"aux_logits": False, "init_weights": not downloaded}
    expects = models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = Preprocessing(
        size=expects.crop_size[0],
        resize=expects.resize_size[0],
        mean=tuple(expects.mean),
        std=tuple(expects.std),
        bicubic=expects.interpolation.value == "bicubic",
    )
    return models.get_model(name, **options), preprocessing, "penultimate"


def build_timm(name: str, downloaded: bool) -> Built:
    """Build a network by its name in timm, with its own weights or random ones."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:8]}*")[:8]) or "see timm.list_models()"
        raise ValueError(f"no network is called {name!r}; near: {near}")
    network = timm.create_model(name, pretrained=downloaded)
    expects = timm.data.resolve_model_data_config(network)
    preprocessing = Preprocessing(
        size=expects["input_size"][-1],
        resize=int(expects["input_size"][-1] / expects["crop_pct"]),
        mean=tuple(expects["mean"]),
        std=tuple(expects["std"]),
        bicubic=expects["interpolation"] == "bicubic",
    )
    return network, preprocessing, "pooled"
