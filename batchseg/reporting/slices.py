"""Metrics by any column that a manifest carries: for each value what the whole page says of all images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchseg.comparison.bootstrap import interval
from batchseg.comparison.sparse_counts import SparseCounts, class_sums
from batchseg.reporting.grouping import Grouping

SMALL = 30  # images; of fewer an interval says more than the figure
CONFIDENCE = 0.95
_BLOCKS, _TIMES, _SEED = 500, 1000, 0  # blocks of images at most, and how often they are drawn


@dataclass(frozen=True)
class Slice:
    """The images with one value of a column.

    Attributes:
        value: None for the images that have none.
        scored: those with ground truth, which the metrics are of.
        mean_iou, accuracy: of the summed counts; None without truth.
        low, high: the bootstrap interval of `mean_iou`; without any truth of `confidence`.
        confidence: mean over the images that have one.
    """

    value: str | None
    images: int
    failed: int
    scored: int
    mean_iou: float | None
    accuracy: float | None
    confidence: float | None
    low: float | None
    high: float | None

    @property
    def is_small(self) -> bool:
        return (self.scored or self.images) < SMALL


@dataclass(frozen=True)
class SlicedColumn:
    """A column, and its values in order."""

    name: str
    slices: tuple[Slice, ...]
    has_truth: bool


def slices_of(grouping: Grouping) -> list[SlicedColumn]:
    """One for each column that tells images apart."""
    if not grouping.useful:
        return []
    images, found = _Images.of(grouping), []
    for name in grouping.useful:
        column = grouping.columns[name]
        codes = np.concatenate(column.codes)
        values: list[str | None] = [*sorted(column.values), *([None] if (codes < 0).any() else [])]
        places = [-1 if value is None else column.values.index(value) for value in values]
        slices = (images.slice(value, codes == place) for value, place in zip(values, places, strict=True))
        found.append(SlicedColumn(name, tuple(slices), images.have_truth))
    return found


@dataclass(frozen=True)
class _Images:
    """All images, in the order of the tables."""

    counts: SparseCounts
    scored: NDArray[np.bool_]
    segmented: NDArray[np.bool_]
    confidence: NDArray[np.float64]

    @classmethod
    def of(cls, grouping: Grouping) -> _Images:
        return cls(
            SparseCounts.chained(grouping.counts, grouping.classes),
            np.concatenate(grouping.scored),
            np.concatenate(grouping.segmented),
            np.concatenate(grouping.confidence),
        )

    @property
    def have_truth(self) -> bool:
        return bool(self.scored.any())

    def slice(self, value: str | None, rows: NDArray[np.bool_]) -> Slice:
        with_truth = self.counts.take(np.flatnonzero(rows & self.scored))
        confidence = self.confidence[rows & ~np.isnan(self.confidence)]
        figures = class_sums(with_truth.total()).averages()
        low, high = _interval_of_counts(with_truth) if self.have_truth else _interval_of_mean(confidence)
        return Slice(
            value=value,
            images=int(rows.sum()),
            failed=int((rows & ~self.segmented).sum()),
            scored=with_truth.images,
            mean_iou=_known(figures["mean_iou"]),
            accuracy=_known(figures["accuracy"]),
            confidence=float(confidence.mean()) if len(confidence) else None,
            low=low,
            high=high,
        )


def _interval_of_counts(counts: SparseCounts) -> tuple[float | None, float | None]:
    if counts.images < 2:
        return None, None
    blocks = np.zeros((min(counts.images, _BLOCKS), counts.num_classes + 1, 4))
    np.add.at(blocks, (counts.image % len(blocks), counts.label), counts.pixels)
    sums = np.tensordot(_multiplicities(len(blocks)), blocks, 1)
    low, high = interval(class_sums(sums).averages()["mean_iou"], CONFIDENCE)
    return _known(low), _known(high)


def _interval_of_mean(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    blocks = np.arange(len(values)) % _BLOCKS
    weights = _multiplicities(int(blocks.max()) + 1)
    low, high = interval(weights @ np.bincount(blocks, values) / (weights @ np.bincount(blocks)), CONFIDENCE)
    return float(low), float(high)


def _multiplicities(blocks: int) -> NDArray[np.float64]:
    """How often each of some blocks of images was drawn, [resampling, block].

    A block is one image, or of many images every n-th, which are as different from each other as all are:
    sums of such blocks vary as sums of the images do, and cost a fraction of them.
    """
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), _TIMES).astype(np.float64)


def _known(value: NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)
