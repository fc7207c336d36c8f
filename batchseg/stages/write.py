"""Sink: masks into the results folder, and what is known of each image as a row of a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from batchseg.config.base import Limits
from batchseg.errors import OutputError, RowFault
from batchseg.images.decode import decode_image
from batchseg.images.encode import encode_png, overlay
from batchseg.labels.label_map import LabelMap
from batchseg.schema import IMAGES, Status
from batchseg.stages.item import Item, Stage, for_each
from batchseg.storage.location import Location, locate
from batchseg.storage.reader import image_reader

# What a worker hands to the driver: a row of `images`, its part of `pixels`, and where the time went.
SPARSE = pa.list_(
    pa.struct([("truth", pa.int32()), ("predicted", pa.int32()), ("pixels", pa.int64())]),
)
SECONDS = pa.map_(pa.string(), pa.float64())


def row_schema(carried: pa.Schema) -> pa.Schema:
    """The schema of the rows that leave the last stage; `carried` are the manifest's own columns."""
    private = [("_pixels", SPARSE), ("_seconds", SECONDS), ("_precision", pa.string())]
    return pa.schema([*IMAGES, *carried, *(pa.field(name, kind) for name, kind in private)])


def write_mask(results: str, label_map: LabelMap) -> Stage:
    """Write every prediction as a palette PNG below masks/."""
    write = _writer(locate(results) / "masks")

    def work(item: Item) -> None:
        assert item.prediction is not None
        write(
            item.row["mask"], encode_png(item.prediction.labels_HW, label_map.colours, label_map.ignore_index)
        )

    return for_each("write", work)


def write_overlay(results: str, label_map: LabelMap, limits: Limits) -> Stage:
    """Write every image with its mask in colour below overlays/. Decodes again, for the image was freed."""
    write = _writer(locate(results) / "overlays")
    reader = image_reader()

    def work(item: Item) -> None:
        assert item.prediction is not None
        image_HWC = decode_image(reader.read(item.row["uri"]), limits)
        write(item.row["mask"], _encode_rgb(overlay(image_HWC, item.prediction.labels_HW, label_map.colours)))

    return for_each("overlay", work)


def to_table(items: Iterable[Item], schema: pa.Schema, stamp: dict[str, str | None]) -> pa.Table:
    """Rows for the driver; `stamp` holds model, fingerprint and run_id."""
    return pa.Table.from_pylist([_row(item, stamp) for item in items], schema=schema)


def _row(item: Item, stamp: dict[str, str | None]) -> dict[str, Any]:
    height, width = item.size_hw or (None, None)
    confidence = item.prediction.confidence if item.prediction else None
    return {
        **item.row,
        **stamp,
        "status": item.status.value,
        "error": str(item.fault) if item.fault else None,
        "height": height,
        "width": width,
        "mask": f"masks/{item.row['mask']}" if "write" in item.seconds and item.alive else None,
        "has_truth": item.has_truth,
        **(item.matrix.summary() if item.matrix and item.has_truth else {}),
        "truth_pixels": item.matrix.truth_pixels if item.matrix and item.has_truth else None,
        "confidence_mean": confidence.mean if confidence else None,
        "entropy_mean": confidence.entropy_mean if confidence else None,
        "entropy_p95": confidence.entropy_p95 if confidence else None,
        "low_confidence_fraction": confidence.low_fraction if confidence else None,
        "segment_s": item.seconds.get("segment"),
        "finished_at": datetime.now(timezone.utc),
        "_pixels": _sparse(item) if item.alive else None,
        "_seconds": list(item.seconds.items()),
        "_precision": item.precision,
    }


def _sparse(item: Item) -> list[dict[str, int | None]]:
    if item.matrix is None:
        return []
    columns = zip(*(column.tolist() for column in item.matrix.sparse()), strict=True)
    return [
        {
            "truth": None if truth < 0 else truth,
            "predicted": None if predicted < 0 else predicted,
            "pixels": pixels,
        }
        for truth, predicted, pixels in columns
    ]


def _encode_rgb(image_HWC: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _writer(root: Location) -> Callable[[str, bytes], None]:
    made: set[str] = set()

    def write(below: str, data: bytes) -> None:
        target = root / below
        try:
            if target.parent.path not in made:
                target.parent.make_folder()
                made.add(target.parent.path)
            target.write(data)
        except OSError as exc:
            if os.path.isdir(target.path) or not target.parent.is_folder():
                # a folder called a.png beside an image a.jpg: rare, and only this image's trouble
                raise RowFault(
                    Status.NAME_COLLISION, f"its mask {below} is taken by a folder or a file"
                ) from exc
            raise OutputError(f"{target}: cannot be written: {exc.strerror or exc}") from exc

    return write
