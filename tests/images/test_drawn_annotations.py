"""Annotations to pixels: COCO's own rule to the pixel, exact runs, and what is no annotation."""

from __future__ import annotations

from array import array
from typing import Any

import annotation_files as files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from image_files import save
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from shapely.geometry import Polygon

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.annotation import Annotation, MarkedArea, read_annotation
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.schema import TruthStatus

pytestmark = [pytest.mark.filterwarnings("ignore:__array__ implementation")]  # of pycocotools, with numpy 2

sides = st.integers(1, 40)
places = st.one_of(
    st.floats(-20, 60, allow_subnormal=False),
    st.integers(-5, 45).map(float),
    st.integers(-20, 200).map(lambda fifths: fifths / 5),
)
rings = st.lists(st.tuples(places, places), min_size=3, max_size=9)
masks = arrays(np.bool_, st.tuples(sides, sides))


def decode(annotation: Annotation, limits: Limits | None = None) -> LabelFile:
    return decode_labels(annotation.to_bytes(), limits or Limits())


def polygon(*rings: list[tuple[float, float]], name: str = "car") -> MarkedArea:
    data = array("d", [side for ring in rings for corner in ring for side in corner]).tobytes()
    return MarkedArea(name, "polygon", data, tuple(map(len, rings)))


def drawn(hw: tuple[int, int], *areas: MarkedArea) -> NDArray[Any]:
    file = decode(Annotation(hw, areas))
    assert file.values.flags.c_contiguous
    return file.values


@given(sides, sides, st.lists(rings, min_size=1, max_size=3))
def test_polygons_are_pycocotools(height: int, width: int, parts: list[list[tuple[float, float]]]) -> None:
    flat = [[side for corner in ring for side in corner] for ring in parts]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))
    assert np.array_equal(drawn((height, width), polygon(*parts)), expected)


@given(st.integers(0, 2**32 - 1))
def test_polygons_along_pixels_have_the_area_of_shapely(seed: int) -> None:
    heights = np.random.default_rng(seed).integers(1, 20, 12)
    steps = [(float(x + side), float(20 - y)) for x, y in enumerate(heights) for side in (0, 1)]
    ring = [(0.0, 20.0), *steps, (12.0, 20.0)]
    assert np.count_nonzero(drawn((25, 15), polygon(ring))) == Polygon(ring).area == heights.sum()


@given(st.lists(st.tuples(places, places), min_size=2, max_size=4))
def test_neighbours_share_no_pixel_and_leave_none(line: list[tuple[float, float]]) -> None:
    """A box in two along a line: every pixel an odd number of times."""
    top, bottom = (12.4, -3.0), (7.6, 50.0)
    left = [(-1.0, -3.0), top, *line, bottom, (-1.0, 50.0)]
    right = [(50.0, -3.0), top, *line, bottom, (50.0, 50.0)]
    both = drawn((40, 40), polygon(left)).astype(int) + drawn((40, 40), polygon(right))
    assert (both % 2 == 1).all()


@given(masks, st.booleans())
def test_runs_are_exact(inside: NDArray[np.bool_], packed: bool) -> None:
    runs = files.runs(inside, packed=packed)["counts"]
    data = runs.encode() if packed else array("I", runs).tobytes()
    assert np.array_equal(
        drawn(inside.shape, MarkedArea("car", "coco" if packed else "columns", data)), inside
    )


@given(masks, st.booleans())
def test_brushes_are_exact(inside: NDArray[np.bool_], by_run: bool) -> None:
    data = bytes(files.brush(inside, by_run=by_run))
    assert np.array_equal(drawn(inside.shape, MarkedArea("car", "brush", data)), inside)


def test_later_areas_lie_on_top_and_bytes_come_back() -> None:
    box = [(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0)]
    runs = array("I", [1, 2, 1]).tobytes()
    areas = (polygon(box), polygon([(x / 2, y) for x, y in box], name="tree"), polygon(box[:3], name="car"))
    annotation = Annotation((5, 6), (*areas[:2], MarkedArea("car", "box", runs, (0, 1, 2, 2))))
    file = decode(annotation)
    assert file.names == (None, "car", "tree")
    assert file.values.tolist() == [
        [2, 2, 1, 1, 0, 0],
        [2, 1, 1, 1, 0, 0],
        [1, 2, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert read_annotation(annotation.to_bytes()) == annotation


def test_more_classes_than_a_byte_holds() -> None:
    areas = [
        MarkedArea(f"class {number}", "columns", array("I", [number, 1, 399 - number]).tobytes())
        for number in range(300)
    ]
    file = decode(Annotation((20, 20), areas))
    assert file.values.dtype == np.uint16 and file.values.T.ravel()[:301].tolist() == [*range(1, 301), 0]


PICTURE = save(np.array([[[9, 0, 0], [0, 0, 0]]], np.uint8), "PNG")


@pytest.mark.parametrize(
    ("annotation", "status", "sentence"),
    [
        (Annotation(problem="it is so"), "UNREADABLE", "it is so"),
        (Annotation((10**6, 10**6)), "UNREADABLE", "annotation: the image is 1,000,000 x 1,000,000"),
        (Annotation((3, 3), [MarkedArea("a", "brush", b"\1\2")]), "UNREADABLE", "brush runs end too early"),
        (
            Annotation((3, 3), [MarkedArea("a", "brush", bytes(files.brush(np.ones((3, 4), bool))))]),
            "UNREADABLE",
            "annotation 1 of the image, 'a', cannot be drawn: its brush runs have 48 values",
        ),
        (
            Annotation((3, 3), [MarkedArea("a", "brush", bytes(files.brush(np.ones((3, 3), bool)))[:-1])]),
            "UNREADABLE",
            "its brush runs end too early",
        ),
        (
            Annotation((3, 3), [MarkedArea("a", "box", array("I", [4]).tobytes(), (2, 2, 2, 2))]),
            "UNREADABLE",
            "its box of 2 x 2 at 2, 2 goes beyond the image",
        ),
        (
            Annotation((3, 3), [MarkedArea("a", "box", array("I", [5]).tobytes(), (0, 0, 2, 2))]),
            "UNREADABLE",
            "its runs have 5 pixels, and must have 4",
        ),
        (
            Annotation((3, 3), picture=PICTURE, colours={0: None}),
            "MISMATCH",
            "said to be 3 x 3 pixels, and is 2 x 1",
        ),
        (
            Annotation(picture=PICTURE, colours={0: None}),
            "OUT_OF_RANGE",
            "colour #090000 (1 pixels) has no class",
        ),
        (
            Annotation(picture=save(np.zeros((9, 9, 3), np.uint8), "JPEG"), colours={0: None}),
            "UNREADABLE",
            "JPEG compression changes the colours of its classes",
        ),
        (Annotation(picture=b"x", colours={0: None}), "UNREADABLE", "not an image in a known format"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(annotation: Annotation, status: str, sentence: str) -> None:
    with pytest.raises(RowFault) as caught:
        decode(annotation)
    assert caught.value.status is TruthStatus[status] and sentence in str(caught.value)
