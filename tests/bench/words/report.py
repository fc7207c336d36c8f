"""The tables, and what the rule says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import t

from tests.bench.words.experiment import ARMS, BENEFIT, CEILING, CONDITIONS, CURVE_ARMS, FIGURES, RULED, SAME

Runs = Sequence[dict[str, Any]]
CONFIDENCE = 0.95


def each_seed(runs: Runs, arm: str, words: int, condition: str, figure: str = "giou") -> dict[int, float]:
    """Seed -> figure."""
    return {
        run["seed"]: run["figures"][condition][figure]
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


def best(runs: Runs, kind: str, words: int, figure: str) -> str:
    """The arm of a kind that is best on new words, by its mean."""
    means = {
        arm: mean(found.values())
        for arm, each in ARMS.items()
        if each == kind and (found := each_seed(runs, arm, words, "words", figure))
    }
    return max(means, key=means.__getitem__)


def verdict(runs: Runs, words: int, figure: str) -> str:
    """What the rule says, in a sentence or two."""
    ceiling = mean(each_seed(runs, "ids", words, "seen").values())
    if ceiling < CEILING:
        return f"Void: the ceiling is {ceiling:.3f} and not {CEILING}, so the vision is undertrained."
    one, other = (best(runs, kind, words, figure) for kind in ("pretrained", "untrained"))
    new, seen = (
        paired(*(each_seed(runs, arm, words, condition, figure) for arm in (one, other)))
        for condition in ("words", "seen")
    )
    figures = (
        f"{one} minus {other} is {new[0]:+.3f} {figure} on new words (95 % {new[1]:+.3f} to {new[2]:+.3f}) "
        f"and {seen[0]:+.3f} on seen words"
    )
    if new[1] > BENEFIT and abs(seen[0]) < SAME:
        return f"Benefit: {figures}."
    why = []
    if new[1] <= BENEFIT:
        why.append(f"the interval does not lie above {BENEFIT:+.2f}")
    if abs(seen[0]) >= SAME:
        why.append(f"seen words differ by {SAME} or more")
    return f"No measurable benefit by the rule, for {' and '.join(why)}: {figures}."


def markdown(runs: Runs, words: int) -> str:
    """All tables and the verdicts."""
    lines: list[str] = []
    for figure, what in FIGURES.items():
        lines += [f"{what}.", "", *_table(runs, words, figure), ""]
    for figure in RULED:
        lines += [*_differences(runs, words, figure), "", verdict(runs, words, figure), ""]
    for figure in (*RULED, "pointed"):
        lines += [*_curve(runs, figure), ""]
    return "\n".join(lines)


def _table(runs: Runs, words: int, figure: str) -> Iterator[str]:
    yield f"| {figure} | {' | '.join(CONDITIONS)} |"
    yield f"|---|{'---|' * len(CONDITIONS)}"
    for arm in ARMS:
        mine = [run for run in runs if run["arm"] == arm and run["words"] == words]
        if mine:
            cells = [f"{mean(run['figures'][name][figure] for run in mine):.3f}" for name in CONDITIONS]
            yield f"| {arm} | {' | '.join(cells)} |"


def _differences(runs: Runs, words: int, figure: str) -> Iterator[str]:
    one, other = (best(runs, kind, words, figure) for kind in ("pretrained", "untrained"))
    yield f"| {one} minus {other} | {figure} | 95 % | each seed |"
    yield "|---|---|---|---|"
    for name in CONDITIONS:
        ours, theirs = (each_seed(runs, arm, words, name, figure) for arm in (one, other))
        middle, low, high = paired(ours, theirs)
        each = ", ".join(f"{ours[seed] - theirs[seed]:+.3f}" for seed in sorted(ours.keys() & theirs.keys()))
        yield f"| {name} | {middle:+.3f} | {low:+.3f} to {high:+.3f} | {each} |"


def _curve(runs: Runs, figure: str) -> Iterator[str]:
    counts = sorted({run["words"] for run in runs})
    yield f"| {figure} on new words, by trained words a concept | {' | '.join(map(str, counts))} |"
    yield f"|---|{'---|' * len(counts)}"
    for arm in CURVE_ARMS:
        found = [each_seed(runs, arm, count, "words", figure) for count in counts]
        if any(found):
            yield f"| {arm} | {' | '.join(f'{mean(each.values()):.3f}' if each else '' for each in found)} |"
