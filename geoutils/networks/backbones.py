"""Networks by name: how each is built, what it expects of a photo, and the layer that gives features."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoutils.artifacts import file_sha256
from geoutils.networks import caffe, paper, weights
from geoutils.networks.libraries import Built, build_timm, build_torchvision, build_vgg16, without_head
from geoutils.networks.preprocessing import PLACES_MEAN_BGR, Preprocessing


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


def build_places205(name: str, downloaded: bool) -> Built:
    """Build one of Caffe's networks; its weights always come from a file."""
    row, std = weights.known_files()[name], (1.0, 1.0, 1.0)
    expects = Preprocessing(row.input, 256, warp=True, bgr=True, scale=1.0, mean=PLACES_MEAN_BGR, std=std)
    return CAFFE_NETWORKS[name](), expects, row.layer


def build_places365(name: str, downloaded: bool) -> Built:
    """Build one of torchvision's networks with 365 classes; its weights always come from a file."""
    from torchvision import models

    return models.get_model(name, num_classes=365), Preprocessing(224, 256), "penultimate"


CAFFE_NETWORKS = {
    "places205_alexnet": paper.CaffeNet,
    "places205_googlenet": paper.GoogLeNet,
    "places205_vgg16": build_vgg16,
}
# name: a function that takes whether to bring the network's own weights, and builds it. Its last layer is linear, or
# it has what `Backbone` says of a network
NETWORKS: dict[str, Callable[[bool], Built]] = {
    "efficientnet_lite0": partial(build_timm, "tf_efficientnet_lite0"),
    "places205_alexnet": partial(build_places205, "places205_alexnet"),
    "places205_googlenet": partial(build_places205, "places205_googlenet"),
    "places205_vgg16": partial(build_places205, "places205_vgg16"),
    "places365_alexnet": partial(build_places365, "alexnet"),
    "places365_densenet161": partial(build_places365, "densenet161"),
    "places365_resnet18": partial(build_places365, "resnet18"),
    "places365_resnet50": partial(build_places365, "resnet50"),
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
        name: a key of `NETWORKS`, "torchvision/<name>", or any timm name.
        weights_from: "default" (the network's own: bundled, fetched before, or downloaded by timm or torchvision),
            "available" (the same, but random ones for a network of weights.csv whose file is not on this machine),
            "random", or a file.
        size: side of the input in pixels; None takes the network's own.
        warp: squeeze the photo into a square, as Caffe's tools do, or keep its aspect; None takes the network's own.
        num_classes: puts a fresh classifier of this width on it. None keeps the one of the weights; the paper's
            networks have a fresh one in any case, since no city is among Places' 205 scenes.
        seed: of random weights and of the fresh classifier.

    Raises:
        ValueError: for a name that is not known, naming those that are near; for weights that do not fit.
        FileNotFoundError: for a weight file that is not there, saying how to get it.
    """
    files = weights.known_files()
    if weights_from == "available":
        weights_from = "random" if name in files and not weights.locate(name) else "default"
    file = _weight_file(name, weights_from)
    label, sha256, unfilled = "random", None, []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, preprocessing, layer = _build(name, file is None and weights_from != "random")
        if file:
            unfilled = weights.load(network, file, whole=name not in CAFFE_NETWORKS)
            label, sha256 = files[name].weights if file == weights.locate(name) else file.name, file_sha256(file)
        elif weights_from != "random":
            label = "pretrained" if name in NETWORKS else "ImageNet"  # timm's and torchvision's own
            sha256 = weights.state_sha256(network)
        if not hasattr(network, "replace_classifier"):
            network = without_head(network)
        width = network.get_submodule(network.new_layers()[-1]).in_features
        if num_classes is not None:
            network.replace_classifier(num_classes)
    if file and name in CAFFE_NETWORKS:
        if beside := sorted(file.parent.glob("*.binaryproto")):
            preprocessing = replace(preprocessing, mean=caffe.read_binaryproto(beside[0]))
        elif files[name].mean == "image":
            label += " (mean colour)"  # not what they were trained with, and a table must not hide it
    preprocessing = preprocessing.at_size(size)
    if warp is not None:
        preprocessing = replace(preprocessing, warp=warp)
    made_with = {"name": name, "weights_from": str(weights_from), "size": size, "warp": warp, "seed": seed}
    return Backbone(name, network.eval(), preprocessing, layer, width, label, sha256, made_with, tuple(unfilled))


def _weight_file(name: str, weights_from: str | Path) -> Path | None:
    """Find the file of a network's weights; None for random ones, and for those that a library downloads."""
    if weights_from == "default":
        return weights.require(name) if name in weights.known_files() else None
    if weights_from == "random":
        return None
    path = Path(weights_from)
    if not path.exists():
        raise FileNotFoundError(f"no weight file {path}; give a file, 'default', 'available' or 'random'")
    return path


def _build(name: str, downloaded: bool = False) -> Built:
    if name in NETWORKS:
        return NETWORKS[name](downloaded)
    if name.startswith("torchvision/"):
        return build_torchvision(name.removeprefix("torchvision/"), downloaded)
    return build_timm(name, downloaded)


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
    tensors, of_caffe = weights.read(path), path.suffix == ".caffemodel"
    with torch.device("meta"):  # shapes without memory
        faults = {
            name: weights.mismatches(_build(name)[0], tensors, whole=not of_caffe)
            for name in weights.known_files()
            if (name in CAFFE_NETWORKS) == of_caffe
        }
    kind = "Caffe network" if of_caffe else "torch checkpoint"
    fits = [f"it fits {name}" for name, wrong in faults.items() if not wrong]
    nearest = min(faults, key=lambda name: len(faults[name]))
    lines = fits or [f"it fits no known network; {nearest}: {faults[nearest][0]}"]
    return [f"{path.name}: a {kind} of {len(tensors)} tensors", *lines]
