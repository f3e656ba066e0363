"""Networks by name: how each is built, what it expects of a photo, and the layer that gives features."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoutils.artifacts import file_sha256
from geoutils.networks import caffe, paper, weights
from geoutils.networks.preprocessing import PLACES_MEAN_BGR, Preprocessing

AUXILIARY_HEADS = ("googlenet", "inception_v3")  # torchvision's networks that have them


@dataclass(frozen=True)
class Backbone:
    """A network ready for use and all that names it in keys and tables.

    network: has `features(x)` (n, width), `forward(x)` logits, `replace_classifier(num_classes)` and
    `new_layers()`, the names of the layers that fine-tuning replaces.
    """

    name: str
    network: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    layer: str
    width: int
    weights: str
    weights_sha256: str | None
    made_with: dict[str, Any] = field(default_factory=dict)  # the arguments of `load`
    unfilled: tuple[str, ...] = ()  # layers, classifiers aside, that the weight file did not bring

    def new_layers(self) -> list[str]:
        """Name the layers that start anew beside trained ones; none from scratch, where all are alike."""
        return [] if self.weights == "random" else [*self.network.new_layers(), *self.unfilled]

    def describe(self) -> dict[str, Any]:
        """Return what decides a feature, as JSON values."""
        return {
            "backbone": self.name,
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "layer": self.layer,
            "preprocessing": self.preprocessing.describe(),
        }


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


CAFFE_NETWORKS = {
    "places205_alexnet": paper.CaffeNet,
    "places205_googlenet": paper.GoogLeNet,
    "places205_vgg16": build_vgg16,
}


def load(
    name: str,
    *,
    weights_from: str | Path = "default",
    size: int | None = None,
    warp: bool | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> Backbone:
    """Build a network by name and load its weights.

    Args:
        name: a key of `weights.known_files()`, "torchvision/<name>", or any timm name.
        weights_from: "default" or "pretrained" (the network's own: bundled, fetched before, or downloaded by timm or
            torchvision), "available" (its own if they are on this machine, else random ones), "random", or a file.
        size: side of the input in pixels; None takes the network's own.
        warp: squeeze the photo into a square, as Caffe's tools do, or keep its aspect; None takes the network's own.
        num_classes: puts a fresh classifier of this width on it. None keeps the one of the weights; the paper's
            networks have a fresh one in any case, since no city is among Places' 205 scenes.
        seed: of random weights and of the fresh classifier.

    Raises:
        ValueError: for a name that is not known, naming those that are near; for weights that do not fit.
        FileNotFoundError: for a weight file that is not there, saying how to get it.
    """
    known = weights.known_files()
    if weights_from == "available":
        weights_from = "random" if name in known and not weights.locate(name) else "default"
    file = _weight_file(name, weights_from)
    label, sha256, unfilled = "random", None, []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, preprocessing, layer = _build(name, downloaded=file is None and weights_from != "random")
        if file:
            unfilled = weights.load(network, file, whole=name not in CAFFE_NETWORKS)
            label, sha256 = known[name].weights if file == weights.locate(name) else file.name, file_sha256(file)
        elif weights_from != "random":
            label, sha256 = "ImageNet", weights.state_sha256(network)
        if name not in CAFFE_NETWORKS:
            network = without_head(network)
        width = network.get_submodule(network.new_layers()[-1]).in_features
        if num_classes is not None:
            network.replace_classifier(num_classes)
    if file and name in CAFFE_NETWORKS:
        if beside := sorted(file.parent.glob("*.binaryproto")):
            preprocessing = replace(preprocessing, mean=caffe.read_binaryproto(beside[0]))
        elif known[name].mean == "image":
            label += " (mean colour)"  # not what they were trained with, and a table must not hide it
    preprocessing = preprocessing.at_size(size)
    if warp is not None:
        preprocessing = replace(preprocessing, warp=warp)
    made_with = {"name": name, "weights_from": str(weights_from), "size": size, "warp": warp, "seed": seed}
    return Backbone(name, network.eval(), preprocessing, layer, width, label, sha256, made_with, tuple(unfilled))


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


def _weight_file(name: str, weights_from: str | Path) -> Path | None:
    """Find the file of a network's weights; None for random ones, and for those that a library downloads."""
    if weights_from in ("default", "pretrained"):
        return weights.require(name) if name in weights.known_files() else None
    if weights_from == "random":
        return None
    path = Path(weights_from)
    if not path.exists():
        raise FileNotFoundError(f"no weight file {path}; give a file, 'default', 'pretrained' or 'random'")
    return path


