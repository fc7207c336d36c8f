"""How long a run takes to find that a million images are done: `python -m tests.bench.done`.

Rows of a manifest with a `version` column, and a results folder that holds a row for each. The run is a
process of its own, and starts no Ray, for nothing is left to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from batchseg import load_config
from batchseg.pipeline.run import OpenedModel
from batchseg.schema import IMAGES, PIXELS

IMAGES_DONE = 1_000_000
ROWS_A_PART = 50_000


def fill(folder: Path) -> list[str]:
    """Write the manifest and the results; return the command that has nothing to do."""
    manifest, out = folder / "manifest.parquet", folder / "out"
    config = load_config(
        overrides={"source": str(manifest), "segmentor": "threshold", "output": str(out)},
    )
    fingerprint = OpenedModel.open(config).fingerprint
    (out / "runs").mkdir(parents=True)
    names = [f"camera/{number:07d}.jpg" for number in range(IMAGES_DONE)]
    pq.write_table(pa.table({"image": names, "version": names}), manifest)
    for start in range(0, IMAGES_DONE, ROWS_A_PART):
        some = names[start : start + ROWS_A_PART]
        part = f"20260101T000000Z-{start // ROWS_A_PART:05d}.parquet"
        counts = {"id": some, "truth": None, "predicted": 0, "pixels": 1}
        write(out / "pixels" / part, PIXELS, counts, len(some))
        known = {"id": some, "uri": some, "status": "ok", "source_version": some, "fingerprint": fingerprint}
        facts = {"has_truth": False, "run_id": "20260101T000000Z", "finished_at": 0, "width": 1, "height": 1}
        write(out / "images" / part, IMAGES, {**known, **facts}, len(some))
    words = ["-m", "batchseg", "run", str(manifest), "--model", "threshold", "--output", str(out), "--json"]
    return [sys.executable, *words]


def write(path: Path, schema: pa.Schema, values: dict[str, Any], count: int) -> None:
    columns = []
    for field in schema:
        value = values.get(field.name)
        one = pa.array(value if isinstance(value, list) else [value] * count)
        columns.append(one.cast(field.type))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path)


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
def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = fill(Path(folder))
        run_s, peak_kib, out = timed(command)
    record = json.loads(out)
    assert record["images"]["done_before"] == IMAGES_DONE
    assert record["computed"] == {}
    print(f"{IMAGES_DONE:,} done rows: {run_s:.1f} s")
    print(f"peak memory of the driver: {peak_kib / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
