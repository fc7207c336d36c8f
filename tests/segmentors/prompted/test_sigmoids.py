"""What is decided from sigmoids, against torch's interpolation and the rule of exclusive classes by hand."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from batchseg.config.prompting import Prompting
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ConfigError
from batchseg.images.probability_file import open_probabilities, squares_of
from batchseg.images.raster import Area
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import Scores
from batchseg.segmentors.combined.canvas import WindowGrid
from batchseg.segmentors.combined.codes import decide_codes
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer, Decision, Keeping, prompt_factors
from batchseg.segmentors.combined.mosaic import Mosaic
from batchseg.segmentors.combined.sureness import Sureness

NAMES = ("background", "road", "car", "tree")
SIZE = (71, 53)


def sigmoids(seed: int = 0, size: tuple[int, int] = (12, 9), background: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    maps = (2 * torch.randn(4, *size, generator=generator)).sigmoid()
    if background:
        maps[0] = 0.5
    return maps


def said(maps: Tensor, **more: Any) -> Answer:
    return Answer(Scores("sigmoids", maps), **more)


def full(maps: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    return interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def exclusive(maps: Tensor) -> Tensor:
    """The probabilities of classes of which at most one holds, by what is independent without that.

    P(only c) is s_c times the product of 1 - s_d over the others, and P(none) that of all of them.
    """
    without = 1 - maps[1:].double()
    none = without.prod(0)
    alone = [maps[1 + index] / (without[index]) * none for index in range(len(without))]
    total = torch.stack([none, *alone])
    return total / total.sum(0)


def deciding(**thresholds: float) -> Decision:
    config = HuggingFaceSegmentor(model="any", prompting=Prompting(thresholds=thresholds))
    return Decision(4, factors=prompt_factors(config, LabelMap.from_names(NAMES)), background=0)


@pytest.mark.parametrize("background", [True, False])
def test_the_highest_of_the_interpolated_sigmoids_wins(background: bool) -> None:
    maps = sigmoids(background=background)
    found = decide_whole([said(maps)], SIZE, Decision(4)).labels_HW
    np.testing.assert_array_equal(found, full(maps).argmax(0).numpy())


def test_a_class_is_there_from_its_own_threshold_on() -> None:
    maps = sigmoids()
    maps[2:] = 0.0  # road alone
    found = decide_whole([said(maps)], SIZE, deciding(road=0.8)).labels_HW
    np.testing.assert_array_equal(found, (full(maps)[1] > 0.8).numpy())
    several = decide_whole([said(sigmoids())], SIZE, deciding(road=0.8, car=0.3)).labels_HW
    shifted = full(sigmoids()) - torch.tensor([0.5, 0.8, 0.3, 0.5])[:, None, None]
    np.testing.assert_array_equal(several, shifted.argmax(0).numpy())


def test_merged_classes_have_one_threshold() -> None:
    config = HuggingFaceSegmentor(model="any", prompting=Prompting(thresholds={"road": 0.2, "car": 0.2}))
    merged = LabelMap.from_names(("background", "thing", "tree"))
    factors = prompt_factors(config, merged, {"thing": ("road", "car")})
    assert factors == pytest.approx((1, 4, 1))
    with pytest.raises(ConfigError, match="'thing' is made of classes with different thresholds"):
        prompt_factors(config, merged, {"thing": ("road", "tree")})


def test_what_takes_no_side_changes_nothing() -> None:
    assert deciding(road=0.5).factors is None and deciding().factors is None


@pytest.mark.parametrize("below", [0.3, 0.5, 0.9])
def test_pixels_that_no_class_takes_surely(below: float) -> None:
    """Between cells that are sure of one class it can be unsure, as nowhere with logits."""
    for maps in (sigmoids(3), torch.tensor([[0.5, 0.5], [0.99, 0.2], [0.98, 0.0]])[:, None]):
        decision = Decision(len(maps), none_below=below, background=0)
        found = decide_whole([said(maps)], SIZE, decision).labels_HW
        p_CHW = exclusive(full(maps))
        clear_HW = ((p_CHW.amax(0) - below).abs() > 1e-5).numpy()
        wanted_HW = torch.where(p_CHW.amax(0) < below, len(maps), full(maps).argmax(0)).numpy()
        np.testing.assert_array_equal(found[clear_HW], wanted_HW[clear_HW])


def test_confidence_is_that_of_exclusive_classes() -> None:
    maps = sigmoids(1)
    found = decide_whole([said(maps)], SIZE, Decision(4, background=0)).confidence
    p_CHW = exclusive(maps)
    assert found is not None
    assert found.mean == pytest.approx(float(p_CHW.amax(0).mean()), abs=1e-5)
    assert found.low_fraction == pytest.approx(float((p_CHW.amax(0) < 0.5).double().mean()), abs=1e-6)
    claims_HW = (maps[1:] > 0.5).sum(0)
    assert found.contested_fraction == pytest.approx(float((claims_HW > 1).double().mean()), abs=1e-6)


def test_a_claim_is_one_above_the_threshold_of_its_class() -> None:
    maps, least = sigmoids(1), torch.tensor([0.8, 0.3, 0.5])[:, None, None]
    found = decide_whole([said(maps)], SIZE, deciding(road=0.8, car=0.3)).confidence
    wanted = float(((maps[1:] > least).sum(0) > 1).double().mean())
    assert found is not None and found.contested_fraction == pytest.approx(wanted, abs=1e-6)


def test_of_classes_that_are_not_decided_each_by_itself_nothing_is_contested() -> None:
    found = decide_whole([said(sigmoids(background=False))], SIZE, Decision(4)).confidence
    assert found is not None and found.contested_fraction is None


def test_mirrored_views_are_averaged_as_sigmoids() -> None:
    maps, mirrored = sigmoids(1), sigmoids(2)
    answers = [said(maps), said(mirrored.flip(-1), flip="h", look=1)]
    found = decide_whole(answers, SIZE, Decision(4, background=0)).labels_HW
    np.testing.assert_array_equal(found, full((maps + mirrored) / 2).argmax(0).numpy())


def test_grids_of_several_sizes_and_merged_classes_are_probabilities() -> None:
    fine, coarse = sigmoids(1), sigmoids(2, (5, 6))
    answers = [said(fine), said(coarse, look=1)]
    found = decide_whole(answers, SIZE, Decision(4)).labels_HW
    total = full(exclusive(fine)) + full(exclusive(coarse))
    np.testing.assert_array_equal(found, total.argmax(0).numpy())
    merging = Decision(3, groups=((0, 1, 1, 2),))
    found = decide_whole([said(fine)], SIZE, merging).labels_HW
    p_CHW = exclusive(fine)
    merged = torch.stack([p_CHW[0], p_CHW[1] + p_CHW[2], p_CHW[3]])
    np.testing.assert_array_equal(found, full(merged).argmax(0).numpy())


def test_an_ensemble_with_a_model_that_gives_logits() -> None:
    maps, logits = sigmoids(1), torch.randn(4, 12, 9, generator=torch.Generator().manual_seed(5))
    answers = [said(maps), Answer(Scores("logits", logits), member=1, look=1)]
    two = Decision(4, groups=(None, None), weights=(0.25, 0.75))
    found = decide_whole(answers, SIZE, two).labels_HW
    wanted = full((0.25 * exclusive(maps) + 0.75 * logits.softmax(0)).float())
    np.testing.assert_array_equal(found, wanted.argmax(0).numpy())


def test_presence_is_handed_on() -> None:
    answers = [
        Answer(Scores("sigmoids", sigmoids(1), 0.2)),
        Answer(Scores("sigmoids", sigmoids(2), 0.6), look=1),
    ]
    assert decide_whole(answers, SIZE, Decision(4)).presence == pytest.approx(0.4)
    assert decide_whole([said(sigmoids())], SIZE, Decision(4)).presence is None


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_probabilities_that_are_kept_decide_alike(kept: Any) -> None:
    maps = sigmoids(4)
    decision = Decision(4, background=0, keeping=Keeping(kept, NAMES))
    made = decide_whole([said(maps)], SIZE, decision)
    assert made.probabilities is not None and made.probes is not None
    with open_probabilities(io.BytesIO(made.probabilities)) as file:
        for square in squares_of(Area(0, 0, *SIZE)):
            codes = file.read(square)
            again_HW, _ = decide_codes(codes, Decision(4))
            rows, columns = (slice(square[0], square[0] + square[2]), slice(square[1], square[1] + square[3]))
            np.testing.assert_array_equal(again_HW, made.labels_HW[rows, columns])
    p_CN = exclusive(full(maps))[:, made.probes.rows_N, made.probes.columns_N]
    np.testing.assert_allclose(made.probes.probabilities_CN, p_CN.numpy(), atol=1e-5)


def mosaic(decision: Decision, presences: tuple[float | None, ...] = (None,) * 4) -> Mosaic:
    windows = WindowGrid((0, 24), (0, 24), 40, "gaussian")
    made = Mosaic(Area(0, 0, 64, 64), decision, 1, windows, picture_hw=(64, 64))
    for window, presence in enumerate(presences):
        made.add(window, Answer(Scores("sigmoids", sigmoids(window, (10, 10)), presence)))
    return made


def test_windows() -> None:
    """Where one window is alone, it decides as exclusive classes do; the rest is between the windows."""
    made = mosaic(Decision(4, background=0), (0.1, None, 0.7, 0.3))
    found = made.prediction()
    p_CHW = full(exclusive(sigmoids(0, (10, 10))), (40, 40))
    np.testing.assert_array_equal(found.labels_HW[:24, :24], p_CHW[:, :24, :24].argmax(0).numpy())
    assert found.presence == 0.7
    assert found.confidence is not None and 0 < (found.confidence.contested_fraction or 0) < 1


def test_what_is_contested_adds_up_over_parts() -> None:
    values = exclusive(sigmoids(7, (30, 30))).float().flatten(1)
    whole = Sureness.of(values, 0)
    parts = [Sureness.of(part, 0) for part in values.split([100, 0, 500, 300], dim=1)]
    total = sum(parts, start=Sureness.zeros())
    assert total.contested == whole.contested
    wanted = ((values[1:] > values[0]).sum(0) > 1).double().mean()
    assert total.confidence().contested_fraction == pytest.approx(float(wanted))
    older = Sureness.of(values)  # of a version that did not count
    assert (older + whole).contested is None and (whole + older).contested is None
