"""What makes networks faster leaves what they answer as it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from segmentors.test_smp import random_network
from tiny_checkpoints import build
from torch import nn

import batchseg
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.segmentors.network.pointwise import speed_up_pointwise
from batchseg.segmentors.registry import load_segmentor, open_checkpoint
from tests.segmentors.loaded import blobs

LOAD = """
import batchseg
model = {"model": MODEL, "compile": True}
try:
    batchseg.load_segmentor(model)
except batchseg.BatchsegError as exc:
    print(exc)
"""


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("segformer", tmp_path_factory.mktemp("segformer"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def operations(work: Callable[[], object]) -> set[str]:
    with torch.profiler.profile() as profiler:
        work()
    return {event.key for event in profiler.key_averages()}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("shape", [(1, 6, 9, 7), (3, 6, 40, 33)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pointwise_convolutions_are_the_same(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(6, 8, 1),
        nn.Conv2d(8, 8, 1, bias=False),
        nn.Conv2d(8, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 4, 1, padding=1),
    ).eval()
    pixels = torch.randn(shape).to(memory_format=layout)
    with torch.inference_mode():
        plain = network(pixels)
        speed_up_pointwise(network)
        assert torch.allclose(network(pixels), plain, atol=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_a_loaded_network_has_no_slow_convolution(segformer: Path) -> None:
    prepare, model = batchseg.load_segmentor({"model": str(segformer), "engine": "torch"}, precision="fp32")
    inputs = [prepare(np.zeros((48, 64, 3), np.uint8))] * 2  # torch has small single images go the slow way
    names = operations(lambda: model.segment(inputs))
    assert "aten::mkldnn_convolution" in names or not torch.backends.mkldnn.is_available()
    assert "aten::_slow_conv2d_forward" not in names or not torch.backends.mkldnn.is_available()


@pytest.mark.slow
def test_a_compiled_network_answers_the_same(segformer: Path) -> None:
    rng = np.random.default_rng(0)
    prepare, plain = batchseg.load_segmentor({"model": str(segformer), "engine": "torch"}, precision="fp32")
    _, compiled = batchseg.load_segmentor({"model": str(segformer), "compile": True}, precision="fp32")
    images = [rng.integers(0, 256, (*hw, 3), dtype=np.uint8) for hw in ((48, 64), (70, 50))]
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError):
        compiled.segment([prepare(images[0])])  # there is something to compile
    for image in images:
        one, other = (model.segment([prepare(image)] * 2)[1].labels_HW for model in (plain, compiled))
        assert one.shape == image.shape[:2]
        assert (one == other).mean() > 0.999


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_compiling_does_not_count_against_a_call(segformer: Path, tmp_path: Path) -> None:
    rng, images = np.random.default_rng(0), tmp_path / "images"
    images.mkdir()
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(images / f"{index}.png")
    job = {"source": str(images), "output": str(tmp_path / "out"), "limits": {"segment_timeout_s": 1}}
    hardware = {"batch_size": 2, "actors": 1}
    config = batchseg.load_config(
        overrides={**job, "segmentor": {"model": str(segformer), "compile": True, **hardware}}
    )
    assert batchseg.run(config).statuses == {"ok": 3}


def test_what_changes_masks_changes_the_fingerprint(segformer: Path) -> None:
    settings: list[dict[str, bool]] = [{}, {"compile": True}, {"scaled_decode": True}]
    settings.append({"compile": True, "scaled_decode": True})
    found = {
        open_checkpoint(HuggingFaceSegmentor(model=str(segformer), **some)).fingerprint for some in settings
    }
    assert len(found) == len(settings)


def test_without_a_compiler_it_is_one_sentence(segformer: Path, tmp_path: Path) -> None:
    program = LOAD.replace("MODEL", repr(str(segformer)))
    environment = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    (sentence,) = done.stdout.splitlines()
    assert sentence.startswith("segmentor.compile needs a C++ compiler")


@pytest.mark.parametrize("height, width", [(128, 1), (94, 20), (200, 30), (64, 64), (30, 200)])
def test_narrow_images_have_the_masks_of_float32(height: int, width: int, tmp_path: Path) -> None:
    """oneDNN's bf16 convolutions of two columns and less are wrong on processors with AMX."""
    random_network().save_pretrained(tmp_path)
    said = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "engine": "torch"}
    found = []
    for precision in ("fp32", "bf16"):
        prepare, model = load_segmentor({"model": str(tmp_path), **said}, precision=precision)
        [mask] = model.segment([prepare(blobs(height, width))])
        found.append(mask.labels_HW)
    assert (found[0] == found[1]).mean() >= 0.95
