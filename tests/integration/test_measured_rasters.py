"""Boundaries and objects of rasters: joined from parts, on the map, and too large to be held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from raster_scenes import UTM, make_scene, mask_of, run, write_tiff
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.transform import Affine

import batchseg
from batchseg.inspect.verify import verify
from batchseg.stages import by_window

pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

BOTH = {"metrics": ["boundary", "objects"], "objects": {"geometry": True}}


def rows(scene: Path, out: str, kind: str) -> list[dict[str, Any]]:
    """Without how sure the model was of each object, which nobody knows of what was joined or scored anew."""
    table = getattr(batchseg.open_results(str(scene / out)), kind)
    return table.drop_columns([name for name in table.column_names if name == "confidence_mean"]).to_pylist()


def test_a_raster_in_parts_is_measured_as_one(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, nodata=0)
    more = {**BOTH, "boundary": {"unit": "spacing", "tolerance": 15}}
    run(scene, "whole", {"part": 4096}, **more)
    run(scene, "cut", {"part": 47}, **more)
    for kind in ("objects", "boundary"):
        assert rows(scene, "cut", kind) == rows(scene, "whole", kind) != []
    figures = ("boundary_iou", "nsd", "hd95", "panoptic_quality", "object_recall", "false_positives")
    ours, theirs = (rows(scene, out, "images")[0] for out in ("cut", "whole"))
    assert [ours[name] for name in figures] == [theirs[name] for name in figures]
    assert verify(str(scene / "cut")).counts == {}
    # metrics that are added later come from the mask that lies there, and are the same
    run(scene, "later", {"part": 47})
    result = run(scene, "later", {"part": 47}, **more)
    assert (result.segmented, result.scored) == (0, 1)
    for kind in ("objects", "boundary"):
        assert rows(scene, "later", kind) == rows(scene, "whole", kind)


def test_objects_lie_on_the_map(tmp_path: Path) -> None:
    """As rasterio outlines them, in the units of the map."""
    scene = make_scene(tmp_path)
    run(scene, "out", {"part": 47}, **BOTH)
    predicted = [row for row in rows(scene, "out", "objects") if row["side"] == "predicted"]
    assert all(row["area_world"] == row["area"] * 100 for row in predicted)
    mask = mask_of(scene, "out")
    ours = shapely.from_wkb([row["geometry"] for row in predicted])
    assert shapely.area(ours).tolist() == [row["area_world"] for row in predicted]
    for label in np.unique(mask):
        theirs = [
            shapely.geometry.shape(each)
            for each, value in shapes(mask, mask == label, 8, UTM["transform"])
            if value == label
        ]
        mine = [shape for shape, row in zip(ours, predicted, strict=True) if row["class_id"] == label]
        assert len(mine) == len(theirs)
        assert shapely.union_all(mine).symmetric_difference(
            shapely.union_all(shapely.make_valid(theirs))
        ).area == pytest.approx(0)


@pytest.mark.parametrize(
    ("place", "factor"),
    [
        ({"transform": Affine(0, 2, 5, -3, 0, 7)}, 6.0),  # turned by a quarter
        ({"crs": CRS.from_epsg(4326), "transform": Affine(0.1, 0, 7, 0, -0.1, 50)}, None),  # degrees
        ({"transform": Affine(2, 1, 5, 0, -3, 7)}, None),  # not at right angles
        ({"crs": None, "transform": Affine.identity()}, None),
    ],
)
def test_the_size_of_a_pixel_is_the_maps(tmp_path: Path, place: dict[str, Any], factor: float | None) -> None:
    grey = np.random.default_rng(2).integers(0, 256, (30, 40, 3), np.uint8)
    write_tiff(tmp_path / "images/a.tif", grey, **place)
    settings = {"metrics": "objects"}
    batchseg.run(tmp_path / "images", model="threshold", output=tmp_path / "out", settings=settings)
    found = rows(tmp_path, "out", "objects")
    areas = [row["area"] * factor if factor else None for row in found]
    assert [row["area_world"] for row in found] == pytest.approx(areas) if factor else areas


def test_a_raster_that_is_too_large_is_not_measured_however_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures do not depend on whether the mask was held when it was made."""
    scene = make_scene(tmp_path)
    monkeypatch.setattr(by_window, "HELD_PIXELS", 1000)
    for out, part in (("cut", 47), ("whole", 4096)):
        result = run(scene, out, {"part": part}, **BOTH)
        assert result.warnings["unmeasured_images"].startswith("rasters that are too large")
        assert result.record["warnings"] == result.warnings
        (image,) = rows(scene, out, "images")
        assert (image["boundary_iou"], image["false_positives"]) == (None, None)
        assert image["mean_iou"] > 0
        assert rows(scene, out, "objects") == rows(scene, out, "boundary") == []
        assert run(scene, out, {"part": part}, **BOTH).done_before == 1
        assert verify(str(scene / out)).counts == {}
    (scene / "labels.yaml").write_text("classes: [a, b, c, d, e]")
    judged = batchseg.evaluate(
        scene / "cut/masks",
        truth=scene / "truth",
        output=scene / "eval",
        labels=scene / "labels.yaml",
        settings=BOTH,
    )
    assert judged.warnings["unmeasured_images"].endswith("(1 of them)")
    assert rows(scene, "eval", "objects") == []


