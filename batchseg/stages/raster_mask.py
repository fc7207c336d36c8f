"""Masks that are TIFFs: written row by row, and lying where their images lie."""

from __future__ import annotations

from collections.abc import Iterable

from batchseg.images.encode import LabelIds
from batchseg.images.geotiff import Georeference, write_label_tiff
from batchseg.labels.label_map import LabelMap
from batchseg.stages.files import putter
from batchseg.storage.location import Location


def write_raster_mask(
    masks: Location,
    below: str,
    bands: Iterable[LabelIds],
    hw: tuple[int, int],
    *,
    label_map: LabelMap,
    source: Georeference | None = None,
) -> None:
    """Write a mask of any size as a TIFF, whole or not at all; memory is a row of tiles and a band.

    Args:
        masks: the folder masks/.
        below: the mask's path below it.
        bands: class ids, and the label map's `void`, [rows, W] each, from the top down.
        hw: height and width of the whole.
        source: where its image lies.

    Raises:
        OutputError: it cannot be written, such as to a full disk; nothing of it is left.
        RowFault: its name is taken by a folder.
        ConfigError: rasterio is not installed.
    """

    def make(path: str) -> None:
        write_label_tiff(
            path,
            bands,
            hw,
            colours=label_map.colours,
            ignore_index=label_map.ignore_index,
            source=source,
        )

    putter(masks, "mask")(below, lambda target: target.write_by(make))
