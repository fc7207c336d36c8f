"""Label files, a ground truth or a mask, to class ids or colours: pixels as they are stored.

An EXIF orientation is not applied (but for TIFF, whose orientation is a tag of the format itself).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import RowFault
from batchseg.images.headers import check_size, decoding, open_picture, raw_mode, sniff
from batchseg.schema import TruthStatus

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

_LOSSY_FORMATS = {"JPEG", "WebP"}
_LOSSY_TIFF = {"jpeg", "tiff_jpeg", "webp"}
# Pillow stretches 2-bit and 4-bit grey over 0 .. 255
_STRETCH = {"L;2": 255 // 3, "L;4": 255 // 15}


def decode_labels(data: bytes | memoryview, limits: Limits) -> NDArray[Any]:
    """A ground truth or mask as stored: ids [H, W] of an integer type or bool, or colours uint8 [H, W, 3].

    Ids come from palette indices (PNG, TIFF, GIF, BMP), from grey of 1 to 16 bits and TIFF of 32 bits, and
    from integer `.npy` files. RGB with three equal channels in every pixel is grey and holds ids too.

    Raises:
        RowFault: of the truth, unreadable, whatever the cause, lossy formats among them.
    """
    try:
        name = sniff(data, limits)
        with decoding(name):
            return _npy(data, limits) if name == ".npy" else _labels(name, data, limits)
    except RowFault as fault:
        raise RowFault(TruthStatus.UNREADABLE, f"label file: {fault}") from fault


def _labels(name: str, data: bytes | memoryview, limits: Limits) -> NDArray[Any]:
    if name in _LOSSY_FORMATS:
        raise _unfit(f"{name} compression changes pixel values, and so invents class ids")
    picture = open_picture(name, data, limits)
    if picture.info.get("compression") in _LOSSY_TIFF:
        raise _unfit("lossy compression changes pixel values, and so invents class ids")
    return _colours(picture) if picture.mode in ("RGB", "RGBA") else _ids(picture)


def _ids(picture: ImageFile) -> NDArray[Any]:
    stretch = _STRETCH.get(raw_mode(picture)[:3], 1)
    if picture.mode in ("1", "L", "P"):
        ids_HW: NDArray[Any] = np.array(picture).astype(np.uint8, copy=False)
        return ids_HW if stretch == 1 else ids_HW // np.uint8(stretch)
    if picture.mode in ("LA", "PA"):
        return np.array(picture.getchannel(0))
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        ids_HW = np.array(picture)
        return ids_HW.astype(ids_HW.dtype.newbyteorder("="), copy=False)
    raise _unfit(f"{picture.format} pixels of mode {picture.mode} are neither class ids nor colours")


def _colours(picture: ImageFile) -> NDArray[np.uint8]:
    if ";16" in raw_mode(picture):
        raise _unfit("its colours have 16 bits a channel, which are neither class ids nor colours of 8 bits")
    colours_HWC = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    red_HW = colours_HWC[..., 0]
    grey = all(np.array_equal(red_HW, colours_HWC[..., channel]) for channel in (1, 2))
    return red_HW.copy() if grey else colours_HWC


def _npy(data: bytes | memoryview, limits: Limits) -> NDArray[Any]:
    file = io.BytesIO(data)
    first = np.lib.format.read_magic(file) == (1, 0)
    read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if len(shape) != 2 or dtype.kind not in "iub":
        raise _unfit(f"its array is {dtype} of shape {shape}, not integer class ids [H, W]")
    check_size(*shape, limits)
    file.seek(0)
    ids_HW: NDArray[Any] = np.load(file, allow_pickle=False)
    return np.ascontiguousarray(ids_HW, dtype=dtype.newbyteorder("="))


def _unfit(sentence: str) -> RowFault:
    return RowFault(
        TruthStatus.UNREADABLE, f"{sentence}; save it as PNG, TIFF, BMP, GIF or integer .npy, without loss"
    )
