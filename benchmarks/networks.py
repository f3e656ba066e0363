"""Forward speed of CaffeNet and GoogLeNet beside torchvision's networks of the same names, in one process.

    python benchmarks/networks.py [--images 8] [--rounds 20]

channels_last, fp32, eval mode, same input size. The two take turns, so that a busy machine slows both; the ratio
is that of their fastest rounds. torchvision's GoogLeNet has batch norm in place of LRN, and a 3x3 in place of the 5x5.
"""

import argparse
import time

import torch
from torch import nn
from torchvision import models

from geoutils.networks.paper import CaffeNet, GoogLeNet

TARGETS = {"CaffeNet": 1.0, "GoogLeNet": 0.75}  # images/s over torchvision's


def images_per_second(networks: list[nn.Module], *, side: int, images: int, rounds: int) -> list[float]:
    """Time networks in turns and return the images a second of each one's fastest round."""
    x = torch.randn(images, 3, side, side).contiguous(memory_format=torch.channels_last)
    fastest = [float("inf")] * len(networks)
    with torch.inference_mode():
        for _ in range(rounds + 1):  # the first one, which warms up, can hardly be the fastest
            for place, network in enumerate(networks):
                start = time.perf_counter()
                network(x)
                fastest[place] = min(fastest[place], time.perf_counter() - start)
    return [images / seconds for seconds in fastest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="batch size")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    pairs = {
        "CaffeNet": (CaffeNet(), models.alexnet(), 227),
        "GoogLeNet": (GoogLeNet(), models.googlenet(init_weights=False), 224),
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {options.images}")
    for name, (ours, theirs, side) in pairs.items():
        pair = [network.eval().to(memory_format=torch.channels_last) for network in (ours, theirs)]
        own, other = images_per_second(pair, side=side, images=options.images, rounds=options.rounds)
        print(
            f"{name} at {side}: {own:.1f} images/s, torchvision {other:.1f}, ratio {own / other:.2f} "
            f"(target {TARGETS[name]})"
        )


if __name__ == "__main__":
    main()
