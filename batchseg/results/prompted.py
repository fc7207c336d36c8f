"""What the images with a prompt of their own add up to, read from the tables part by part."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.metrics.class_sums import ClassSums, Scores
from batchseg.metrics.prompted import MEANT, SUMMED, prompt_figures, prompt_sums
from batchseg.results.tables import read_columns
from batchseg.schema import PIXELS
from batchseg.storage.location import Location


class PromptTotals:
    """The images of all parts whose row has a prompt.

    Attributes:
        images: how many, with or without a truth.
    """

    def __init__(self) -> None:
        self.images = 0
        self.sums: Scores = np.zeros(SUMMED)

    def add(self, root: Location, part: str, images: pa.Table) -> None:
        """Those of a part, by its columns `id`, `prompt` and `has_truth`. Raises OutputError.

        Args:
            root: the results folder, where their pixels lie.
        """
        self.images += len(images) - images["prompt"].null_count
        scored = images.filter(pc.and_(images["prompt"].is_valid(), images["has_truth"]))
        if len(scored):
            pixels = read_columns(root / "pixels" / part, PIXELS, PIXELS.names)
            self.sums = self.sums + prompt_sums(_sums_of(scored["id"], pixels)).sum(axis=0)

    @property
    def figures(self) -> dict[str, float | None]:
        """Those of `config.PROMPT_METRICS`, None where unknown; nothing where no image has a prompt."""
        if not self.images:
            return {}
        found = prompt_figures(self.sums)
        return {name: None if np.isnan(value) else float(value) for name, value in found.items()}


def _sums_of(ids: pa.ChunkedArray, pixels: pa.Table) -> ClassSums:
    """What is not meant and what is, [N, 2] each."""
    pixels = pixels.filter(pixels["truth"].is_valid())
    image = pc.fill_null(pc.index_in(pixels["id"], ids.combine_chunks()), -1).to_numpy()
    truth = pixels["truth"].to_numpy() == MEANT
    predicted = pc.fill_null(pc.equal(pixels["predicted"], MEANT), False).to_numpy()
    count = pixels["pixels"].to_numpy()

    def summed(rows: NDArray[np.bool_]) -> Scores:
        rows = rows & (image >= 0)
        return np.bincount(image[rows], weights=count[rows], minlength=len(ids)).astype(np.float64)

    return ClassSums(
        correct=np.column_stack([summed(~truth & ~predicted), summed(truth & predicted)]),
        support=np.column_stack([summed(~truth), summed(truth)]),
        predicted=np.column_stack([summed(~predicted), summed(predicted)]),
    )
