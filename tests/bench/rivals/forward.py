"""Nothing but the forward pass, on one batch that is there already: what no program can be faster than.

Prints the images a second of all processes together.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from time import perf_counter

import torch
from transformers import AutoModelForSemanticSegmentation

from batchseg.engine.heap import keep_freed_memory
from batchseg.segmentors.network.pointwise import speed_up_pointwise
from tests.bench.workload import INPUT

BATCH = 4
WARM_UP = 2

_start: Barrier


def gather(start: Barrier) -> None:
    """In each process: what all of them wait at before they begin."""
    global _start  # noqa: PLW0603  a barrier reaches a pool's processes in no other way
    _start = start


@torch.inference_mode()
def forward(model: str, precision: str, threads: int, batches: int, as_batchseg: bool) -> float:
    """Seconds for so many batches, after a warm-up and once all processes are ready."""
    torch.set_num_threads(threads)
    network = AutoModelForSemanticSegmentation.from_pretrained(model).eval()
    if as_batchseg:
        keep_freed_memory()
        speed_up_pointwise(network)
    pixels = torch.randn(BATCH, 3, INPUT, INPUT, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for _ in range(WARM_UP):
            network(pixel_values=pixels)
        _start.wait()
        began = perf_counter()
        for _ in range(batches):
            network(pixel_values=pixels)
        return perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--as-batchseg", action="store_true", help="keep freed memory; 1x1 by oneDNN")
    parser.add_argument("--batches", type=int, default=12, help="of each process")
    chosen = parser.parse_args()
    context = get_context("spawn")
    start = context.Barrier(chosen.processes)
    with ProcessPoolExecutor(chosen.processes, context, gather, (start,)) as pool:
        work = (chosen.model, chosen.precision, chosen.threads, chosen.batches, chosen.as_batchseg)
        seconds = [one.result() for one in [pool.submit(forward, *work) for _ in range(chosen.processes)]]
    print(sum(chosen.batches * BATCH / each for each in seconds))


if __name__ == "__main__":
    main()
