"""The lines of a log that say how far a run is, as they are written and read again."""

from __future__ import annotations

import pytest

from batchseg.results.progress import ProgressLine, first_line, read_progress


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (ProgressLine(0, 60), "0 / 60"),
        (ProgressLine(1204, 3000, 12.3, 146.0, 3), "1,204 / 3,000  12.3/s  146 s left  3 failed"),
        (ProgressLine(4, 3000, 0.098, 30571.0), "4 / 3,000  0.098/s  30,571 s left"),
        (ProgressLine(4, 60, failed=4), "4 / 60  4 failed"),
        (ProgressLine(4, 60, None, 95.0, 1, 12, 64), "4 / 60  95 s left  1 failed  part 12 of 64"),
    ],
)
def test_what_is_written_is_read(line: ProgressLine, text: str) -> None:
    assert str(line) == text
    assert read_progress(f"segmenting {line.total} images\n1 / 2\nnonsense\n{text}\nnews: 3 / 4 of\n") == line


@pytest.mark.parametrize(
    ("work", "text", "total"),
    [
        ({"segmenting": 60}, "segmenting 60 images", 60),
        ({"segmenting": 1, "scoring": 12}, "segmenting 1 image, scoring 12", 13),
        ({"scoring": 1200}, "scoring 1,200 images", 1200),
        ({"segmenting": 1000, "scoring": 12}, "segmenting 1,000 images, scoring 12", 1012),
        ({"segmenting rasters": 1}, "segmenting rasters 1 image", 1),
        (
            {"segmenting": 3, "segmenting rasters": 2, "scoring": 4},
            "segmenting 3 images, segmenting rasters 2, scoring 4",
            9,
        ),
    ],
)
def test_what_there_is_to_do(work: dict[str, int], text: str, total: int) -> None:
    assert first_line(work) == text
    assert read_progress(f"a word before\n{text}\n") == ProgressLine(0, total)


def test_a_log_that_says_nothing_yet() -> None:
    assert read_progress("") is None
    assert read_progress("loading\n") is None
