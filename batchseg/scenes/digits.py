"""Scenes of real handwritten digits on textured backgrounds: data with exact truth, made from a seed.

The digits are scikit-learn's `load_digits`: 1,797 of the 8x8 grey images of UCI's "Optical Recognition of
Handwritten Digits" (Alpaydin and Kaynak 1998, CC BY 4.0). Or they are those of MNIST (LeCun, Cortes and
Burges 1998), read by torchvision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchseg.errors import ConfigError

CLASS_NAMES = (
    "background", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip
MIN_SIDE_PX = 150
DIGIT_PX = (40, 100)
DIGITS_A_SCENE = (2, 5)

Split = Literal["train", "validation", "test"]

_TEST_SHARE = 0.25  # of scikit-learn's file; MNIST has its own
_VALIDATION_SHARE = 2 / 15  # of what is not test
_MNIST_BORDER = 4  # its digits are 20x20 in a frame of 28x28
_MARGIN = 3 / 8  # of a digit, empty around it, so that a rotated corner stays inside
EDGE = 0.5  # coverage from which a pixel belongs to the digit
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class SourceDigits:
    """Handwritten digits as they were scanned.

    Attributes:
        ink_NSS: uint8, 0 (paper) to 255 (ink), square.
        values_N: uint8, the digit written, 0 to 9.
    """

    ink_NSS: NDArray[np.uint8]
    values_N: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.values_N)

    def __getitem__(self, part: slice) -> SourceDigits:
        return SourceDigits(self.ink_NSS[part], self.values_N[part])


def load_source_digits(split: Split) -> SourceDigits:
    """Load scikit-learn's digits of one split: `test` is the last quarter of the file, `validation` the tenth
    before it, `train` the rest.

    The file is not shuffled first: thirteen people wrote it, neighbours are often one person's, and a
    shuffle would show a model every hand before its test. Raises ConfigError without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as exc:
        raise ConfigError("the digit scenes need scikit-learn: pip install 'batchseg[scenes]'") from exc
    bunch: Any = load_digits()
    ink_NSS = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    digits = SourceDigits(ink_NSS, bunch.target.astype(np.uint8))
    start = len(digits) - int(len(digits) * _TEST_SHARE)
    return digits[start:] if split == "test" else _part(digits[:start], split)


def load_mnist(folder: str, split: Split) -> SourceDigits:
    """Load MNIST's digits of one split: `test` is its own, `validation` the last 13 % of its training set.

    Args:
        folder: where its IDX files are, in torchvision's layout (MNIST/raw); downloaded if they are not.

    Raises:
        ConfigError: they are not there, and cannot be downloaded.
    """
    from torchvision.datasets import MNIST

    try:
        data = MNIST(folder, train=split != "test", download=True)
    except (OSError, RuntimeError, ValueError) as exc:
        reason = " ".join(str(exc).split())
        raise ConfigError(
            f"{folder}: holds no MNIST, which could not be downloaded or read either: {reason}"
        ) from exc
    inner = slice(_MNIST_BORDER, -_MNIST_BORDER)
    digits = SourceDigits(data.data.numpy()[:, inner, inner], data.targets.numpy().astype(np.uint8))
    return digits if split == "test" else _part(digits, split)


def _part(digits: SourceDigits, split: Split) -> SourceDigits:
    """What is not test: the last of it for validation, the rest for training."""
    start = len(digits) - round(len(digits) * _VALIDATION_SHARE)
    return digits[start:] if split == "validation" else digits[:start]


def compose(
    rng: np.random.Generator, digits: SourceDigits, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Compose one scene of two to five digits, each 40 to 100 px high, later ones over earlier ones.

    Returns the image, uint8 RGB [height, width, 3], and its labels, uint8 [height, width]: 0 is background,
    1 + d is digit d (`CLASS_NAMES`). The same generator state gives the same scene. Raises ConfigError
    when a side is under `MIN_SIDE_PX`.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise ConfigError(f"a scene must be at least {MIN_SIDE_PX} px wide and high, not {width} x {height}")
    scene_HWC = _background(rng, height, width)
    labels_HW = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(*DIGITS_A_SCENE, endpoint=True)):
        pick = rng.integers(len(digits))
        size_px = int(rng.integers(*DIGIT_PX, endpoint=True))
        ink_hw = write_digit(rng, digits.ink_NSS[pick], size_px)
        window = _place(rng, ink_hw.shape, labels_HW)
        scene_HWC[window] += ink_hw[..., None] * (_ink_colour(rng, scene_HWC[window]) - scene_HWC[window])
        labels_HW[window][ink_hw >= EDGE] = 1 + digits.values_N[pick]
    return _photograph(rng, scene_HWC), labels_HW


