"""Rows as the last stage makes them, to be committed without a run, and what an analyst then sees."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from batchseg.config.base import METRICS
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.source.listing import LISTING
from batchseg.stages.write import row_schema

LABELS = LabelMap.from_names(("sky", "road", "car"))
Counts = dict[tuple[int | None, int | None], int]


def row(name: str, pixels: Counts | None = None, **values: Any) -> dict[str, Any]:
    """Of an image that has a mask; `pixels` by (truth, predicted)."""
    pixels = {(0, 0): 6} if pixels is None else pixels
    scored = any(truth is not None for truth, _ in pixels)
    return {
        "id": name,
        "uri": f"/data/{name}",
        "status": "ok",
        "has_truth": scored,
        "mask": f"masks/{name}.png",
        "source_version": "v1",
        "fingerprint": "model",
        "truth_status": "ok" if scored else "none",
        "truth_version": "t1" if scored else None,
        "score_fingerprint": "score" if scored else None,
        "run_id": "run",
        "finished_at": datetime(2024, 1, 2, tzinfo=timezone.utc),
        "_pixels": [{"truth": t, "predicted": p, "pixels": n} for (t, p), n in pixels.items()],
        "_seconds": [("decode", 0.5)],
        **values,
    }


def whole(name: str, **values: Any) -> dict[str, Any]:
    """What `verify` finds nothing wrong with: every pixel is right."""
    figures = dict.fromkeys(METRICS, 1.0)
    return row(name, height=2, width=3, truth_pixels=6, **figures, **values)


def failed(name: str, **values: Any) -> dict[str, Any]:
    """Of an image that has none."""
    nothing = {"mask": None, "truth_status": None, "truth_version": None, "_pixels": None}
    return row(name, {}, status="unreadable", error="not an image", **nothing, **values)


def table(*rows: dict[str, Any], carried: pa.Schema | None = None) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=row_schema(carried or pa.schema([])))


def listing(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    """id, source_version and truth_version of images that a source lists; without the last no truth."""
    ids, versions, truths = map(list, zip(*rows, strict=True))
    columns = {"id": ids, "uri": ids, "source_version": versions, "truth_version": truths, "truth": truths}
    arrays = [pa.array(columns.get(field.name, [None] * len(rows)), field.type) for field in LISTING]
    return pa.Table.from_arrays(arrays, schema=LISTING)


def read(results: Results, name: str) -> list[dict[str, Any]]:
    """What an analyst sees."""
    files = results.root.path + (f"/{name}/*.parquet" if name != "classes" else "/classes.parquet")
    found = duckdb.sql(f"select * from read_parquet('{files}', union_by_name=true) order by all")
    return found.to_arrow_table().to_pylist()


def ids(results: Results) -> list[str]:
    return [each["id"] for each in read(results, "images")]


def parts(results: Results) -> tuple[list[str], list[str]]:
    return [file.name for file in results.images.files()], [file.name for file in results.pixels.files()]


def confusion(results: Results) -> Counts:
    sums: Counter[tuple[int | None, int | None]] = Counter()
    for entry in read(results, "pixels"):
        sums[entry["truth"], entry["predicted"]] += entry["pixels"]
    return dict(sums)


def pixels_of(results: Results) -> dict[str, int]:
    """Pixels by image: of a row that is whole they are as many as its image has."""
    sums: Counter[str] = Counter()
    for entry in read(results, "pixels"):
        sums[entry["id"]] += entry["pixels"]
    return dict(sums)


def make_masks(results: Results, *names: str) -> None:
    """Files where rows of these names have their masks."""
    for name in names:
        path = Path(results.root.path) / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a mask")


def masks(results: Results) -> set[str]:
    root = Path(results.root.path) / "masks"
    return {str(path.relative_to(root)).removesuffix(".png") for path in root.rglob("*.png")}
