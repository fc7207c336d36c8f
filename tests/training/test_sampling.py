"""Balanced sampling: how often examples are drawn, what their crops show, and that it is found again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_training_data import batches

from batchseg.config.augmentation import Augmentation
from batchseg.segmentors.base import ModelInput
from batchseg.training.augment import Augment
from batchseg.training.sampling import Balance, drawn

# of 100 examples 99 show class 0, ten show 1, one shows 2, none shows 3; the truth of the last is damaged
SHOWN = [[0, 2], *[[0, 1]] * 10, *[[0]] * 88, None]
VOID = 4


def balance() -> Balance:
    found = Balance.of(pa.table({"classes": pa.array(SHOWN, pa.list_(pa.int32()))}))
    assert found is not None
    return found


def test_half_of_the_draws_take_every_class_alike() -> None:
    share = balance().share_N
    # half of all draws alike; the other half in three parts, each shared by the examples of its class
    expected = 0.5 / 100 + 0.5 / 3 * np.array(
        [(0 in (some or [])) / 99 + (1 in (some or [])) / 10 + (2 in (some or [])) for some in SHOWN]
    )
    assert share == pytest.approx(expected)
    counts = np.bincount(
        np.concatenate([drawn(np.random.default_rng(seed), share) for seed in range(200)]), minlength=100
    )
    assert counts.sum() == 200 * 100
    assert counts / counts.sum() == pytest.approx(expected, abs=2e-3)
    for seed in range(5):  # never further from its share than one
        times = np.bincount(drawn(np.random.default_rng(seed), share), minlength=100)
        assert np.abs(times - 100 * share).max() < 1


def test_the_classes_of_crops_are_drawn_alike() -> None:
    found, times = balance(), dict.fromkeys((None, 0, 1, 2), 0.0)
    for row, share in enumerate(found.share_N):
        draws = [found.shown(seed, row) for seed in range(400)]
        for name in times:
            times[name] += share * draws.count(name) / len(draws)
    assert times[None] == pytest.approx(0.5, abs=0.02)
    assert [times[name] for name in (0, 1, 2)] == pytest.approx([0.5 / 3] * 3, abs=0.02)


def test_without_the_column_nothing_is_balanced() -> None:
    assert Balance.of(pa.table({"id": ["a"]})) is None


# --- steps and workers ---


def test_balanced_batches_are_found_again_and_shared_among_workers() -> None:
    settings = {"rows": 100, "a_step": 8, "balance": balance(), "last": 24}
    both = [list(batches(rank=rank, **settings)) for rank in range(2)]
    assert list(batches(rank=1, first=13, **settings)) == both[1][26:]
    pairs = [{pair for batch in part for pair in batch} for part in both]
    assert not pairs[0] & pairs[1] and len(pairs[0]) == len(pairs[1]) == 24 * 4
    rows = [row for part in pairs for _, row in part]
    assert rows.count(0) / len(rows) == pytest.approx(balance().share_N[0], abs=0.03)


# --- crops ---


def crop(
    truth: np.ndarray, seed: int, shown: int | None, side: int = 16, **augmentation: object
) -> torch.Tensor:
    settings = Augmentation.model_validate({"scale": (1.0, 1.0), "colour": 0, **augmentation})
    pixels = np.repeat(truth[..., None].astype(np.uint8), 3, 2)
    found, labels = Augment(settings, side, VOID)(
        seed, ModelInput(pixels[None], truth.shape, {}), truth[None], shown
    )
    assert found.shape == (side, side, 3) and labels.shape == (1, side, side)
    known = (labels[0] != VOID) & ("scale" not in augmentation)  # what is resized is interpolated
    assert (found[..., 0][known] == labels[0][known]).all()
    return labels[0]


def test_a_crop_shows_the_class_that_it_has_to_and_lies_anywhere_over_it() -> None:
    truth = np.zeros((96, 128), np.uint8)
    truth[70, 9] = 2
    found = [crop(truth, seed, 2) for seed in range(300)]
    places = np.array([(labels == 2).nonzero()[0].tolist() for labels in found])
    assert all((labels == 2).sum() == 1 for labels in found)
    # of 96 rows all 16 places in the crop, of 10 columns from the left those up to the ninth
    assert {*places[:, 0]} == {*range(16)} and {*places[:, 1]} == {*range(10)}
    assert sum(bool((crop(truth, seed, None) == 2).any()) for seed in range(100)) < 20


def test_a_crop_in_which_nothing_counts_is_laid_anew_from_the_same_seed() -> None:
    truth = np.full((96, 128), VOID, np.uint8)
    truth[50:52, 100:102] = 1
    for seed in range(50):
        labels = crop(truth, seed, None, scale=(0.9, 1.5), flip=("horizontal",))
        assert (labels == 1).any()
        assert labels.equal(crop(truth, seed, None, scale=(0.9, 1.5), flip=("horizontal",)))
    assert (crop(np.full((40, 40), VOID, np.uint8), 0, None) == VOID).all()


def test_a_class_that_shrinking_took_away_is_not_insisted_on() -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[33, 33] = 3
    shapes = {int((crop(truth, seed, 3, scale=(0.3, 0.3)) == 3).sum()) for seed in range(5)}
    assert shapes <= {0, 1}
