"""The layers of one picture as small files: the image lossy, label maps as palettes without loss.

A browser lays them over each other, so a label map is transparent where it has nothing to say.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchseg.images.overlay import Colour, Drawing, LabelIds, Pixels, stripes

WRONG, ABSTAINS = (214, 0, 110), (240, 160, 0)
NOTHING = (128, 128, 128)  # stripes where there is no class, or no truth
_MOST_COLOURS = 254  # of a palette, beside what is transparent and what is striped
_QUALITY = 78


def encode_photo(image_HWC: Pixels) -> bytes:
    """uint8 RGB as WebP, which every browser of today shows and which is a third smaller than JPEG."""
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()


def encode_labels(labels_HW: LabelIds, drawing: Drawing) -> bytes:
    """Class ids, and C for void, as a PNG of their colours.

    Classes that are not drawn are transparent, void is striped. Beyond 254 classes in one picture those with
    the fewest pixels are transparent, too.
    """
    ids, counts = np.unique(labels_HW, return_counts=True)
    drawn = drawing.is_drawn[ids]
    ids = np.sort(ids[drawn][np.argsort(-counts[drawn], kind="stable")][:_MOST_COLOURS])
    table = np.zeros(len(drawing.palette), np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    places_HW = table[labels_HW]
    places_HW[(labels_HW == drawing.void) & stripes(labels_HW.shape, rising=True)] = len(ids) + 1
    return _encode(places_HW, [*map(tuple, drawing.palette[ids].tolist()), NOTHING])


def encode_difference(labels_HW: LabelIds, truth_HW: LabelIds, void: int) -> bytes:
    """Where a mask is wrong and where it abstains, as a PNG; what is right is transparent."""
    known_HW = truth_HW != void
    places_HW = np.zeros(labels_HW.shape, np.uint8)
    places_HW[known_HW & (labels_HW != truth_HW)] = 1
    places_HW[known_HW & (labels_HW == void)] = 2
    places_HW[~known_HW & stripes(labels_HW.shape, rising=True)] = 3
    return _encode(places_HW, [WRONG, ABSTAINS, NOTHING])


def encode_change(before_HW: LabelIds, after_HW: LabelIds) -> bytes:
    """Where a mask is another than before."""
    return _encode((before_HW != after_HW).astype(np.uint8), [WRONG])


def _encode(places_HW: NDArray[np.uint8], colours: Sequence[Colour]) -> bytes:
    """Indices into colours, from 1 on; 0 is transparent."""
    picture = Image.fromarray(places_HW)
    picture.putpalette([0, 0, 0, *(level for colour in colours for level in colour)])
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True, transparency=0)
    return file.getvalue()