def _build(name: str, *, downloaded: bool = False) -> tuple[nn.Module, Preprocessing, str]:
    """Build a network as its weights have it; return it, what it expects of a photo, and the layer of its features."""
    if name in CAFFE_NETWORKS:
        known, std = weights.known_files()[name], (1.0, 1.0, 1.0)
        how = Preprocessing(known.input, 256, warp=True, bgr=True, scale=1.0, mean=PLACES_MEAN_BGR, std=std)
        return CAFFE_NETWORKS[name](), how, known.layer
    if name.startswith("places365_") and name in weights.known_files():
        from torchvision import models

        network = models.get_model(name.removeprefix("places365_"), num_classes=365)
        return network, Preprocessing(224, 256), "penultimate"
    if name.startswith("torchvision/"):
        return _torchvision(name.removeprefix("torchvision/"), downloaded)
    return _timm(name, downloaded)


def _torchvision(name: str, downloaded: bool) -> tuple[nn.Module, Preprocessing, str]:
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


def _timm(name: str, downloaded: bool) -> tuple[nn.Module, Preprocessing, str]:
    import timm

    known = "tf_efficientnet_lite0" if name == "efficientnet_lite0" else name
    if not timm.is_model(known):
        near = ", ".join(timm.list_models(f"*{name[:8]}*")[:8]) or "see timm.list_models()"
        raise ValueError(f"no network is called {name!r}; near: {near}")
    network = timm.create_model(known, pretrained=downloaded)
    expects = timm.data.resolve_model_data_config(network)
    preprocessing = Preprocessing(
        size=expects["input_size"][-1],
        resize=int(expects["input_size"][-1] / expects["crop_pct"]),
        mean=tuple(expects["mean"]),
        std=tuple(expects["std"]),
        bicubic=expects["interpolation"] == "bicubic",
    )
    return network, preprocessing, "pooled"


def check_weights(path: Path) -> list[str]:
    """Say what a weight file is and which network it fits, or else which layer of the nearest one does not match.

    Returns:
        Lines of text: the kind of file, then one for each network that it fits, or one on the nearest misfit.

    Raises:
        FileNotFoundError: if it is not there. ValueError: if it can't be read as any kind of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if path.name.endswith((".tar.gz", ".tgz", ".zip")):
        return [f"{path.name}: an archive; unpack it and check what it holds"]
    if path.suffix == ".binaryproto":
        return [f"{path.name}: a Caffe mean image of shape {caffe.read_binaryproto(path).shape}, BGR, 0 to 255"]
    given, of_caffe = weights.read(path), path.suffix == ".caffemodel"
    with torch.device("meta"):  # shapes without memory
        faults = {
            name: weights.mismatches(_build(name)[0], given, whole=not of_caffe)
            for name in weights.known_files()
            if (name in CAFFE_NETWORKS) == of_caffe
        }
    kind = "Caffe network" if of_caffe else "torch checkpoint"
    fits = [f"it fits {name}" for name, wrong in faults.items() if not wrong]
    nearest = min(faults, key=lambda name: len(faults[name]))
    found = fits or [f"it fits no known network; {nearest}: {faults[nearest][0]}"]
    return [f"{path.name}: a {kind} of {len(given)} tensors", *found]
