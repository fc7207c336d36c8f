"""Label maps of prompted models equal those of the library, one whole forward pass a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoImageProcessor

import batchseg
from tests.segmentors.prompted.tiny_prompted import (
    FAMILIES,
    NAMES,
    NETWORKS,
    SIDE,
    build_prompted,
    tokenizer,
)

SIZES = [(64, 64), (37, 91), (120, 55), (33, 33)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: build_prompted(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


def images(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Blocks of colour, of odd sizes."""
    generator = np.random.default_rng(seed)
    found = []
    for height, width in SIZES[:count]:
        blocks = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        found.append(blocks.repeat(8, 0).repeat(8, 1)[:height, :width].copy())
    return found


@torch.inference_mode()
def naive(family: str, folder: Path, image: NDArray[np.uint8], prompts: Sequence[str]) -> dict[str, Tensor]:
    """What the library says of an image, one forward a prompt: maps [N, h, w] and, of SAM 3, presences."""
    network = NETWORKS[family].from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    square = {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False}
    known = {key: value for key, value in square.items() if key in processor.valid_kwargs.__annotations__}
    pixels = processor(images=image, return_tensors="pt", **known)["pixel_values"]
    maps, presences = [], []
    for prompt in prompts:
        if family.startswith("sam3"):
            tokens = tokenizer()([prompt], return_tensors="pt", padding="max_length", max_length=32)
            answer = network(pixel_values=pixels, **tokens)
            presence = answer.presence_logits.sigmoid()
            scores = answer.pred_logits.sigmoid() * presence
            masks = (answer.pred_masks.sigmoid() * scores[..., None, None]).amax(1)
            maps.append(torch.maximum(answer.semantic_seg.sigmoid()[:, 0], masks)[0])
            presences.append(presence[0, 0])
            continue
        tokens = tokenizer()([prompt], return_tensors="pt")
        if family == "clipseg":
            logits = network(pixel_values=pixels, **tokens).logits
            maps.append(logits.reshape(logits.shape[-2:]).sigmoid())
        else:
            maps.append(
                network(pixel_values=pixels, output_segmentation=True, **tokens).segmentation_logits[0, 0]
            )
    found = {"maps": torch.stack(maps)}
    return {**found, "presence": torch.stack(presences)} if presences else found


def decided(
    family: str, said: dict[str, Tensor], size: tuple[int, int], with_background: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The argmax of interpolated maps, and where it is no tie."""
    maps = said["maps"]
    if "presence" in said:
        maps = maps * (said["presence"] >= 0.5)[:, None, None]
    if family == "groupvit" and with_background:
        maps = maps.sigmoid() if len(maps) == 1 else maps.softmax(0)
    upright = interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    if with_background:
        upright = torch.cat([torch.full_like(upright[:1], 0.5), upright])
    best = upright.topk(min(2, len(upright)), dim=0).values
    apart = best[0] - best[-1] > 1e-5 * max(1.0, float(upright.abs().max()))
    return upright.argmax(0).numpy(), apart.numpy()


def load(folder: Path, classes: Sequence[str] | None, **prompting: Any) -> Any:
    settings = {"model": str(folder), "prompting": prompting, "precision": "fp32"}
    return batchseg.load_segmentor(settings if classes is None else {**settings, "classes": [*classes]})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("prompts", "batch"), [(1, 2), (2, 1), (4, 3), (7, 4)])
def test_label_maps_equal_a_loop_over_the_library(
    family: str, prompts: int, batch: int, checkpoints: dict[str, Path]
) -> None:
    folder, names = checkpoints[family], NAMES[:prompts]
    prepare, model = load(folder, ["background", *names], at_once=3)
    some = images(batch)
    found = model.segment([prepare(each) for each in some])
    classes = set()
    for each, prediction in zip(some, found, strict=True):
        said = naive(family, folder, each, names)
        wanted_HW, apart_HW = decided(family, said, each.shape[:2], with_background=True)
        np.testing.assert_array_equal(prediction.labels_HW[apart_HW], wanted_HW[apart_HW])
        assert apart_HW.mean() > 0.8 or "presence" in said  # where nothing is there, all but it ties
        classes |= {*np.unique(wanted_HW)}
    assert len(classes) > 1 or prompts < 4


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_background_the_best_class_takes_every_pixel(
    family: str, checkpoints: dict[str, Path]
) -> None:
    prepare, model = load(checkpoints[family], NAMES[:4], presence=0)
    (image,) = images(1)
    said = {"maps": naive(family, checkpoints[family], image, NAMES[:4])["maps"]}
    wanted_HW, apart_HW = decided(family, said, image.shape[:2], with_background=False)
    (prediction,) = model.segment([prepare(image)])
    np.testing.assert_array_equal(prediction.labels_HW[apart_HW], wanted_HW[apart_HW])
    assert prediction.confidence.contested_fraction is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_its_own(family: str, checkpoints: dict[str, Path]) -> None:
    """Several inputs of a batch show the same image; SAM 3 says whether the thing is there."""
    folder = checkpoints[family]
    prepare, model = load(folder, None)
    one, other = images(2)
    asked = [(one, "car"), (other, "car"), (one, "a  tree "), (one, "car")]
    inputs = [replace(prepare(image), prompt=prompt) for image, prompt in asked]
    for (image, prompt), prediction in zip(asked, model.segment(inputs), strict=True):
        said = naive(family, folder, image, [" ".join(prompt.split())])
        wanted_HW, apart_HW = decided(family, said, image.shape[:2], with_background=True)
        np.testing.assert_array_equal(prediction.labels_HW[apart_HW], wanted_HW[apart_HW])
        if "presence" in said:
            assert prediction.presence == pytest.approx(float(said["presence"][0]), abs=1e-5)
        else:
            assert prediction.presence is None


@pytest.mark.parametrize("family", ["sam3", "sam3_lite_text"])
def test_what_is_not_there_has_an_empty_mask(family: str, checkpoints: dict[str, Path]) -> None:
    (image,) = images(1)
    presence = float(naive(family, checkpoints[family], image, ["car"])["presence"][0])
    for threshold, is_empty in ((presence - 1e-3, False), (presence + 1e-3, True)):
        prepare, model = load(checkpoints[family], None, presence=threshold, threshold=0.05)
        (prediction,) = model.segment([replace(prepare(image), prompt="car")])
        assert bool(prediction.labels_HW.any()) is not is_empty
        assert prediction.presence == pytest.approx(presence, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_close(family: str, checkpoints: dict[str, Path]) -> None:
    maps = []
    for precision in ("fp32", "bf16"):
        settings = {"model": str(checkpoints[family]), "classes": ["background", *NAMES[:2]]}
        prepare, model = batchseg.load_segmentor(
            {**settings, "precision": precision, "prompting": {"presence": 0}}
        )
        (scores,) = model.segmentor.scores([prepare(images(1)[0])])
        assert scores.maps.dtype == torch.float32 and scores.kind == "sigmoids"
        maps.append(scores.maps)
    assert float((maps[0] - maps[1]).abs().mean()) < 0.05
