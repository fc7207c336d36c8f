"""Probes: on one grid whatever the parts, and what torch's own interpolation gives at their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from batchseg.config.looks import Tiling, Views
from batchseg.images.raster import Area
from batchseg.segmentors.base import Probes, Scores
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.looks import Looks, Picture
from batchseg.segmentors.combined.probe_grid import ProbeGrid
from batchseg.segmentors.combined.windows import parts_of, seen_by
from batchseg.segmentors.threshold import Identity
from tests.segmentors.combined.test_windows_equal_monai import case, expected

lengths = st.integers(1, 700)
Size = tuple[int, int]


def probes(answers: list[Answer], size: Size, decision: Decision) -> Probes:
    found = decide_whole(answers, size, decision).probes
    assert found is not None
    assert found.probabilities_CN.dtype == np.float32
    np.testing.assert_allclose(found.probabilities_CN.sum(0), 1, rtol=0, atol=1e-5)
    return found


def at(found: Probes, p_CHW: Tensor) -> np.ndarray:
    return p_CHW.numpy()[:, found.rows_N, found.columns_N]


def full(maps: Tensor, size: Size) -> Tensor:
    maps = maps if maps.dtype == torch.float64 else maps.float()
    return interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def logits(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(lengths, lengths)
def test_the_grid_is_of_the_middles_of_equal_cells(height: int, width: int) -> None:
    grid = ProbeGrid.of((height, width))
    for places, length in ((grid.row_R, height), (grid.column_K, width)):
        count = min(length, 64)
        middles = (np.arange(count) + 0.5) * length / count  # where pixels begin at whole numbers
        assert (np.abs(places + 0.5 - middles) <= 0.5).all()
        assert len(places) == count
        assert (np.diff(places) > 0).all()
    if max(height, width) <= 64:
        assert grid.shape == (height, width)


@given(lengths, lengths, st.integers(1, 300), st.integers(1, 300))
def test_parts_have_each_probe_once(height: int, width: int, top: int, left: int) -> None:
    whole = ProbeGrid.of((height, width))
    seen = np.zeros((height, width), int)
    for first, rows in ((0, min(top, height)), (min(top, height), height - min(top, height))):
        for start, columns in ((0, min(left, width)), (min(left, width), width - min(left, width))):
            area = Area(first, start, rows, columns)
            part = ProbeGrid.of((height, width), area)
            row_R, column_K = part.inside
            seen[first : first + rows, start : start + columns][np.ix_(row_R, column_K)] += 1
            assert [each.tolist() for each in (part.row_R, part.column_K)] == [
                each[some].tolist()
                for each, some in zip((whole.row_R, whole.column_K), whole.slices(area), strict=True)
            ]
    assert np.array_equal(np.argwhere(seen), np.argwhere(seen == 1))
    assert (seen[np.ix_(whole.row_R, whole.column_K)] == 1).all()
    assert seen.sum() == whole.shape[0] * whole.shape[1]


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (63, 65), (97, 131), (600, 530)])
@pytest.mark.parametrize("cells", [(1, 1), (24, 33), (128, 96)])
def test_logits_are_interpolated_before_their_softmax(size: Size, cells: Size) -> None:
    maps = logits(1, 5, *cells)
    found = probes([Answer(Scores("logits", maps))], size, Decision(5))
    np.testing.assert_allclose(
        found.probabilities_CN, at(found, full(maps, size).softmax(0)), rtol=0, atol=5e-5
    )
    exact = at(found, full(maps.double(), size).softmax(0))
    errors = (found.probabilities_CN - exact, at(found, full(maps, size).softmax(0)) - exact)
    ours, torchs = (np.abs(error).mean() for error in errors)
    assert ours <= 2 * torchs + 1e-7
    order = found.rows_N * size[1] + found.columns_N
    assert (np.diff(order) > 0).all()


@pytest.mark.parametrize("layout", ["rows", "channels last", "cut", "bfloat16"])
def test_however_the_scores_lie(layout: str) -> None:
    maps = logits(2, 6, 20, 30)
    if layout == "channels last":
        maps = maps[None].to(memory_format=torch.channels_last)[0]
    if layout == "cut":
        maps = logits(2, 9, 40, 50)[2:8, 3:23, 5:35]
    if layout == "bfloat16":
        maps = maps.bfloat16()
    found = probes([Answer(Scores("logits", maps))], (90, 110), Decision(6))
    wanted = full(maps, (90, 110)).softmax(0)
    np.testing.assert_allclose(found.probabilities_CN, at(found, wanted), rtol=0, atol=1e-5)


def test_infinite_logits_are_the_largest_numbers() -> None:
    maps = logits(3, 4, 8, 8)
    maps[1, 2:4, 2:4], maps[2, 5, 5] = -torch.inf, -torch.inf
    found = probes([Answer(Scores("logits", maps))], (64, 64), Decision(4))
    limit = torch.finfo(torch.float32).max
    wanted = full(maps.clamp(-limit, limit), (64, 64)).softmax(0)
    np.testing.assert_allclose(found.probabilities_CN, at(found, wanted), rtol=0, atol=1e-5)


def test_probabilities_are_interpolated_as_they_are() -> None:
    maps = logits(4, 5, 9, 12).exp()
    found = probes([Answer(Scores("probabilities", maps))], (70, 90), Decision(5))
    scores = full(maps, (70, 90))
    np.testing.assert_allclose(found.probabilities_CN, at(found, scores / scores.sum(0)), rtol=0, atol=1e-5)


def test_thresholds_leave_them_as_they_are() -> None:
    answers = [Answer(Scores("logits", logits(5, 2, 9, 12)))]
    plain = probes(answers, (70, 90), Decision(2))
    other = probes(answers, (70, 90), Decision(2, factors=(0.9, 0.1), none_below=0.8))
    assert np.array_equal(plain.probabilities_CN, other.probabilities_CN)


def test_grids_of_several_sizes_add() -> None:
    maps, size = [logits(6, 5, 12, 16), logits(7, 5, 24, 20)], (100, 90)
    decision = Decision(5, groups=(None, None), weights=(0.25, 0.75))
    answers = [Answer(Scores("logits", each), member, look=member) for member, each in enumerate(maps)]
    found = probes(answers, size, decision)
    wanted = 0.25 * full(maps[0].softmax(0), size) + 0.75 * full(maps[1].softmax(0), size)
    np.testing.assert_allclose(found.probabilities_CN, at(found, wanted), rtol=0, atol=1e-5)


def test_members_on_one_grid_and_merged_classes() -> None:
    """As fused: probabilities of merged classes add, those of members are averaged, and their logarithm is
    what is interpolated."""
    maps, size = [logits(8, 4, 12, 16), logits(9, 3, 12, 16)], (70, 90)
    decision = Decision(3, groups=((0, 1, 1, 2), (2, 0, 1)), weights=(0.5, 0.5))
    answers = [Answer(Scores("logits", each), member, look=member) for member, each in enumerate(maps)]
    found = probes(answers, size, decision)
    one, other = (each.softmax(0) for each in maps)
    merged = torch.stack([one[0] + other[1], one[1] + one[2] + other[2], one[3] + other[0]]) / 2
    wanted = full(merged.log(), size).softmax(0)
    np.testing.assert_allclose(found.probabilities_CN, at(found, wanted), rtol=0, atol=1e-5)


def test_label_maps_alone_have_none() -> None:
    labels = np.zeros((50, 60), np.uint8)
    assert decide_whole([Answer(Scores("labels", labels))], (50, 60), Decision(3)).probes is None


def test_a_member_that_abstains_leaves_the_others_their_say() -> None:
    """Its share is nobody's."""
    size, maps = (40, 50), logits(10, 3, 40, 50)
    labels = np.full(size, 3, np.uint8)
    labels[:20] = 1
    answers = [Answer(Scores("logits", maps)), Answer(Scores("labels", labels), 1, look=1)]
    found = probes(answers, size, Decision(3, groups=(None, None), weights=(0.5, 0.5)))
    p_CHW = maps.softmax(0)
    with_label = p_CHW.clone() / 2
    with_label[1] += 0.5
    p_CHW[:, :20] = with_label[:, :20]
    np.testing.assert_allclose(found.probabilities_CN, at(found, p_CHW), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of MONAI
@torch.no_grad()
@pytest.mark.parametrize("seed", range(8))
def test_windows_are_blended_as_monai_does(seed: int) -> None:
    """Part by part; and all parts together have the bits of the picture seen at once."""
    pixels, tiling, model, classes = case(seed)
    size = (pixels.shape[0], pixels.shape[1])
    wanted = expected(pixels, tiling, model)
    looks = Looks([Identity()], [Identity()], Decision(classes), tiling, Views())
    cut = Tiling(**{**tiling.model_dump(), "part": 37})
    once, in_parts = (_probed(looks, pixels, model, areas) for areas in ([None], parts_of(size, cut)))
    for (row, column), p_C in once.items():
        np.testing.assert_allclose(p_C, wanted[:, row, column], rtol=0, atol=1e-5)
    assert once.keys() == in_parts.keys()
    assert all(np.array_equal(p_C, in_parts[place]) for place, p_C in once.items())


def _probed(
    looks: Looks, pixels: np.ndarray, model: torch.nn.Module, areas: list[Any]
) -> dict[tuple[int, int], np.ndarray]:
    size = (pixels.shape[0], pixels.shape[1])
    found: dict[tuple[int, int], np.ndarray] = {}
    for area in areas:
        part = area or Area(0, 0, *size)
        canvas = looks.canvas(size, area)
        assert looks.tiling is not None
        top, left, height, width = seen_by(size, part, looks.tiling)
        for look in looks.inputs(Picture(pixels[top : top + height, left : left + width]), size, part):
            window = torch.from_numpy(look.model_input.pixels_THWC).permute(0, 3, 1, 2)
            canvas.add(look.window, Answer(Scores("logits", model(window)[0])))
        made = canvas.prediction().probes
        assert made is not None
        places = zip(made.rows_N + part.top, made.columns_N + part.left, strict=True)
        for (row, column), p_C in zip(places, made.probabilities_CN.T, strict=True):
            assert (row, column) not in found
            found[int(row), int(column)] = p_C
    return found
