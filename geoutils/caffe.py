"""Caffe's weight files (.caffemodel) and mean images (.binaryproto), straight from protobuf's wire format.

The file is mapped and the arrays are views of it: hundreds of megabytes of weights are not copied until they
enter a network. Field numbers: caffe.proto; wire format: protobuf.dev/programming-guides/encoding.
"""

import mmap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import dropwhile
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_VARINT, _LENGTH, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types; the fixed ones with their sizes
_V1_LAYER, _LAYER = 2, 100  # of NetParameter
_V1_NAME, _V1_BLOBS, _V0_LAYER = 4, 6, 1  # of V1LayerParameter
_NAME, _BLOBS = 1, 7  # of LayerParameter
_LEGACY_SHAPE, _DATA, _SHAPE, _DOUBLES = (1, 2, 3, 4), 5, 7, 8  # of BlobProto
_DIMENSION = 1  # of BlobShape
_V0_ADVICE = (
    "its layers have the oldest (V0) form; take the upgraded archive (placesCNN_upgraded.tar.gz for "
    "Places205-AlexNet) or convert it with Caffe's upgrade_net_proto_binary"
)


def read_caffemodel(path: Path) -> dict[str, list[np.ndarray]]:
    """Read the weights of a Caffe network, in the V1 or the current form.

    Args:
        path: a .caffemodel file.

    Returns:
        Layer name -> blobs (weight, then bias), float32, read-only views of the mapped file; only layers with
        weights. Old files pad their shapes to four axes: a bias is (1, 1, 1, n).

    Raises:
        ValueError: for a truncated file, a file that is no Caffe network, and one in the oldest (V0) form.
    """
    with _explained(path, "Caffe network"):
        layers = {}
        _, network = _parse(_mapped(path))
        for message in network[_V1_LAYER]:
            _, fields = _parse(message)
            if fields[_V0_LAYER]:
                raise ValueError(_V0_ADVICE)
            layers |= _layer(fields, _V1_NAME, _V1_BLOBS)
        for message in network[_LAYER]:
            layers |= _layer(_parse(message)[1], _NAME, _BLOBS)
        if not layers:
            raise ValueError("it holds no layer with weights")
    return layers


def read_binaryproto(path: Path) -> np.ndarray:
    """Read a mean image that Caffe's compute_image_mean wrote.

    Args:
        path: a .binaryproto file.

    Returns:
        float32, shape (3, height, width), BGR, 0 to 255.

    Raises:
        ValueError: for a truncated file, and for one that is no image of three channels.
    """
    with _explained(path, "Caffe mean image"):
        mean = _blob(_mapped(path))
        shape = _unpadded(mean.shape)
        if len(shape) != 3 or shape[0] != 3:
            raise ValueError(f"expected a shape (3, height, width), found {mean.shape}")
    return mean.reshape(shape).copy()


def caffe_layers(network: "torch.nn.Module", *, skip: Iterable[str] = ()) -> dict[str, "torch.nn.Module"]:
    """Map Caffe's layer names to the modules that hold weights: a name is the module's path with "/" for ".".

    Args:
        network: from `networks`, or a torch.nn.ModuleDict of another network's modules under Caffe's names.
        skip: paths of modules to leave out, such as `network.new_layers()`.
    """
    left_out = set(skip)
    return {
        path.replace(".", "/"): module
        for path, module in network.named_modules()
        if path not in left_out and next(module.parameters(recurse=False), None) is not None
    }


def mismatches(
    network: "torch.nn.Module", layers: Mapping[str, list[np.ndarray]], *, skip: Iterable[str] = ()
) -> list[str]:
    """Say which layers of a network the weights of a file do not fit.

    Args:
        network, skip: as for `caffe_layers`.
        layers: from `read_caffemodel`.

    Returns:
        One phrase a layer; none if every layer of the network finds its weights.
    """
    faults = []
    for name, module in caffe_layers(network, skip=skip).items():
        expected = [tuple(parameter.shape) for parameter in module.parameters(recurse=False)]
        found = [blob.shape for blob in layers.get(name, [])]
        if [_unpadded(shape) for shape in found] != [_unpadded(shape) for shape in expected]:
            faults.append(f"layer {name!r} needs blobs of shapes {expected}, found {found or 'none'}")
    return faults


