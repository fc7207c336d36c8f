"""Nothing but the forward pass, on one batch that is there already: what no program can be faster than.

Prints the images a second of all processes together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from time import perf_counter

import torch
from torch import Tensor, nn

from batchseg.engine.heap import keep_freed_memory
from batchseg.segmentors.network.pointwise import speed_up_pointwise
from batchseg.segmentors.openvino.loading import load_openvino, silent
from tests.bench import workload
from tests.bench.workload import INPUT

BATCH = 4
WARM_UP = 2
ENGINES = ("torch", "batchseg", "openvino")  # the second: torch with freed memory kept, and 1 x 1 by oneDNN

_start: Barrier


def gather(start: Barrier) -> None:
    """In each process: what all of them wait at before they begin."""
    global _start  # noqa: PLW0603  a barrier reaches a pool's processes in no other way
    _start = start


def forward(model: str, precision: str, threads: int, batches: int, engine: str) -> float:
    """Seconds for so many batches, after a warm-up and once all processes are ready."""
    torch.set_num_threads(threads)
    network = workload.network(model)
    if engine == "batchseg":
        keep_freed_memory()
        speed_up_pointwise(network)
    pixels = torch.randn(BATCH, 3, INPUT, INPUT, generator=torch.Generator().manual_seed(0))
    compute = partial(network, pixels)
    if engine == "openvino":
        compute = by_openvino(network, pixels, precision, threads)
    reduced = precision == "bf16" and engine != "openvino"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        for _ in range(WARM_UP):
            compute()
        _start.wait()
        began = perf_counter()
        for _ in range(batches):
            compute()
        return perf_counter() - began


def by_openvino(network: nn.Module, pixels: Tensor, precision: str, threads: int) -> Callable[[], object]:
    """One image after another, which is how it is fastest here."""
    openvino = load_openvino()
    with torch.no_grad(), silent():
        model = openvino.convert_model(network, example_input=pixels[:1])
    model.reshape([1, *pixels.shape[1:]])
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
    }
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    images = [pixels[place : place + 1].numpy() for place in range(len(pixels))]
    return lambda: [request.infer({0: image}, share_inputs=True, share_outputs=True) for image in images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--engine", choices=ENGINES, default="torch")
    parser.add_argument("--batches", type=int, default=12, help="of each process")
    chosen = parser.parse_args()
    context = get_context("spawn")
    start = context.Barrier(chosen.processes)
    with ProcessPoolExecutor(chosen.processes, context, gather, (start,)) as pool:
        work = (chosen.model, chosen.precision, chosen.threads, chosen.batches, chosen.engine)
        seconds = [one.result() for one in [pool.submit(forward, *work) for _ in range(chosen.processes)]]
    print(sum(chosen.batches * BATCH / each for each in seconds))


if __name__ == "__main__":
    main()
