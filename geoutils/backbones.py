"""Networks by name: how each is built, what it expects of a photo, and the layer that gives features."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoutils import caffe, networks, weights
from geoutils.artifacts import file_sha256
from geoutils.preprocessing import PLACES_MEAN_BGR, Preprocessing

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


def build_vgg16(num_classes: int) -> Headless:
    """Build torchvision's VGG16, which is also Caffe's, as trunk and classifier."""
    from torchvision import models

    return without_head(models.vgg16(weights=None, num_classes=num_classes))


CAFFE_NETWORKS = {
    "places205_alexnet": networks.CaffeNet,
    "places205_googlenet": networks.GoogLeNet,
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
        name: a key of `CAFFE_NETWORKS` or `weights.PLACES365`, "efficientnet_lite0", "torchvision/<name>", or any
            timm name.
        weights_from: "default" (the network's own: bundled, or fetched before), "available" (its own if they are on
            this machine, else random ones), "pretrained" (downloaded by timm or torchvision), "random", or a file.
        size: side of the input in pixels; None takes the network's own.
        warp: squeeze the photo into a square, as Caffe's tools do, or keep its aspect; None takes the network's own.
        num_classes: puts a fresh classifier of this width on it. None keeps the one of the weights; the paper's
            networks have a fresh one in any case, since no city is among Places' 205 scenes.
        seed: of random weights and of the fresh classifier.

    Raises:
        ValueError: for a name that is not known, naming those that are near; for weights that do not fit.
        FileNotFoundError: for a weight file that is not there, saying how to get it.
    """
    if weights_from == "available":
        weights_from = "random" if name in weights.WEIGHT_FILES and not weights.locate(name) else "default"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = _build(name, weights_from)
        if num_classes is not None:
            backbone.network.replace_classifier(num_classes)
    backbone.network.eval()
    preprocessing = backbone.preprocessing.at_size(size)
    if warp is not None:
        preprocessing = replace(preprocessing, warp=warp)
    made_with = {"name": name, "weights_from": str(weights_from), "size": size, "warp": warp, "seed": seed}
    return replace(backbone, preprocessing=preprocessing, made_with=made_with)


def without_head(network: nn.Module) -> Headless:
    """Split a torchvision network at its last linear layer into trunk and classifier; the weights stay.

    Raises:
        ValueError: if it has none.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(network).__name__} has no linear layer as its classifier: take another network")
    last = linear[-1]
    head = network.get_submodule(last)
    network.set_submodule(last, nn.Identity())
    return Headless(network, head)


def _build(name: str, weights_from: str | Path) -> Backbone:
    if name in CAFFE_NETWORKS:
        return _caffe(name, weights_from)
    if name in weights.PLACES365:
        return _torchvision(name, name.removeprefix("places365_"), weights_from)
    if name.startswith("torchvision/"):
        return _torchvision(name, name.removeprefix("torchvision/"), weights_from)
    return _timm(name, weights_from)


def _caffe(name: str, weights_from: str | Path) -> Backbone:
    """Build one of the paper's networks, or VGG16; the mean image beside its weights is used if there is one."""
    known, network = weights.WEIGHT_FILES[name], CAFFE_NETWORKS[name](1_000)
    mean, label, sha256, unfilled = PLACES_MEAN_BGR, "random", None, []
    if weights_from != "random":
        path = _weight_file(name, weights_from)
        unfilled = weights.load_caffe(network, caffe.read_caffemodel(path))
        label, sha256, beside = _label(name, path), file_sha256(path), weights.mean_beside(path)
        if beside is not None:
            mean = beside
        elif known.mean_image:
            label += " (mean colour)"  # not what they were trained with, and a table must not hide it
    how = Preprocessing(known.size, 256, warp=True, bgr=True, scale=1.0, mean=mean, std=(1.0, 1.0, 1.0))
    return Backbone(name, network, how, known.layer, known.width, label, sha256, unfilled=tuple(unfilled))


