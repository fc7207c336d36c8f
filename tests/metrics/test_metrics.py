from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.segmentation import dice_score

from batchseg.config.base import METRICS
from batchseg.metrics.confusion import ConfusionMatrix


@st.composite
def maps(draw, *, void: bool = True, images: int = 1):
    """The number of classes, and (prediction, truth) pairs; id C is void."""
    num_classes = draw(st.integers(1, 9))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
    ids = st.integers(0, num_classes if void else num_classes - 1)
    label_map = hnp.arrays(np.uint8, shape, elements=ids)
    return num_classes, [(draw(label_map), draw(label_map)) for _ in range(images)]


def reference(predicted, truth, num_classes):
    """Every figure by scikit-learn, over the pixels with truth; an abstention is one more wrong answer."""
    predicted, truth = predicted[truth < num_classes], truth[truth < num_classes]
    present = sorted({*truth.tolist(), *predicted.tolist()} - {num_classes})

    def score(name, average):
        function = getattr(sklearn_metrics, f"{name}_score")
        return function(truth, predicted, labels=present, average=average, zero_division=0)

    return {
        "accuracy": sklearn_metrics.accuracy_score(truth, predicted),
        "recall_weighted": score("recall", "weighted"),
        "f1_weighted": score("f1", "weighted"),
        "recall_macro": score("recall", "macro"),
        "f1_macro": score("f1", "macro"),
        "precision_macro": score("precision", "macro"),
        "mean_iou": score("jaccard", "macro"),
    }


@settings(deadline=None)
@given(maps())
def test_every_figure_is_that_of_scikit_learn(drawn):
    num_classes, [(predicted, truth)] = drawn
    assume((truth < num_classes).any())

    matrix = ConfusionMatrix.from_maps(predicted, truth, num_classes)

    expected = reference(predicted, truth, num_classes)
    assert matrix.summary() == pytest.approx(expected, rel=0, abs=1e-12)
    assert {name: getattr(matrix, name) for name in METRICS} == matrix.summary()
    assert matrix.truth_pixels == np.count_nonzero(truth < num_classes)


@settings(deadline=None)
@given(maps())
def test_every_class_is_that_of_scikit_learn_and_nan_where_undefined(drawn):
    num_classes, [(predicted, truth)] = drawn
    assume((truth < num_classes).any())
    valid = truth < num_classes

    scores = ConfusionMatrix.from_maps(predicted, truth, num_classes).per_class()

    labels = list(range(num_classes))
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        truth[valid], predicted[valid], labels=labels, zero_division=np.nan
    )
    iou = sklearn_metrics.jaccard_score(
        truth[valid], predicted[valid], labels=labels, average=None, zero_division=0
    )
    in_neither = ~np.isin(labels, truth[valid]) & ~np.isin(labels, predicted[valid])
    np.testing.assert_allclose(scores.precision, precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.recall, recall, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.f1, f1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.iou, np.where(in_neither, np.nan, iou), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(scores.dice, scores.f1)
    np.testing.assert_array_equal(scores.support, support)
    np.testing.assert_array_equal(scores.predicted_pixels, [(predicted == label).sum() for label in labels])


@settings(deadline=None)
@given(maps(void=False))
def test_iou_and_dice_are_those_of_torchmetrics(drawn):
    num_classes, [(predicted, truth)] = drawn
    assume(num_classes > 1)

    scores = ConfusionMatrix.from_maps(predicted, truth, num_classes).per_class()

    prediction, target = torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()
    iou = multiclass_jaccard_index(prediction, target, num_classes, average=None)
    dice = dice_score(prediction[None], target[None], num_classes, average=None, input_format="index")[0]
    np.testing.assert_allclose(np.nan_to_num(scores.iou), np.nan_to_num(iou.numpy()), atol=1e-6)
    np.testing.assert_allclose(np.nan_to_num(scores.dice), np.nan_to_num(dice.numpy()), atol=1e-6)


@settings(deadline=None)
@given(maps(images=3))
def test_matrices_add_up_to_that_of_all_pixels(drawn):
    num_classes, pairs = drawn
    parts = [ConfusionMatrix.from_maps(predicted, truth, num_classes) for predicted, truth in pairs]

    total = sum(parts, start=ConfusionMatrix.zeros(num_classes))

    predicted, truth = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert total == ConfusionMatrix.from_maps(predicted, truth, num_classes)
    assert total.counts.sum() == truth.size


@settings(deadline=None)
@given(maps())
def test_the_sparse_form_gives_the_matrix_back(drawn):
    num_classes, [(predicted, truth)] = drawn
    matrix = ConfusionMatrix.from_maps(predicted, truth, num_classes)

    true_ids, predicted_ids, pixels = matrix.sparse()

    assert pixels.min() >= 1
    assert len({*zip(true_ids, predicted_ids, strict=True)}) == len(pixels)
    assert ConfusionMatrix.from_sparse(true_ids, predicted_ids, pixels, num_classes) == matrix


def test_the_sparse_form_marks_none_by_minus_one_and_adds_repeated_pairs():
    columns = np.array([[0, 0, -1, 1], [1, 1, 0, -1], [2, 3, 4, 5]])

    matrix = ConfusionMatrix.from_sparse(*columns, 2)

    np.testing.assert_array_equal(matrix.counts, [[0, 5, 0], [0, 0, 5], [4, 0, 0]])
    assert [column.tolist() for column in matrix.sparse()] == [[0, 1, -1], [1, -1, 0], [5, 5, 4]]


def test_without_truth_predictions_are_counted_and_figures_are_none():
    predicted = np.array([[0, 0, 1, 2]], np.uint8)

    matrix = ConfusionMatrix.from_maps(predicted, None, 2)

    assert matrix == ConfusionMatrix.from_maps(predicted, np.full_like(predicted, 2), 2)
    assert matrix.summary() == dict.fromkeys(METRICS)
    assert matrix.truth_pixels == 0
    assert matrix.per_class().predicted_pixels.tolist() == [2, 1]
    assert np.isnan(matrix.per_class().precision).all()


def test_an_abstention_is_wrong_but_no_false_positive():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 2, 1, 1]], np.uint8)

    matrix = ConfusionMatrix.from_maps(predicted, truth, 2)

    assert matrix.accuracy == 0.75
    assert matrix.recall_macro == 0.75
    assert matrix.precision_macro == 1.0
    assert matrix.mean_iou == 0.75


