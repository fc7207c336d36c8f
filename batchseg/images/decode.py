"""Encoded bytes to arrays: images to RGB, label files to class ids or colours.

The rules, which are those of Pillow's `convert("RGB")` but for 16-bit grey:

- Alpha and transparency are dropped, not composited: the colours are those stored under them.
- Grey and 1-bit are repeated to three channels; palettes give their colours; CMYK becomes RGB without a
  colour profile. ICC profiles are ignored.
- 16-bit grey is scaled to 8 bits, x / 257 rounded (12-bit alike); 16-bit colour keeps the high byte, at
  most one level away from it. Grey of 32 bits, integer or float, has no range of its own and is refused.
- The EXIF orientation is applied to images; label files are taken as stored (but for TIFF, whose
  orientation is a tag of the format itself).
- Of several frames or pages the first is read.
- A file that was cut off is refused, unless all it lost is its trailer and every pixel is there.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as ExifTag

from batchseg.errors import RowFault
from batchseg.images.headers import check_size, decoding, open_picture, sniff
from batchseg.images.jpeg import BLOCK, ends_grey, read_frame, with_more_data
from batchseg.schema import Status, TruthStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

Size = tuple[int, int]

_RGB_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_UPRIGHT = 1
_TRANSPOSED, _UPSIDE_DOWN, _MIRRORED = {5, 6, 7, 8}, {3, 4, 7, 8}, {2, 3, 6, 7}

_LOSSY_FORMATS = {"JPEG", "WebP"}
_LOSSY_TIFF = {"jpeg", "tiff_jpeg", "webp"}
# Pillow stretches 2-bit and 4-bit grey over 0 .. 255
_STRETCH = {"L;2": 255 // 3, "L;4": 255 // 15}


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
    white = 2**12 - 1 if _raw_mode(picture) == "I;12" else 2**16 - 1
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


def _labels(name: str, data: bytes | memoryview, limits: Limits) -> NDArray[Any]:
    if name in _LOSSY_FORMATS:
        raise _unfit(f"{name} compression changes pixel values, and so invents class ids")
    picture = open_picture(name, data, limits)
    if picture.info.get("compression") in _LOSSY_TIFF:
        raise _unfit("lossy compression changes pixel values, and so invents class ids")
    return _colours(picture) if picture.mode in ("RGB", "RGBA") else _ids(picture)


def _ids(picture: ImageFile) -> NDArray[Any]:
    stretch = _STRETCH.get(_raw_mode(picture)[:3], 1)
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
    if ";16" in _raw_mode(picture):
        raise _unfit("its colours have 16 bits a channel, which are neither class ids nor colours of 8 bits")
    colours_HWC = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    red_HW = colours_HWC[..., 0]
    grey = all(np.array_equal(red_HW, colours_HWC[..., channel]) for channel in (1, 2))
    return red_HW.copy() if grey else colours_HWC


def _raw_mode(picture: ImageFile) -> str:
    """How a PNG, TIFF, BMP or GIF stores its samples, in Pillow's notation; to be asked before loading."""
    arguments = picture.tile[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


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
