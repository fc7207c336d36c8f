"""Write: masks into the results folder, and what is known of each image as a row of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.config.run import Kept
from batchseg.images.encode import encode_png
from batchseg.images.probability_file import probability_name
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.metrics.prompted import prompt_iou
from batchseg.schema import BESIDE, IMAGES, PRIVATE, Status
from batchseg.stages.beside import as_lists, rows_beside
from batchseg.stages.files import writer
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.places import is_tiff_mask, place_of_image
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.storage.location import Location
from batchseg.storage.lock import Lock
from batchseg.storage.reader import image_reader


@dataclass(frozen=True)
class Stamp:
    """What every row of a run says: the model, the two keys, and the run itself.

    Attributes:
        without_truth: the score's key of what has no truth; None where nothing is computed of it.
    """

    model: str | None
    fingerprint: str
    score_fingerprint: str
    run_id: str
    without_truth: str | None = None


def row_schema(carried: pa.Schema) -> pa.Schema:
    """The schema of the rows that leave the last stage; `carried` are the manifest's own columns."""
    return pa.schema([*IMAGES, *carried, *PRIVATE])


def write_mask(
    results: Location, label_map: LabelMap, lock: Lock | None = None, kept: Kept | None = None
) -> Stage:
    """Write every prediction below masks/, as a palette PNG or as a TIFF that lies where its image lies.

    It does so for as long as the folder's lock is ours. A large mask that was written already stays.

    Args:
        kept: which probabilities are written too, below probabilities/; None: none.
    """
    write, put = mask_writer(results, label_map), writer(results / "probabilities", "file of probabilities")

    def work(item: Item) -> None:
        if lock is not None:
            lock.check_now_and_then()
        if item.large is not None:
            return
        assert item.prediction is not None
        if kept is not None:  # before the mask, which counts for both
            assert item.prediction.probabilities is not None
            put(probability_name(item.row["mask"], kept), item.prediction.probabilities)
        write(item)

    return for_each("write", work)


def mask_writer(results: Location, label_map: LabelMap) -> Callable[[Item], None]:
    """Writes the mask of an item with a prediction."""
    masks, reader = results / "masks", image_reader()
    write = writer(masks, "mask")

    def work(item: Item) -> None:
        assert item.prediction is not None
        name, labels_HW = item.row["mask"], item.prediction.labels_HW
        if is_tiff_mask(item):
            place, hw = place_of_image(item, reader), (labels_HW.shape[0], labels_HW.shape[1])
            write_raster_mask(masks, name, iter([labels_HW]), hw, label_map=label_map, source=place)
        else:
            write(name, encode_png(labels_HW, label_map.colours, label_map.ignore_index))

    return work


def to_table(items: Sequence[Item], schema: pa.Schema, stamp: Stamp) -> pa.Table:
    """Rows for the driver."""
    rows = pa.Table.from_pylist([_row(item, stamp) for item in items], schema=schema)
    beside = [_beside(item) if item.alive else {} for item in items]
    for name in BESIDE:
        place = schema.get_field_index(f"_{name}")
        lists = as_lists(name, [each.get(name) for each in beside])
        rows = rows.set_column(place, schema.field(place), lists)
    return rows


def _beside(item: Item) -> dict[str, pa.Table]:
    return item.beside if item.matrix is None else {"pixels": _pixels(item.matrix), **item.beside}


def _pixels(matrix: ConfusionMatrix) -> pa.Table:
    truth, predicted, pixels = matrix.sparse()
    none = np.ma.masked_less
    return rows_beside("pixels", {"truth": none(truth, 0), "predicted": none(predicted, 0), "pixels": pixels})


def _row(item: Item, stamp: Stamp) -> dict[str, Any]:
    truth_status = item.truth_status
    fault = item.fault or item.truth_fault
    matrix = item.matrix if item.alive and item.has_truth else None
    return {
        **item.row,
        **(item.kept or _mask_side(item, stamp)),
        "run_id": stamp.run_id,
        "status": item.fault.status.value if item.fault else Status.OK.value,
        "error": str(fault) if fault else None,
        "has_truth": matrix is not None,
        **(matrix.summary() if matrix else {}),
        **(item.figures if matrix else {}),
        "prompt_iou": prompt_iou(matrix.class_sums) if matrix and item.prompt is not None else None,
        "truth_pixels": matrix.truth_pixels if matrix else None,
        "truth_status": truth_status.value if truth_status else None,
        "truth_version": item.row["truth_version"] if truth_status else None,
        "score_fingerprint": _score_fingerprint(item, stamp),
        "finished_at": datetime.now(timezone.utc),
        "_seconds": list(item.seconds.items()),
        "_precision": item.precision,
        "_engine": item.engine,
        "_why_not": item.why_not,
        "_left_over": item.left_over,
        "_between": item.between,
        "_traceback": item.fault.traceback if item.fault else None,
    }


def _score_fingerprint(item: Item, stamp: Stamp) -> str | None:
    if not item.alive:
        return None
    return stamp.score_fingerprint if item.has_truth or item.truth_fault else stamp.without_truth


def _mask_side(item: Item, stamp: Stamp) -> dict[str, Any]:
    """What is known of the mask; the columns of `results.verdict.KEPT`."""
    height, width = item.size_hw or (None, None)
    confidence = item.prediction.confidence if item.prediction else item.confidence
    return {
        "source_version": item.row["source_version"],
        "model": stamp.model,
        "fingerprint": stamp.fingerprint,
        "height": height,
        "width": width,
        "mask": f"masks/{item.row['mask']}" if "write" in item.seconds and item.alive else None,
        "confidence_mean": confidence.mean if confidence else None,
        "entropy_mean": confidence.entropy_mean if confidence else None,
        "entropy_p95": confidence.entropy_p95 if confidence else None,
        "low_confidence_fraction": confidence.low_fraction if confidence else None,
        "contested_fraction": confidence.contested_fraction if confidence else None,
        "presence": item.prediction.presence if item.prediction else item.presence,
        "segment_s": item.seconds.get("segment"),
    }
