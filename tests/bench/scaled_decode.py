"""What `segmentor.scaled_decode` saves and changes: `python -m tests.bench.scaled_decode`.

JPEGs of 12 megapixels for a model of 512 x 512: the time from the bytes to the model's input, on one thread
and by turns, and how many pixels of the masks change their class.
"""

from __future__ import annotations

from io import BytesIO
from time import perf_counter

import click
import numpy as np
import torch
from PIL import Image

import batchseg
from batchseg.config.base import Limits
from batchseg.images.decode import decode_scaled, whole
from tests.bench import workload
from tests.bench.contest import Figures, noise

SIZE_WH = (4096, 3072)
FIRST_SEED = 5000


def encoded(seed: int) -> bytes:
    data = BytesIO()
    Image.fromarray(workload.scene(seed, SIZE_WH)[0]).save(data, "JPEG", quality=90)
    return data.getvalue()


@click.command(help=__doc__)
@click.option("--images", default=12, show_default=True)
def main(images: int) -> None:
    torch.set_num_threads(1)
    prepare, segmentor = batchseg.load_segmentor(str(workload.checkpoint()), precision="fp32")
    times = {"whole": Figures(), "scaled": Figures()}
    same = []
    for seed in range(FIRST_SEED, FIRST_SEED + images):
        data, masks = encoded(seed), []
        for name, enough in (("whole", whole), ("scaled", prepare.input_hw)):
            start = perf_counter()
            image_HWC, *_ = decode_scaled(data, Limits(), enough)
            prepared = prepare(image_HWC)
            times[name].add(1000 * (perf_counter() - start))
            masks.append(segmentor.segment([prepared])[0].labels_HW)
        # the scaled one's mask is as large as what was decoded: compared there, at its pixels' centres
        step = len(masks[0]) // len(masks[1])
        same.append(float((masks[0][step // 2 :: step, step // 2 :: step] == masks[1]).mean()))
    for name, figures in times.items():
        print(f"{name}: {figures} ms an image")
    print(f"pixels of the same class: {np.mean(same):.3%}, in the worst image {min(same):.3%}; {noise()}")


if __name__ == "__main__":
    main()
