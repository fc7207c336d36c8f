"""What only a GPU can show: `pytest -m gpu` where there is one; elsewhere each is skipped by name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import batchseg
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.results.result import RunResult
from batchseg.segmentors.network.upload import to_device
from batchseg.segmentors.network.upsample import bilinear_argmax
from batchseg.segmentors.registry import open_checkpoint
from batchseg.stages.device import is_broken
from tests.segmentors.tiny_checkpoints import build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(60):
        size = (48 + 8 * (number % 3), 80)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("segformer", tmp_path_factory.mktemp("model"))


def masks_of(
    photos: Path, checkpoint: Path, output: Path, device: str, **segmentor: object
) -> list[np.ndarray]:
    config = {
        "source": str(photos),
        "segmentor": {"model": str(checkpoint), "device": device, "precision": "fp32", **segmentor},
        "output": str(output),
    }
    result = batchseg.run(batchseg.load_config(overrides=config))
    assert result.statuses == {"ok": 60}
    return [np.asarray(Image.open(file)) for file in sorted((output / "masks").iterdir())]


@pytest.mark.usefixtures("ray_session")
def test_its_graph_gives_the_masks_of_a_cpu(photos: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Tasks around an actor with two calls under way, and batches that grow."""
    one = masks_of(photos, checkpoint, tmp_path / "gpu", "cuda")
    other = masks_of(photos, checkpoint, tmp_path / "cpu", "cpu", batch_size=1)
    assert np.mean([np.mean(a == b) for a, b in zip(one, other, strict=True)]) > 0.999


def test_what_is_uploaded_is_what_is_scored(photos: Path, checkpoint: Path) -> None:
    opened = open_checkpoint(HuggingFaceSegmentor(model=str(checkpoint)))
    model, prepare = opened.load("cuda", "fp32"), opened.preparer()
    image_HWC = np.asarray(Image.open(photos / "00.png"))
    inputs = [prepare(image_HWC), prepare(image_HWC[::-1].copy())]
    first, second = model.upload(inputs), model.upload(inputs[::-1])
    ours = [scores.maps.cpu() for scores in (*first(), *second()[::-1])]
    for found, again in zip(ours[:2], ours[2:], strict=True):
        torch.testing.assert_close(found, again, rtol=1e-4, atol=1e-4)
    pixels_BHWC = to_device(inputs, torch.device("cuda"))
    assert pixels_BHWC.cpu().equal(torch.from_numpy(np.concatenate([each.pixels_THWC for each in inputs])))


GREEDY = """
class Mine:
    labels = ["a", "b"]
    def __init__(self, device): pass
    def segment(self, images):
        free, _ = torch.cuda.mem_get_info()
        if len(images) > 2:
            torch.empty(2 * free, dtype=torch.uint8, device="cuda")
        return [np.zeros(image.shape[:2], np.uint8) for image in images]
"""
ASSERTING = """
class Mine:
    labels = ["a", "b"]
    def __init__(self, device): self.table = torch.zeros(256, dtype=torch.long, device="cuda")
    def segment(self, images):
        for image in images:
            index = torch.tensor([int(image[0, 0, 0]) + 10**6 * bool((image == 13).all())])
            self.table[index.cuda()].cpu()
        return [np.zeros(image.shape[:2], np.uint8) for image in images]
"""


def run_by(code: str, images: Path, folder: Path, batch_size: int) -> RunResult:
    """By a class of a user's own."""
    (folder / "mine.py").write_text(f"import numpy as np\nimport torch\n{code}")
    model = {"model": f"{folder}/mine.py:Mine", "device": "cuda", "batch_size": batch_size}
    return batchseg.run(images, model=model, output=folder / "results")


@pytest.mark.usefixtures("ray_session")
def test_a_batch_too_large_is_halved_and_the_device_goes_on(photos: Path, tmp_path: Path) -> None:
    """One that takes memory by the image: torch says that it is out of it, and the device is not broken."""
    assert run_by(GREEDY, photos, tmp_path, batch_size=8).statuses == {"ok": 60}


@pytest.mark.usefixtures("ray_session")
def test_a_broken_context_costs_the_image_that_broke_it(tmp_path: Path) -> None:
    """An index beyond its table: a device-side assertion, after which every call fails."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((8, 12), 13 if number == 5 else 99, np.uint8)).save(folder / f"{number}.png")
    result = run_by(ASSERTING, folder, tmp_path, batch_size=4)
    assert result.statuses == {"model_failed": 1, "ok": 11}
    ((name, error),) = duckdb.sql(
        f"select id, error from '{tmp_path}/results/images/*.parquet' where status != 'ok'"
    ).fetchall()
    assert name == "5.png" and "device-side assert" in error


def test_an_exception_of_python_does_not_make_a_device_broken() -> None:
    torch.zeros(1, device="cuda")
    assert not is_broken(ValueError("CUDA error: says a user"))
    assert not is_broken(torch.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_label_maps_are_those_of_interpolate_and_argmax(dtype: torch.dtype) -> None:
    scores_CHW = torch.randn(150, 40, 50, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    scores_CHW = scores_CHW.to(dtype)
    expected: Tensor = torch.nn.functional.interpolate(scores_CHW[None].float(), (333, 401), mode="bilinear")
    two = expected[0].topk(2, 0).values
    is_sure_HW = two[0] - two[1] > 1e-5
    found_HW = bilinear_argmax(scores_CHW, (333, 401))
    assert found_HW[is_sure_HW].equal(expected[0].argmax(0).to(found_HW.dtype)[is_sure_HW])
    assert is_sure_HW.float().mean() > 0.999
