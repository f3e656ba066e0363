"""Caffe files for tests: the published definitions of both networks as deploy texts, and writers of weight files.

Nothing here looks at geoutils: layers, shapes and the wire format are written down a second time.
"""

from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path

import numpy as np

# Szegedy et al. 2014, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


@dataclass
class Definition:
    """A network as Caffe's text, with the shapes that Caffe would infer."""

    size: int
    tops: dict[str, str] = field(default_factory=dict)  # layer -> the map it writes, another layer's if in place
    blobs: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)  # of layers with weights
    text: str = ""

    def __post_init__(self):
        self._maps = {"data": (3, self.size, self.size)}
        self.text = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {self.size} dim: {self.size} }}\n'

    def add(self, name, kind, bottoms, parameters="", *, top=None, shape=None):
        bottoms = bottoms if isinstance(bottoms, tuple) else (bottoms,)
        top = top or name
        lines = "".join(f'bottom: "{bottom}" ' for bottom in bottoms)
        self.text += f'layer {{ name: "{name}" type: "{kind}" {lines}top: "{top}" {parameters} }}\n'
        self.tops[name] = top
        self._maps[top] = shape or self._maps[bottoms[0]]
        return top

    def conv(self, name, bottom, outputs, kernel, *, stride=1, pad=0, group=1, relu=None):
        channels, *sides = self._maps[bottom]
        out = [(side + 2 * pad - kernel) // stride + 1 for side in sides]
        self.blobs[name] = [(outputs, channels // group, kernel, kernel), (outputs,)]
        text = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} group: {group}"
        self.add(name, "Convolution", bottom, f"convolution_param {{ {text} }}", shape=(outputs, *out))
        return self.add(relu, "ReLU", name, top=name)

    def pool(self, name, bottom, kernel, stride, *, pad=0, kind="MAX"):
        channels, *sides = self._maps[bottom]
        out = [ceil((side + 2 * pad - kernel) / stride) + 1 for side in sides]
        text = f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        return self.add(name, "Pooling", bottom, text, shape=(channels, *out))

    def norm(self, name, bottom):
        return self.add(name, "LRN", bottom, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def full(self, name, bottom, outputs, *, relu=None, drop=None):
        self.blobs[name] = [(outputs, prod(self._maps[bottom])), (outputs,)]
        text = f"inner_product_param {{ num_output: {outputs} }}"
        self.add(name, "InnerProduct", bottom, text, shape=(outputs,))
        if relu:
            self.add(relu, "ReLU", name, top=name)
            self.add(drop, "Dropout", name, top=name)
        return name

    def inception(self, name, bottom):
        one, three_in, three, five_in, five, projected = INCEPTIONS[name.removeprefix("inception_")]
        n = f"{name}/"
        a = self.conv(f"{n}1x1", bottom, one, 1, relu=f"{n}relu_1x1")
        b = self.conv(f"{n}3x3_reduce", bottom, three_in, 1, relu=f"{n}relu_3x3_reduce")
        b = self.conv(f"{n}3x3", b, three, 3, pad=1, relu=f"{n}relu_3x3")
        c = self.conv(f"{n}5x5_reduce", bottom, five_in, 1, relu=f"{n}relu_5x5_reduce")
        c = self.conv(f"{n}5x5", c, five, 5, pad=2, relu=f"{n}relu_5x5")
        d = self.pool(f"{n}pool", bottom, 3, 1, pad=1)
        d = self.conv(f"{n}pool_proj", d, projected, 1, relu=f"{n}relu_pool_proj")
        joined = (one + three + five + projected, *self._maps[a][1:])
        return self.add(f"{n}output", "Concat", (a, b, c, d), shape=joined)

    def head(self, loss, bottom, outputs):
        x = self.pool(f"{loss}/ave_pool", bottom, 5, 3, kind="AVE")
        x = self.conv(f"{loss}/conv", x, 128, 1, relu=f"{loss}/relu_conv")
        x = self.full(f"{loss}/fc", x, 1024, relu=f"{loss}/relu_fc", drop=f"{loss}/drop_fc")
        self.full(f"{loss}/classifier", x, outputs)


def caffenet(outputs: int = 1000) -> Definition:
    net = Definition(227)
    x = net.conv("conv1", "data", 96, 11, stride=4, relu="relu1")
    x = net.norm("norm1", net.pool("pool1", x, 3, 2))
    x = net.conv("conv2", x, 256, 5, pad=2, group=2, relu="relu2")
    x = net.norm("norm2", net.pool("pool2", x, 3, 2))
    x = net.conv("conv3", x, 384, 3, pad=1, relu="relu3")
    x = net.conv("conv4", x, 384, 3, pad=1, group=2, relu="relu4")
    x = net.conv("conv5", x, 256, 3, pad=1, group=2, relu="relu5")
    x = net.full("fc6", net.pool("pool5", x, 3, 2), 4096, relu="relu6", drop="drop6")
    x = net.full("fc7", x, 4096, relu="relu7", drop="drop7")
    net.full("fc8", x, outputs)
    return net


def googlenet(outputs: int = 1000, *, heads: bool = True) -> Definition:
    net = Definition(224)
    x = net.conv("conv1/7x7_s2", "data", 64, 7, stride=2, pad=3, relu="conv1/relu_7x7")
    x = net.norm("pool1/norm1", net.pool("pool1/3x3_s2", x, 3, 2))
    x = net.conv("conv2/3x3_reduce", x, 64, 1, relu="conv2/relu_3x3_reduce")
    x = net.conv("conv2/3x3", x, 192, 3, pad=1, relu="conv2/relu_3x3")
    x = net.pool("pool2/3x3_s2", net.norm("conv2/norm2", x), 3, 2)
    for block in INCEPTIONS:
        if block in ("4a", "5a"):
            number = int(block[0]) - 1
            x = net.pool(f"pool{number}/3x3_s2", x, 3, 2)
        x = net.inception(f"inception_{block}", x)
        if heads and block in ("4a", "4d"):
            net.head("loss1" if block == "4a" else "loss2", x, outputs)
    x = net.pool("pool5/7x7_s1", x, 7, 1, kind="AVE")
    net.full("loss3/classifier", net.add("pool5/drop_7x7_s1", "Dropout", x, top=x), outputs)
    return net


def random_weights(definition: Definition, *, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Draw weights that keep the spread of a 0 to 255 input in every layer, so that LRN has something to do."""
    rng = np.random.default_rng(seed)

    def uniform(shape, bound):
        values = rng.random(shape, np.float32)
        values -= np.float32(0.5)
        values *= np.float32(2 * bound)
        return values

    return {
        name: [uniform(weight, (6 / prod(weight[1:])) ** 0.5), uniform(bias, 10.0)]
        for name, (weight, bias) in definition.blobs.items()
    }


def write_caffemodel(path: Path, layers: dict[str, list[np.ndarray]], *, form: str = "current") -> Path:
    """Write weights in the "current", the "V1" or the "V0" form, the last two with four axes a blob."""
    chunks = []
    for name, blobs in layers.items():
        named, number = {"current": (1, 7), "V1": (4, 6), "V0": (1, 50)}[form]
        layer = _string(named, name.encode())
        for blob in blobs:
            layer += _string(number, *_blob(blob, legacy=form != "current"))
        if form == "V0":
            layer = _string(1, *layer)
        chunks += _string(100 if form == "current" else 2, *layer)
    with open(path, "wb") as file:
        file.writelines([*_string(1, b"a network"), *chunks])
    return path


def write_binaryproto(path: Path, mean: np.ndarray) -> Path:
    """Write a mean image (3, height, width) as Caffe does: a bare blob of shape (1, 3, height, width)."""
    path.write_bytes(b"".join(_blob(mean, legacy=True)))
    return path


def varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def _string(number: int, *chunks: bytes) -> list[bytes]:
    return [varint(number << 3 | 2), varint(sum(len(chunk) for chunk in chunks)), *chunks]


def _blob(values: np.ndarray, *, legacy: bool) -> list[bytes]:
    if legacy:
        shape = (*(1,) * (4 - values.ndim), *values.shape)
        head = [varint(axis << 3) + varint(side) for axis, side in enumerate(shape, start=1)]
    else:
        head = _string(7, *_string(1, *(varint(side) for side in values.shape)))
    return [*head, *_string(5, memoryview(np.ascontiguousarray(values, "<f4")).cast("B"))]