def test_masks_that_are_evaluated_lie_where_they_lie(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    run(scene, "out", {"part": 47}, **BOTH)
    (scene / "labels.yaml").write_text("classes: [a, b, c, d, e]")
    given = {"truth": scene / "truth", "output": scene / "eval", "labels": scene / "labels.yaml"}
    batchseg.evaluate(scene / "out/masks", **given, settings=BOTH)
    assert rows(scene, "eval", "objects") == rows(scene, "out", "objects")


def test_a_truth_that_breaks_meanwhile_is_a_fault_of_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a raster whose parts are scored, and which is then read as a whole."""
    scene = make_scene(tmp_path)
    from batchseg.stages import measure

    def broken(*given: Any) -> Any:
        from batchseg.errors import RowFault
        from batchseg.schema import TruthStatus

        raise RowFault(TruthStatus.MISSING, "there is no such file")

    monkeypatch.setattr(measure, "open_truth", broken)
    run(scene, "out", {"part": 47}, gates={"max_failed": "100%"}, **BOTH)
    (image,) = rows(scene, "out", "images")
    assert (image["status"], image["truth_status"], image["mean_iou"]) == ("ok", "missing", None)
    assert {row["side"] for row in rows(scene, "out", "objects")} == {"predicted"}
    assert verify(str(scene / "out")).counts == {}
    with rasterio.open(scene / "out/masks/a.tif") as mask:
        assert mask.crs == UTM["crs"]


def test_masks_that_are_decided_again_are_measured_as_before(tmp_path: Path) -> None:
    """By what the run asked for; a class that is merged now takes the settings of its members along."""
    scene = make_scene(tmp_path)
    more = {**BOTH, "boundary": {"tolerance": {"b": 5}}, "objects": {"classes": ["b", "c"]}}
    first = run(
        scene,
        "out",
        {"part": 4096, "overlap": 0},
        output={"path": str(scene / "out"), "probabilities": "full"},
        **more,
    )
    again = batchseg.decide(scene / "out", output=scene / "again")
    assert again.record["objects"]["classes"] != [] != again.record["boundary"]["classes"]
    assert {row["class_id"] for row in rows(scene, "again", "objects")} == {1, 2}
    assert first.record["objects"]["images"] == again.record["objects"]["images"] == 1
    merged = batchseg.decide(scene / "out", output=scene / "merged", merge={"both": ["a", "b"]})
    names = [each["class_name"] for each in merged.record["objects"]["classes"]]
    assert sorted(names) == ["both", "c"]
    tolerances = {row["class_id"]: row["tolerance"] for row in rows(scene, "merged", "boundary")}
    place = merged.record["model"]["classes"].index("both")
    assert [tolerances.pop(place), {*tolerances.values()}] == [5, {2}]
    assert verify(str(scene / "merged")).counts == {}


def test_a_candidate_is_measured_and_promoted_with_its_tables(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    run(scene, "out", {"part": 4096}, **BOTH)
    other = {"segmentor": {"options": {"white": 200.0}}, "candidate": True}
    run(scene, "out", {"part": 4096}, **BOTH, **other)
    tried = rows(scene, "out/candidate", "objects")
    assert tried != rows(scene, "out", "objects")
    batchseg.promote(str(scene / "out"))
    assert rows(scene, "out", "objects") == tried
    assert verify(str(scene / "out")).counts == {}
