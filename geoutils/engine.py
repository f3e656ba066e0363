"""Device and precision: one Accelerate object for extraction and training."""

import contextlib
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def accelerator(precision: str = "auto") -> Accelerator:
    """Return an Accelerator on CUDA, MPS or the CPU, whichever is there, or on this process's share under `torchrun`.

    Args:
        precision: "fp32", "bf16" or "fp16" autocast; "auto" takes bf16 on CUDA (fp16 on cards without it) and fp32
            elsewhere, since a CPU without AVX512-BF16 emulates bf16, hundreds of times slower.
    """
    if precision == "auto":
        precision = "fp32"
        if torch.cuda.is_available():
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be 'auto' or one of {sorted(PRECISIONS)}, found {precision!r}")
    return Accelerator(
        cpu=not torch.accelerator.is_available(),  # unless told, Accelerate joins no processes of `torchrun` on a CPU
        mixed_precision="no" if precision == "fp32" else precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),  # the shuffle can be resumed
    )


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Let cuDNN take the same algorithms every time inside the block; nothing changes where the device is no GPU."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    if device.type == "cuda":
        cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def autocast_dtype(engine: Accelerator) -> torch.dtype:
    """Return the dtype that an Accelerator's forward passes run in."""
    return PRECISIONS.get(engine.mixed_precision, torch.float32)
