"""What a page costs: `python -m tests.bench.report --images 100000 --classes 150`.

Tables of so many images, with three carried columns, probes and objects, and no files beside them; then the
seconds and the bytes of their page, and the memory it took.
"""

from __future__ import annotations

import resource
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import click
import numpy as np
import pyarrow as pa

from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.results.tables import write_table
from batchseg.schema import BESIDE, IMAGES
from tests.bench.contest import finish, noise

RUN = "20260101T000000-aaaaaa"
UNCERTAIN = ("entropy_mean", "low_confidence_fraction", "brier", "nll", "ece")
A_PART, PAIRS, PROBES, OBJECTS = 25_000, 6, 4, 3


@click.command(help=__doc__)
@click.option("--images", "count", default=100_000, show_default=True)
@click.option("--classes", default=150, show_default=True)
def main(count: int, classes: int) -> None:
    with TemporaryDirectory() as folder:
        names = [f"class {number}" for number in range(classes)]
        results = Results(f"{folder}/results")
        results.open()
        rng = np.random.default_rng(0)
        for number, first in enumerate(range(0, count, A_PART)):
            write_part(
                results, f"{RUN}-{number:05d}.parquet", (first, min(count, first + A_PART)), classes, rng
            )
        held = results.open()
        held.finish(LabelMap.from_names(names))
        record = {"run_id": RUN, "status": "finished", "images": {"listed": count}}
        results.write_record({**record, "model": {"name": "none", "classes": names}})
        start = perf_counter()
        finish([sys.executable, "-m", "batchseg", "report", results.root, "--quiet"])
        seconds, page = perf_counter() - start, Path(folder) / "results" / "report.html"
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = page.stat().st_size / 1e6
    print(f"{count:,} images, {classes} classes: {seconds:.1f} s, {size:.2f} MB, {memory:.0f} MiB; {noise()}")


def write_part(
    results: Results, name: str, span: tuple[int, int], classes: int, rng: np.random.Generator
) -> None:
    """Rows of some images, as a run commits them."""
    count = span[1] - span[0]
    ids = np.array([f"site_{n % 7}/camera_{n % 13}/{n:08d}.jpg" for n in range(*span)], object)
    ok = rng.random(count) > 0.002
    for kind, table in tables(ids, ok, classes, rng).items():
        place = results.root / kind
        place.make_folder()
        write_table(place / name, table)


def tables(ids: np.ndarray, ok: np.ndarray, classes: int, rng: np.random.Generator) -> dict[str, pa.Table]:
    """The last of them is the commit."""
    found = {
        "pixels": _pixels(ids[ok], classes, rng),
        "calibration": _calibration(ids[ok].repeat(PROBES), classes, rng),
        "objects": _objects(ids[ok].repeat(OBJECTS), rng),
    }
    return {**found, "images": _images(ids, ok, rng)}


def _images(ids: np.ndarray, ok: np.ndarray, rng: np.random.Generator) -> pa.Table:
    count, now = len(ids), datetime.now(timezone.utc)
    confidence = rng.beta(20, 2, count)
    figures = {
        **{name: rng.beta(8, 2, count) for name in ("mean_iou", "accuracy")},
        **{name: confidence for name in ("confidence_mean", "truth_probability_p05")},
        **{
            name: 1 - confidence
            for name in ("entropy_mean", "low_confidence_fraction", "brier", "nll", "ece")
        },
        "suspect_fraction": rng.random(count) / 9,
        "width": np.full(count, 1024),
        "height": np.full(count, 768),
        "probed_pixels": np.full(count, 4096),
    }
    columns = {field.name: pa.nulls(count, field.type) for field in IMAGES}
    columns |= {name: pa.array(each, IMAGES.field(name).type, mask=~ok) for name, each in figures.items()}
    columns |= {
        "id": pa.array(ids),
        "uri": pa.array([f"/nowhere/{each}" for each in ids]),
        "status": pa.array(np.where(ok, "ok", "unreadable")),
        "error": pa.array(["the data end before the picture does"] * count, mask=ok),
        "mask": pa.array([f"masks/{each[:-4]}.png" for each in ids], mask=~ok),
        "truth_status": pa.array(["ok"] * count, mask=~ok),
        "has_truth": pa.array(ok),
        "fingerprint": pa.array(["f"] * count),
        "run_id": pa.array([RUN] * count),
        "finished_at": pa.array([now] * count, pa.timestamp("us", "UTC")),
    }
    carried = {
        "site": pa.array([each[:6] for each in ids]),
        "lens": pa.array(rng.integers(0, 4, count)),
        "taken": pa.array([now - timedelta(days=int(day)) for day in rng.integers(0, 9, count)]),
    }
    return pa.table({**{name: columns[name] for name in IMAGES.names}, **carried})


def _pixels(ids: np.ndarray, classes: int, rng: np.random.Generator) -> pa.Table:
    truth = rng.integers(0, classes, (len(ids), PAIRS))
    truth.sort(axis=1)
    right = rng.integers(1, 50_000, truth.shape)
    wrong = rng.integers(1, 9_000, truth.shape)
    columns = {
        "id": np.concatenate([ids.repeat(PAIRS)] * 2),
        "truth": np.concatenate([truth.ravel()] * 2),
        "predicted": np.concatenate([truth.ravel(), np.roll(truth, 1, axis=1).ravel()]),
        "pixels": np.concatenate([right.ravel(), wrong.ravel()]),
    }
    return _as("pixels", columns)


def _calibration(ids: np.ndarray, classes: int, rng: np.random.Generator) -> pa.Table:
    bins, pixels = rng.integers(5, 15, len(ids)), rng.integers(1, 900, len(ids))
    truth = rng.integers(0, classes, len(ids))
    predicted = np.where(rng.random(len(ids)) < bins / 15, truth, 0)
    sums = {"top_sum": pixels * (bins + 0.5) / 15, "truth_sum": pixels / 2}
    columns = {"id": ids, "truth": truth, "predicted": predicted, "bin": bins, "pixels": pixels}
    return _as("calibration", {**columns, **sums})


def _objects(ids: np.ndarray, rng: np.random.Generator) -> pa.Table:
    count, iou = len(ids), rng.random(len(ids))
    places = ("class_id", "left", "top", "width", "height", "centre_x", "centre_y")
    columns = {
        "id": ids,
        "side": np.full(count, "truth", object),
        "object": np.ones(count),
        "area": np.exp(rng.uniform(1, 12, count)).astype(np.int64),
        "touches_border": np.zeros(count, bool),
        "match": pa.array(np.ones(count, np.int32), mask=iou <= 0.5),
        "iou": iou,
        **dict.fromkeys(places, np.zeros(count)),
    }
    return _as("objects", columns)


def _as(kind: str, columns: dict[str, np.ndarray]) -> pa.Table:
    count = len(columns["id"])
    arrays = [
        pa.array(columns[field.name]).cast(field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in BESIDE[kind]
    ]
    return pa.Table.from_arrays(arrays, schema=BESIDE[kind])


if __name__ == "__main__":
    main()
