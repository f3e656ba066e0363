"""The paper's two networks as Caffe trained them: CaffeNet (Places' "AlexNet") and the GoogLeNet of 2014.

A module's path is its Caffe layer's name with "." for "/", so weights load by name. They are used as they are: the
input is Caffe's, BGR from 0 to 255 less the mean. New weights are drawn as Caffe's training definitions say, from
torch's global generator.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LRN(nn.Module):
    """Local response normalisation across five neighbouring channels (Krizhevsky et al. 2012, section 3.3).

    x / (1 + 1e-4 / 5 * sum of squares) ** 0.75; Caffe too divides alpha by the window. The sum adds up
    shifted channels, several times faster on a CPU than `nn.LocalResponseNorm`.
    """

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # the square of an activation overflows half precision
        squares = F.pad((wide * (1e-4 / 5) ** 0.5).square_(), (0, 0, 0, 0, 2, 2))
        pairs = squares[:, 1:] + squares[:, :-1]
        root = (pairs[:, 2:-1] + pairs[:, :-3]).add_(squares[:, 4:]).add_(1).rsqrt_()
        return (wide * root).mul_(root.sqrt()).to(x.dtype)  # the power -0.75; in place, since new tensors cost most


class AveragePool(nn.AvgPool2d):
    """Caffe's average pooling of a map of the paper's size; adaptive, to as many cells, at any other size.

    Adaptive pooling alone would cut a side of 14 into four other windows, and sum 7 x 7 in another order.
    """

    def __init__(self, kernel: int, stride: int, *, side: int) -> None:
        super().__init__(kernel, stride)
        self.side, self.cells = side, (side - kernel) // stride + 1

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] == (self.side, self.side):
            return super().forward(x)
        return F.adaptive_avg_pool2d(x, self.cells)


class _CaffeTrained(nn.Module):
    """What the two networks share: Caffe's fillers, and the classifiers that a fine-tuning replaces."""

    def new_layers(self) -> list[str]:
        """Name the modules that fine-tuning replaces and trains faster: every classifier."""
        return [path for path, _ in self.named_modules() if path.rpartition(".")[2] in ("fc8", "classifier")]

    def replace_classifier(self, num_classes: int) -> None:
        """Put a fresh classifier for `num_classes` in place of each old one."""
        for path in self.new_layers():
            weight = self.get_submodule(path).weight
            layer = nn.Linear(weight.shape[1], num_classes, device=weight.device, dtype=weight.dtype)
            self._fill(path, layer)
            self.set_submodule(path, layer)

    def _fill_all(self) -> None:
        for path, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                self._fill(path, layer)


