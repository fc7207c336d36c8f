"""Boundary IoU, NSD and HD95 against MONAI and the algorithm of the authors, on random label maps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from label_maps import CASES, Maps, random_maps
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from batchseg.metrics.boundary import Boundaries, band_width, boundaries_of


def one_hot(ids: np.ndarray, classes: int) -> torch.Tensor:
    return torch.tensor(np.stack([ids == label for label in range(classes)])[None].astype(np.float32))


def measured(maps: Maps, tolerances: np.ndarray, width: float = 0.02) -> Boundaries:
    return boundaries_of(maps.predicted, maps.truth, tolerances, width=width, spacing=maps.spacing)


def tolerances_of(maps: Maps, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 7, maps.classes).round(seed % 3)


@pytest.mark.parametrize("seed", range(CASES))
def test_nsd_and_hd95_are_monais(seed: int) -> None:
    maps = random_maps(seed)
    tolerances = tolerances_of(maps, seed)
    found = measured(maps, tolerances)
    pair = [one_hot(ids, maps.classes) for ids in (maps.judged, maps.truth)]
    options = {"include_background": True, "spacing": list(maps.spacing)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are not there
        nsd = compute_surface_dice(*pair, tolerances.tolist(), **options).numpy()[0]
        hd95 = compute_hausdorff_distance(*pair, percentile=95, **options).numpy()[0]
    np.testing.assert_allclose(found.sums.scores()["nsd"], nsd, rtol=1e-6)
    # MONAI's are infinite or NaN where one side is empty; ours are null
    both = [(maps.judged == label).any() and (maps.truth == label).any() for label in range(maps.classes)]
    np.testing.assert_allclose(found.hd95, np.where(both, hd95, np.nan), rtol=1e-5, atol=1e-5)


def band(mask: np.ndarray, reach: int) -> np.ndarray:
    """As `mask_to_boundary` of Cheng et al. does with OpenCV: erode what is padded by a pixel of nothing."""
    padded = np.pad(mask, 1)
    eroded = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=reach)
    return mask & ~eroded[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(CASES))
def test_boundary_iou_is_that_of_its_authors(seed: int) -> None:
    maps = random_maps(seed)
    width = (0.02, 0.005, 0.2)[seed % 3]
    reach = max(1, round(width * float(np.sqrt(maps.truth.shape[0] ** 2 + maps.truth.shape[1] ** 2))))
    assert band_width(maps.truth.shape, width) == reach
    found = measured(maps, np.ones(maps.classes), width).sums
    for label in range(maps.classes):
        ours, theirs = (band(ids == label, reach) for ids in (maps.judged, maps.truth))
        assert found.intersection[label] == (ours & theirs).sum()
        assert found.union[label] == (ours | theirs).sum()


def squares(shape: tuple[int, int], *corners: tuple[int, int], side: int = 4) -> np.ndarray:
    ids = np.zeros(shape, np.uint8)
    for top, left in corners:
        ids[top : top + side, left : left + side] = 1
    return ids


def test_a_class_of_one_side_alone_has_no_distance_and_nothing_in_common() -> None:
    truth, predicted = squares((20, 20), (3, 3)), np.zeros((20, 20), np.uint8)
    for pair in ((predicted, truth), (truth, predicted)):
        found = boundaries_of(*pair, np.full(3, 2.0), width=0.02)
        scores = found.sums.scores()
        assert scores["boundary_iou"][1] == scores["nsd"][1] == 0
        assert np.isnan(found.hd95[1])
        # a class in neither is not there
        assert np.isnan([scores["boundary_iou"][2], scores["nsd"][2], found.hd95[2]]).all()
        assert found.present.tolist() == [True, True, False]


@pytest.mark.parametrize("corner", [(3, 60), (50, 3), (50, 60)])
def test_far_objects_have_the_distance_between_them(corner: tuple[int, int]) -> None:
    """More than is looked at around each pixel, and beyond the columns and rows of the other one."""
    spacing = (1.0, 3.0)
    pair = squares((70, 80), corner), squares((70, 80), (3, 3))
    edges = [np.argwhere((ids == 1) & ~ndimage.binary_erosion(ids == 1)) * spacing for ids in pair]
    between = np.linalg.norm(edges[0][:, None] - edges[1], axis=2)
    nearest = [between.min(axis) for axis in (0, 1)]
    tolerance = float(np.median(np.concatenate(nearest)))
    found = boundaries_of(*pair, np.array([1.0, tolerance]), width=0.02, spacing=spacing)
    assert found.hd95[1] == pytest.approx(max(np.percentile(each, 95) for each in nearest))
    assert found.sums.near[1] == sum(int((each <= tolerance * (1 + 1e-9)).sum()) for each in nearest)


def test_where_monai_differs() -> None:
    """The examples of the reference: NSD by lengths, and HD95 of a class that one side lacks."""
    truth = squares((20, 20), (4, 4), side=8)
    predicted = truth.copy()
    predicted[4:8, 12:16] = 1
    found = boundaries_of(predicted, truth, np.ones(2), width=0.02)
    pair = [one_hot(ids, 2) for ids in (predicted, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_length = compute_surface_dice(*pair, [1.0, 1.0], include_background=True, use_subvoxels=True)
        missed = compute_hausdorff_distance(one_hot(np.zeros_like(truth), 2), pair[1], percentile=95)
    assert found.sums.scores()["nsd"][1] == pytest.approx(0.857, abs=5e-4)
    assert float(by_length[0, 1]) == pytest.approx(0.864, abs=5e-4)
    assert not np.isfinite(float(missed[0, 0]))


def test_sums_add() -> None:
    """A data set's figure is that of its images side by side, where no boundaries meet."""
    pairs = [(squares((30, 30), (8, 9)), squares((30, 30), (8, 8))), (squares((30, 30), (20, 9)),) * 2]
    each = [boundaries_of(*pair, np.ones(2), width=0.02).sums for pair in pairs]
    near = sum(sums.near[1] for sums in each)
    assert near / sum(sums.boundary_pixels[1] for sums in each) == pytest.approx(1.0)
    assert sum(sums.intersection[1] for sums in each) == each[0].intersection[1] + 12


