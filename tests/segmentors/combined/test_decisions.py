"""Runs of several looks and several models against sums by hand, with the library's own forward passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, SegformerImageProcessor

import batchseg
from tests.segmentors.tiny_checkpoints import build

pytestmark = pytest.mark.usefixtures("in_tasks")

SIZES = [(48, 64), (75, 50)]  # height and width of the pictures
FIRST, SECOND = ("road", "car", "bus", "tree"), ("tree", "Road", "sky")


def checkpoint(folder: Path, names: tuple[str, ...], size: int, seed: int) -> Path:
    build("segformer", folder, len(names))
    network = AutoModelForSemanticSegmentation.from_pretrained(folder)
    torch.manual_seed(seed)
    for parameter in network.decode_head.linear_fuse.parameters():  # another model than those of other seeds
        parameter.data.add_(torch.randn_like(parameter) * parameter.std())
    for parameter in network.decode_head.classifier.parameters():  # not so sure that all ties are at 1
        parameter.data.mul_(0.2)
    network.config.id2label = dict(enumerate(names))
    network.save_pretrained(folder)
    SegformerImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decisions")
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for index, (height, width) in enumerate(SIZES):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(root / "photos" / f"{index}.png")
    checkpoint(root / "first", FIRST, 64, seed=1)
    checkpoint(root / "second", SECOND, 64, seed=2)
    checkpoint(root / "finer", SECOND, 96, seed=3)
    return root


def masks(folder: Path, tmp_path: Path, segmentor: Any, **settings: Any) -> list[NDArray[Any]]:
    """Of a run in fp32."""
    model = {**(segmentor if isinstance(segmentor, dict) else {"model": segmentor}), "precision": "fp32"}
    job = {
        "source": str(folder / "photos"),
        "segmentor": model,
        "output": str(tmp_path / "results"),
        **settings,
    }
    batchseg.run(batchseg.load_config(overrides=job))
    return [
        np.array(Image.open(tmp_path / "results" / "masks" / f"{index}.png")) for index in range(len(SIZES))
    ]


@torch.inference_mode()
def logits(folder: Path, name: str, index: int, flip: tuple[int, ...] = ()) -> Tensor:
    """[C, h, w] of a picture, mirrored along some dimensions before and after."""
    network = AutoModelForSemanticSegmentation.from_pretrained(folder / name)
    processor = AutoImageProcessor.from_pretrained(folder / name)
    picture = torch.from_numpy(np.array(Image.open(folder / "photos" / f"{index}.png"))).permute(2, 0, 1)
    values = processor(images=picture.flip(flip) if flip else picture, return_tensors="pt")
    found: Tensor = network(**values).logits[0]
    return found.flip(flip) if flip else found


def full(maps_CHW: Tensor, index: int) -> Tensor:
    return interpolate(maps_CHW[None], size=SIZES[index], mode="bilinear", align_corners=False)[0]


def common(maps_CHW: Tensor, to: list[int], classes: int) -> Tensor:
    """Probabilities of the classes that they have in common."""
    found = torch.zeros(classes, *maps_CHW.shape[1:])
    for probability_HW, index in zip(maps_CHW, to, strict=True):
        found[index] += probability_HW
    return found


def assert_same(mask_HW: NDArray[Any], scores_CHW: Tensor) -> None:
    """But for ties."""
    best = scores_CHW.sort(0, descending=True).values
    clear_HW = ((best[0] - best[1]).abs() > 1e-5).numpy()
    assert clear_HW.mean() > 0.99
    expected_HW = scores_CHW.argmax(0).numpy()
    assert np.array_equal(mask_HW[clear_HW], expected_HW[clear_HW])
    assert len(np.unique(expected_HW)) > 1


def test_an_ensemble_of_a_model_and_itself_is_the_model(folder: Path, tmp_path: Path) -> None:
    alone = masks(folder, tmp_path / "alone", str(folder / "first"))
    twice = {"kind": "ensemble", "members": [str(folder / "first")] * 2}
    for one, other in zip(alone, masks(folder, tmp_path / "twice", twice), strict=True):
        assert np.array_equal(one, other)
    record = json.loads((tmp_path / "twice" / "results" / "run.json").read_text())
    assert record["precision"] == "fp32"


def test_different_label_maps_on_one_grid(folder: Path, tmp_path: Path) -> None:
    members = {"kind": "ensemble", "members": [str(folder / "first"), str(folder / "second")]}
    found = masks(folder, tmp_path, members)
    for index, mask_HW in enumerate(found):
        one, other = (logits(folder, name, index).softmax(0) for name in ("first", "second"))
        mean = (common(one, [0, 1, 2, 3], 5) + common(other, [3, 0, 4], 5)) / 2
        assert_same(mask_HW, full(mean.clamp(min=1e-38).log(), index))


def test_different_grids_with_weights(folder: Path, tmp_path: Path) -> None:
    members = [str(folder / "first"), str(folder / "finer")]
    found = masks(folder, tmp_path, {"kind": "ensemble", "members": members, "weights": [3, 1]})
    for index, mask_HW in enumerate(found):
        one, other = (logits(folder, name, index).softmax(0) for name in ("first", "finer"))
        total = 3 * full(common(one, [0, 1, 2, 3], 5), index) + full(common(other, [3, 0, 4], 5), index)
        assert_same(mask_HW, total / 4)


def test_mirrored_views(folder: Path, tmp_path: Path) -> None:
    views = {"flip": ["horizontal", "vertical"]}
    found = masks(folder, tmp_path, str(folder / "first"), views=views)
    for index, mask_HW in enumerate(found):
        each = [logits(folder, "first", index, flip).softmax(0) for flip in ((), (2,), (1,), (1, 2))]
        assert_same(mask_HW, full(torch.stack(each).mean(0).log(), index))


def test_views_in_other_sizes(folder: Path, tmp_path: Path) -> None:
    found = masks(folder, tmp_path, str(folder / "first"), views={"scales": [0.5, 1, 1.5]})
    network = AutoModelForSemanticSegmentation.from_pretrained(folder / "first")
    for index, mask_HW in enumerate(found):
        total = torch.zeros(4, *SIZES[index])
        for size in (32, 64, 96):
            processor = SegformerImageProcessor(size={"height": size, "width": size})
            picture = Image.open(folder / "photos" / f"{index}.png")
            values = processor(
                images=torch.from_numpy(np.array(picture)).permute(2, 0, 1), return_tensors="pt"
            )
            with torch.inference_mode():
                total += full(network(**values).logits[0].softmax(0), index)
        assert_same(mask_HW, total / 3)


def test_merged_classes_add_before_the_highest_is_taken(folder: Path, tmp_path: Path) -> None:
    found = masks(folder, tmp_path, str(folder / "first"), merge={"vehicle": ["car", "bus"]})
    for index, mask_HW in enumerate(found):
        one = logits(folder, "first", index).softmax(0)
        assert_same(mask_HW, full(common(one, [0, 1, 1, 2], 3).log(), index))


def test_merging_moves_no_border_between_the_others(folder: Path, tmp_path: Path) -> None:
    before = masks(folder, tmp_path / "before", str(folder / "first"))
    after = masks(folder, tmp_path / "after", str(folder / "first"), merge={"vehicle": ["car", "bus"]})
    for one, other in zip(before, after, strict=True):
        others = np.isin(one, (0, 3)) & (other != 1)
        assert np.array_equal(np.array([0, 1, 1, 2])[one][others], other[others])


WHOLE = """
import torch
from torch.nn.functional import avg_pool2d

