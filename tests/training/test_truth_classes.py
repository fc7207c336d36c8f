"""Classes that nobody names: those of the ids, and one sentence where ids do not say what the classes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batchseg.config.base import Limits
from batchseg.config.truth import TruthSettings
from batchseg.errors import BatchsegError, SourceError
from batchseg.training.truth_classes import classes_of_truths


def rows(folder: Path, *truths: Image.Image, ending: str = "png") -> pa.Table:
    found = []
    for number, truth in enumerate(truths):
        path = folder / f"{number}.{ending}"
        truth.save(path)
        found.append({"id": path.name, "truth": str(path)})
    return pa.Table.from_pylist(found)


def grey(*values: int) -> Image.Image:
    kind = np.uint16 if max(values) > 255 else np.uint8
    return Image.fromarray(np.resize(np.array(values, kind), (6, 8)))


def palette(*values: int) -> Image.Image:
    picture = grey(*values).convert("P")
    picture.putpalette([level for value in range(256) for level in (value, 0, 255 - value)])
    return picture


def found(table: pa.Table, **settings: object) -> tuple[str, ...]:
    return classes_of_truths(table, TruthSettings(**settings), Limits())


def test_each_id_is_a_class_whichever_file_it_is_in(tmp_path: Path) -> None:
    expected = ("class_0", "class_1", "class_2")
    assert found(rows(tmp_path, grey(0, 2), grey(1), grey(0, 255))) == expected
    assert found(rows(tmp_path, palette(0, 1, 2))) == expected
    assert found(rows(tmp_path, grey(0, 1, 2).convert("RGB"))) == expected


def test_a_threshold_makes_two(tmp_path: Path) -> None:
    assert found(rows(tmp_path, grey(0, 255)), threshold=128) == ("class_0", "class_1")


def test_a_truth_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    table = rows(tmp_path, grey(0, 1), grey(0, 1))
    (tmp_path / "0.png").write_bytes(b"nothing")
    assert found(table) == ("class_0", "class_1")
    (tmp_path / "1.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"no ground truth could be read to find its classes; 0\.png: "):
        found(table)


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (grey(0, 1, 5), "the ids of the ground truth are 0, 1, 5, and not 0 to n without a gap"),
        (grey(1, 2, 3), "the ids of the ground truth are 1, 2, 3, and not 0 to n"),
        (grey(0, 1, 700), "the ids of the ground truth are 0, 1, 700"),
        (grey(*range(0, 20, 2)), r"are 0, 2, 4, 6, 8, 10, 12, 14 \.\.\., and not"),
        (grey(0, 255), "holds 0 and 255 alone, and 255 counts nowhere; .* truth.threshold: 128"),
        (grey(0), "shows one id alone, 0"),
        (grey(255), "shows one id alone, 255, which counts nowhere"),
        (Image.new("RGB", (8, 6), (200, 0, 7)), "its ground truth is in colour"),
    ],
    ids=["gap", "from_one", "large", "even", "black_and_white", "one", "ignored", "colour"],
)
def test_what_ids_do_not_say_is_asked_for(tmp_path: Path, truth: Image.Image, sentence: str) -> None:
    table = rows(tmp_path, truth)
    with pytest.raises(BatchsegError, match=sentence) as caught:
        found(table)
    assert "\n" not in str(caught.value)


def test_jpeg_changes_ids(tmp_path: Path) -> None:
    with pytest.raises(BatchsegError, match=r"0\.jpg: its ground truth is a JPEG, which changes ids"):
        found(rows(tmp_path, grey(0, 1), ending="jpg"))


def test_colours_need_names(tmp_path: Path) -> None:
    with pytest.raises(BatchsegError, match=r"truth\.values: colours needs their names; give --labels"):
        found(rows(tmp_path, grey(0, 1)), values="colours")
