"""Encoded bytes to RGB images.

The rules, which are those of Pillow's `convert("RGB")` but for 16-bit grey:

- Alpha and transparency are dropped, not composited: the colours are those stored under them.
- Grey and 1-bit are repeated to three channels; palettes give their colours; CMYK becomes RGB without a
  colour profile. ICC profiles are ignored.
- 16-bit grey is scaled to 8 bits, x / 257 rounded (12-bit alike); 16-bit colour keeps the high byte, at
  most one level away from it. Grey of 32 bits, integer or float, has no range of its own and is refused.
- The EXIF orientation is applied.
- Of several frames or pages the first is read.
- A file that was cut off is refused, unless all it lost is its trailer and every pixel is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as ExifTag

from batchseg.errors import RowFault
from batchseg.images.headers import decoding, open_picture, raw_mode, sniff
from batchseg.images.jpeg import BLOCK, ends_grey, read_frame, with_more_data
from batchseg.schema import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

Size = tuple[int, int]

_RGB_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_UPRIGHT = 1
_TRANSPOSED, _UPSIDE_DOWN, _MIRRORED = {5, 6, 7, 8}, {3, 4, 7, 8}, {2, 3, 6, 7}


def decode_image(data: bytes | memoryview, limits: Limits) -> NDArray[np.uint8]:
    """The image as upright RGB: uint8 [H, W, 3], C-contiguous and writable.

    Reads JPEG, PNG, WebP, TIFF, GIF and BMP, told apart by their content.

    Raises:
        RowFault: unreadable, unsupported or too_large.
    """
    return decode_scaled(data, limits, whole)[0]


def whole(size_hw: Size) -> Size:
    """For `decode_scaled`: every pixel is needed."""
    return size_hw


def decode_scaled(
    data: bytes | memoryview, limits: Limits, enough: Callable[[Size], Size]
) -> tuple[NDArray[np.uint8], Size]:
    """The same, but a JPEG at 1/2, 1/4 or 1/8 where that has `enough` pixels; and the image's own size.

    Libjpeg scales within its transform, which costs a fraction of decoding and resizing afterwards.

    Args:
        enough: from the image's own height and width to those that are needed.
    """
    name = sniff(data, limits)
    with decoding(name):
        picture = open_picture(name, data, limits)
        width, height = picture.size
        pixels_HWC = _jpeg(picture, data, limits, enough) if name == "JPEG" else _rgb(picture)
        orientation = _orientation(picture)  # not before: for other formats than JPEG it loads the pixels
        size_hw = (width, height) if orientation in _TRANSPOSED else (height, width)
        return _turn_upright(pixels_HWC, orientation), size_hw


def _scale(picture: ImageFile, enough: Callable[[Size], Size]) -> None:
    """Have libjpeg decode at the smallest scale that is `enough` for the upright image."""
    width, height = picture.size
    turned = _orientation(picture) in _TRANSPOSED
    needed_h, needed_w = enough((width, height) if turned else (height, width))
    if needed_h * needed_w < height * width:
        picture.draft("RGB", (needed_h, needed_w) if turned else (needed_w, needed_h))


def _jpeg(
    picture: ImageFile, data: bytes | memoryview, limits: Limits, enough: Callable[[Size], Size]
) -> NDArray[np.uint8]:
    """The pixels, all of which were in the file: libjpeg makes up what it lacks, and does not say so."""
    frame, size = read_frame(data), picture.size
    is_simple = frame is not None and frame.in_one_scan and not frame.is_progressive
    _scale(picture, enough)
    block = max(1, BLOCK * max(picture.size) // max(size))
    is_fast = is_simple and picture.size == size and picture.mode in ("L", "RGB")
    pixels_HWC = _by_torchvision(picture, data) if is_fast else _rgb(picture)
    if frame is not None and frame.is_arithmetic:
        return pixels_HWC
    if is_simple and picture.mode != "CMYK" and not ends_grey(pixels_HWC, block):
        return pixels_HWC

    def again(data: bytes | memoryview) -> NDArray[np.uint8]:
        reopened = open_picture("JPEG", data, limits)
        _scale(reopened, enough)
        return _rgb(reopened)

    first_HWC = again(data) if is_fast else pixels_HWC  # libraries differ in the last bit
    if not np.array_equal(first_HWC, again(with_more_data(data))):
        raise OSError("the data end before the picture does")
    return pixels_HWC


def load_jpeg_decoder() -> None:
    """Import what decodes JPEGs: seconds, which the first image would pay."""
    import torchvision.io  # noqa: F401


def _by_torchvision(picture: ImageFile, data: bytes | memoryview) -> NDArray[np.uint8]:
    """Up to twice as fast as Pillow; not so its decode_png, which damaged data crashes for good."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # copied: read-only memory makes it warn
    try:
        pixels_CHW = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError:
        return _rgb(picture)  # Pillow has the last word, and the better one on what is wrong
    pixels_HWC: NDArray[np.uint8] = pixels_CHW.permute(1, 2, 0).numpy()
    return pixels_HWC


def _rgb(picture: ImageFile) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        return _grey_16(picture)
    if picture.mode not in _RGB_MODES:
        raise RowFault(
            Status.UNSUPPORTED,
            f"{picture.format} pixels of mode {picture.mode} have no fixed range or no way to RGB; "
            "convert the file to 8-bit RGB",
        )
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _grey_16(picture: ImageFile) -> NDArray[np.uint8]:
    white = 2**12 - 1 if raw_mode(picture) == "I;12" else 2**16 - 1
    grey_HW = np.array(picture).astype(np.uint32)
    grey_HW *= 255
    grey_HW += white // 2
    grey_HW //= white
    return np.repeat(grey_HW.astype(np.uint8)[..., np.newaxis], 3, axis=2)


def _orientation(picture: ImageFile) -> int:
    """The EXIF orientation, 1 to 8 (CIPA DC-008, 4.6.4)."""
    try:
        orientation: Any = picture.getexif().get(ExifTag.Orientation)
    except Exception:  # damaged metadata must not cost the image
        return _UPRIGHT
    return int(orientation) if orientation in range(1, 9) else _UPRIGHT


def _turn_upright(pixels_HWC: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation == _UPRIGHT:
        return np.ascontiguousarray(pixels_HWC)
    # whole pixels move: twice as fast as single bytes
    pixels_HW = np.ascontiguousarray(pixels_HWC).view("V3")[..., 0]
    if orientation in _TRANSPOSED:
        pixels_HW = pixels_HW.T
    rows, columns = (-1 if orientation in turned else 1 for turned in (_UPSIDE_DOWN, _MIRRORED))
    # copied, even where one row or column is contiguous as it is: torch refuses negative strides
    upright_HWC: NDArray[np.uint8] = pixels_HW[::rows, ::columns, np.newaxis].copy().view(np.uint8)
    return upright_HWC