class Luma:
    labels = ["dark", "bright"]
    scores = {kind!r}

    def __init__(self, device):
        pass

    def segment(self, images):
        answers = []
        for image in images:
            grey = torch.from_numpy(image).float().mean(2)[None, None]
            share = avg_pool2d(grey, 4, ceil_mode=True, count_include_pad=False)[0] / 255
            answers.append({answer})
        return answers
"""


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("probabilities", "torch.cat([1 - share, share])"),
        ("probabilities", "share.numpy()"),
        ("logits", "torch.logit(share)"),
        ("logits", "torch.cat([torch.zeros_like(share), torch.logit(share)]).half()"),
    ],
)
@pytest.mark.parametrize("threshold", [None, 0.4])
def test_scores_of_a_class_of_ones_own(
    folder: Path, tmp_path: Path, kind: str, answer: str, threshold: float | None
) -> None:
    (tmp_path / "luma.py").write_text(WHOLE.format(kind=kind, answer=answer))
    model = {"model": f"{tmp_path / 'luma.py'}:Luma", **({"threshold": threshold} if threshold else {})}
    found = masks(folder, tmp_path, model)
    for index, mask_HW in enumerate(found):
        picture = np.array(Image.open(folder / "photos" / f"{index}.png"))
        grey = torch.from_numpy(picture).float().mean(2)[None, None]
        share = torch.nn.functional.avg_pool2d(grey, 4, ceil_mode=True, count_include_pad=False)[0] / 255
        limit = threshold or 0.5
        if kind == "probabilities":
            margin = full(share, index)[0] - limit
        else:
            margin = full(torch.logit(share), index)[0] - np.log(limit / (1 - limit))
        clear = (margin.abs() > (5e-3 if "half" in answer else 1e-4)).numpy()
        assert clear.mean() > 0.9
        assert np.array_equal(mask_HW[clear], (margin > 0).numpy()[clear])
    table = batchseg.open_results(str(tmp_path / "results")).images
    assert all(value is not None for value in table["confidence_mean"].to_pylist())


@pytest.mark.parametrize(
    ("kind", "answer", "sentence"),
    [
        (None, "torch.cat([1 - share, share])", "the class needs `scores = "),
        ("probabilities", "torch.cat([1 - share, 9 * share])", 'say `scores = "logits"`'),
        ("logits", "torch.cat([share] * 3)", "scores of 2 classes must be [2, h, w], not float32 [3, "),
        ("logits", "share[0]", "a label map must be integer [H, W], and scores must be floats [C, h, w]"),
    ],
)
def test_scores_that_are_none(folder: Path, tmp_path: Path, kind: Any, answer: str, sentence: str) -> None:
    (tmp_path / "luma.py").write_text(WHOLE.format(kind=kind, answer=answer))
    job = {
        "source": str(folder / "photos"),
        "segmentor": f"{tmp_path / 'luma.py'}:Luma",
        "output": str(tmp_path / "results"),
        "limits": {"stop_after_failures": 0},
    }
    batchseg.run(batchseg.load_config(overrides=job))
    table = batchseg.open_results(str(tmp_path / "results")).images
    assert table["status"].to_pylist() == ["model_failed"] * 2
    assert all(sentence in error for error in table["error"].to_pylist())


@pytest.mark.parametrize("setting", ["none_below", "threshold"])
@pytest.mark.parametrize("tiling", [None, 32])
def test_label_maps_alone_have_no_probabilities(
    folder: Path, tmp_path: Path, setting: str, tiling: int | None
) -> None:
    (tmp_path / "luma.py").write_text(WHOLE.format(kind=None, answer="(image.mean(2) > 128).astype(int)"))
    job = {
        "source": str(folder / "photos"),
        "segmentor": {"model": f"{tmp_path / 'luma.py'}:Luma", setting: 0.4},
        "output": str(tmp_path / "results"),
        "tiling": tiling,
    }
    batchseg.run(batchseg.load_config(overrides=job))
    table = batchseg.open_results(str(tmp_path / "results")).images
    assert all(f"leave segmentor.{setting}" in error for error in table["error"].to_pylist())
