"""Gates: how many failed images and which metrics a finished run may have."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchseg.config.base import METRICS, Gates
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.record import new_run_id
from batchseg.results.result import judge, total_facts
from batchseg.results.tally import Tally
from batchseg.stages.write import row_schema

NO_METRICS: dict[str, float | None] = dict.fromkeys(METRICS)


def tally(failed: int, total: int) -> Tally:
    return Tally(total, statuses=Counter(ok=total - failed, unreadable=failed))


@pytest.mark.parametrize(
    ("max_failed", "failed", "total", "allowed"),
    [
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("3", 3, 10, True),
        ("3", 4, 1_000_000, False),
        ("10%", 1, 10, True),
        ("10%", 2, 19, False),
        ("10%", 2, 20, True),
        ("0%", 0, 10, True),
        ("0%", 1, 10**7, False),
        ("100%", 10, 10, True),
        ("0.1%", 1, 1000, True),
        ("0.1%", 2, 1000, False),
        ("5%", 0, 0, True),
        ("0", 0, 0, True),
    ],
)
def test_failed_images_are_allowed_by_number_or_percentage(
    max_failed: str, failed: int, total: int, allowed: bool
) -> None:
    gates = Gates(max_failed=max_failed)
    assert gates.allows(failed, total) is allowed
    code, sentences = judge(gates, tally(failed, total), NO_METRICS)
    assert code == (0 if allowed else 3)
    assert sentences == (
        [] if allowed else [f"{failed} of {total} images failed; max_failed is {gates.max_failed}"]
    )


@given(st.integers(0, 1000), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_percentage_is_meant_exactly(tenths: int, failed: int, total: int) -> None:
    text = f"{tenths // 10}.{tenths % 10}%"
    assert Gates(max_failed=text).allows(failed, total) is (failed <= Fraction(tenths, 1000) * total)


@given(st.integers(0, 1000), st.integers(1, 10**4))
def test_a_percentage_that_is_reached_exactly_is_allowed(tenths: int, thousands: int) -> None:
    text = f"{tenths // 10}.{tenths % 10}%"
    assert Gates(max_failed=text).allows(tenths * thousands, 1000 * thousands)


def test_metrics_have_minimums() -> None:
    gates = Gates(minimum={"mean_iou": 0.7, "accuracy": 0.9})
    met = {**NO_METRICS, "mean_iou": 0.7, "accuracy": 0.95}
    assert judge(gates, tally(0, 5), met) == (0, [])
    missed = {**met, "mean_iou": 0.6999}
    assert judge(gates, tally(0, 5), missed) == (4, ["mean_iou is 0.6999; its minimum is 0.7"])
    unknown = judge(gates, tally(0, 5), NO_METRICS)
    assert unknown == (
        4,
        [
            "mean_iou is unknown without ground truth; its minimum is 0.7",
            "accuracy is unknown without ground truth; its minimum is 0.9",
        ],
    )


def test_failed_images_outrank_missed_metrics_and_both_are_told() -> None:
    code, sentences = judge(Gates(minimum={"accuracy": 0.5}), tally(1, 2), {**NO_METRICS, "accuracy": 0.1})
    assert code == 3
    assert [sentence.split()[0] for sentence in sentences] == ["1", "accuracy"]


def test_gates_look_at_the_summed_matrix() -> None:
    total = ConfusionMatrix.zeros(2)
    total.counts[0, 0], total.counts[0, 1], total.counts[1, 1] = 6, 2, 2
    facts = total_facts(total, [], Gates(minimum={"accuracy": 0.81}), tally(0, 1))
    assert (facts["metrics"]["accuracy"], facts["truth_pixels"], facts["exit_code"]) == (0.8, 10, 4)


def test_a_tally_counts_what_comes_in() -> None:
    rows = [
        {
            "id": f"{index}",
            "status": "ok",
            "mean_iou": score,
            "_seconds": [("decode", 0.5)],
            "_precision": precision,
        }
        for index, (score, precision) in enumerate(
            [(0.9, None), (0.2, "bf16"), (None, None), (0.5, None), (0.1, None), (0.7, None), (0.3, None)]
        )
    ]
    rows.append({"id": "x", "status": "missing", "_seconds": []})
    schema = pa.schema([field.with_nullable(True) for field in row_schema(pa.schema([]))])
    counted = Tally(20)
    for part in (rows[:3], rows[3:]):
        counted.add(pa.Table.from_pylist(part, schema=schema))
    assert (counted.done, counted.failed, counted.precision) == (8, 1, "bf16")
    assert counted.seconds == {"decode": 3.5}
    assert 0 <= counted.first_row_s <= counted.elapsed_s


def test_run_ids_are_short_names_that_differ() -> None:
    first, second = new_run_id(""), new_run_id("")
    assert first != second
    assert first[:15] <= second[:15]  # the time, to the second
    assert set(first) <= set("0123456789abcdefT-")
