"""What a log shows of a training: a line an epoch, and one a minute in between."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batchseg.cli.show.train import TrainProgress

EPOCH = {"epoch": 1, "step": 400, "loss": 0.5, "mean_iou": 0.25, "accuracy": 0.5, "recall_macro": 0.5}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def follow(*news: tuple[float, dict[str, Any]], hidden: bool = False) -> None:
    """News at seconds after the start."""
    clock = Clock()
    progress = TrainProgress(hidden, clock)
    with progress.bar:
        for at, what in news:
            clock.now = Clock.now + at
            progress(what)


def test_a_long_epoch_has_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [(float(at), {"step": at, "steps": 1000, "loss": 1 / at}) for at in range(1, 200)]
    follow(*steps)
    assert lines(capsys) == [
        "step 60 / 1000  loss 0.0167  16 min left",
        "step 120 / 1000  loss 0.0083  15 min left",
        "step 180 / 1000  loss 0.0056  14 min left",
    ]


def test_time_left_is_that_of_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps before a resume took none of its time."""
    follow(
        (0, {"step": 900, "steps": 1000, "loss": 1.0}),
        (61, {"step": 961, "steps": 1000, "loss": 1.0}),
    )
    assert lines(capsys) == ["step 961 / 1000  loss 1.0000  39 s left"]


def test_a_long_validation_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    judged = {"step": 400, "steps": 800, "judges": 50}
    follow((30, {**judged, "validated": 10}), (90, {**judged, "validated": 52}))
    assert lines(capsys) == ["step 400 / 800  validated 50 / 50"]


def test_an_epoch_s_line_counts_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    row = {**EPOCH, "f1_macro": 0.5}
    follow(
        (50, {"step": 400, "steps": 800, "epoch": row}),
        (100, {"step": 440, "steps": 800, "loss": 0.4}),
        (111, {"step": 450, "steps": 800, "loss": 0.4}),
    )
    first, second = lines(capsys)
    assert first.startswith("epoch 1  step 400 / 800  loss 0.5000  mean IoU 0.2500")
    assert re.fullmatch(r"step 450 / 800  loss 0\.4000  \d+ min left", second)


def test_notes_and_faults_are_told_at_once_unless_nothing_is_to_be_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    news = (
        (0.0, {"note": "no truth to learn from shows [lesion]"}),
        (1.0, {"step": 1, "steps": 9, "fault": {"id": "a.png", "error": "no image"}}),
    )
    follow(*news)
    assert lines(capsys) == ["note: no truth to learn from shows [lesion]", "left out: a.png: no image"]
    follow(*news, (99.0, {"step": 2, "steps": 9, "loss": 1.0}), hidden=True)
    assert lines(capsys) == []
