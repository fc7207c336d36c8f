"""Blended windows against MONAI's `sliding_window_inference`, over random pictures, models and settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch.nn import functional

from batchseg.config.looks import Tiling, Views
from batchseg.segmentors.base import Scores
from batchseg.segmentors.combined import mosaic
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.looks import Looks, Picture
from batchseg.segmentors.combined.windows import parts_of, seen_by
from batchseg.segmentors.threshold import Identity

CASES = 20


def network(seed: int, classes: int, channels: int) -> torch.nn.Module:
    """Scores at a half, a quarter or an eighth of the resolution."""
    torch.manual_seed(seed)
    stride = (2, 4, 8)[seed % 3]
    cells = torch.nn.Conv2d(channels, 8, stride, stride)
    made = torch.nn.Sequential(cells, torch.nn.GELU(), torch.nn.Conv2d(8, classes, 3, 1, 1))
    made[2].weight.data *= 8
    return made.eval()


def case(seed: int) -> tuple[np.ndarray, Tiling, torch.nn.Module, int]:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 150, 2).tolist()  # some are smaller than a window
    channels, classes = int(rng.integers(1, 5)), int(rng.integers(2, 12))
    pixels = rng.normal(size=(height // 8 + 1, width // 8 + 1, channels)).repeat(8, 0).repeat(8, 1)
    pixels = (pixels[:height, :width] + rng.normal(0, 0.1, (height, width, channels))).astype(np.float32)
    tiling = Tiling(
        size=int(rng.choice([48, 64, 96])),
        overlap=float(rng.choice([0, 0.1, 0.25, 0.5, 0.6])),
        blend=("gaussian", "constant")[seed % 2],
        part=int(rng.choice([4096, 50, 100])),
    )
    return pixels, tiling, network(seed, classes, channels), classes


def expected(pixels: np.ndarray, tiling: Tiling, model: torch.nn.Module) -> torch.Tensor:
    """Averaged probabilities [C, H, W] by MONAI, which pads what is smaller than a window."""

    def predict(windows: torch.Tensor) -> torch.Tensor:
        scores = model(windows).softmax(1)
        return functional.interpolate(scores, windows.shape[2:], mode="bilinear", align_corners=False)

    side = (tiling.size, tiling.size)
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    settings: dict[str, Any] = {"overlap": tiling.overlap, "mode": tiling.blend, "padding_mode": "reflect"}
    return sliding_window_inference(picture, side, 3, predict, **settings)[0]


@pytest.mark.filterwarnings("ignore")  # of MONAI
@torch.no_grad()
@pytest.mark.parametrize("seed", range(CASES))
def test_probabilities_and_labels(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, tiling, model, classes = case(seed)
    size = (pixels.shape[0], pixels.shape[1])
    wanted = expected(pixels, tiling, model)
    blended: list[torch.Tensor] = []
    sure = mosaic.Sureness.of

    def seen(probabilities: torch.Tensor) -> Any:
        blended.append(probabilities)
        return sure(probabilities)

    monkeypatch.setattr(mosaic.Sureness, "of", seen)
    monkeypatch.setattr(mosaic, "EVERY", 1)  # all pixels tell how sure the model is
    looks = Looks([Identity()], [Identity()], Decision(classes), tiling, Views())
    labels = np.empty(size, np.int64)
    probabilities = torch.empty(classes, *size)
    for part in parts_of(size, tiling):
        blended.clear()
        canvas: Any = looks.canvas(size, part)
        blocks = [
            (rows[0], rows[1], columns[0], columns[1]) for rows in canvas.rows for columns in canvas.columns
        ]
        top, left, height, width = seen_by(size, part, tiling)
        held = pixels[top : top + height, left : left + width]
        for look in looks.inputs(Picture(held), size, part):
            window = torch.from_numpy(look.model_input.pixels_THWC).permute(0, 3, 1, 2)
            canvas.add(look.window, Answer(Scores("logits", model(window)[0])))
        top, left, height, width = part
        labels[top : top + height, left : left + width] = canvas.prediction().labels_HW
        for (start, end, first, stop), values in zip(blocks, blended, strict=True):
            probabilities[:, start:end, first:stop] = values.view(classes, end - start, stop - first)
    torch.testing.assert_close(probabilities, wanted, rtol=0, atol=1e-5)
    best, second = wanted.topk(2, dim=0).values
    clear = (best - second > 1e-5).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(labels[clear], wanted.argmax(0).numpy()[clear])