def write_digit(rng: np.random.Generator, ink_SS: NDArray[np.uint8], size_px: int) -> NDArray[np.float32]:
    """One digit enlarged, turned and slanted: coverage 0 to 1, cropped to its ink.

    Args:
        ink_SS: uint8, as it was scanned.
        size_px: how large the scan becomes.
    """
    turn, shear = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(-0.2, 0.2)
    cells_per_px = len(ink_SS) / size_px
    margin = math.ceil(_MARGIN * len(ink_SS))
    cos, sin = cells_per_px * np.cos(turn), cells_per_px * np.sin(turn)
    matrix = np.array([[cos, sin + shear * cos], [-sin, cos - shear * sin]])
    padded = np.pad(ink_SS, margin)
    frame_px = round(padded.shape[0] / cells_per_px)
    offset = padded.shape[0] / 2 - matrix.sum(axis=1) * frame_px / 2
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    enlarged = Image.fromarray(padded).transform(
        (frame_px, frame_px), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC
    )
    # A narrow ramp around mid-grey turns the blur of an 8x8 scan into the edge of a pen stroke.
    ink_hw: NDArray[np.float32] = np.clip((np.asarray(enlarged, np.float32) / 255 - 0.3) / 0.25, 0, 1)
    rows, columns = np.flatnonzero(ink_hw.any(axis=1)), np.flatnonzero(ink_hw.any(axis=0))
    return ink_hw[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(
    rng: np.random.Generator, size_hw: tuple[int, ...], labels_HW: NDArray[np.uint8]
) -> tuple[slice, slice]:
    """Of ten random places the one that hides least of the digits already there."""
    (height, width), (room_y, room_x) = size_hw, np.subtract(labels_HW.shape, size_hw)
    corners = rng.integers(0, (room_y + 1, room_x + 1), (10, 2))
    windows = [(slice(y, y + height), slice(x, x + width)) for y, x in corners]
    return min(windows, key=lambda window: np.count_nonzero(labels_HW[window]))


def _ink_colour(rng: np.random.Generator, under_HWC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of six random colours the one whose brightness differs most from what it is written on."""
    colours_N3: NDArray[np.float32] = rng.uniform(0, 255, (6, 3)).astype(np.float32)
    contrast_N = np.abs((colours_N3 - under_HWC.mean(axis=(0, 1))) @ _LUMA)
    farthest: NDArray[np.float32] = colours_N3[contrast_N.argmax()]
    return farthest


def _background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """A plain colour with a texture on it: a gradient, blocks, blurred noise, or soft blobs."""
    bicubic, nearest = Image.Resampling.BICUBIC, Image.Resampling.NEAREST
    octaves: tuple[tuple[int, Image.Resampling], ...] = (
        ((2, bicubic),),
        ((int(rng.integers(3, 9)), nearest),),
        ((int(rng.integers(24, 64)), bicubic),),
        ((4, bicubic), (int(rng.integers(10, 24)), bicubic)),
    )[rng.integers(4)]
    scene_HWC: NDArray[np.float32] = np.full((height, width, 3), rng.uniform(30, 225, 3), np.float32)
    for cells, resampling in octaves:
        grid = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        texture = np.asarray(Image.fromarray(grid).resize((width, height), resampling), np.float32)
        scene_HWC += np.float32(rng.uniform(0.1, 0.5) / len(octaves)) * (texture - 128)
    return scene_HWC


def _photograph(rng: np.random.Generator, scene_HWC: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What a camera makes of the scene: an exposure, and mild noise of the sensor."""
    exposed_HWC = rng.standard_normal(scene_HWC.shape, np.float32)
    exposed_HWC *= np.float32(rng.uniform(1, 5))
    exposed_HWC += scene_HWC * np.float32(rng.uniform(0.5, 1.1))
    return exposed_HWC.clip(0, 255, out=exposed_HWC).astype(np.uint8)
