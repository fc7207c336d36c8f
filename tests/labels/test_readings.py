"""What the pixels of label files mean: by a threshold, by colour, or as ids, in every format and depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from image_files import LIMITS, npy, png, save, tiff
from PIL import Image

from batchseg.config.truth import TruthSettings
from batchseg.errors import RowFault
from batchseg.images.label_files import decode_labels
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading, ReadingChoice
from batchseg.schema import TruthStatus

GREY, PALETTE = 0, 3
CLASSES = np.random.default_rng(0).integers(0, 2, (9, 16), dtype=np.uint8)
BLACK_WHITE = LabelMap(("ground", "roof"), ((0, 0, 0), (255, 255, 255)))
TWO = LabelMap.from_names(["ground", "roof"])


def paletted(colours: Sequence[tuple[int, int, int]], kind: str = "PNG") -> bytes:
    picture = Image.fromarray(CLASSES, "P")
    picture.putpalette([value for colour in colours for value in colour])
    return save(picture, kind)


def read(reading: Reading, data: bytes) -> np.ndarray:
    file = decode_labels(data, LIMITS)
    return reading.encode(file.values, file.palette, file.white)


def fault(reading: Reading, data: bytes) -> tuple[TruthStatus, str]:
    with pytest.raises(RowFault) as caught:
        read(reading, data)
    return caught.value.status, str(caught.value)


BLACK_AND_WHITE = {
    "png 1 bit": png(CLASSES, GREY, 1),
    "png 2 bits": png(CLASSES * 3, GREY, 2),
    "png 4 bits": png(CLASSES * 15, GREY, 4),
    "png 8 bits": png(CLASSES * 255, GREY, 8),
    "tiff 1 bit": tiff(CLASSES, 1),
    "tiff 2 bits": tiff(CLASSES * 3, 2),
    "tiff 4 bits": tiff(CLASSES * 15, 4),
    "bmp 1 bit": save(Image.fromarray(CLASSES > 0), "BMP"),
    "palette": paletted([(0, 0, 0), (255, 255, 255)]),
    "palette gif": paletted([(0, 0, 0), (255, 255, 255)], "GIF"),
    "rgb": save(np.dstack([CLASSES * 255] * 3), "PNG"),
    "npy bool": npy(CLASSES > 0),
    "npy": npy(CLASSES * np.uint8(255)),
}


@pytest.mark.parametrize("name", BLACK_AND_WHITE)
def test_black_and_white_of_any_depth_by_a_threshold(name: str) -> None:
    reading = Reading(TWO, threshold=128)
    file = decode_labels(BLACK_AND_WHITE[name], LIMITS)
    assert np.array_equal(read(reading, BLACK_AND_WHITE[name]), CLASSES)
    assert reading.part(file.values, file.palette, file.white)[1] == 0


def test_what_is_nearly_black_or_nearly_white_does_not_lie_between() -> None:
    levels = np.array([[0, 32, 33, 128, 222, 223, 255]], np.uint8)
    reading = Reading(TWO, threshold=128)
    ids_HW, between = reading.part(levels)
    assert (ids_HW.tolist(), between) == ([[0, 0, 0, 1, 1, 1, 1]], 3)


@pytest.mark.parametrize("name", BLACK_AND_WHITE)
def test_black_and_white_of_any_depth_by_colour(name: str) -> None:
    reading = Reading(BLACK_WHITE, rgb="colours", palette="colours", grey="colours")
    assert np.array_equal(read(reading, BLACK_AND_WHITE[name]), CLASSES)


@pytest.mark.parametrize("values", [1, 255, 65535])
def test_16_bits_are_held_against_a_threshold_as_stored(values: int) -> None:
    threshold = min(values, 128)
    found = read(
        Reading(TWO, threshold=threshold), save(CLASSES.astype(np.uint16) * np.uint16(values), "PNG")
    )
    assert np.array_equal(found, CLASSES)


@pytest.mark.parametrize(
    "data",
    [png(CLASSES, GREY, 8), save(np.dstack([CLASSES] * 3), "PNG"), npy(CLASSES)],
    ids=["png", "rgb", "npy"],
)
def test_ids_of_0_and_1_are_not_all_black(data: bytes) -> None:
    status, sentence = fault(Reading(TWO, threshold=128), data)
    assert status is TruthStatus.UNREADABLE and "holds 0 and 1 alone, which are ids" in sentence
    assert np.array_equal(read(Reading(TWO, threshold=1), data), CLASSES)


RED = (128, 0, 0)  # as PASCAL VOC draws its first class; darker than 128


@pytest.mark.parametrize(
    "data",
    [
        paletted([(0, 0, 0), RED]),
        save(np.array([(0, 0, 0), RED], np.uint8)[CLASSES], "PNG"),
        save(
            np.kron(np.array([(0, 0, 0), (255, 0, 0)], np.uint8)[CLASSES], np.ones((8, 8, 1), np.uint8)),
            "JPEG",
        ),
    ],
    ids=["palette", "png", "jpeg"],
)
def test_a_threshold_does_not_take_colours_for_black(data: bytes) -> None:
    status, sentence = fault(Reading(TWO, threshold=128), data)
    assert status is TruthStatus.UNREADABLE and "truth.threshold reads grey levels" in sentence


@pytest.mark.parametrize(
    "files, expected",
    [
        ([(0, 255), (255,), (0, 128)], "colours"),  # one file fits neither way
        ([(0, 255)], "colours"),
        ([(0, 1), (0,)], "ids"),
        ([(0, 1, 255), (0, 255)], "ids"),
        ([(3,)], "ids"),
    ],
)
def test_rgb_files_of_grey_are_what_most_of_them_fit(files: list[tuple[int, ...]], expected: str) -> None:
    decision = ReadingChoice(BLACK_WHITE, TruthSettings())
    for levels in files:
        decision.look(np.repeat(np.array([levels], np.uint8)[..., np.newaxis], 3, axis=-1))
    assert decision.reading().rgb == expected
