"""What a ground truth cannot teach is said before a training begins, and refused where it teaches nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import SourceError
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.schema import SPLIT
from batchseg.training.data import PairReader
from batchseg.training.rows import Rows
from batchseg.training.truths import check_truths

CLASSES = LabelMap.from_names(("air", "organ", "lesion"))
TWO = LabelMap.from_names(("background", "object"))


def pairs(classes: LabelMap, images_as: ImageReading | None = None) -> PairReader:
    return PairReader(Reading(classes), Limits(), images_as)


def rows(folder: Path, train: list[np.ndarray], validation: list[np.ndarray], ending: str = "png") -> Rows:
    """A grey image of 8 x 6 pixels for each truth."""
    found = []
    for part, truths in (("train", train), ("validation", validation)):
        for number, truth in enumerate(truths):
            image, label = folder / f"{part}{number}.png", folder / f"{part}{number}_truth.{ending}"
            Image.new("L", (8, 6)).save(image)
            Image.fromarray(truth).save(label)
            found.append({"id": image.name, "uri": str(image), "truth": str(label), "split": part})
    return Rows(pa.Table.from_pylist(found, schema=SPLIT))


def truth(*values: int) -> np.ndarray:
    """As many columns of each value as fit."""
    return np.resize(np.array(values, np.uint8), (6, 8))


def test_where_all_classes_are_shown_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert (
        check_truths(
            rows(tmp_path, [truth(0, 1), truth(0, 2)], [truth(0, 1, 2)]),
            pairs(CLASSES),
        )
        == []
    )


def test_classes_that_cannot_be_learnt_or_judged_are_named(tmp_path: Path) -> None:
    found = check_truths(rows(tmp_path, [truth(0, 1)] * 3, [truth(0)] * 2), pairs(CLASSES))
    assert found == [
        "no truth to learn from shows lesion (3 of 3 looked at)",
        "no truth of the validation shows organ (2 of 2 looked at)",
    ]


def test_a_truth_that_is_mostly_ignored_is_said(tmp_path: Path) -> None:
    (sentence,) = check_truths(
        rows(tmp_path, [truth(0, 1, 255, 255, 255, 255, 255, 255)], [truth(0, 1)]), pairs(TWO)
    )
    assert sentence == "75% of the pixels to learn from are ignored (1 of 1 truths looked at)"


def test_masks_of_0_and_255_are_not_learnt_from(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"one class alone, 'background' and 50% of its pixels are ignored"):
        check_truths(rows(tmp_path, [truth(0, 255)] * 3, [truth(0, 255)]), pairs(TWO))


def test_a_truth_of_one_class_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"one class alone, 'organ' \(2 of 2 looked at\); where an object"):
        check_truths(rows(tmp_path, [truth(1)] * 2, [truth(0, 1)]), pairs(CLASSES))


def test_a_truth_without_a_pixel_that_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="every pixel of the ground truth to learn from is ignored"):
        check_truths(rows(tmp_path, [truth(255)] * 2, [truth(0, 1)]), pairs(CLASSES))


def test_truths_of_another_size_are_refused(tmp_path: Path) -> None:
    halves = [truth(0, 1, 2)[:3, :4]] * 2
    with pytest.raises(SourceError, match=r"2 of 3 images .* the image is 8 x 6 pixels, its truth 4 x 3"):
        check_truths(rows(tmp_path, [*halves, truth(0, 1, 2)], [truth(0)]), pairs(CLASSES))


def test_truths_drawn_on_pixels_as_stored_are_refused_where_images_are_turned(tmp_path: Path) -> None:
    found = rows(tmp_path, [truth(0, 1, 2)], [truth(0)])
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (8, 6)).save(tmp_path / "train0.png", exif=exif)
    with pytest.raises(SourceError, match=r"1 of 1 images .* the image is 6 x 8 pixels, its truth 8 x 6"):
        check_truths(found, pairs(CLASSES))


def test_truths_drawn_on_pixels_as_stored_are_learnt_from_where_the_source_says_so(tmp_path: Path) -> None:
    found = rows(tmp_path, [truth(0, 1, 2)], [truth(0, 1, 2)])
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (8, 6)).save(tmp_path / "train0.png", exif=exif)
    assert check_truths(found, pairs(CLASSES, ImageReading(as_stored=True))) == []


def test_images_without_a_range_are_learnt_from_by_their_scale(tmp_path: Path) -> None:
    found = rows(tmp_path, [truth(0, 1, 2)], [truth(0, 1, 2)])
    Image.new("F", (8, 6), 0.5).save(tmp_path / "train0.png", "TIFF")
    with pytest.raises(SourceError, match=r"source\.scale"):
        check_truths(found, pairs(CLASSES))
    assert check_truths(found, pairs(CLASSES, ImageReading(scale=(0, 1)))) == []


def test_truths_in_jpeg_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"2 of 2 images .*train0.png: "):
        check_truths(rows(tmp_path, [truth(0, 1, 2)] * 2, [truth(0)], "jpg"), pairs(CLASSES))


def test_one_image_that_fails_is_left_to_the_training(tmp_path: Path) -> None:
    found = rows(tmp_path, [truth(0, 1, 2)] * 3, [truth(0, 1, 2)])
    (tmp_path / "train1.png").write_bytes(b"nothing")
    (tmp_path / "train2_truth.png").unlink()
    with pytest.raises(SourceError, match=r"2 of 3"):
        check_truths(found, pairs(CLASSES))
    Image.new("L", (8, 6)).save(tmp_path / "train1.png")
    assert check_truths(found, pairs(CLASSES)) == []


def test_a_validation_that_can_judge_nothing_is_refused(tmp_path: Path) -> None:
    learnt = [truth(0, 1, 2)] * 3
    with pytest.raises(SourceError, match=r"for validation is ignored \(2 of 2 looked at\).*\(validation\)"):
        check_truths(rows(tmp_path, learnt, [truth(255)] * 2), pairs(CLASSES))
    odd = rows(tmp_path, learnt, [truth(0, 1), truth(0, 1)])
    for number in range(2):
        (tmp_path / f"validation{number}.png").write_bytes(b"no picture")
    with pytest.raises(
        SourceError, match=r"2 of 2 images for validation cannot be used .* validation0\.png: "
    ):
        check_truths(odd, pairs(CLASSES))
