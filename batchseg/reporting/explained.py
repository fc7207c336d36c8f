"""The section on what decisions rest on: pictures that `batchseg explain` made of masks as they are now."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from batchseg.reporting.layers import encode_photo
from batchseg.results.explanations import FOLDER, explanations_of
from batchseg.results.masks import is_inside
from batchseg.storage.location import Location

_MOST, _MOST_BYTES = 24, 1_200_000  # of all pictures, for the page shows the images themselves too
_UNKNOWN = float("inf")


@dataclass(frozen=True)
class ShownExplanation:
    """A picture of the section.

    Attributes:
        row: of the table `explanations`.
        webp: the picture, whose `width` and `height` are in pixels.
    """

    row: dict[str, Any]
    webp: bytes
    width: int
    height: int


def shown_explanations(
    root: Location, explained: pa.Table, images: Mapping[str, dict[str, Any]]
) -> list[ShownExplanation]:
    """Those of the worst images, as many as there is room for; a picture that cannot be read is left out.

    Args:
        explained: the table `explanations`.
        images: rows of `images`, by id.
    """
    shown: list[ShownExplanation] = []
    rows = explanations_of(explained, images.values())
    rows.sort(key=lambda row: (_rank(images[row["id"]]["mean_iou"]), row["id"]))
    folder = root / FOLDER
    for row in rows:
        below = row["picture"].removeprefix(f"{FOLDER}/")
        if not is_inside(folder, below):  # a damaged table may name any file
            continue
        try:
            with Image.open(io.BytesIO((folder / below).read())) as picture:
                pixels_HWC = np.array(picture.convert("RGB"))
        except OSError:
            continue
        webp = encode_photo(pixels_HWC)
        if len(shown) == _MOST or sum(len(each.webp) for each in shown) + len(webp) > _MOST_BYTES:
            break
        shown.append(ShownExplanation(row, webp, pixels_HWC.shape[1], pixels_HWC.shape[0]))
    return shown


def _rank(mean_iou: float | None) -> float:
    return _UNKNOWN if mean_iou is None else mean_iou
