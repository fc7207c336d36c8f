"""Where classes of one data set go in another, by the facts of MSeg's taxonomy in mseg.tsv."""

from __future__ import annotations

import csv
from pathlib import Path

PAIRS = (
    ("ade20k", "cityscapes"),
    ("ade20k", "voc"),
    ("ade20k", "coco-panoptic"),
    ("coco-panoptic", "ade20k"),
    ("coco-panoptic", "cityscapes"),
)


def classes_of(data_set: str) -> list[str]:
    """In the order of the table."""
    return [name for row in _rows() for name in _names(row, data_set)]


def gold(source: str, target: str) -> dict[str, set[str]]:
    """For each class of `source` those of `target` that it may go to, which may be none."""
    found: dict[str, set[str]] = {}
    for row in _rows():
        for name in _names(row, source):
            found.setdefault(name, set()).update(_names(row, target))
    return found


def _names(row: dict[str, str], data_set: str) -> list[str]:
    return row[data_set].split(", ") if row[data_set] else []


def _rows() -> list[dict[str, str]]:
    text = (Path(__file__).parent / "mseg.tsv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t"))
