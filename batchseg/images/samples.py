"""Samples of more than 8 bits: as stored, by Pillow and beyond it, and what is black and white among them.

Pillow keeps one byte of 16-bit colours: the high one, and the low one where it is told the other byte order.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import RowFault
from batchseg.images.headers import open_picture, raw_mode
from batchseg.images.png import COLOUR_TYPE_AT, chunks
from batchseg.images.tiff import MAX_VALUE, PLANAR, SAMPLE_FORMAT, SEPARATE, SIGNED, directory, plane
from batchseg.schema import Status

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    from batchseg.config.base import Limits

Range = tuple[float, float]

WIDEST = 2**16 - 1
FULL: Range = (0.0, float(WIDEST))
_PNG_COLOURS = {0: 1, 2: 3, 4: 1, 6: 3}
_NATIVE, _OTHER = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_SWAPPED = {"L": "B", "B": "L", "N": _OTHER}
_COLOURS = ("RGB;16", "RGBA;16", "RGBX;16")
_ROWS = 256


def is_wide(picture: ImageFile) -> bool:
    """Whether its samples have more than 8 bits; to be asked before loading."""
    if picture.format not in ("PNG", "TIFF"):
        return False
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16") or ";16" in raw_mode(picture)


def read_samples(
    picture: ImageFile, data: bytes | memoryview, limits: Limits, *, alpha: bool = False
) -> NDArray[Any]:
    """The samples of a wide picture as stored: grey [H, W] or RGB [H, W, 3], upright where a TIFF is turned.

    uint16, or of grey also int32, uint32 and float32.

    Args:
        alpha: a PNG's alpha comes along as one more channel.

    Raises:
        RowFault: 16 bits of these channels cannot be had (unsupported).
    """
    raw = raw_mode(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        grey_HW = np.array(picture)
        if raw == "I;32N":  # unsigned, which Pillow has no mode for
            grey_HW = grey_HW.view(np.uint32)
        native_HW: NDArray[Any] = grey_HW.astype(grey_HW.dtype.newbyteorder("="), copy=False)
        return native_HW
    if raw == "LA;16B":  # both bytes of both channels, as if each were a channel
        bytes_HWC = np.array(_opened(picture, data, limits, "RGBA"))
        kept = slice(None, None, 2) if alpha else 0
        return _joined(bytes_HWC[..., kept], bytes_HWC[..., 1:][..., kept])
    if not raw.startswith(_COLOURS):
        raise RowFault(
            Status.UNSUPPORTED,
            f"the {picture.format} file has 16-bit samples of a kind ({raw}) whose range cannot be set; "
            "save it as grey or RGB of 16 bits, or as RGB of 8",
        )
    if picture.format == "TIFF" and (tags := directory(data)).get(PLANAR) == SEPARATE:
        planes = (open_picture("TIFF", plane(data, tags, channel), limits) for channel in range(3))
        return np.stack([read_samples(each, data, limits) for each in planes], axis=-1)
    low = _opened(picture, data, limits, raw[:-1] + _SWAPPED[raw[-1]])
    channels = 4 if alpha else 3  # where there are as many
    return _joined(np.array(picture)[..., :channels], np.array(low)[..., :channels])


def own_range(picture: ImageFile, data: bytes | memoryview) -> Range | None:
    """What the file itself says is black and white; None where its type says nothing, as 32 bits do."""
    raw = raw_mode(picture)
    if picture.mode in ("I", "F") and not raw.startswith("I;16B"):
        return None
    if raw == "I;12":
        return 0, 2**12 - 1
    bits = _stated_bits(picture, data)
    return FULL if bits is None else (0, 2**bits - 1)


def confirmed_range(samples: NDArray[Any], stated: Range, picture: ImageFile) -> Range:
    """The stated range, or that of 16 bits where the samples are not as stated.

    PNG's sBIT says how many bits are significant once samples were scaled up to 16, as its standard asks
    for; many writers leave them as they were. Which it is the low bits tell.
    """
    white = int(stated[1])
    if stated == FULL:
        return stated
    scaled_up = picture.format == "PNG" and _scaled_up(white.bit_length())[samples].all()
    return FULL if scaled_up or int(samples.max()) > white else stated


def to_8_bit(samples: NDArray[Any], black_white: Range, inverted: bool = False) -> NDArray[np.uint8]:
    """Samples scaled to uint8, rounded and clipped; what is not a number is black. Shape as it was."""
    if samples.dtype == np.uint16:
        scaled: NDArray[np.uint8] = _table(black_white)[samples]
    else:
        scaled = np.empty(samples.shape, np.uint8)
        for start in range(0, len(samples), _ROWS):  # by rows, for float64 takes much memory
            scaled[start : start + _ROWS] = _scale(samples[start : start + _ROWS], black_white)
    return np.invert(scaled) if inverted else scaled


@lru_cache(maxsize=8)
def _table(black_white: Range) -> NDArray[np.uint8]:
    return _scale(np.arange(WIDEST + 1), black_white)


def _scale(samples: NDArray[Any], black_white: Range) -> NDArray[np.uint8]:
    black, white = black_white
    share = (samples.astype(np.float64) - black) / (white - black)
    scaled: NDArray[np.uint8] = np.floor(np.nan_to_num(share, nan=0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return scaled


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    words: NDArray[np.uint16] = np.left_shift(high, 8, dtype=np.uint16) | low
    return words


def _opened(picture: ImageFile, data: bytes | memoryview, limits: Limits, raw: str) -> ImageFile:
    """The picture anew, its pixels to be taken for others."""
    other = open_picture(str(picture.format), data, limits)
    other.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in other.tile
    ]
    return other


def _stated_bits(picture: ImageFile, data: bytes | memoryview) -> int | None:
    """Significant bits, from 8 to 15, of a PNG's sBIT or by a TIFF's MaxSampleValue.

    That tag may also be a mere statistic of the pixels, which has no say in how they look (TIFF 6.0, 8); so
    it counts only where it is the white of some number of bits.
    """
    if picture.format == "PNG":
        bits = _significant_bits(data)
        return bits if 8 <= bits < 16 else None
    stated = directory(data).get(MAX_VALUE)
    white = int(max(stated)) if isinstance(stated, tuple) else int(stated or 0)
    return white.bit_length() if white & (white + 1) == 0 and 2**8 - 1 <= white < WIDEST else None


def _significant_bits(data: bytes | memoryview) -> int:
    for start, end, kind in chunks(data):
        if kind == b"sBIT":
            channels = _PNG_COLOURS.get(data[COLOUR_TYPE_AT], 1)
            return max(data[start + 8 : end - 4][:channels], default=0)
        if kind == b"IDAT":
            break
    return 0


@lru_cache(maxsize=8)
def _scaled_up(bits: int) -> NDArray[np.bool_]:
    """Which of the 16-bit values come of scaling up: by shifting, repeating the high bits, or rounding."""
    values = np.arange(2**bits)
    shifted = values << (16 - bits)
    white = 2**bits - 1
    known = np.zeros(WIDEST + 1, np.bool_)
    for scaled in (shifted, shifted | values >> (2 * bits - 16), (values * WIDEST + white // 2) // white):
        known[scaled] = True
    return known


def is_signed_8_bit(tags: ImageFileDirectory_v2) -> bool:
    """Whether a TIFF's samples of 8 bits have a sign, which Pillow does not see."""
    formats = tags.get(SAMPLE_FORMAT, (1,))
    return SIGNED in (formats if isinstance(formats, tuple) else (formats,))
