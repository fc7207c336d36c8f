"""Objects against scipy's labelling, torchmetrics' PQ and one written here, on random label maps."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import torch
from label_maps import CASES, Maps, random_maps
from scipy import ndimage
from torchmetrics.detection import PanopticQuality
from torchmetrics.functional.detection import panoptic_quality

from batchseg.metrics.components import Components
from batchseg.metrics.objects import OUTCOMES, MatchedObjects, match_objects
from batchseg.metrics.outlines import outlines_as_wkb

EIGHT = np.ones((3, 3))


def wanted(classes: int, seed: int = 1) -> np.ndarray:
    """All classes, or all but the first."""
    chosen = np.ones(classes + 1, np.bool_)
    chosen[classes] = False
    chosen[0] = classes == 1 or seed % 2 == 1
    return chosen


def labelled(ids: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """A number from 1 on for each component, class by class; 0 where there is none."""
    found = np.zeros(ids.shape, np.int64)
    for label in np.flatnonzero(chosen):
        numbers, _ = ndimage.label(ids == label, EIGHT)
        found[numbers > 0] = numbers[numbers > 0] + found.max()
    return found


def matched(maps: Maps, chosen: np.ndarray) -> MatchedObjects:
    sides = [Components.of(ids, chosen) for ids in (maps.predicted, maps.truth)]
    return match_objects(sides[0], sides[1], maps.classes)


@pytest.mark.parametrize("seed", range(CASES))
def test_components_are_scipys(seed: int) -> None:
    maps = random_maps(seed)
    chosen = wanted(maps.classes, seed)
    found = Components.of(maps.predicted, chosen)
    expected = labelled(maps.predicted, chosen)
    height, width = expected.shape
    numbers = found.at(*np.divmod(np.arange(height * width), width)).reshape(height, width) + 1
    pairs = {*zip(numbers.ravel().tolist(), expected.ravel().tolist(), strict=True)}
    assert len(pairs) == len(np.unique(numbers)) == len(np.unique(expected))
    assert found.count == expected.max()
    firsts = [np.flatnonzero(numbers.ravel() == number)[0] for number in range(1, found.count + 1)]
    assert firsts == sorted(firsts)
    for index, box in enumerate(ndimage.find_objects(numbers)):
        rows, columns = np.nonzero(numbers == index + 1)
        assert found.areas[index] == len(rows)
        assert found.boxes[index].tolist() == [box[0].start, box[1].start, box[0].stop, box[1].stop]
        assert found.centres[index] == pytest.approx([rows.mean() + 0.5, columns.mean() + 0.5])
        assert found.classes[index] == maps.predicted[rows[0], columns[0]]


def panoptic(maps: Maps, chosen: np.ndarray) -> dict[int, tuple[float, int, int, int]]:
    """Sum of IoU, matches, false positives and misses by class, after Kirillov et al.'s own words."""
    predicted, truth = (labelled(ids, chosen) for ids in (maps.predicted, maps.truth))
    void = maps.truth == maps.classes
    sums = {int(label): [0.0, 0, 0, 0] for label in np.flatnonzero(chosen)}
    hit = set()
    for number in range(1, truth.max() + 1):
        mine = truth == number
        label = int(maps.truth[mine][0])
        for other in np.unique(predicted[mine]):
            theirs = predicted == other
            if other == 0 or maps.predicted[theirs][0] != label:
                continue
            iou = (mine & theirs).sum() / (mine | (theirs & ~void)).sum()
            if iou > 0.5:
                sums[label][0] += iou
                sums[label][1] += 1
                hit.add(int(other))
                break
        else:
            sums[label][3] += 1
    for other in range(1, predicted.max() + 1):
        theirs = predicted == other
        if other not in hit and 2 * (theirs & void).sum() <= theirs.sum():
            sums[int(maps.predicted[theirs][0])][2] += 1
    return {label: tuple(values) for label, values in sums.items()}


@pytest.mark.parametrize("seed", range(CASES))
def test_matching_is_that_of_the_paper(seed: int) -> None:
    maps = random_maps(seed)
    chosen = wanted(maps.classes, seed)
    sums = matched(maps, chosen).sums
    for label, (iou, matches, false, missed) in panoptic(maps, chosen).items():
        assert sums.iou[label] == pytest.approx(iou)
        assert (sums.matched[label], sums.false[label], sums.missed[label]) == (matches, false, missed)


