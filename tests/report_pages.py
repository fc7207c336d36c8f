"""Pages read back as a program reads them, and results folders that have everything to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.results.folder import Results
from batchseg.stages.write import row_schema
from tests.written_results import finish, row_of

NAMES = ("road", "tree", "sky", "boat")
CARRIED = pa.schema(
    [
        ("camera", pa.string()),
        ("lens", pa.float64()),
        ("wet", pa.bool_()),
        ("taken", pa.timestamp("us", "UTC")),
    ]
)


@dataclass
class ReadPage(HTMLParser):
    """What stands in a page.

    Attributes:
        figures: every `<data data-figure>`, by its name.
        queries: SQL with the prefix and number of keys of its figures.
        tags: every tag that was opened, with its attributes.
        text: all text but style and script.
    """

    figures: dict[str, set[str]] = field(default_factory=dict)
    queries: list[tuple[str, int, str]] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    raw: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._inside: list[str] = []
        self._query: tuple[str, int] | None = None

    @classmethod
    def of(cls, path: Path | str) -> ReadPage:
        page = cls()
        page.feed(Path(path).read_text(encoding="utf-8"))
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._inside.append(tag)
        if tag == "data":
            self.figures.setdefault(str(given["data-figure"]), set()).add(str(given["value"]))
        if "data-prefix" in given:
            self._query = (str(given["data-prefix"]), int(str(given["data-keys"])))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in ("style", "script"):
            self.raw[self._inside[-1]] = self.raw.get(self._inside[-1], "") + data
            return
        self.text += data
        if self._query:
            self.queries.append((*self._query, data))
            self._query = None

    def figure(self, name: str) -> float:
        """The one value of a figure."""
        (value,) = self.figures[name]
        return float(value)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [
            given
            for name, given in self.tags
            if name == tag and all(given.get(key) == value for key, value in attributes.items())
        ]


def commit(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    names: Sequence[str] = NAMES,
    carried: pa.Schema = CARRIED,
    run_id: str = "20260101T000000-aaaaaa",
    part: int = 0,
) -> Results:
    """Commit rows as a run does; `finish` of written_results ends it."""
    results = Results(str(folder))
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=row_schema(carried))
    results.open().commit(f"{run_id}-{part:05d}.parquet", table)
    return results


def rich_rows(count: int = 40, seed: int = 0, run_id: str = "20260101T000000-aaaaaa") -> list[dict[str, Any]]:
    """Rows with all there is: carried columns, failures of image and truth, void, probes, objects."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(count):
        image_id = f"{'day' if number % 3 else 'night'}/{number:03d}.png"
        truth = rng.integers(0, 5, (9, 11)).astype(np.uint8)  # 4 is void
        predicted = np.where(rng.random((9, 11)) < 0.7, truth, rng.integers(0, 5, (9, 11))).astype(np.uint8)
        confidence, nll = float(rng.beta(9, 2)), float(rng.random())
        more = {
            "width": 11,
            "height": 9,
            "mask": f"masks/{image_id}",
            "confidence_mean": confidence,
            "entropy_mean": 1 - confidence,
            "entropy_p95": 1.0,
            "low_confidence_fraction": (1 - confidence) / 2,
            "mean_iou": float(rng.beta(6, 3)),
            "accuracy": 0.5,
            "camera": ["a", "b.c", None][number % 3],
            "lens": [1.0, 2.5][number % 2],
            "wet": bool(number % 2),
            "taken": datetime(2026, 1, 1 + number % 4, 23, 59, tzinfo=timezone.utc),
            "probed_pixels": 99,
            "ece": 0.1,
            "brier": float(rng.random()),
            "nll": nll if number % 4 else None,  # as where it was decided again
            "truth_probability_p05": float(rng.random()),
            "suspect_fraction": float(max(0, rng.normal(0, 0.1))),
            "boundary_iou": float(rng.random()),
            "_calibration": _probes(rng),
            "_objects": _objects(rng),
        }
        rows.append(row_of(image_id, (predicted, truth), run_id, len(NAMES), **more))
    rows.append(row_of("day/broken.png", "unreadable", run_id, 4, error="PNG: the data end", camera="a"))
    rows.append(row_of("day/gone.png", "missing", run_id, 4, error="there is no such file", camera="a"))
    faulty = row_of("day/odd.png", (np.zeros((9, 11), np.uint8), None), run_id, 4, width=11, height=9)
    rows.append({**faulty, "truth_status": "mismatch", "error": "other size", "mask": "masks/day/odd.png"})
    return rows


def write_rich(folder: Path, count: int = 40) -> Path:
    """A results folder of one run, in two parts, whose files are not there."""
    rows = rich_rows(count)
    half = len(rows) // 2
    commit(folder, rows[:half])
    finish(commit(folder, rows[half:], part=1), "20260101T000000-aaaaaa", len(rows), NAMES)
    return folder


def _probes(rng: np.random.Generator) -> list[dict[str, Any]]:
    found = []
    for bin_number in (6, 11, 14):
        pixels = int(rng.integers(1, 40))
        truth, predicted = (int(each) for each in rng.integers(0, 4, 2))
        sums = {"top_sum": pixels * (bin_number + 0.5) / 15, "truth_sum": pixels / 3}
        found.append({"truth": truth, "predicted": predicted, "bin": bin_number, "pixels": pixels, **sums})
    return found


def _objects(rng: np.random.Generator) -> list[dict[str, Any]]:
    place = {"class_id": 1, "left": 0, "top": 0, "width": 3, "height": 3, "centre_x": 1.5, "centre_y": 1.5}
    found = []
    for number, area in enumerate((1, 3, 4, 15, 16, 64, 4**6 - 1, 4**6), 1):
        iou = float(rng.random())
        match = number if iou > 0.5 else None
        facts = {"area": area, "iou": iou, "match": match, "touches_border": False}
        found.append({"side": "truth", "object": number, **place, **facts})
        found.append({"side": "predicted", "object": number, **place, **facts})
    return found