def _torchvision(name: str, short: str, weights_from: str | Path) -> Backbone:
    from torchvision import models

    if short not in models.list_models(models):
        raise ValueError(f"torchvision has no network {short!r}; it has {', '.join(models.list_models(models))}")
    places = name in weights.PLACES365
    downloaded = not places and weights_from in ("default", "pretrained")
    options = {"num_classes": 365} if places else {"weights": "DEFAULT" if downloaded else None}
    if short in AUXILIARY_HEADS:  # whose outputs a single classifier can't replace
        options |= {"aux_logits": False, "init_weights": not downloaded}
    network = models.get_model(short, **options)
    label, sha256 = _filled(name, network, weights_from, downloaded)
    wrapped = without_head(network)
    how = Preprocessing(224, 256) if places else _torchvision_preprocessing(short)
    return Backbone(name, wrapped, how, "penultimate", wrapped.classifier.in_features, label, sha256)


def _torchvision_preprocessing(short: str) -> Preprocessing:
    """Return what the weights that torchvision publishes for a network were made for."""
    from torchvision import models

    expects = models.get_model_weights(short).DEFAULT.transforms()
    return Preprocessing(
        size=expects.crop_size[0],
        resize=expects.resize_size[0],
        mean=tuple(expects.mean),
        std=tuple(expects.std),
        bicubic=expects.interpolation.value == "bicubic",
    )


def _timm(name: str, weights_from: str | Path) -> Backbone:
    import timm

    known = "tf_efficientnet_lite0" if name == "efficientnet_lite0" else name
    if not timm.is_model(known):
        near = ", ".join(timm.list_models(f"*{name[:8]}*")[:8]) or "see timm.list_models()"
        raise ValueError(f"no network is called {name!r}; near: {near}")
    bundled = name == "efficientnet_lite0" and weights_from == "default"
    downloaded = weights_from in ("default", "pretrained") and not bundled
    network = timm.create_model(known, pretrained=downloaded)
    expects = timm.data.resolve_model_data_config(network)
    size = expects["input_size"][-1]
    preprocessing = Preprocessing(
        size=size,
        resize=int(size / expects["crop_pct"]),
        mean=tuple(expects["mean"]),
        std=tuple(expects["std"]),
        bicubic=expects["interpolation"] == "bicubic",
    )
    label, sha256 = _filled(name, network, weights.lite0_file() if bundled else weights_from, downloaded)
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        raise ValueError(f"{name} can't be used: its classifier is no linear layer, but {type(head).__name__}")
    network.reset_classifier(0)
    return Backbone(name, Headless(network, head), preprocessing, "pooled", head.in_features, label, sha256)


def _filled(name: str, network: nn.Module, weights_from: str | Path, downloaded: bool) -> tuple[str, str | None]:
    """Fill a torch network with a file's weights, unless its library downloaded them; return label and checksum."""
    if downloaded:
        return "ImageNet", weights.state_sha256(network)
    if weights_from == "random":
        return "random", None
    path = _weight_file(name, weights_from)
    weights.load_state(network, path)
    return _label(name, path), file_sha256(path)


def _weight_file(name: str, weights_from: str | Path) -> Path:
    if weights_from in ("default", "pretrained"):
        return weights.require(name)
    path = Path(weights_from)
    if not path.exists():
        raise FileNotFoundError(f"no weight file {path}; give a file, 'default', 'pretrained' or 'random'")
    return path


def _label(name: str, path: Path) -> str:
    """Say in a word what weights these are: the collection they were trained on, or else the file."""
    if path == weights.lite0_file():
        return "ImageNet"
    return weights.WEIGHT_FILES[name].label if path == weights.locate(name) else path.name


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
    with torch.device("meta"):  # shapes without memory
        if path.suffix == ".caffemodel":
            given = caffe.read_caffemodel(path)
            kind = f"a Caffe network, {len(given)} layers with weights"
            faults = {name: weights.caffe_mismatches(build(1_000), given) for name, build in CAFFE_NETWORKS.items()}
        else:
            given = weights.read_state(path)
            kind = f"a torch checkpoint, {len(given)} tensors"
            faults = {name: weights.state_mismatches(build(), given) for name, build in _torch_networks().items()}
    fits = [f"it fits {name}" for name, wrong in faults.items() if not wrong]
    nearest = min(faults, key=lambda name: len(faults[name]))
    return [f"{path.name}: {kind}", *(fits or [f"it fits no known network; {nearest}: {faults[nearest][0]}"])]


def _torch_networks() -> dict[str, Callable[[], nn.Module]]:
    import timm
    from torchvision import models

    places = {
        name: partial(models.get_model, name.removeprefix("places365_"), num_classes=365) for name in weights.PLACES365
    }
    return {"efficientnet_lite0": partial(timm.create_model, "tf_efficientnet_lite0"), **places}
