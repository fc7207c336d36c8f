"""How long a run takes to find that a million images are done: `python -m tests.bench.done`.

The results folder is made by 30 nights of real commits, each as large as those of a run, and each night ends
as a run does. The run that is timed is a process of its own, and starts no Ray, for nothing is left to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from batchseg import load_config
from batchseg.pipeline.model import OpenedModel
from batchseg.results.commits import COMMIT_ROWS
from batchseg.results.folder import Results
from batchseg.stages.write import row_schema

IMAGES, NIGHTS = 1_000_000, 30
CLASSES_AN_IMAGE = 2
SIZE = 512


def fill(folder: Path, images: int, nights: int) -> list[str]:
    """Write the manifest and the results; return the command that has nothing to do."""
    manifest, out = folder / "manifest.parquet", folder / "out"
    config = load_config(
        overrides={"source": str(manifest), "segmentor": "threshold", "output": str(out)},
    )
    model, results = OpenedModel.open(config), Results(str(out))
    names = [f"camera/{number:07d}.jpg" for number in range(images)]
    pq.write_table(pa.table({"image": names, "version": names}), manifest)
    first = 0
    for night in range(nights):
        run_id, last = f"202601{night + 1:02d}T013000-00000a", images * (night + 1) // nights
        with results.held() as held:
            for part, start in enumerate(range(first, last, COMMIT_ROWS)):
                some = names[start : min(start + COMMIT_ROWS, last)]
                held.commit(f"{run_id}-{part:05d}.parquet", rows(some, model, run_id))
            held.finish(model.label_map)
        first = last
    words = ["-m", "batchseg", "run", str(manifest), "--model", "threshold", "--output", str(out), "--json"]
    return [sys.executable, *words]


def rows(names: list[str], model: OpenedModel, run_id: str) -> pa.Table:
    """As a worker tells of images without ground truth."""
    count = len(names)
    pixels = [
        {"truth": None, "predicted": label, "pixels": SIZE * SIZE // CLASSES_AN_IMAGE}
        for label in range(CLASSES_AN_IMAGE)
    ]
    known: dict[str, Any] = {
        "id": names,
        "uri": [f"/photos/{name}" for name in names],
        "mask": [f"masks/{name[:-4]}.png" for name in names],
        "source_version": names,
        "status": "ok",
        "truth_status": "none",
        "width": SIZE,
        "height": SIZE,
        "has_truth": False,
        "confidence_mean": 0.9,
        "segment_s": 0.1,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "run_id": run_id,
        "finished_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "_pixels": [pixels] * count,
        "_seconds": [[("segment", 0.1)]] * count,
        "_left_over": False,
    }
    schema = row_schema(pa.schema([]))
    columns = []
    for field in schema:
        value = known.get(field.name)
        columns.append(pa.array(value if isinstance(value, list) else [value] * count, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def timed(words: list[str]) -> tuple[float, int, bytes]:
    """Seconds, peak memory in KiB and output of a process."""
    start = perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return perf_counter() - start, usage.ru_maxrss, out


@click.command(help=__doc__)
@click.option("--images", default=IMAGES, show_default=True, help="Rows in all.")
@click.option("--nights", default=NIGHTS, show_default=True, help="Runs that made them.")
def main(images: int, nights: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        command = fill(Path(folder), images, nights)
        filled_s = perf_counter() - start
        parts = len(list((Path(folder) / "out" / "images").iterdir()))
        run_s, peak_kib, out = timed(command)
        again = len(list((Path(folder) / "out" / "images").iterdir()))
    record = json.loads(out)
    assert record["images"]["done_before"] == images
    assert record["computed"] == {}
    print(f"{nights} nights, {images:,} rows: {filled_s:.0f} s to write, {parts} files in images/")
    print(f"a run with nothing to do: {run_s:.1f} s, and {again} files")
    print(f"peak memory of the driver: {peak_kib / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
