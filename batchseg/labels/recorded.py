"""A label map as plain values for the record of a run, and back."""

from __future__ import annotations

from typing import Any

from batchseg.errors import LabelMapError
from batchseg.labels.label_map import LabelMap


def record_label_map(label_map: LabelMap) -> dict[str, Any]:
    """All of it but which of a model's classes were merged into which."""
    remap, colours = label_map.remap, label_map.read_colours
    return {
        "names": list(label_map.names),
        "colours": [list(colour) for colour in label_map.colours],
        "ignore_index": label_map.ignore_index,
        "remap": None if remap is None else sorted([truth, to] for truth, to in remap.items()),
        "read_colours": sorted([list(colour), to] for colour, to in colours.items()),
        "read_names": dict(label_map.read_names),
    }


def recorded_label_map(facts: Any) -> LabelMap:
    """The label map that was recorded so. Raises LabelMapError where it is none."""
    try:
        return LabelMap(
            tuple(facts["names"]),
            tuple(tuple(colour) for colour in facts["colours"]),
            facts["ignore_index"],
            None if facts["remap"] is None else dict(facts["remap"]),
            {tuple(colour): to for colour, to in facts["read_colours"]},
            read_names=dict(facts.get("read_names", {})),
        )
    except (TypeError, KeyError, ValueError) as exc:
        raise LabelMapError(f"the record holds no label map ({exc})") from exc
