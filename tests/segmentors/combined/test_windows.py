"""Windows against MONAI's, reflection against numpy's, and parts that cover a picture once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval
from torch.nn import functional

from batchseg.config.looks import Tiling
from batchseg.images.raster import Area
from batchseg.segmentors.combined.windows import cut, parts_of, window_weights, windows_along

lengths = st.integers(1, 700)
short = st.tuples(st.integers(1, 300), st.integers(1, 300))
overlaps = st.sampled_from([0, 0.1, 0.25, 1 / 3, 0.5, 0.75])
tilings = st.builds(
    Tiling,
    size=st.integers(40, 200),
    overlap=overlaps,
    scale=st.sampled_from([1.0, 0.5, 0.7, 1.7]),
    part=st.integers(20, 300),
)


def windows_of(picture_hw: tuple[int, int], tiling: Tiling, part: Area | None = None) -> list[Area]:
    part = part or Area(0, 0, *picture_hw)
    tops = windows_along(picture_hw[0], tiling, part.top, part.top + part.height)
    lefts = windows_along(picture_hw[1], tiling, part.left, part.left + part.width)
    return [Area(top, left, tiling.window, tiling.window) for top in tops for left in lefts]


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (64, 64), (97, 512), (1024, 1024)])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_weights_equal_monai(size_hw, blend):
    expected = compute_importance_map(size_hw, mode=blend, sigma_scale=0.125)
    weights = window_weights(size_hw, blend)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.as_tensor(expected), rtol=0, atol=1e-7)


@given(lengths, lengths, st.integers(16, 500), overlaps)
@example(9, 5, 1, 0.9)
@example(9, 5, 3, 0.9)
@settings(deadline=None, max_examples=200)
def test_windows_equal_monai(height, width, size, overlap):
    # as sliding_window_inference calls it: on the picture after padding
    padded = (max(height, size), max(width, size))
    step = _get_scan_interval(padded, (size, size), 2, (overlap, overlap))
    expected = [(y.start, x.start) for y, x in dense_patch_slices(padded, (size, size), step)]
    before = max(0, size - height) // 2, max(0, size - width) // 2
    windows = windows_of((height, width), Tiling(size=size, overlap=overlap))
    assert [(area.top + before[0], area.left + before[1]) for area in windows] == expected


def test_a_small_picture_is_reflected_as_monai_pads_it():
    pixels = np.random.default_rng(0).integers(0, 255, (21, 40, 3), np.uint8)
    (window,) = windows_of((21, 40), Tiling(size=40))
    padded = functional.pad(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), (0, 0, 9, 10), "reflect")
    assert np.array_equal(cut(pixels, window), padded[0].permute(1, 2, 0).byte().numpy())


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_reflects_as_numpy_pads(height, width, padding):
    above, below, left, right = padding
    pixels = np.arange(height * width * 2, dtype=np.uint16).reshape(height, width, 2)
    window = Area(-above, -left, above + height + below, left + width + right)
    expected = np.pad(pixels, ((above, below), (left, right), (0, 0)), mode="reflect")
    actual = cut(pixels, window)
    assert actual.dtype == pixels.dtype
    assert actual.flags["C_CONTIGUOUS"]
    assert np.array_equal(actual, expected)


def test_a_window_of_a_part_is_that_of_the_picture():
    tiling = Tiling(size=32, overlap=0.25, part=60)
    pixels = np.random.default_rng(1).integers(0, 255, (150, 31, 1), np.uint8)
    for part in parts_of(pixels.shape[:2], tiling):
        windows = windows_of(pixels.shape[:2], tiling, part)
        first, last = max(0, windows[0].top), min(len(pixels), windows[-1].top + tiling.window)
        held = Area(first, 0, last - first, 31)
        for window in windows:
            assert np.array_equal(cut(pixels[first:last], window, held, (150, 31)), cut(pixels, window))


@given(short, tilings)
@settings(deadline=None)
def test_parts_cover_every_pixel_once(picture_hw, tiling):
    seen = np.zeros(picture_hw, np.uint16)
    for part in parts_of(picture_hw, tiling):
        assert min(part) >= 0
        assert min(part[2:]) > 0
        seen[part.top : part.top + part.height, part.left : part.left + part.width] += 1
    assert (seen == 1).all()


def test_parts_may_be_single_pixels():
    tiling = Tiling(size=1, overlap=0, part=1)
    assert parts_of((2, 3), tiling) == [Area(y, x, 1, 1) for y in range(2) for x in range(3)]


@given(short, tilings)
@settings(deadline=None)
def test_parts_are_no_larger_than_asked_for(picture_hw, tiling):
    for part in parts_of(picture_hw, tiling):
        assert max(part[2:]) <= max(tiling.part, tiling.step)


@given(short, tilings)
@settings(deadline=None)
def test_a_part_has_every_window_that_sees_it(picture_hw, tiling):
    every = windows_of(picture_hw, tiling)
    for part in parts_of(picture_hw, tiling)[:3]:
        seeing = [
            window
            for window in every
            if window.top < part.top + part.height
            and part.top < window.top + tiling.window
            and window.left < part.left + part.width
            and part.left < window.left + tiling.window
        ]
        assert windows_of(picture_hw, tiling, part) == seeing


def test_parts_share_only_the_windows_across_their_borders():
    tiling = Tiling(size=64, overlap=0.25, part=200)
    across = len(windows_along(976, tiling, 0, 976))
    parts = parts_of((976, 976), tiling)
    assert {part.top % tiling.step for part in parts} == {0}
    assert len(parts) == 36
    # one row of windows reaches over each of the 5 borders
    assert sum(len(windows_of((976, 976), tiling, part)) for part in parts) == (across + 5) ** 2
