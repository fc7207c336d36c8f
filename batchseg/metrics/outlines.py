"""The outlines of components, exact along the edges of their pixels, as WKB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from batchseg.errors import ConfigError
from batchseg.metrics.components import Components


def load_shapely() -> Any:
    """The package. Raises ConfigError where it is not installed."""
    try:
        import shapely  # type: ignore[import-untyped]
    except ImportError as exc:
        raise ConfigError(
            "objects.geometry needs the package shapely: pip install 'batchseg[export]'; or leave it out"
        ) from exc
    return shapely


def outlines(components: Components, transform: Sequence[float] | None = None) -> list[bytes]:
    """A polygon each as WKB, with holes; a multipolygon where parts touch at corners alone. All are valid.

    Args:
        transform: a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f; None: pixels, of
            which the first reaches from 0 to 1.
    """
    if not components.count:
        return []
    shapely, runs = load_shapely(), components.runs
    boxes = shapely.box(runs.begins, runs.rows, runs.ends, runs.rows + 1)
    joined = [shapely.union_all(part) for part in np.split(boxes, runs.firsts[1:])]
    shapes = shapely.normalize(shapely.simplify(np.array(joined), 0))  # without the corners on straight lines
    if transform is not None:
        a, b, c, d, e, f = transform

        def place(points: Any) -> Any:
            x, y = points.T
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

        shapes = shapely.transform(shapes, place)
    wkb: list[bytes] = shapely.to_wkb(shapes).tolist()
    return wkb
