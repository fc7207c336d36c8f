"""Training examples: image and truth stay together, and a step finds its batch again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import SegformerImageProcessor

from batchseg.config.augmentation import Augmentation
from batchseg.config.base import Limits
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.segmentors.huggingface.files import CheckpointPlace
from batchseg.segmentors.huggingface.processor import HuggingFacePreparer
from batchseg.training.data import Augment, Batches, Samples, TrainingSet, ValidationSet
from batchseg.training.prompted import PromptedSet

SIDE = 64
CLASSES = LabelMap.from_names(("left", "right", "below"))
STILL = Augmentation(scale=(1.0, 1.0), colour=0)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """An image whose red says its class, one that is no image, and one whose truth has another size."""
    folder = tmp_path_factory.mktemp("pairs")
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[:, 40:], labels[50:] = 1, 2
    Image.fromarray(np.stack([100 * labels] * 3, 2)).save(folder / "a.png")
    Image.fromarray(labels).save(folder / "a_truth.png")
    (folder / "b.png").write_bytes(b"nothing")
    Image.fromarray(labels[:9]).save(folder / "c_truth.png")
    SegformerImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "segformer"}))
    paths = [("a", "a", "a_truth"), ("b", "b", "a_truth"), ("c", "a", "c_truth")]
    rows = [
        {"id": one, "uri": f"{folder / image}.png", "truth": f"{folder / truth}.png"}
        for one, image, truth in paths
    ]
    preparer = HuggingFacePreparer(CheckpointPlace(str(folder), None, False), "segformer")
    return Samples(pa.Table.from_pylist(rows), preparer, Reading(CLASSES), Limits())


def crops(samples: Samples, settings: Augmentation, crop: int = SIDE, count: int = 20) -> Any:
    chosen = TrainingSet(samples, Augment(settings, crop, CLASSES.void))
    return [chosen[(seed, 0)] for seed in range(count)]


@pytest.mark.parametrize(
    "settings", [STILL, Augmentation(scale=(0.5, 2.0), flip=("horizontal", "vertical"), colour=0)], ids=str
)
def test_truth_lies_on_what_it_shows(samples: Samples, settings: Augmentation) -> None:
    for pixels, labels in crops(samples, settings):
        assert pixels.shape == (SIDE, SIDE, 3) and pixels.dtype == torch.uint8
        assert labels.shape == (SIDE, SIDE) and labels.dtype == torch.int64
        known = labels != CLASSES.void
        # where the red is halfway between two classes, an edge was smoothed
        level = pixels[..., 0].float() / 100
        sure = known & ((level - level.round()).abs() < 0.2)
        assert sure.sum() > 0.8 * known.sum()
        assert (level.round()[sure] == labels[sure]).float().mean() > 0.98


def test_without_augmentation_it_is_the_model_s_own_input(samples: Samples) -> None:
    (whole,) = crops(samples, STILL, count=1)
    prepared = ValidationSet(samples)[0]
    assert np.array_equal(whole[0].numpy(), prepared.model_input.pixels_THWC[0])
    assert np.array_equal(whole[1].numpy(), prepared.truth_HW)


@pytest.mark.parametrize(("flip", "mirrored"), [((), False), (("horizontal",), True)])
def test_it_is_mirrored_where_the_configuration_allows(samples: Samples, flip: Any, mirrored: bool) -> None:
    settings = Augmentation(scale=(1.0, 1.0), colour=0, flip=flip)
    firsts = {int(labels[0, 0]) for _, labels in crops(samples, settings)}
    assert firsts == ({0, 1} if mirrored else {0})


def test_beyond_the_edge_there_is_no_truth(samples: Samples) -> None:
    for _, labels in crops(samples, Augmentation(scale=(0.5, 0.5), colour=0)):
        assert (labels == CLASSES.void).sum() == SIDE * SIDE - (SIDE // 2) ** 2


def test_a_seed_gives_the_same_crop_again(samples: Samples) -> None:
    first, second = (crops(samples, Augmentation(), 48) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one[0].equal(other[0]) and one[1].equal(other[1])
    assert len({crop[0].numpy().tobytes() for crop in first}) > 10


def test_what_cannot_be_read_is_named_and_left_out(samples: Samples) -> None:
    chosen = TrainingSet(samples, Augment(STILL, SIDE, CLASSES.void))
    batch = chosen.collate([chosen[(0, row)] for row in range(3)])
    assert batch.pixels_BHWC.shape == (1, SIDE, SIDE, 3)
    assert [(fault.id, fault.status) for fault in batch.faults] == [
        ("b", "unreadable"),
        ("c", "truth_mismatch"),
    ]
    nothing = chosen.collate([chosen[(0, 1)]])
    assert (nothing.labels_BHW == CLASSES.void).all() and len(nothing.faults) == 1


# --- with prompts ---


@pytest.fixture
def asked(samples: Samples) -> PromptedSet:
    """An image with six prompts and a seventh whose truth is too small, and an image that is none."""
    (pair,), columns = samples.rows.slice(0, 1).to_pylist(), ("id", "uri", "truth")
    (broken, small) = samples.rows.slice(1).to_pylist()
    rows = [{**pair, "id": f"a{number}", "prompt": f"thing {number}"} for number in range(6)]
    rows[2:2] = [{**broken, "prompt": "nothing"}]  # the rows of an image need not be neighbours
    rows.append({**{name: small[name] for name in columns}, "prompt": "small"})
    mirrored = Augmentation(scale=(1.0, 1.0), colour=0, flip=("horizontal",))
    read = Samples(pa.Table.from_pylist(rows), samples.preparer, Reading(CLASSES), Limits())
    return PromptedSet(read, Augment(mirrored, SIDE, CLASSES.void))


def test_an_image_is_learnt_from_once_for_some_of_its_prompts(asked: PromptedSet) -> None:
    assert len(asked) == 2
    seen, mirrored = set(), set()
    for seed in range(40):
        batch = asked.collate([asked[(seed, 0)]])
        (prompts,) = batch.prompts
        assert len(batch.pixels_BHWC) == 1 and batch.labels_BHW.shape == (len(prompts), SIDE, SIDE)
        assert len(prompts) + len(batch.faults) == 4 == len({*prompts, *(each.id for each in batch.faults)})
        level = (batch.pixels_BHWC[0, ..., 0].float() / 100).round()
        assert all((level == labels).all() for labels in batch.labels_BHW)
        seen |= {*prompts}
        mirrored.add(int(batch.labels_BHW[0, 0, 0]))
        assert {(fault.id, fault.status) for fault in batch.faults} <= {("c", "truth_mismatch")}
    assert seen == {f"thing {number}" for number in range(6)} and mirrored == {0, 1}


def test_of_images_that_cannot_be_read_each_row_is_named(asked: PromptedSet) -> None:
    batch = asked.collate([asked[(0, 1)]])
    assert [(fault.id, fault.status) for fault in batch.faults] == [("b", "unreadable")]
    assert (batch.labels_BHW == CLASSES.void).all() and batch.prompts == (("thing 0",),)
    both = asked.collate([asked[(0, 1)], asked[(0, 0)]])
    assert len(both.pixels_BHWC) == 1 and len(both.faults) >= 1


def batches(**more: Any) -> Batches:
    base = {
        "rows": 23,
        "a_step": 8,
        "accumulate": 2,
        "rank": 0,
        "workers": 2,
        "seed": 3,
        "first": 0,
        "last": 6,
    }
    return Batches(**{**base, **more})


def test_an_epoch_sees_no_image_twice_and_each_has_its_own_order() -> None:
    parts = [list(batches(rank=rank)) for rank in range(2)]
    assert [len(part) for part in parts] == [12, 12]  # 6 steps of 2 batches
    rows = [
        [row for part in parts for batch in part[4 * n : 4 * n + 4] for _, row in batch] for n in range(3)
    ]
    assert all(len(epoch) == len(set(epoch)) == 16 for epoch in rows)
    assert len({tuple(epoch) for epoch in rows}) == 3


def test_a_resumed_training_finds_the_batches_that_are_left() -> None:
    assert list(batches(first=4)) == list(batches())[8:]


def test_a_set_smaller_than_a_step_is_seen_several_times() -> None:
    (batch, *_) = batches(rows=3, accumulate=1, workers=1)
    assert len(batch) == 8 and {row for _, row in batch} == {0, 1, 2}
