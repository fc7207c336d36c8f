"""The outlines of components, exact along the edges of their pixels, as WKB."""

from __future__ import annotations

from collections.abc import Sequence

from batchseg.images.outlines import load_shapely, outlines, placed
from batchseg.metrics.components import Components


def outlines_as_wkb(components: Components, transform: Sequence[float] | None = None) -> list[bytes]:
    """A polygon each, with holes; a multipolygon where parts touch at corners alone. All are valid.

    Args:
        transform: where they lie, as `placed` takes it; None: in pixels, of which the first reaches from 0 to
            1.
    """
    shapes = outlines(components.numbers_HW)
    if transform is not None:
        shapes = placed(shapes, transform)
    wkb: list[bytes] = load_shapely().to_wkb(shapes).tolist()
    return wkb
