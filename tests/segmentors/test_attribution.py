"""What a decision rests on, against torch's own interpolation and models whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import build
from torch.nn.functional import interpolate

from batchseg.config.load import validate_segmentor
from batchseg.config.looks import Views
from batchseg.errors import RowFault
from batchseg.segmentors.attribution.asked import Asked
from batchseg.segmentors.attribution.gradients import integrated_gradients
from batchseg.segmentors.attribution.occlusion import mid_grey, occlusion
from batchseg.segmentors.attribution.target import ClassTarget
from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.looks import Looks, Picture
from batchseg.segmentors.registry import open_checkpoint
from batchseg.segmentors.threshold import Identity

TWO = Decision(2)


class CornerNetwork:
    """Differentiable: class 1 is the more likely everywhere, the brighter the top left 4 x 4 pixels are."""

    device = torch.device("cpu")

    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        pixels = [torch.from_numpy(each.pixels_THWC).float() for each in inputs]
        return self.scores_of(torch.cat(pixels), inputs)

    def scores_of(self, levels_BHWC: torch.Tensor, inputs: Sequence[ModelInput]) -> list[Scores]:
        logit_B = levels_BHWC[:, :4, :4].mean((1, 2, 3)) / 64 - 2
        zero = torch.zeros(2, *levels_BHWC.shape[1:3])
        return [Scores("logits", zero + torch.stack([0 * each, each])[:, None, None]) for each in logit_B]


def asked(segmentor: Any, views: Views | None = None, decision: Decision = TWO) -> Asked:
    return Asked([segmentor], Looks([Identity()], [Identity()], decision, None, views or Views()))


@pytest.fixture
def picture() -> Picture:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 100, (32, 48, 3), dtype=np.uint8)
    pixels[:4, :4] = 240
    return Picture(pixels)


def region(height: int, width: int) -> np.ndarray:
    found = np.zeros((height, width), bool)
    found[height // 3 :, width // 2 :] = True
    return found


@pytest.mark.parametrize("grid", [(5, 7), (32, 48), (40, 61)])
def test_the_target_is_the_mean_of_interpolated_probabilities(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, *grid) * 3
    where = region(32, 48)
    target = ClassTarget(where, 2, Decision(4)).of([Answer(Scores("logits", logits))])
    at_pixels = interpolate(logits.softmax(0)[None], (32, 48), mode="bilinear", align_corners=False)[0, 2]
    assert float(target) == pytest.approx(float(at_pixels[torch.from_numpy(where)].mean()), abs=1e-6)


def test_members_views_and_merged_classes_are_averaged_as_where_masks_are_decided() -> None:
    torch.manual_seed(1)
    one, other = torch.randn(3, 4, 6), torch.rand(2, 8, 12)
    where = region(32, 48)
    decision = Decision(2, groups=((0, 1, 1), None), weights=(0.25, 0.75))
    answers = [Answer(Scores("logits", one), 0, "h"), Answer(Scores("probabilities", other), 1, look=1)]

    def mean(maps: torch.Tensor) -> float:
        pixels = interpolate(maps[None, None], (32, 48), mode="bilinear", align_corners=False)[0, 0]
        return float(pixels[torch.from_numpy(where)].mean())

    merged = one.flip(-1).softmax(0)[1:].sum(0)
    expected = 0.25 * mean(merged) + 0.75 * mean(other[1] / other.sum(0))
    assert float(ClassTarget(where, 1, decision).of(answers)) == pytest.approx(expected, abs=1e-6)


def test_a_label_map_counts_as_probabilities_of_0_and_1() -> None:
    labels = np.zeros((32, 48), np.uint8)
    labels[:, 30:] = 1
    where = region(32, 48)
    target = ClassTarget(where, 1, TWO).of([Answer(Scores("labels", labels))])
    assert float(target) == pytest.approx(labels[where].mean(), abs=1e-6)


@pytest.mark.parametrize("views", [Views(), Views(flip=("horizontal",))])
def test_occlusion_points_at_the_corner_that_a_model_looks_at(picture: Picture, views: Views) -> None:
    where = region(32, 48)
    target = ClassTarget(where, 1, TWO)
    heat = occlusion(asked(CornerNetwork(), views), picture, target, grid=8)
    (answers,) = asked(CornerNetwork(), views).answers([picture])
    assert heat.target == pytest.approx(float(target.of(answers)))
    # the second square along a side ends at 10 rows, or 15 columns; the third does not touch the corner
    corners = [(slice(10), slice(15))] + ([(slice(10), slice(33, 48))] if views.flip else [])
    outside = heat.values_HW.copy()
    for corner in corners:
        outside[corner] = 0
    assert outside.max() <= 1e-6  # mirrored, the other corner is its top left one
    assert heat.values_HW[0, 0] > 0.1
    assert np.unravel_index(heat.values_HW.argmax(), (32, 48)) == (0, 0)


def test_a_value_is_the_mean_fall_over_the_squares_that_cover_a_pixel(picture: Picture) -> None:
    target = ClassTarget(region(32, 48), 1, TWO)
    heat = occlusion(asked(CornerNetwork()), picture, target, grid=4)
    network, falls = CornerNetwork(), []
    for top, bottom in ((0, 12), (4, 20)):  # of 4 squares of 16 rows, centred at 4, 12, 20 and 28
        for left, right in ((0, 18), (6, 30)):
            pixels = picture.pixels_HWC.copy()
            pixels[top:bottom, left:right] = 128
            (scores,) = network.scores([ModelInput(pixels[None], (32, 48), {})])
            falls.append(heat.target - float(scores.maps.softmax(0)[1, 0, 0]))
    assert heat.values_HW[8, 8] == pytest.approx(np.mean(falls), abs=1e-6)
    assert heat.values_HW[0, 0] == pytest.approx(falls[0], abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (2, 2)])
def test_pictures_smaller_than_the_grid_are_covered_pixel_by_pixel(size: tuple[int, int]) -> None:
    small = Picture(np.full((*size, 3), 250, np.uint8))
    heat = occlusion(asked(CornerNetwork()), small, ClassTarget(np.ones(size, bool), 1, TWO), grid=14)
    assert heat.values_HW.shape == size
    assert np.isfinite(heat.values_HW).all()
    assert heat.values_HW[0, 0] > 0


def test_grey_lies_between_black_and_white_of_every_band() -> None:
    assert mid_grey(Picture(np.zeros((1, 1, 3), np.uint8))).tolist() == [128, 128, 128]
    assert mid_grey(Picture(np.zeros((1, 1, 2), np.uint16))).tolist() == [32768, 32768]
    scaled = Picture(np.zeros((1, 1, 2), np.float32), ((0.0, 1.0), (-2.0, 4.0)))
    assert mid_grey(scaled).tolist() == [0.5, 1.0]


def test_gradients_point_at_the_corner_alone_and_add_up(picture: Picture) -> None:
    target = ClassTarget(region(32, 48), 1, TWO)
    heat = integrated_gradients(asked(CornerNetwork()), picture, target)
    assert (heat.values_HW[:4, :4] > 0).all()
    outside = heat.values_HW.copy()
    outside[:4, :4] = 0
    assert not outside.any()
    grey = Picture(np.full(picture.pixels_HWC.shape, 127.5, np.float32))
    (answers,) = asked(CornerNetwork()).answers([grey])
    rise = heat.target - float(target.of(answers))
    assert heat.values_HW.sum() == pytest.approx(rise, rel=0.01)
    assert heat.remainder == pytest.approx(rise - heat.values_HW.sum(), abs=1e-5)


def checkpoint_asked(family: str, tmp_path: Path) -> tuple[Asked, Decision]:
    name = str(build(family, tmp_path / family))
    checkpoint = open_checkpoint(validate_segmentor({"kind": "huggingface", "model": name}))
    decision = Decision(checkpoint.label_map.num_classes)
    looks = Looks.of([checkpoint], decision, None, Views())
    return Asked([checkpoint.load("cpu", "fp32")], looks), decision


def test_gradients_of_a_checkpoint_add_up(tmp_path: Path) -> None:
    model, decision = checkpoint_asked("segformer", tmp_path)
    pixels = np.random.default_rng(2).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    levels = np.full(pixels.shape, 127.5, np.float32)  # 64 x 64, as the model reads them
    answers, grey = (
        model.answers([each])[0] for each in (Picture(pixels), Picture(levels, ((0.0, 255.0),) * 3))
    )
    target = ClassTarget(region(64, 64), int(answers[0].scores.maps.mean((1, 2)).argmax()), decision)
    heat = integrated_gradients(model, Picture(pixels), target)
    assert heat.target == pytest.approx(float(target.of(answers)), abs=1e-5)
    rise = heat.target - float(target.of(grey))
    assert heat.remainder == pytest.approx(rise - float(heat.values_HW.sum()), abs=1e-3)
    assert abs(heat.remainder) < 0.3 * abs(rise)
    larger = Picture(pixels.repeat(2, 0).repeat(3, 1))
    target = ClassTarget(region(128, 192), target.class_id, decision)
    assert integrated_gradients(model, larger, target).values_HW.shape == (128, 192)


def test_a_model_that_reads_crops_is_left_to_occlusion(tmp_path: Path) -> None:
    model, decision = checkpoint_asked("eomt", tmp_path)
    wide = Picture(np.random.default_rng(2).integers(0, 256, (64, 100, 3), dtype=np.uint8))
    target = ClassTarget(region(64, 100), 1, decision)
    with pytest.raises(RowFault, match="take the method occlusion"):
        integrated_gradients(model, wide, target)
    assert occlusion(model, wide, target, grid=2).values_HW.shape == (64, 100)
