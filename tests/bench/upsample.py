"""Time `bilinear_argmax` against interpolate and argmax: `python -m tests.bench.upsample`.

One thread; the two methods take turns, so that a slow minute of the machine meets both.
"""

from __future__ import annotations

import click
import torch
from torch import Tensor
from torch.nn import functional

from batchseg.segmentors.network.upsample import bilinear_argmax
from tests.bench.contest import Figures, milliseconds

CELLS = (128, 128)
SIZE = (768, 1024)
ROUNDS = 11
COARSE = {150: (2, 3), 11: (4, 4)}  # classes: grid of the random field; both mix about 5 % of the pixels


def upsample(scores_CHW: Tensor) -> Tensor:
    return functional.interpolate(scores_CHW[None], size=SIZE, mode="bilinear", align_corners=False)[0]


def direct(scores_CHW: Tensor) -> Tensor:
    """What bilinear_argmax replaces."""
    return upsample(scores_CHW).argmax(0)


def exact(scores_CHW: Tensor) -> Tensor:
    return bilinear_argmax(scores_CHW, SIZE)


def smooth_scores(classes: int) -> Tensor:
    """Scores whose best classes form large regions."""
    field = torch.randn(1, classes, *COARSE[classes], generator=torch.Generator().manual_seed(0))
    return functional.interpolate(field, size=CELLS, mode="bicubic")[0]


def mixed_pixels(scores_CHW: Tensor) -> int:
    """Output pixels between cells of more than one best class."""
    best_HWC = functional.one_hot(scores_CHW.argmax(0), len(scores_CHW))
    share_HW = upsample(best_HWC.permute(2, 0, 1).float().contiguous()).amax(0)
    return int((share_HW < 1 - 1e-6).sum())


def compare(classes: int) -> str:
    """One line: median and spread of both methods, their ratio, and whether they agree."""
    scores = smooth_scores(classes)
    mixed = mixed_pixels(scores)
    same = torch.equal(exact(scores).long(), direct(scores))
    slow, fast = Figures(), Figures()
    for _ in range(ROUNDS):
        slow.add(milliseconds(direct, scores))
        fast.add(milliseconds(exact, scores))
    pixels = SIZE[0] * SIZE[1]
    return "\n".join(
        [
            f"{classes} classes, {mixed} of {pixels} pixels mixed ({mixed / pixels:.1%})",
            f"  interpolate, argmax  {slow} ms",
            f"  bilinear_argmax      {fast} ms",
            f"  {slow.median / fast.median:.1f} x faster, {'equal' if same else 'NOT EQUAL'}",
        ]
    )


@click.command(help=__doc__)
def main() -> None:
    torch.set_num_threads(1)
    print(f"{CELLS} to {SIZE}, float32, one thread, {ROUNDS} rounds")
    for number in COARSE:
        print(compare(number))


if __name__ == "__main__":
    main()
