"""The ablation's table, for people: means over the seeds, and paired differences with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

import pyarrow as pa

from batchseg.errors import ConfigError
from batchseg.storage.location import locate

METRIC = "miou_foreground"
CONFIDENCE = 0.95

Costs = Mapping[str, Mapping[str, float]]


def write_report(table: pa.Table, costs: Costs, path: Path) -> Path:
    """Markdown: what each arm reaches, and the first arm minus each of the others.

    The intervals are Student's, over the paired differences of the seeds. Raises ConfigError without scipy.
    """
    arms = list(dict.fromkeys(table["arm"].to_pylist()))
    fractions = list(dict.fromkeys(table["fraction"].to_pylist()))
    lines = [*_means(table, arms, fractions), "", *_differences(table, arms, fractions)]
    lines += ["", *_costs(table, costs), "", *_conclusions(table, arms, fractions), ""]
    locate(str(path)).write("\n".join(lines).encode())
    return path


def _values(table: pa.Table, arm: str, fraction: float, column: str) -> dict[int, float]:
    """By seed."""
    rows = table.to_pylist()
    return {row["seed"]: row[column] for row in rows if (row["arm"], row["fraction"]) == (arm, fraction)}


def _means(table: pa.Table, arms: list[str], fractions: list[float]) -> list[str]:
    columns = ("miou_foreground", "mean_iou", "accuracy", "boundary_f", "knocked_out")
    names = ("mIoU without background", "mIoU", "accuracy", "boundary F", "mIoU, knocked out")
    lines = [_line("labels", "arm", *names), _line(*["---"] * (2 + len(names)))]
    for fraction in fractions:
        for arm in arms:
            values = [list(_values(table, arm, fraction, column).values()) for column in columns]
            lines.append(_line(f"{fraction:.0%}", arm, *(f"{mean(each):.3f}" for each in values)))
    return lines


def _differences(table: pa.Table, arms: list[str], fractions: list[float]) -> list[str]:
    lines = [
        _line("labels", f"{arms[0]} minus", "difference", f"{CONFIDENCE:.0%} interval", "each seed"),
        _line(*["---"] * 5),
    ]
    for fraction in fractions:
        for arm in arms[1:]:
            each = paired(table, arms[0], arm, fraction)
            low, high = interval(each)
            seeds = ", ".join(f"{value:+.3f}" for value in each)
            lines.append(
                _line(f"{fraction:.0%}", arm, f"{mean(each):+.3f}", f"{low:+.3f} to {high:+.3f}", seeds)
            )
    return lines


def _costs(table: pa.Table, costs: Costs) -> list[str]:
    rows = {row["arm"]: row for row in table.to_pylist()}
    lines = [
        _line("arm", "parameters", "of them trained", "training step", "image at inference"),
        _line(*["---"] * 5),
    ]
    for arm, cost in costs.items():
        sizes = (f"{rows[arm][name] / 1e6:.2f} M" for name in ("parameters", "trainable"))
        lines.append(_line(arm, *sizes, f"{1e3 * cost['step_s']:.0f} ms", f"{1e3 * cost['image_s']:.1f} ms"))
    return lines


def _conclusions(table: pa.Table, arms: list[str], fractions: list[float]) -> list[str]:
    lines = []
    for fraction in fractions:
        for arm in arms[1:]:
            low, high = interval(paired(table, arms[0], arm, fraction))
            verdict = "no measurable difference here"
            if low > 0:
                verdict = "better"
            elif high < 0:
                verdict = "worse"
            lines.append(f"- {fraction:.0%} of the labels: {arms[0]} against {arm}: {verdict}.")
    return lines


def paired(table: pa.Table, arm: str, other: str, fraction: float) -> list[float]:
    """The difference of two arms for each seed that both have."""
    ours, theirs = (_values(table, each, fraction, METRIC) for each in (arm, other))
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def interval(values: list[float]) -> tuple[float, float]:
    """Student's confidence interval of the mean. Raises ConfigError without scipy."""
    try:
        from scipy.stats import t  # type: ignore[import-untyped]
    except ImportError as exc:
        raise ConfigError("the ablation's intervals need scipy: pip install 'batchseg[test]'") from exc
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values) - half, mean(values) + half


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
