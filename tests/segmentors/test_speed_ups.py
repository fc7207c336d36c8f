"""What makes networks faster leaves what they answer as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import build
from torch import nn

import batchseg
from batchseg.segmentors.pointwise import speed_up_pointwise

LOAD = """
import torch, batchseg
model = {"model": MODEL, "compile": True}
try:
    batchseg.load_segmentor(model)
except batchseg.BatchsegError as exc:
    print(exc)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_pointwise_convolutions_are_the_same(threads: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(6, 8, 1),
        nn.Conv2d(8, 8, 1, bias=False),
        nn.Conv2d(8, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 4, 1, padding=1),
    ).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for shape in ((1, 6, 9, 7), (3, 6, 40, 33)):
                image = torch.randn(shape)
                for pixels in (image, image.to(memory_format=torch.channels_last)):
                    plain = nn.Sequential(*network)(pixels)
                    other = nn.Sequential(*network)
                    speed_up_pointwise(other)
                    assert torch.allclose(other(pixels), plain, atol=1e-5)
                    for module in other:
                        module.__dict__.pop("forward", None)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_compiled_network_answers_the_same(tmp_path: Path) -> None:
    folder = build("segformer", tmp_path)
    rng = np.random.default_rng(0)
    prepare, plain = batchseg.load_segmentor(str(folder), precision="fp32")
    _, compiled = batchseg.load_segmentor({"model": str(folder), "compile": True}, precision="fp32")
    for hw in ((48, 64), (70, 50)):
        image = rng.integers(0, 256, (*hw, 3), dtype=np.uint8)
        one, other = (model.segment([prepare(image)] * 2)[1].labels_HW for model in (plain, compiled))
        assert one.shape == hw
        assert (one == other).mean() > 0.999


def test_without_a_compiler_it_is_one_sentence(tmp_path: Path) -> None:
    folder = build("segformer", tmp_path)
    program = LOAD.replace("MODEL", repr(str(folder)))
    empty = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        env={**empty},
        check=True,
    )
    (sentence,) = done.stdout.splitlines()
    assert sentence.startswith("segmentor.compile needs a C++ compiler")
