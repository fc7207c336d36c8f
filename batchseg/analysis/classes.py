"""What the classes of a results folder are called."""

from __future__ import annotations

from typing import Any

from batchseg.analysis.parts import read_columns
from batchseg.errors import LabelMapError, OutputError
from batchseg.labels import LabelMap
from batchseg.results.folder import Results
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
