"""What the classes of a results folder are called."""

from __future__ import annotations

from typing import Any

from batchseg.errors import LabelMapError, OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.results.tables import read_columns
from batchseg.schema import CLASSES


def class_names(results: Results, record: dict[str, Any] | None) -> list[str] | None:
    """The label map's names, from the record or else from the table itself; None where neither has them."""
    names = (record or {}).get("model", {}).get("classes")
    if names is None:
        try:
            names = read_columns(results.root / "classes.parquet", CLASSES, CLASSES.names)["class_name"]
        except OutputError:
            return None
        names = names.to_pylist()
    try:
        return list(LabelMap.from_names(names).names)
    except LabelMapError:
        return None