class CaffeNet(_CaffeTrained, nn.Sequential):
    """The network of Places205-AlexNet, which pools before it normalises.

    Args:
        num_classes: outputs of fc8.

    Input (n, 3, 227, 227), or any side from 64 pixels; output logits (n, num_classes).
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(3, 96, 11, stride=4),
                relu1=_relu(),
                pool1=_max_pool(),
                norm1=LRN(),
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
                relu2=_relu(),
                pool2=_max_pool(),
                norm2=LRN(),
                conv3=nn.Conv2d(256, 384, 3, padding=1),
                relu3=_relu(),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
                relu4=_relu(),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
                relu5=_relu(),
                pool5=nn.AdaptiveMaxPool2d(6),  # of 13 x 13, at 227 pixels: exactly 3 x 3 windows with stride 2
                flatten=nn.Flatten(),
                fc6=nn.Linear(256 * 6 * 6, 4096),
                relu6=_relu(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),
                relu7=_relu(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),
            )
        )
        self._fill_all()

    def features(self, x: Tensor) -> Tensor:
        """Return fc7 after its ReLU, shape (n, 4096)."""
        for name, layer in self.named_children():
            if name == "drop7":
                break
            x = layer(x)
        return x

    @staticmethod
    def _fill(path: str, layer: nn.Conv2d | nn.Linear) -> None:
        nn.init.normal_(layer.weight, std=0.005 if path in ("fc6", "fc7") else 0.01)
        nn.init.constant_(layer.bias, 0.0 if path in ("conv1", "conv3", "fc8") else 1.0)


class Inception(nn.ModuleDict):
    """Four branches side by side, their maps joined (Szegedy et al. 2014, figure 2b).

    Args:
        channels: of the input; the others are outputs, of the 3x3 and the 5x5 branch as (reduced, output).
    """

    def __init__(self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pool_proj: int) -> None:
        super().__init__(
            {
                "1x1": nn.Conv2d(channels, one, 1),
                "3x3_reduce": nn.Conv2d(channels, three[0], 1),
                "3x3": nn.Conv2d(*three, 3, padding=1),
                "5x5_reduce": nn.Conv2d(channels, five[0], 1),
                "5x5": nn.Conv2d(*five, 5, padding=2),
                "pool": nn.MaxPool2d(3, stride=1, padding=1),
                "pool_proj": nn.Conv2d(channels, pool_proj, 1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        three = self["3x3"](self["3x3_reduce"](x).relu_())
        five = self["5x5"](self["5x5_reduce"](x).relu_())
        return torch.cat([self["1x1"](x), three, five, self["pool_proj"](self["pool"](x))], dim=1).relu_()


class GoogLeNet(_CaffeTrained):
    """The GoogLeNet of 2014: LRN, no batch norm, two auxiliary heads.

    Args:
        num_classes: outputs of each classifier.
        auxiliary: whether to have the two heads.

    Input (n, 3, 224, 224), or any side from 32 pixels; output logits (n, num_classes). In training mode, with
    heads, a tuple: the logits of loss3, loss1 and loss2, whose losses Caffe weighs 1, 0.3 and 0.3.
    """

    def __init__(self, num_classes: int = 1000, *, auxiliary: bool = True) -> None:
        super().__init__()
        self.conv1 = _chain({"7x7_s2": nn.Conv2d(3, 64, 7, stride=2, padding=3), "relu_7x7": _relu()})
        self.pool1 = _chain({"3x3_s2": _max_pool(), "norm1": LRN()})
        self.conv2 = _chain(
            {
                "3x3_reduce": nn.Conv2d(64, 64, 1),
                "relu_3x3_reduce": _relu(),
                "3x3": nn.Conv2d(64, 192, 3, padding=1),
                "relu_3x3": _relu(),
                "norm2": LRN(),
            }
        )
        self.pool2 = _chain({"3x3_s2": _max_pool()})
        self.inception_3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception_3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.pool3 = _chain({"3x3_s2": _max_pool()})
        self.inception_4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.loss1 = _auxiliary_head(512, num_classes) if auxiliary else None
        self.inception_4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception_4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception_4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.loss2 = _auxiliary_head(528, num_classes) if auxiliary else None
        self.inception_4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.pool4 = _chain({"3x3_s2": _max_pool()})
        self.inception_5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception_5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.pool5 = _chain({"7x7_s1": AveragePool(7, 1, side=7), "drop_7x7_s1": nn.Dropout(0.4)})
        self.loss3 = _chain({"classifier": nn.Linear(1024, num_classes)})
        self._fill_all()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        after_4a, after_4d, features = self._trunk(x)
        dropout = self.pool5[1]
        logits = self.loss3(dropout(features))
        if self.loss1 is None or not self.training:
            return logits
        return logits, self.loss1(after_4a), self.loss2(after_4d)

    def features(self, x: Tensor) -> Tensor:
        """Return pool5, shape (n, 1024)."""
        return self._trunk(x)[-1]

    def _trunk(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool2(self.conv2(self.pool1(self.conv1(x))))
        x = self.pool3(self.inception_3b(self.inception_3a(x)))
        after_4a = self.inception_4a(x)
        after_4d = self.inception_4d(self.inception_4c(self.inception_4b(after_4a)))
        x = self.pool4(self.inception_4e(after_4d))
        x = self.inception_5b(self.inception_5a(x))
        pool, _ = self.pool5
        return after_4a, after_4d, pool(x).flatten(1)

    @staticmethod
    def _fill(path: str, layer: nn.Conv2d | nn.Linear) -> None:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")  # Caffe's xavier: variance 1 / fan in
        nn.init.constant_(layer.bias, 0.0 if path.endswith("classifier") else 0.2)


def _auxiliary_head(channels: int, num_classes: int) -> nn.Sequential:
    return _chain(
        {
            "ave_pool": AveragePool(5, 3, side=14),
            "conv": nn.Conv2d(channels, 128, 1),
            "relu_conv": _relu(),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(128 * 4 * 4, 1024),
            "relu_fc": _relu(),
            "drop_fc": nn.Dropout(0.7),
            "classifier": nn.Linear(1024, num_classes),
        }
    )


def _chain(layers: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)


def _max_pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe rounds the number of windows up
