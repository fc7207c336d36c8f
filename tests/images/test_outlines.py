"""Outlines and regions against scipy's labels, rasterio's shapes and shapely's own judgement."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import shapes
from scipy import ndimage

from batchseg.images.outlines import outlines
from batchseg.images.regions import regions

maps = arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(0, 3),
)


@given(maps)
def test_regions_are_those_of_scipy(ids_HW: np.ndarray) -> None:
    numbers_HW, found = regions(ids_HW), 0
    for value in np.unique(ids_HW):
        theirs_HW, count = ndimage.label(ids_HW == value)
        pairs = set(zip(theirs_HW[ids_HW == value], numbers_HW[ids_HW == value], strict=True))
        assert len(pairs) == count  # one number of theirs is one of ours
        found += count
    _, first = np.unique(numbers_HW, return_index=True)
    assert len(first) == found == numbers_HW.max() + 1
    assert (np.diff(first) > 0).all()  # numbered by their first pixels


@given(maps)
def test_outlines_are_valid_and_have_the_pixels_area(ids_HW: np.ndarray) -> None:
    outlined = outlines(ids_HW)
    assert len(outlined) == ids_HW.max()
    for number, outline in enumerate(outlined, 1):
        if not (ids_HW == number).any():
            assert outline is None
            continue
        assert shapely.is_valid(outline), shapely.is_valid_reason(outline)
        assert outline.area == (ids_HW == number).sum()
        # rasterio's rings may touch themselves, which a buffer of nothing mends
        theirs = [
            shapely.geometry.shape(each).buffer(0)
            for each, value in shapes(ids_HW.astype(np.int32), connectivity=4)
            if value == number
        ]
        assert outline.symmetric_difference(shapely.union_all(theirs)).area == 0


@given(maps)
def test_regions_have_one_polygon_each_and_cover_the_map(ids_HW: np.ndarray) -> None:
    outlined = outlines(regions(ids_HW) + 1, coverage=True)
    assert {outline.geom_type for outline in outlined} == {"Polygon"}
    assert shapely.coverage_is_valid(outlined)
    assert shapely.union_all(outlined).equals(shapely.box(0, 0, *ids_HW.shape[::-1]))


def test_lines_have_points_at_corners_alone() -> None:
    numbers_HW = np.repeat([[1, 2], [1, 3]], 4, axis=1)
    (left, *_), (shared, *_) = outlines(numbers_HW), outlines(numbers_HW, coverage=True)
    assert left.normalize() == shapely.box(0, 0, 4, 2).normalize()
    assert len(shared.exterior.coords) == len(left.exterior.coords) + 1  # where 1, 2 and 3 meet


@pytest.mark.parametrize("turns", range(4))
def test_a_region_that_comes_back_to_a_corner_has_a_hole_that_touches(turns: int) -> None:
    numbers_HW = np.rot90([[1, 1, 0], [1, 0, 1], [1, 1, 1]], turns)
    (outline,) = outlines(numbers_HW)
    assert outline.is_valid and outline.area == 7
    assert [shapely.Polygon(hole).area for hole in outline.interiors] == [1]


def test_pixels_that_meet_at_corners_alone_are_several_polygons() -> None:
    (outline,) = outlines(np.eye(3, dtype=np.uint8))
    assert outline.geom_type == "MultiPolygon" and outline.is_valid and outline.area == 3


def test_numbers_without_pixels_have_no_outline() -> None:
    first, second, third = outlines(np.array([[3, 1, -1, 0]]))
    assert first.equals(shapely.box(1, 0, 2, 1)) and second is None
    assert third.equals(shapely.box(0, 0, 1, 1))
    for number in (0, -1):
        assert len(outlines(np.full((2, 2), number))) == 0


def test_a_noisy_map_of_many_regions() -> None:
    ids_HW = np.random.default_rng(0).integers(0, 11, (256, 256))
    numbers_HW = regions(ids_HW) + 1
    outlined = outlines(numbers_HW)
    assert shapely.is_valid(outlined).all()
    np.testing.assert_array_equal(shapely.area(outlined), np.bincount(numbers_HW.ravel())[1:])
