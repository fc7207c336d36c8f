"""The library calls that a mask and its metrics cost: two processes, no model and no engine."""

from __future__ import annotations

import io
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from tests.bench.rivals.job import Job, parse
from tests.bench.rivals.loop import metrics
from tests.bench.workload import CLASSES, scene

PROCESSES = 2
PALETTE = bytes(range(256)) * 3


def work(job: Job, files: list[Path]) -> list[dict[str, object]]:
    torch.set_num_threads(1)
    _, labels_HW = scene(0)
    rows = []
    for file in files:
        encoded = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)
        image_CHW = decode_jpeg(encoded, mode=ImageReadMode.RGB)
        assert image_CHW.shape[1:] == labels_HW.shape
        rows.append({"image": file.name, **metrics(job.read_truth(file), labels_HW, CLASSES)})
        mask = Image.fromarray(labels_HW)
        mask.putpalette(PALETTE)
        buffer = io.BytesIO()
        mask.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
        (job.output / "masks" / f"{file.stem}.png").write_bytes(buffer.getvalue())
    return rows


def main() -> None:
    job = parse(__doc__)
    shares = [job.files[number::PROCESSES] for number in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        rows = [row for one in [pool.submit(work, job, share) for share in shares] for row in one.result()]
    job.write_table(rows)


if __name__ == "__main__":
    main()