def test_a_prediction_that_abstains_everywhere_scores_zero():
    matrix = ConfusionMatrix.from_maps(np.full((2, 2), 3, np.uint8), np.zeros((2, 2), np.uint8), 3)

    assert matrix.summary() == dict.fromkeys(METRICS, 0.0)


@pytest.mark.parametrize(("num_classes", "dtype"), [(255, np.uint8), (256, np.uint16), (700, np.uint16)])
def test_many_classes_are_counted_exactly(num_classes, dtype):
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, num_classes + 1, (2, 64, 64)).astype(dtype)

    matrix = ConfusionMatrix.from_maps(predicted, truth, num_classes)

    expected = np.zeros((num_classes + 1, num_classes + 1), int)
    np.add.at(expected, (truth, predicted), 1)
    np.testing.assert_array_equal(matrix.counts, expected)


def test_ids_beyond_void_and_maps_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"predicted ids reach from 0 to 4, not 0 to 3"):
        ConfusionMatrix.from_maps(np.array([[0, 4]]), None, 3)
    with pytest.raises(ValueError, match=r"truth ids reach from -1 to 0, not 0 to 3"):
        ConfusionMatrix.from_maps(np.array([[0, 1]]), np.array([[-1, 0]]), 3)
    with pytest.raises(ValueError, match=r"the truth is \(1, 1\), the prediction \(1, 2\)"):
        ConfusionMatrix.from_maps(np.array([[0, 1]]), np.array([[0]]), 3)
    with pytest.raises(ValueError, match=r"predicted ids reach from 3 to 3, not -1 to 2"):
        ConfusionMatrix.from_sparse(np.array([0]), np.array([3]), np.array([1]), 3)


def test_matrices_of_other_sizes_are_unequal_and_do_not_add():
    assert ConfusionMatrix.zeros(2) != ConfusionMatrix.zeros(3)
    assert ConfusionMatrix.zeros(2) != "a matrix"
    with pytest.raises(ValueError, match="2 and 3 classes"):
        ConfusionMatrix.zeros(2) + ConfusionMatrix.zeros(3)


def test_a_matrix_crosses_processes():
    matrix = ConfusionMatrix.from_maps(np.array([[0, 1]]), np.array([[0, 0]]), 2)

    assert pickle.loads(pickle.dumps(matrix)) == matrix
    assert math.isclose(matrix.f1_macro or 0, 1 / 3)
