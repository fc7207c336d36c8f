"""Every figure before and after, with the interval that its difference would lie in with other images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchseg.comparison.bootstrap import blocks, interval, resampled, resampled_rows
from batchseg.comparison.sparse_counts import SparseCounts, class_sums
from batchseg.config.compare import CLASS_FIGURES, Comparison
from batchseg.metrics.class_sums import Scores
from batchseg.metrics.prompted import prompt_figures, prompt_sums

Figures = dict[str, Scores]


@dataclass(frozen=True)
class Difference:
    """A figure before and after; None where it is unknown, as is the figure of a class that nowhere occurs.

    Attributes:
        low, high: the paired bootstrap interval of the difference; None without resampling.
    """

    old: float | None
    new: float | None
    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Differences:
    """Of the data set, by metric; and of each class, by class and figure."""

    metrics: dict[str, Difference]
    classes: dict[str, dict[str, Difference]]


def metric_differences(
    old: SparseCounts,
    new: SparseCounts,
    names: Sequence[str],
    config: Comparison,
    prompted: NDArray[np.bool_] | None = None,
) -> Differences:
    """Compare the same images before and after.

    Args:
        prompted: which of them have a prompt of their own on both sides, [N]; None: none has.
    """
    sides = [class_sums(side.total()) for side in (old, new)]
    drawn = [class_sums(sums) for sums in _draw(old, new, config)]
    metrics = _compared([side.averages() for side in sides], [side.averages() for side in drawn], config)
    if prompted is not None and prompted.any():
        metrics |= _of_prompts([_prompt_table(side, prompted) for side in (old, new)], config)
    scores = _compared([side.scores() for side in sides], [side.scores() for side in drawn], config)
    return Differences(
        metrics={name: _difference(figures, ()) for name, figures in metrics.items()},
        classes={
            name: {figure: _difference(scores[figure], (label,)) for figure in CLASS_FIGURES}
            for label, name in enumerate(names)
        },
    )


def _prompt_table(side: SparseCounts, prompted: NDArray[np.bool_]) -> Scores:
    """What adds up over the images with prompts, [N, 6]; zeros for the others."""
    found = [prompt_sums(class_sums(side.dense(rows.start, rows.stop))) for rows in blocks(side)]
    return np.where(prompted[:, None], np.concatenate(found), 0.0)


def _of_prompts(tables: Sequence[Scores], config: Comparison) -> dict[str, tuple[Scores, ...]]:
    drawn = resampled_rows(tables, config.bootstrap, config.seed)
    sides = [prompt_figures(table.sum(axis=0)) for table in tables]
    return _compared(sides, [prompt_figures(sums) for sums in drawn], config)


def number(value: float) -> float | None:
    """NaN means unknown."""
    return None if np.isnan(value) else float(value)


def _draw(old: SparseCounts, new: SparseCounts, config: Comparison) -> list[Scores]:
    if not old.images:
        empty = np.zeros((0, old.num_classes + 1, 4))
        return [empty, empty]
    return resampled([old, new], config.bootstrap, config.seed)


def _compared(
    sides: Sequence[Figures], drawn: Sequence[Figures], config: Comparison
) -> dict[str, tuple[Scores, ...]]:
    """old, new, difference, low and high of each figure."""
    old, new = sides
    before, after = drawn
    return {
        name: (
            old[name],
            new[name],
            new[name] - old[name],
            *interval(after[name] - before[name], config.confidence),
        )
        for name in old
    }


def _difference(figures: tuple[Scores, ...], place: tuple[int, ...]) -> Difference:
    return Difference(*(number(np.asarray(values)[place]) for values in figures))
