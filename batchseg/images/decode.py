"""Encoded bytes to RGB images.

The rules, which are those of Pillow's `convert("RGB")` but for samples of more than 8 bits:

- Alpha and transparency are dropped, not composited: the colours are those stored under them.
- Grey and 1-bit are repeated to three channels; palettes give their colours; CMYK becomes RGB without a
  colour profile. ICC profiles are ignored. Where 0 is white (MinIsWhite), grey of any depth is inverted.
- 16 bits are scaled to 8, rounded and clipped, from black to white: `source.scale`, else what the file states
  (12-bit samples, PNG's sBIT, TIFF's MaxSampleValue where it is 2**n - 1), else 0 to 65535, where 16-bit
  colour keeps the high byte, at most one level away. A statement that the samples belie is dropped.
- Grey of 32 bits, integer or float, has no range of its own and is refused without `source.scale`, and so
  is signed grey of 16. 8 bits and less are never scaled.
- TIFF: channels may lie interleaved or in separate planes. A layout or codec that is not read is refused by
  name; L*a*b*, premultiplied grey and signed 8 bits are refused, too.
- The EXIF orientation (of a TIFF its own tag) is applied, unless `source.orientation` is `stored`.
- Of several frames or pages the first is read.
- A file that was cut off is refused, unless all it lost is its trailer and every pixel is there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as ExifTag

from batchseg.config.source import ImageReading
from batchseg.images.headers import decoding, open_picture, sniff
from batchseg.images.jpeg import BLOCK, ends_grey, read_frame, with_more_data
from batchseg.images.rgb import converted, to_rgb

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

Size = tuple[int, int]
Sample = TypeVar("Sample", bound=np.generic)

_AS_THEY_ARE = ImageReading()
_UPRIGHT = 1
_INVERSE = {6: 8, 8: 6}  # of an orientation; the others undo themselves
TRANSPOSED, _UPSIDE_DOWN, _MIRRORED = {5, 6, 7, 8}, {3, 4, 7, 8}, {2, 3, 6, 7}


class Decoded(NamedTuple):
    """An image as a model sees it.

    Attributes:
        pixels_HWC: uint8 RGB, C-contiguous and writable.
        size_hw: of the image itself, of which `pixels_HWC` may be a reduction.
        orientation: what the file says, 1 to 8, whether it was applied or not; 1 where it says nothing.
    """

    pixels_HWC: NDArray[np.uint8]
    size_hw: Size
    orientation: int


def decode_image(
    data: bytes | memoryview, limits: Limits, reading: ImageReading = _AS_THEY_ARE
) -> NDArray[np.uint8]:
    """The image as upright RGB: uint8 [H, W, 3], C-contiguous and writable.

    Reads JPEG, PNG, WebP, TIFF, GIF and BMP, told apart by their content.

    Raises:
        RowFault: unreadable, unsupported or too_large.
    """
    return decode_scaled(data, limits, whole, reading).pixels_HWC


def whole(size_hw: Size) -> Size:
    """For `decode_scaled`: every pixel is needed."""
    return size_hw


def decode_scaled(
    data: bytes | memoryview,
    limits: Limits,
    enough: Callable[[Size], Size],
    reading: ImageReading = _AS_THEY_ARE,
) -> Decoded:
    """The same, but a JPEG at 1/2, 1/4 or 1/8 where that has `enough` pixels; and the image's own size.

    Libjpeg scales within its transform, which costs a fraction of decoding and resizing afterwards.

    Args:
        enough: from the image's own height and width to those that are needed.
        reading: what is white, and whether the image is turned upright.
    """
    name = sniff(data, limits)
    with decoding(name):
        picture = open_picture(name, data, limits)
        if name == "JPEG":
            return _jpeg(picture, data, limits, enough, reading)
        # of a TIFF before its pixels, with which Pillow forgets it; of a PNG after them, where it may stand
        orientation = orientation_of(picture) if name == "TIFF" else _UPRIGHT
        pixels_HWC = to_rgb(picture, data, limits, reading)
        if name == "TIFF":  # Pillow has turned it already
            turn = _INVERSE.get(orientation, orientation) if reading.as_stored else _UPRIGHT
        else:
            orientation = orientation_of(picture)
            turn = _UPRIGHT if reading.as_stored else orientation
        pixels_HWC = turn_pixels(pixels_HWC, turn)
        return Decoded(pixels_HWC, (pixels_HWC.shape[0], pixels_HWC.shape[1]), orientation)


def _jpeg(
    picture: ImageFile,
    data: bytes | memoryview,
    limits: Limits,
    enough: Callable[[Size], Size],
    reading: ImageReading,
) -> Decoded:
    orientation = orientation_of(picture)
    turn = _UPRIGHT if reading.as_stored else orientation
    width, height = picture.size
    pixels_HWC = _jpeg_pixels(picture, data, limits, partial(_scale, enough=enough, turn=turn))
    size_hw = (width, height) if turn in TRANSPOSED else (height, width)
    return Decoded(turn_pixels(pixels_HWC, turn), size_hw, orientation)


def _scale(picture: ImageFile, enough: Callable[[Size], Size], turn: int) -> None:
    """Have libjpeg decode at the smallest scale that is `enough` for the turned image."""
    width, height = picture.size
    turned = turn in TRANSPOSED
    needed_h, needed_w = enough((width, height) if turned else (height, width))
    if needed_h * needed_w < height * width:
        picture.draft("RGB", (needed_h, needed_w) if turned else (needed_w, needed_h))


def _jpeg_pixels(
    picture: ImageFile, data: bytes | memoryview, limits: Limits, scale: Callable[[ImageFile], None]
) -> NDArray[np.uint8]:
    """The pixels, all of which were in the file: libjpeg makes up what it lacks, and does not say so."""
    frame, size = read_frame(data), picture.size
    is_simple = frame is not None and frame.in_one_scan and not frame.is_progressive
    scale(picture)
    block = max(1, BLOCK * max(picture.size) // max(size))
    is_fast = is_simple and picture.size == size and picture.mode in ("L", "RGB")
    pixels_HWC = _by_torchvision(picture, data) if is_fast else converted(picture)
    if frame is not None and frame.is_arithmetic:
        return pixels_HWC
    if is_simple and picture.mode != "CMYK" and not ends_grey(pixels_HWC, block):
        return pixels_HWC

    def again(data: bytes | memoryview) -> NDArray[np.uint8]:
        reopened = open_picture("JPEG", data, limits)
        scale(reopened)
        return converted(reopened)

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
        return converted(picture)  # Pillow has the last word, and the better one on what is wrong
    pixels_HWC: NDArray[np.uint8] = pixels_CHW.permute(1, 2, 0).numpy()
    return pixels_HWC


def orientation_of(picture: ImageFile) -> int:
    """The EXIF orientation, 1 to 8 (CIPA DC-008, 4.6.4)."""
    try:
        orientation: Any = picture.getexif().get(ExifTag.Orientation)
    except Exception:  # damaged metadata must not cost the image
        return _UPRIGHT
    return int(orientation) if orientation in range(1, 9) else _UPRIGHT


def turn_pixels(pixels_HWC: NDArray[Sample], orientation: int) -> NDArray[Sample]:
    """Pixels of any type as an orientation, 1 to 8, says; [H, W, C], C-contiguous."""
    if orientation == _UPRIGHT:
        return np.ascontiguousarray(pixels_HWC)
    # whole pixels move: twice as fast as single bytes
    pixel = f"V{pixels_HWC.shape[2] * pixels_HWC.itemsize}"
    pixels_HW = np.ascontiguousarray(pixels_HWC).view(pixel)[..., 0]
    if orientation in TRANSPOSED:
        pixels_HW = pixels_HW.T
    rows, columns = (-1 if orientation in turned else 1 for turned in (_UPSIDE_DOWN, _MIRRORED))
    # copied, even where one row or column is contiguous as it is: torch refuses negative strides
    turned_HWC: NDArray[Sample] = pixels_HW[::rows, ::columns, np.newaxis].copy().view(pixels_HWC.dtype)
    return turned_HWC
