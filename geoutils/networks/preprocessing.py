"""What becomes of a photo before a network sees it."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from geoutils.artifacts import content_key

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLACES_MEAN_BGR = (105.488, 113.741, 116.060)  # of Places205, from its VGG's page
AUGMENTATIONS = (None, "resized_crop", "crop")
MIN_CROP_AREA, ASPECT_RATIOS = 0.35, (3 / 4, 4 / 3)  # of a random resized crop; milder than ImageNet's 0.08


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, channel order, range, mean and spread.

    size: side of the square input. resize: the shorter side before the crop, or both sides if `warp`.
    mean: three numbers, or an image (3, resize, resize), in the network's own channel order and range.
    """

    size: int
    resize: int
    warp: bool = False
    bgr: bool = False
    scale: float = 1 / 255
    mean: Any = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bicubic: bool = False

    def at_size(self, size: int | None) -> "Preprocessing":
        """Return the same preprocessing for another input side, the resize and mean image scaled with it."""
        if size is None or size == self.size:
            return self
        resize, mean = round(self.resize * size / self.size), self.mean
        if np.ndim(mean) == 3:
            bands = [Image.fromarray(band).resize((resize, resize), Image.Resampling.BILINEAR) for band in mean]
            mean = np.stack([np.asarray(band) for band in bands])
        return replace(self, size=size, resize=resize, mean=mean)

    def __call__(
        self, photo: Image.Image, *, augment: str | None = None, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """Turn an RGB photo into a float32 tensor (3, size, size).

        Args:
            augment: None takes the centre; "resized_crop" a random area and aspect, perhaps mirrored; "crop" a random
                place at full scale, perhaps mirrored, as Caffe does.
            rng: needed to augment.
        """
        if augment == "resized_crop":
            photo = photo.resize((self.size, self.size), self._filter, box=_random_box(photo.size, rng))
            top = left = round((self.resize - self.size) / 2)
        else:
            photo, top, left = self._cropped(photo, rng if augment else None)
        pixels = np.asarray(photo, dtype=np.float32)
        if self.bgr:
            pixels = pixels[:, :, ::-1]
        values = pixels.transpose(2, 0, 1) * np.float32(self.scale) - self._mean_at(top, left)
        if augment and rng.random() < 0.5:  # last: Caffe takes the mean from where the pixel lay
            values = values[:, :, ::-1]
        return torch.from_numpy(np.ascontiguousarray(values / np.float32(self.std)[:, None, None]))

    def crop(self, photo: Image.Image) -> Image.Image:
        """Return the centre of a photo that the network sees, an RGB image of size x size."""
        return self._cropped(photo, None)[0]

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values; a mean image becomes its key."""
        mean = np.asarray(self.mean, dtype=np.float32)
        return asdict(self) | {"mean": mean.tolist() if mean.ndim == 1 else content_key(mean.tolist())}

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling.BICUBIC if self.bicubic else Image.Resampling.BILINEAR

    def _cropped(self, photo: Image.Image, rng: np.random.Generator | None) -> tuple[Image.Image, int, int]:
        """Return the crop, and its top and left in the resized photo."""
        width = height = self.resize
        if not self.warp:
            width, height = (int(self.resize * side / min(photo.size)) for side in photo.size)
        top, left = (int(rng.integers(n + 1)) if rng else round(n / 2) for n in (height - self.size, width - self.size))
        box = left, top, left + self.size, top + self.size
        return photo.resize((width, height), self._filter).crop(box), top, left

    def _mean_at(self, top: int, left: int) -> np.ndarray:
        mean = np.asarray(self.mean, dtype=np.float32)
        if mean.ndim == 1:
            return mean[:, None, None]
        if not self.warp:  # the photo is no square: the mean image's centre is all that can be matched
            top = left = round((self.resize - self.size) / 2)
        return mean[:, top : top + self.size, left : left + self.size]


def _random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Choose a box of random area and aspect inside an image of (width, height); the largest one if none fits."""
    width, height = size
    area = width * height * rng.uniform(MIN_CROP_AREA, 1.0)
    aspect = np.exp(rng.uniform(*np.log(ASPECT_RATIOS)))
    w, h = min(np.sqrt(area * aspect), width), min(np.sqrt(area / aspect), height)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, top, left + w, top + h
