"""Large rasters: the result does not depend on how they are cut, and is what the whole would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rasterio
from raster_scenes import check_equal_cuts, make_scene, mask_of, results_of, run
from sklearn.metrics import accuracy_score, f1_score, recall_score

from batchseg.inspect.verify import verify

pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


@pytest.mark.parametrize(
    ("blend", "overlap", "scale"),
    [
        ("gaussian", 0.25, 1.0),
        ("constant", 0.25, 0.5),
        ("gaussian", 0, 1.5),
        ("constant", 0.5, 1.5),
        ("gaussian", 0.5, 0.7),
        ("constant", 0, 1.0),
    ],
)
def test_parts_change_nothing(tmp_path: Path, blend: str, overlap: float, scale: float) -> None:
    scene = make_scene(tmp_path)
    check_equal_cuts(scene, {"blend": blend, "overlap": overlap, "scale": scale})
    with rasterio.open(scene / "whole/masks/a.tif") as mask, rasterio.open(scene / "images/a.tif") as image:
        assert (mask.crs, mask.transform, mask.shape) == (image.crs, image.transform, image.shape)
    assert verify(str(scene / "cut100")).counts == {}


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ("uint8", None),
        ("uint16", None),
        ("uint16", [0, 60_000]),
        ("uint16", {"percentiles": [2, 98]}),
        ("int16", {"percentiles": [0, 100]}),
        ("float32", [[0, 1], [0, 2], [-1, 1]]),
    ],
)
def test_parts_of_bands_change_nothing(tmp_path: Path, kind: str, scale: Any) -> None:
    scene = make_scene(tmp_path, kind=kind, channels=4, nodata=0)
    (scene / "truth/a.tif").unlink()
    source = {"bands": [4, 1, 2], "scale": scale, "truth": None}
    check_equal_cuts(scene, {"overlap": 0.25}, source=source)


def test_figures_are_those_of_the_whole(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    result = run(scene, "cut", {"part": 100})
    with rasterio.open(scene / "truth/a.tif") as file:
        truth = file.read(1).ravel()
    truth, labels = truth[truth != 255], mask_of(scene, "cut").ravel()[truth != 255]
    (row,) = results_of(scene, "cut")[1]
    assert row["truth_pixels"] == len(truth)
    assert row["accuracy"] == accuracy_score(truth, labels)
    for figure, score in (("recall", recall_score), ("f1", f1_score)):
        for average in ("macro", "weighted"):
            expected = score(truth, labels, average=average, zero_division=0)
            assert row[f"{figure}_{average}"] == pytest.approx(expected, abs=1e-12)
    assert result.metrics["accuracy"] == row["accuracy"]