@pytest.mark.parametrize("seed", range(CASES))
def test_pq_is_that_of_torchmetrics(seed: int) -> None:
    """Void of the truth is an unknown category there. Abstaining pixels are a category of their own: an
    unknown one would take a part of the truth out of the count (see the reference)."""
    maps = random_maps(seed)
    chosen = wanted(maps.classes, seed)
    things, other = [int(label) for label in np.flatnonzero(chosen)], [98]
    other += [label for label in range(maps.classes) if not chosen[label]]
    predicted, truth = (labelled(ids, chosen) for ids in (maps.predicted, maps.truth))
    abstained = np.where(maps.predicted == maps.classes, 98, maps.predicted)
    ignored = np.where(maps.truth == maps.classes, 99, maps.truth)
    pair = [
        torch.tensor(np.stack(each, axis=-1).astype(np.int64))[None]
        for each in ((abstained, predicted), (ignored, truth))
    ]
    expected = panoptic_quality(
        *pair, things={*things}, stuffs={*other}, return_per_class=True, allow_unknown_preds_category=True
    ).numpy()
    found = np.nan_to_num(matched(maps, chosen).sums.scores()["panoptic_quality"])
    np.testing.assert_allclose(found[things], expected.ravel()[: len(things)], atol=1e-6)


def test_a_predicted_object_in_void_is_no_false_positive() -> None:
    truth = np.full((10, 10), 2, np.uint8)
    truth[:, 6:] = 0
    predicted = np.zeros((10, 10), np.uint8)
    predicted[1:4, 2:9] = 1  # 12 of its 21 pixels have no truth
    predicted[6:9, 4:9] = 1  # 6 of 15
    found = matched(Maps(predicted, truth, 2, (1.0, 1.0)), wanted(2, 0))
    assert [OUTCOMES[each] for each in found.predicted.outcomes] == ["ignored", "false_positive"]
    assert found.sums.false.tolist() == [0, 1]
    assert np.isnan(found.sums.scores()["panoptic_quality"][0])


def test_where_torchmetrics_differs() -> None:
    """The example of the reference: a truth of 10 pixels, on 6 of which the mask abstains."""
    truth, predicted = np.zeros((4, 12), np.uint8), np.zeros((4, 12), np.uint8)
    truth[1, 1:11], predicted[1, 1:7] = 1, 2
    found = matched(Maps(predicted, truth, 2, (1.0, 1.0)), wanted(2, 0))
    assert found.sums.missed.tolist() == [0, 1]
    theirs = PanopticQuality(things={1}, stuffs={0}, allow_unknown_preds_category=True)
    sides = [np.stack([ids, ids == 1], axis=-1).astype(np.int64)[None] for ids in (predicted, truth)]
    theirs.update(*map(torch.tensor, sides))
    assert theirs.false_negatives.tolist() == [0, 0]


def test_an_iou_of_a_half_is_no_match() -> None:
    truth, predicted = np.zeros((4, 8), np.uint8), np.zeros((4, 8), np.uint8)
    truth[1, 1:5] = predicted[1, 1:3] = 1
    found = matched(Maps(predicted, truth, 2, (1.0, 1.0)), wanted(2, 0))
    assert (found.truth.iou.tolist(), found.truth.match.tolist()) == ([0.5], [-1])
    assert (found.sums.missed[1], found.sums.false[1]) == (1, 1)


@pytest.mark.parametrize("seed", range(0, CASES, 5))
def test_outlines_are_exact_and_valid(seed: int) -> None:
    maps = random_maps(seed)
    components = Components.of(maps.predicted, wanted(maps.classes, seed))
    shapes = shapely.from_wkb(outlines_as_wkb(components))
    assert shapely.is_valid(shapes).all()
    assert shapely.area(shapes).tolist() == components.areas.tolist()
    height, width = maps.predicted.shape
    rows, columns = np.divmod(np.arange(height * width), width)
    numbers = components.at(rows, columns)
    for index, shape in enumerate(shapes):
        inside = shapely.contains_xy(shape, columns + 0.5, rows + 0.5)
        assert np.array_equal(inside, numbers == index)


def test_outlines_have_holes_and_lie_on_the_map() -> None:
    ids = np.ones((7, 9), np.uint8)
    ids[2:4, 3:6] = 0
    components = Components.of(ids, np.array([False, True, False]))
    (shape,) = shapely.from_wkb(outlines_as_wkb(components, (2.0, 0.0, 100.0, 0.0, -2.0, 50.0)))
    assert shape.bounds == (100.0, 36.0, 118.0, 50.0)
    assert len(shape.interiors) == 1
    assert shape.area == 4 * (7 * 9 - 6)
    # nothing but the corners
    assert len(shape.exterior.coords) == len(shape.interiors[0].coords) == 5