def load_into(
    network: "torch.nn.Module", layers: Mapping[str, list[np.ndarray]], *, skip: Iterable[str] = ()
) -> list[str]:
    """Copy a file's weights into a network by layer name, after every shape was checked.

    Args:
        network, layers, skip: as for `mismatches`.

    Returns:
        The file's layers that were not used: the skipped ones, and those that the network does not have.

    Raises:
        ValueError: naming each layer that does not match; the network is then unchanged.
    """
    import torch

    skip = list(skip)
    if faults := mismatches(network, layers, skip=skip):
        raise ValueError(f"the weights do not fit this {type(network).__name__}: {'; '.join(faults)}")
    modules = caffe_layers(network, skip=skip)
    with torch.no_grad():
        for name, module in modules.items():
            for parameter, blob in zip(module.parameters(recurse=False), layers[name], strict=True):
                # torch wants aligned, writable memory: one blob at a time is copied on its way
                parameter.copy_(torch.from_numpy(np.array(blob)).view(parameter.shape))
    return [name for name in layers if name not in modules]


@contextmanager
def _explained(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} can't be read as a {kind}: {error}") from error


def _mapped(path: Path) -> memoryview:
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # ValueError if empty


def _parse(message: memoryview) -> tuple[dict[int, list[int]], dict[int, list[memoryview]]]:
    """Return a message's integers and byte strings by field number; a lone float is a string of 4 bytes."""
    numbers, strings = defaultdict(list), defaultdict(list)
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        field, wire = key >> 3, key & 7
        if wire not in (_VARINT, _LENGTH, *_FIXED):
            raise ValueError(f"its bytes are no protobuf message (wire type {wire})")
        size = _FIXED.get(wire)
        if size is None:  # an integer, or the length of what follows
            size, position = _varint(message, position)
        if wire == _VARINT:
            numbers[field].append(size)
            continue
        if size > len(message) - position:
            raise ValueError("it ends in the middle of a field; is the download complete?")
        strings[field].append(message[position : position + size])
        position += size
    return numbers, strings


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[position : position + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise ValueError("it ends, or turns into something else, in the middle of a number")


def _layer(fields: dict[int, list[memoryview]], name: int, blobs: int) -> dict[str, list[np.ndarray]]:
    if not fields[blobs]:
        return {}
    return {b"".join(fields[name]).decode(): [_blob(message) for message in fields[blobs]]}


def _blob(message: memoryview) -> np.ndarray:
    numbers, strings = _parse(message)
    parts = [np.frombuffer(part, "<f4") for part in strings[_DATA]]
    parts += [np.frombuffer(part, "<f8").astype("<f4") for part in strings[_DOUBLES]]
    # a packed field may come in pieces; Caffe writes one, and that stays a view
    data = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, "<f4"), *parts])
    shape = [numbers[axis][-1] if numbers[axis] else 1 for axis in _LEGACY_SHAPE]
    if strings[_SHAPE]:
        shape = _dimensions(strings[_SHAPE][-1])
    if not data.size or prod(shape) != data.size:
        raise ValueError(f"a blob of shape {tuple(shape)} holds {data.size} numbers")
    return data.reshape(shape)


def _dimensions(message: memoryview) -> list[int]:
    dimensions, packed = _parse(message)
    for part in packed[_DIMENSION]:
        position = 0
        while position < len(part):
            dimension, position = _varint(part, position)
            dimensions[_DIMENSION].append(dimension)
    return dimensions[_DIMENSION]


def _unpadded(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dropwhile(lambda side: side == 1, shape))
