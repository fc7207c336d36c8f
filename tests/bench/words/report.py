"""The tables, and what the rule says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import t

from tests.bench.words.experiment import ARMS, BENEFIT, CEILING, CONDITIONS, CURVE_ARMS, FIGURES, SAME

Runs = Sequence[dict[str, Any]]
CONFIDENCE = 0.95


def giou(runs: Runs, arm: str, words: int, condition: str) -> dict[int, float]:
    """Seed -> gIoU."""
    return {
        run["seed"]: run["figures"][condition]["giou"]
        for run in runs
        if run["arm"] == arm and run["words"] == words and condition in run["figures"]
    }


def paired(one: dict[int, float], other: dict[int, float]) -> tuple[float, float, float]:
    """Mean difference over the seeds that both have, and the ends of its 95 % interval (paired t)."""
    differences = np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])
    middle, count = float(differences.mean()), len(differences)
    if count < 2:
        return middle, float("-inf"), float("inf")
    reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * differences.std(ddof=1) / count**0.5)
    return middle, middle - reach, middle + reach


def best(runs: Runs, kind: str, words: int) -> str:
    """The arm of a kind with the highest mean gIoU on new words."""
    arms = [arm for arm, each in ARMS.items() if each == kind and giou(runs, arm, words, "words")]
    return max(arms, key=lambda arm: mean(giou(runs, arm, words, "words").values()))


def verdict(runs: Runs, words: int) -> str:
    """What the rule says, in a sentence or two."""
    ceiling = mean(giou(runs, "ids", words, "seen").values())
    if ceiling < CEILING:
        return f"Void: the ceiling is {ceiling:.3f} and not {CEILING}, so the vision is undertrained."
    one, other = best(runs, "pretrained", words), best(runs, "untrained", words)
    middle, low, high = paired(giou(runs, one, words, "words"), giou(runs, other, words, "words"))
    seen, *_ = paired(giou(runs, one, words, "seen"), giou(runs, other, words, "seen"))
    figures = (
        f"{one} minus {other} is {middle:+.3f} gIoU on new words (95 % {low:+.3f} to {high:+.3f}) and "
        f"{seen:+.3f} on seen words"
    )
    if low > BENEFIT and abs(seen) < SAME:
        return f"Benefit: {figures}."
    why = []
    if low <= BENEFIT:
        why.append(f"the interval does not lie above {BENEFIT:+.2f}")
    if abs(seen) >= SAME:
        why.append(f"seen words differ by {SAME} or more")
    return f"No measurable benefit by the rule, for {' and '.join(why)}: {figures}."


def markdown(runs: Runs, words: int) -> str:
    """All tables and the verdict."""
    return "\n".join(
        [
            *(
                line
                for figure, what in FIGURES.items()
                for line in [f"{what[0].upper()}{what[1:]}.", "", *_table(runs, words, figure), ""]
            ),
            *_differences(runs, words),
            "",
            *_curve(runs),
            "",
            verdict(runs, words),
        ]
    )


def _table(runs: Runs, words: int, figure: str) -> Iterator[str]:
    yield f"| {figure} | {' | '.join(CONDITIONS)} |"
    yield f"|---|{'---|' * len(CONDITIONS)}"
    for arm in ARMS:
        mine = [run for run in runs if run["arm"] == arm and run["words"] == words]
        if mine:
            cells = [f"{mean(run['figures'][name][figure] for run in mine):.3f}" for name in CONDITIONS]
            yield f"| {arm} | {' | '.join(cells)} |"


def _differences(runs: Runs, words: int) -> Iterator[str]:
    one, other = best(runs, "pretrained", words), best(runs, "untrained", words)
    yield f"| {one} minus {other} | gIoU | 95 % | each seed |"
    yield "|---|---|---|---|"
    for name in CONDITIONS:
        ours, theirs = giou(runs, one, words, name), giou(runs, other, words, name)
        middle, low, high = paired(ours, theirs)
        each = ", ".join(f"{ours[seed] - theirs[seed]:+.3f}" for seed in sorted(ours.keys() & theirs.keys()))
        yield f"| {name} | {middle:+.3f} | {low:+.3f} to {high:+.3f} | {each} |"


def _curve(runs: Runs) -> Iterator[str]:
    counts = sorted({run["words"] for run in runs})
    yield f"| gIoU on new words, by trained words a concept | {' | '.join(map(str, counts))} |"
    yield f"|---|{'---|' * len(counts)}"
    for arm in CURVE_ARMS:
        found = [giou(runs, arm, count, "words") for count in counts]
        if any(found):
            yield f"| {arm} | {' | '.join(f'{mean(each.values()):.3f}' if each else '' for each in found)} |"
