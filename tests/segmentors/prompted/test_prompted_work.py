"""What prompted models compute once, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import batchseg
from batchseg.segmentors.prompted import model as prompted_model
from tests.segmentors.prompted.test_prompted_maps import images, load
from tests.segmentors.prompted.tiny_prompted import FAMILIES, NAMES, build_prompted


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: build_prompted(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


@contextmanager
def passes(model: Any) -> Iterator[dict[str, int]]:
    """How many images and texts go through the network."""
    network, seen = model.segmentor.family.network, {"images": 0, "texts": 0}
    vision = getattr(network, "clip", network)
    text = getattr(vision, "text_model", None) or network.text_encoder
    vision = getattr(vision, "vision_model", None) or network.vision_encoder

    def count(name: str) -> Any:
        def hook(_module: Any, args: Any, kwargs: Any, _output: Any) -> None:
            given = next(iter((*args, *kwargs.values())))
            seen[name] += len(given)

        return hook

    hooks = [
        vision.register_forward_hook(count("images"), with_kwargs=True),
        text.register_forward_hook(count("texts"), with_kwargs=True),
    ]
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_seen_once_and_a_text_is_read_once(family: str, checkpoints: dict[str, Path]) -> None:
    prepare, model = load(checkpoints[family], ["background", *NAMES], at_once=2)
    inputs = [prepare(image) for image in images(3)]
    with passes(model) as seen:
        model.segmentor.scores(inputs)
        assert seen == {"images": 3, "texts": len(NAMES)}
        # a batch is filled up with copies of its last image
        model.segmentor.scores([inputs[0], inputs[1], inputs[1], inputs[1]])
    assert seen == {"images": 5, "texts": len(NAMES)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_with_a_prompt_a_row(family: str, checkpoints: dict[str, Path]) -> None:
    """In one batch and in batches that follow."""
    prepare, model = load(checkpoints[family], None)
    one, other = images(2)
    first = [
        replace(prepare(image), prompt=prompt) for image in (one, other) for prompt in ("car", "tree", "car")
    ]
    then = [replace(prepare(one), prompt="tree"), replace(prepare(other), prompt="sky")]
    with passes(model) as seen:
        model.segmentor.scores(first)
        assert seen == {"images": 2, "texts": 2}
        model.segmentor.scores(then)
    assert seen == {"images": 2, "texts": 3}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_kept_says_the_same(
    family: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order, and whatever is in the batch; also where nothing is kept for long."""
    one, other = images(2)
    asked = [(one, "car"), (other, "tree"), (one, "tree"), (other, "tree"), (one, "car")]
    prepare, model = load(checkpoints[family], None)
    inputs = [replace(prepare(image), prompt=prompt) for image, prompt in asked]
    together = model.segmentor.scores(inputs)
    monkeypatch.setattr(prompted_model, "IMAGE_BYTES", 0)
    monkeypatch.setattr(prompted_model, "TEXT_BYTES", 0)
    _, forgetful = load(checkpoints[family], None)
    for each, kept in zip(inputs, together, strict=True):
        (alone,) = forgetful.segmentor.scores([each])
        torch.testing.assert_close(kept.maps, alone.maps, rtol=0, atol=1e-5)
    assert forgetful.segmentor.images.held_bytes > 0


def peak_bytes(model: Any, given: Any) -> int:
    """What torch allocates at most while one image is segmented, beyond the maps that come out."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        (scores,) = model.segmentor.scores([given])
    events = [each for each in found.profiler.kineto_results.events() if each.name() == "[memory]"]
    events.sort(key=lambda each: each.start_ns())
    held = np.cumsum([each.nbytes() for each in events])
    return int(held.max()) - scores.maps.nbytes


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_does_not_grow_with_the_number_of_prompts(family: str, checkpoints: dict[str, Path]) -> None:
    (image,) = images(1)
    peaks = []
    for count in (8, 64):
        names = [f"a {chr(97 + index % 26)} of {chr(97 + index // 26)}" for index in range(count)]
        prepare, model = load(checkpoints[family], ["background", *names], at_once=4)
        given = prepare(image)
        model.segmentor.scores([given])  # texts are read, and kept
        peaks.append(peak_bytes(model, given))
    assert peaks[1] <= 1.1 * peaks[0]


def test_prompts_drawn_together_and_one_by_one_are_the_same(checkpoints: dict[str, Path]) -> None:
    for family in FAMILIES:
        maps = []
        for at_once in (1, 8):
            prepare, model = load(checkpoints[family], ["background", *NAMES], at_once=at_once, presence=0)
            maps.append(model.segmentor.scores([prepare(images(1)[0])])[0].maps)
        torch.testing.assert_close(*maps, rtol=0, atol=1e-5)


def test_an_image_without_a_prompt_says_so(checkpoints: dict[str, Path]) -> None:
    prepare, model = batchseg.load_segmentor(str(checkpoints["clipseg"]))
    with pytest.raises(ValueError, match="the image has no prompt"):
        model.segment([prepare(images(1)[0])])
