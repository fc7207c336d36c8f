"""The few images that lead by a figure, found in one pass with a bounded number in hand."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.source.sample import numbers_by_chance

# what the page says of one image
CARD = (
    "id",
    "uri",
    "status",
    "error",
    "width",
    "height",
    "mask",
    "has_truth",
    "truth_status",
    "mean_iou",
    "accuracy",
    "confidence_mean",
    "entropy_mean",
    "low_confidence_fraction",
    "prompt",
    "prompt_iou",
)
CHANCE = "_chance"

Order = Literal["ascending", "descending"]


class Leading:
    """The `most` images that come first by a column; images without a value never do."""

    def __init__(self, column: str, order: Order, most: int) -> None:
        self.column, self.order, self.most = column, order, most
        self.table: pa.Table | None = None

    def add(self, images: pa.Table) -> None:
        """Images that may lead: with `CARD` and the column."""
        if not self.most:
            return
        images = images.filter(pc.is_valid(images[self.column])).select(dict.fromkeys([*CARD, self.column]))
        both = images if self.table is None else pa.concat_tables([self.table, images])
        ranks = [(self.column, self.order), ("id", "ascending")]
        self.table = both.take(
            pc.select_k_unstable(both, k=min(self.most, len(both)), sort_keys=ranks)
        ).combine_chunks()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [] if self.table is None else self.table.to_pylist()


def with_chance(images: pa.Table) -> pa.Table:
    """With a column that orders images as if by chance, but follows from their ids alone."""
    return images.append_column(CHANCE, pa.array(numbers_by_chance(images["id"].to_pylist())))
