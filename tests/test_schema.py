"""The tables' contract with whoever analyses them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batchseg.config.base import METRICS
from batchseg.results.explanations import EXPLANATIONS
from batchseg.schema import (
    CLASS_HISTORY,
    CLASSES,
    IMAGES,
    PIXELS,
    TABLES,
    TRUTH_FAULTS,
    Status,
    TruthStatus,
    as_markdown,
)

SCHEMAS = {**TABLES, "explanations": EXPLANATIONS, "class_history": CLASS_HISTORY}

# columns are only ever added: what stands here is in other people's queries
PROMISED = {
    "images": "id uri status error width height mask has_truth accuracy recall_weighted f1_weighted "
    "recall_macro f1_macro precision_macro mean_iou truth_pixels confidence_mean entropy_mean entropy_p95 "
    "low_confidence_fraction segment_s source_version model fingerprint run_id finished_at",
    "pixels": "id truth predicted pixels",
    "calibration": "id truth predicted bin pixels top_sum truth_sum",
    "objects": "id side object class_id area area_world left top width height centre_x centre_y "
    "touches_border outcome match iou confidence_mean geometry",
    "boundary": "id class_id intersection union boundary_iou near boundary_pixels nsd tolerance hd95",
    "classes": "class_id class_name precision recall f1 iou dice support predicted_pixels",
    "explanations": "id class_id class_name method target inside_share area_share language_off_changed "
    "language_off_target remainder grid picture fingerprint source_version",
    "class_history": "epoch class_id class_name iou truth_pixels",
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_promised_columns_are_there_in_order(name: str) -> None:
    names = SCHEMAS[name].names
    assert len(names) == len(set(names))
    assert [column for column in names if column in PROMISED[name].split()] == PROMISED[name].split()


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_is_described_and_listed(name: str) -> None:
    lines = as_markdown(SCHEMAS[name]).splitlines()[2:]
    assert len(lines) == len(SCHEMAS[name])
    for field, line in zip(SCHEMAS[name], lines, strict=True):
        description = field.metadata[b"description"].decode()
        assert len(description.split()) > 1
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells == [f"`{field.name}`", str(field.type), "yes" if field.nullable else "no", description]


def test_every_metric_that_can_be_a_gate_is_a_column() -> None:
    assert set(METRICS) <= set(IMAGES.names)
    assert all(IMAGES.field(metric).type == pa.float64() for metric in METRICS)
    assert all(IMAGES.field(metric).nullable for metric in METRICS)


def test_what_identifies_a_row_is_never_null() -> None:
    assert not any(schema.field("id").nullable for schema in (IMAGES, PIXELS))
    assert not CLASSES.field("class_id").nullable
    assert IMAGES.field("finished_at").type == pa.timestamp("us", tz="UTC")


def test_statuses() -> None:
    assert {status.value for status in Status} == {
        "ok", "unreadable", "unsupported", "too_large", "missing", "denied", "name_collision", "bad_prompt",
        "model_failed",
    }  # fmt: skip
    assert {status.value for status in TruthStatus} == {
        "none", "ok", "missing", "unreadable", "mismatch", "out_of_range",
    }  # fmt: skip
    assert set(TRUTH_FAULTS) == {status.value for status in TruthStatus} - {"none", "ok"}


def test_a_fault_of_a_truth_is_told_from_the_same_of_its_image() -> None:
    kinds = [status.kind for statuses in (Status, TruthStatus) for status in statuses]
    assert len({*kinds}) == len(kinds)
    assert (Status.MISSING.kind, TruthStatus.MISSING.kind) == ("missing", "truth_missing")
