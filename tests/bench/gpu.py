"""How near a run on a GPU comes to the model's own speed: `python -m tests.bench.gpu`.

Two networks with random weights, for speed does not depend on them: one of SegFormer-B5's size at 1024 x
1024, which keeps a GPU busy, and one of SegFormer-B0's at 512 x 512, where the CPU cores may not keep up. The
forward pass alone, in bf16 and with the batch size that suits it best, beside `batchseg run`; how busy the
GPU was is what nvidia-smi said between the first and the last tenth of the masks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time

import click
import numpy as np

from tests.bench import workload
from tests.bench.contest import EDGE, emptied, finish, steady_rate

NETWORKS = {
    "b5": (1024, {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}),
    "b0": (512, {}),
}
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CALLS = 10
LOOK_MS = 100


def checkpoint(name: str) -> Path:
    """A SegFormer of a size, with random weights."""
    folder = workload.CACHE / f"segformer-random-{name}"
    if not folder.is_dir():
        from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

        side, sizes = NETWORKS[name]
        SegformerForSemanticSegmentation(SegformerConfig(num_labels=19, **sizes)).save_pretrained(folder)
        SegformerImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def forward_rate(name: str) -> float:
    """Images a second of the forward pass alone, with the best of several batch sizes."""
    import torch
    from transformers import SegformerForSemanticSegmentation

    network = SegformerForSemanticSegmentation.from_pretrained(checkpoint(name)).cuda().eval()
    side, _ = NETWORKS[name]
    best = 0.0
    for batch in BATCHES:
        try:
            pixels = torch.randn(batch, 3, side, side, device="cuda")
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                network(pixel_values=pixels)
                torch.cuda.synchronize()
                start = perf_counter()
                for _ in range(CALLS):
                    network(pixel_values=pixels)
                torch.cuda.synchronize()
        except torch.OutOfMemoryError:
            break
        best = max(best, CALLS * batch / (perf_counter() - start))
    return best


@dataclass(frozen=True)
class Busy:
    """When nvidia-smi looked, and what per cent of the time before the GPU had worked."""

    times: list[float]
    per_cent: list[float]

    def between(self, start: float, end: float) -> float:
        inside = [value for at, value in zip(self.times, self.per_cent, strict=True) if start <= at <= end]
        return float(np.mean(inside)) if inside else float("nan")


@contextmanager
def watched() -> Iterator[Busy]:
    """nvidia-smi looks at the first GPU; what it saw is there when the block is left."""
    busy = Busy([], [])
    words = ["nvidia-smi", "-i", "0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*words, f"-lms={LOOK_MS}"], stdout=subprocess.PIPE, text=True) as process:
        began = time()
        yield busy
        process.terminate()
        assert process.stdout is not None
        values = [float(line) for line in process.stdout if line.strip().isdigit()]
    step = (time() - began) / max(1, len(values))
    busy.per_cent.extend(values)
    busy.times.extend(began + step * (index + 1) for index in range(len(values)))


def measure(name: str, count: int, folder: Path) -> str:
    """One row of the table."""
    images = workload.photographs(count)
    limit, output = forward_rate(name), emptied(folder / name)
    words = [
        "-m",
        "batchseg",
        "run",
        images / "images",
        "--truth",
        images / "masks",
        "--model",
        checkpoint(name),
    ]
    with watched() as busy:
        finish([sys.executable, *words, "--labels", "cityscapes", "--device", "cuda", "--output", output])
    rate = steady_rate(output / "masks")
    times = sorted(file.stat().st_mtime for file in (output / "masks").glob("*.png"))
    edge = round(EDGE * len(times))
    share = busy.between(times[edge], times[-edge - 1])
    cores = os.cpu_count() or 1
    return f"| {name} | {limit:.1f} | {rate:.1f} | {rate / limit:.2f} | {share:.0f} % | {rate / cores:.1f} |"


@click.command(help=__doc__)
@click.option("--images", "count", default=2000, show_default=True)
def main(count: int) -> None:
    import torch

    if not torch.cuda.is_available():
        raise click.ClickException("this bench needs a GPU, and torch sees none here")
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores, {count} images, bf16")
    print("| | forward pass alone, images/s | batchseg | ratio | GPU busy | images/s a CPU core |")
    print("|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for name in NETWORKS:
            print(measure(name, count, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