def test_a_distance_of_the_tolerance_is_within_it() -> None:
    """0.1 x 3 is a little more than 0.3 in floating point."""
    pair = squares((20, 20), (8, 5)), squares((20, 20), (8, 8))
    spacing = (0.1, 0.1)
    found = boundaries_of(*pair, np.array([0.3, 0.3]), width=0.02, spacing=spacing)
    assert found.sums.near[1] == found.sums.boundary_pixels[1]


def test_many_classes_and_16_bits() -> None:
    maps = random_maps(8)
    wide = [
        np.where(ids == maps.classes, 300, ids + 200).astype(np.uint16)
        for ids in (maps.predicted, maps.truth)
    ]
    found = boundaries_of(wide[0], wide[1], np.full(300, 2.0), width=0.02, spacing=maps.spacing)
    narrow = measured(maps, np.full(maps.classes, 2.0))
    np.testing.assert_array_equal(found.hd95[200 : 200 + maps.classes], narrow.hd95)
    np.testing.assert_array_equal(found.sums.near[200 : 200 + maps.classes], narrow.sums.near)
    assert not found.sums.union[:200].any()


def test_without_a_spacing_there_are_bands_and_no_distances() -> None:
    maps = random_maps(3)
    found = boundaries_of(maps.predicted, maps.truth, np.ones(maps.classes), width=0.02, spacing=None)
    np.testing.assert_array_equal(found.sums.union, measured(maps, np.ones(maps.classes)).sums.union)
    assert np.isnan(found.hd95).all()
    assert np.isnan(found.sums.scores()["nsd"]).all()


def test_pixels_may_be_much_wider_than_high() -> None:
    """Then a column without the class must not seem nearer than one far away that has it."""
    truth, predicted = np.zeros((40, 300), np.uint8), np.zeros((40, 300), np.uint8)
    truth[2, 3] = predicted[37, 290] = 1
    found = boundaries_of(predicted, truth, np.ones(2), width=0.02, spacing=(0.001, 1000.0))
    assert found.hd95[1] == pytest.approx(287_000)


def test_a_long_raster_counts_in_32_bits() -> None:
    truth, predicted = np.zeros((2, 20_000), np.uint8), np.zeros((2, 20_000), np.uint8)
    truth[:, 3] = predicted[:, 19_000] = 1
    found = boundaries_of(predicted, truth, np.ones(2), width=0.0001)
    assert found.hd95[1] == 18_997
