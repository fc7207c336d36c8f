"""The outlines of components, exact along the edges of their pixels, as WKB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from batchseg.images.outlines import load_shapely, outlines
from batchseg.metrics.components import Components


def outlines_as_wkb(components: Components, transform: Sequence[float] | None = None) -> list[bytes]:
    """A polygon each, with holes; a multipolygon where parts touch at corners alone. All are valid.

    Args:
        transform: a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f; None: pixels, of
            which the first reaches from 0 to 1.
    """
    shapely, shapes = load_shapely(), outlines(components.numbers_HW, components.count)
    if transform is not None:
        a, b, c, d, e, f = transform

        def place(points: Any) -> Any:
            x, y = points.T
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

        shapes = shapely.transform(shapes, place)
    wkb: list[bytes] = shapely.to_wkb(shapes).tolist()
    return wkb
