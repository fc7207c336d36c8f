"""Results folders put together from label maps, without a run: through the library's own tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.folder import Results
from batchseg.stages.write import row_schema

NAMES = ("road", "tree", "sky", "boat")

# predicted class ids and true ones, or None for no truth; the number of classes stands for none
Maps = tuple[np.ndarray, np.ndarray | None]


def row_of(image_id: str, maps: Maps | str, run_id: str, classes: int, **more: Any) -> dict[str, Any]:
    """A result row of label maps, or of a status that is not ok."""
    row = {"id": image_id, "uri": image_id, "has_truth": False, "run_id": run_id, "fingerprint": "f"}
    row |= {"finished_at": datetime.now(timezone.utc), "_pixels": [], "source_version": "1"}
    if isinstance(maps, str):
        return {**row, "status": maps, **more}
    predicted, truth = maps
    matrix = ConfusionMatrix.from_maps(predicted, truth, classes)
    entries = zip(*(column.tolist() for column in matrix.sparse()), strict=True)
    pixels = [
        {"truth": None if true < 0 else true, "predicted": None if label < 0 else label, "pixels": count}
        for true, label, count in entries
    ]
    scored = {"truth_status": "none"}
    if truth is not None:
        scored = {"truth_status": "ok", "truth_version": "1", "score_fingerprint": "s"}
    row |= {"status": "ok", "has_truth": truth is not None, "_pixels": pixels, **scored}
    return {**row, **more}


def write_part(
    folder: Path,
    images: Mapping[str, Maps | str],
    run_id: str = "20260101T000000-aaaaaa",
    names: Sequence[str] = NAMES,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
) -> Results:
    """Commit rows as a run does; `columns` holds further values by id. The run is not finished by this."""
    results = Results(str(folder))
    held = results.open()
    rows = [
        row_of(image_id, maps, run_id, len(names), **(columns or {}).get(image_id, {}))
        for image_id, maps in images.items()
    ]
    held.commit(f"{run_id}-00000.parquet", pa.Table.from_pylist(rows, schema=row_schema(pa.schema([]))))
    return results


def finish(
    results: Results, run_id: str, computed: int, names: Sequence[str] = NAMES, status: str = "finished"
) -> None:
    """Drop what was replaced and leave the record."""
    if status == "finished":
        results.open().finish(LabelMap.from_names(names))
    model = {"name": "m", "classes": list(names)}
    results.write_record({"run_id": run_id, "status": status, "computed": {"ok": computed}, "model": model})


def write_results(
    folder: Path,
    images: Mapping[str, Maps | str],
    run_id: str = "20260101T000000-aaaaaa",
    names: Sequence[str] = NAMES,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A whole results folder of one run."""
    finish(write_part(folder, images, run_id, names, columns), run_id, len(images), names)
    return folder
