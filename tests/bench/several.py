"""Time `several_argmax` against interpolating, adding and argmax: `python -m tests.bench.several`.

Three grids, as of three views or members, to one size. One thread; the two methods take turns, so that a slow
minute of the machine meets both.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import torch
from torch import Tensor
from torch.nn import functional

from batchseg.segmentors.network.several import several_argmax
from tests.bench.contest import Figures, milliseconds

CELLS = ((128, 128), (96, 96), (160, 160))
SMALL_CELLS = ((32, 32), (24, 24), (40, 40))
ROUNDS = 7
# classes, cells of the random field, cells of the grids, pixels
CASES = (
    (150, (2, 3), CELLS, (1024, 1024)),
    (150, (8, 8), CELLS, (1024, 1024)),
    (11, (4, 4), CELLS, (1024, 1024)),
    (11, (4, 4), CELLS, (256, 256)),
    (11, (4, 4), SMALL_CELLS, (128, 128)),
    (11, (4, 4), SMALL_CELLS, (64, 64)),
    (2, (4, 4), SMALL_CELLS, (128, 128)),
)

Grids = Sequence[Tensor]


def direct(grids: Grids, size: tuple[int, int]) -> Tensor:
    """What several_argmax replaces."""
    total = torch.zeros(())
    for grid in grids:
        total = total + functional.interpolate(grid[None], size=size, mode="bilinear", align_corners=False)[0]
    return total.argmax(0)


def view_probabilities(classes: int, coarse: tuple[int, int], cells: Sequence[tuple[int, int]]) -> Grids:
    """Class probabilities of one scene with large regions, which the views see a little differently."""
    generator = torch.Generator().manual_seed(0)
    scene = torch.randn(1, classes, *coarse, generator=generator)
    finer = (3 * coarse[0], 3 * coarse[1])
    grids = []
    for cells_hw in cells:
        own = torch.randn(1, classes, *finer, generator=generator)
        logits = 4 * functional.interpolate(scene, size=cells_hw, mode="bicubic")
        logits += 0.3 * functional.interpolate(own, size=cells_hw, mode="bicubic")
        grids.append(logits[0].softmax(0) / len(cells))
    return grids


def compare(case: tuple[int, tuple[int, int], Sequence[tuple[int, int]], tuple[int, int]]) -> str:
    """Median and spread of both methods, their ratio, and in how many pixels they differ."""
    classes, coarse, cells, size = case
    grids = view_probabilities(classes, coarse, cells)
    slow, fast = Figures(), Figures()
    labels, expected = several_argmax(grids, size).long(), direct(grids, size)
    for _ in range(ROUNDS):
        slow.add(milliseconds(direct, grids, size))
        fast.add(milliseconds(several_argmax, grids, size))
    sides = ", ".join(f"{height} x {width}" for height, width in cells)
    return "\n".join(
        [
            f"{classes} classes, a field of {coarse[0]} x {coarse[1]}, {sides} to {size[0]} x {size[1]}",
            f"  interpolate, add, argmax  {slow} ms",
            f"  several_argmax            {fast} ms",
            f"  {slow.median / fast.median:.1f} x faster, {int((labels != expected).sum())} pixels differ",
        ]
    )


@click.command(help=__doc__)
def main() -> None:
    torch.set_num_threads(1)
    print(f"float32, one thread, {ROUNDS} rounds")
    for case in CASES:
        print(compare(case))


if __name__ == "__main__":
    main()
