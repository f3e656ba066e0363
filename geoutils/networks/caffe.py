"""Caffe's weight files (.caffemodel) and mean images (.binaryproto), straight from protobuf's wire format.

The file is mapped and the arrays are views of it: hundreds of megabytes of weights are not copied until they
enter a network. Field numbers: caffe.proto; wire format: protobuf.dev/programming-guides/encoding.
"""

import mmap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import dropwhile
from math import prod
from pathlib import Path

import numpy as np

_VARINT, _LENGTH, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types; the fixed ones with their sizes
_FORMS = {2: (4, 6), 100: (1, 7)}  # of NetParameter: V1 and current layers, with the fields of name and blobs in each
_V1_LAYER, _V0_LAYER = 2, 1  # a V1 layer can hold an older one
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
        for form, (name, blobs) in _FORMS.items():
            for _, fields in map(_parse, network[form]):
                if form == _V1_LAYER and fields[_V0_LAYER]:
                    raise ValueError(_V0_ADVICE)
                if fields[blobs]:
                    layers[b"".join(fields[name]).decode()] = [_blob(message) for message in fields[blobs]]
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
        shape = unpadded(mean.shape)
        if len(shape) != 3 or shape[0] != 3:
            raise ValueError(f"expected a shape (3, height, width), found {mean.shape}")
    return mean.reshape(shape).copy()


def unpadded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the ones that lead it: old files pad every shape to four axes."""
    return tuple(dropwhile(lambda side: side == 1, shape))


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
