"""Arrays to encoded bytes: label maps as masks, and pictures to look at."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
LabelIds = NDArray[np.unsignedinteger[Any]]

PALETTE_SIZE = 256
# what PASCAL VOC draws its void in; black would look like the background
_VOID_COLOUR = (224, 224, 192)


def encode_png(labels_HW: LabelIds, colours: Sequence[Colour], ignore_index: int) -> bytes:
    """A PNG whose pixel values are class ids, and `ignore_index` where the mask abstains.

    It has the classes' colours as its palette; where `ignore_index` takes more than 8 bits (always so from
    256 classes on) it is 16-bit grey.

    Args:
        labels_HW: class ids 0 .. C-1, and C for void.
        colours: RGB of each of the C classes.
    """
    narrow = ignore_index < PALETTE_SIZE
    pixel_type = np.uint8 if narrow else np.uint16
    pixels_HW = labels_HW.astype(pixel_type)
    pixels_HW[labels_HW == len(colours)] = ignore_index
    picture = Image.fromarray(pixels_HW)
    if narrow:
        picture.putpalette(png_palette(colours))
    file = io.BytesIO()
    # label maps are runs: matching runs alone is faster than level 1, and the file smaller
    picture.save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def encode_picture(pixels_HWC: NDArray[np.uint8], kind: Literal["jpeg", "png"]) -> bytes:
    """RGB as a file to be looked at: PNG without loss, or JPEG with colours in full resolution."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels_HWC)
    if kind == "png":
        picture.save(file, "PNG", compress_level=1)
    else:  # thin lines in colour lose their colour where it is stored at half the resolution
        picture.save(file, "JPEG", quality=88, subsampling=0)
    return file.getvalue()


def png_palette(colours: Sequence[Colour]) -> bytes:
    """256 RGB entries: the classes' colours, and that of void for all values beyond them."""
    # always of full length: Pillow packs pixels into 4 bits or less under a short one, and 255 is lost
    palette = np.full((PALETTE_SIZE, 3), _VOID_COLOUR, np.uint8)
    palette[: len(colours)] = colours
    return palette.tobytes()
