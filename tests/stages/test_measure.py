"""Measure: what an item's label map, its truth and its probes say of boundaries and objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batchseg.config.base import Limits
from batchseg.config.metrics import BoundarySettings, ObjectSettings
from batchseg.config.run import RunConfig
from batchseg.errors import RowFault
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.metrics.measures import Measures
from batchseg.schema import Status
from batchseg.segmentors.base import Prediction, Probes
from batchseg.stages.item import Item
from batchseg.stages.measure import measure
from batchseg.stages.score import score
from batchseg.stages.write import Stamp, row_schema, to_table

LABELS = LabelMap.from_names(("background", "cell"))
IDS = np.zeros((8, 10), np.uint8)
IDS[1:4, 1:5] = IDS[5:8, 6:10] = 1


def measured(made: Item, **settings: Any) -> Item:
    config = RunConfig.model_construct(
        metrics=settings.pop("metrics", ("boundary", "objects")),
        boundary=BoundarySettings(),
        objects=ObjectSettings(**settings),
        spacing=None,
    )
    measures = Measures.of(config, LABELS)
    assert measures is not None
    reading = Reading(LABELS)
    stage = measure(measures, reading, Limits())
    (done,) = stage(score(reading, Limits(), keep_truth=True)(iter([made])))
    return done


def item(truth: str | None = None, probes: Probes | None = None) -> Item:
    row = {"id": "a", "uri": "/a.png", "truth": truth, "truth_version": None, "source_version": "v1"}
    made = Item.from_plan({**row, "size": 1, "status": None, "error": None, "mask": "a.png", "_row": 0})
    made.size_hw, made.prediction = IDS.shape, Prediction(IDS, probes=probes)
    return made


def test_a_background_is_no_object() -> None:
    rows = measured(item()).beside["objects"].to_pylist()
    assert [(row["class_id"], row["left"], row["top"], row["width"], row["height"]) for row in rows] == [
        (1, 1, 1, 4, 3),
        (1, 6, 5, 4, 3),
    ]
    assert [(row["centre_x"], row["centre_y"]) for row in rows] == [(3, 2.5), (8, 6.5)]
    assert [row["touches_border"] for row in rows] == [False, True]
    named = measured(item(), classes=("background",)).beside["objects"].to_pylist()
    assert [row["class_id"] for row in named] == [0]


def test_confidence_is_the_mean_of_the_probes_inside() -> None:
    top = np.array([0.9, 0.7, 0.6], np.float32)
    probes = Probes(
        rows_N=np.array([1, 2, 4]),
        columns_N=np.array([1, 4, 0]),
        probabilities_CN=np.stack([top, 1 - top]),
    )
    rows = measured(item(probes=probes)).beside["objects"].to_pylist()
    assert rows[0]["confidence_mean"] == pytest.approx(0.8)
    assert rows[1]["confidence_mean"] is None
    assert [row["confidence_mean"] for row in measured(item()).beside["objects"].to_pylist()] == [None, None]


def test_where_there_are_no_data_there_is_no_object(tmp_path: Path) -> None:
    Image.fromarray(IDS).save(tmp_path / "t.png")
    made = item(str(tmp_path / "t.png"))
    made.nodata_HW = np.zeros(IDS.shape, np.bool_)
    made.nodata_HW[:, 5:] = True
    done = measured(made)
    assert {(row["side"], row["area"]) for row in done.beside["objects"].to_pylist()} == {
        ("truth", 12),
        ("predicted", 12),
    }
    assert (done.figures["boundary_iou"], done.figures["panoptic_quality"]) == (1, 1)


def test_a_truth_of_void_alone_has_no_figures(tmp_path: Path) -> None:
    Image.fromarray(np.full(IDS.shape, 255, np.uint8)).save(tmp_path / "t.png")
    done = measured(item(str(tmp_path / "t.png")))
    assert done.beside["boundary"].to_pylist() == []
    assert {row["outcome"] for row in done.beside["objects"].to_pylist()} == {"ignored"}
    assert done.figures == {
        "boundary_iou": None,
        "nsd": None,
        "hd95": None,
        "panoptic_quality": None,
        "object_recall": None,
        "false_positives": 0,
    }


def test_the_truth_is_let_go(tmp_path: Path) -> None:
    Image.fromarray(IDS).save(tmp_path / "t.png")
    assert measured(item(str(tmp_path / "t.png"))).truth_HW is None


def test_an_image_that_is_gone_is_begun_anew(tmp_path: Path) -> None:
    """Nothing says any more where its objects would lie on the map."""
    made = item()
    made.row["uri"], made.kept = str(tmp_path / "gone.tif"), {"mask": "masks/a.png"}
    done = measured(made)
    assert done.fault is not None and done.fault.status is Status.MISSING
    assert (done.kept, done.prediction) == (None, None)


def test_rows_of_several_images_stay_apart(tmp_path: Path) -> None:
    """Of one that failed there are none, whatever was measured before."""
    Image.fromarray(IDS[::-1].copy()).save(tmp_path / "t.png")
    made = [measured(item(truth)) for truth in (None, str(tmp_path / "t.png"), None)]
    made[2].fault = RowFault(Status.DENIED, "the disk is full")
    made.append(measured(item(), metrics=("boundary",)))
    stamp = Stamp("m", "f", "s", "r")
    found = to_table(made, row_schema(pa.schema([])), stamp).to_pylist()
    objects = [row["_objects"] for row in found]
    assert [None if rows is None else len(rows) for rows in objects] == [2, 4, None, None]
    assert [row["side"] for row in objects[1]] == ["truth"] * 2 + ["predicted"] * 2
    assert {(row["outcome"], row["match"], row["iou"], row["geometry"]) for row in objects[0]} == {
        (None,) * 4
    }
    assert [(row["outcome"], row["match"]) for row in objects[1]] == [
        ("missed", None),
        ("missed", None),
        ("false_positive", None),
        ("false_positive", None),
    ]
    assert [row["_boundary"] is None for row in found] == [True, False, True, True]
    assert [row["_pixels"] is None for row in found] == [False, False, True, False]
