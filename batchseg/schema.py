"""The output tables: the contract with whoever analyses them. Columns are only ever added."""

from __future__ import annotations

from enum import Enum

import pyarrow as pa


class Status(str, Enum):
    """What became of one image and its mask.

    Everything but `OK` is tried again by the next run, unless it is acknowledged.
    """

    OK = "ok"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    MISSING = "missing"
    DENIED = "denied"
    NAME_COLLISION = "name_collision"
    MODEL_FAILED = "model_failed"

    @property
    def kind(self) -> str:
        """What it is called where images are counted by what became of them."""
        return self.value


class TruthStatus(str, Enum):
    """What became of the ground truth of an image that has a mask. `NONE`: no truth is meant for it."""

    NONE = "none"
    OK = "ok"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    MISMATCH = "mismatch"
    OUT_OF_RANGE = "out_of_range"

    @property
    def kind(self) -> str:
        """As for `Status`, beside which it must be told apart."""
        return f"truth_{self.value}"


TRUTH_FAULTS = tuple(status.value for status in TruthStatus if status not in ("none", "ok"))


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_TIME = pa.timestamp("us", tz="UTC")

IMAGES = pa.schema(
    [
        _field("id", pa.string(), "POSIX path below the source folder, or the manifest's id", nullable=False),
        _field("uri", pa.string(), "where the image was read from", nullable=False),
        _field("status", pa.string(), "of the image and its mask: `ok`, or what failed", nullable=False),
        _field("error", pa.string(), "one sentence on what failed, be it the image or its truth"),
        _field("width", pa.int32(), "pixels, after EXIF orientation"),
        _field("height", pa.int32(), "pixels, after EXIF orientation"),
        _field("mask", pa.string(), "path of the mask, relative to the results folder"),
        _field("has_truth", pa.bool_(), "whether metrics were computed against ground truth", nullable=False),
        _field("accuracy", pa.float64(), "correct pixels / pixels with truth"),
        _field("recall_weighted", pa.float64(), "recall, classes weighted by support (equals accuracy)"),
        _field("f1_weighted", pa.float64(), "F1, classes weighted by support"),
        _field("recall_macro", pa.float64(), "mean recall of the classes in truth or prediction"),
        _field("f1_macro", pa.float64(), "mean F1 of the classes in truth or prediction"),
        _field("precision_macro", pa.float64(), "mean precision of the classes in truth or prediction"),
        _field(
            "mean_iou", pa.float64(), "mean intersection over union of the classes in truth or prediction"
        ),
        _field("truth_pixels", pa.int64(), "pixels with ground truth (ignored ones excluded)"),
        _field(
            "confidence_mean", pa.float64(), "mean top class probability, 0 to 1, at the model's resolution"
        ),
        _field("entropy_mean", pa.float64(), "mean entropy over log(classes), 0 to 1"),
        _field("entropy_p95", pa.float64(), "95th percentile of the same entropy"),
        _field("low_confidence_fraction", pa.float64(), "fraction of pixels with top probability under 0.5"),
        _field("segment_s", pa.float64(), "seconds in the model: its batch's time / images in the batch"),
        _field(
            "source_version",
            pa.string(),
            "what tells a changed image: size and time, digest, or `version`",
        ),
        _field("model", pa.string(), "the model as it was named"),
        _field("fingerprint", pa.string(), "hash of the weights and of every setting that changes a mask"),
        _field("run_id", pa.string(), "the run that computed the row", nullable=False),
        _field("finished_at", _TIME, "when the row was finished, UTC", nullable=False),
        _field("truth_status", pa.string(), "of its truth: `ok`, `none`, or what failed; null without mask"),
        _field("truth_version", pa.string(), "what tells a changed truth, as `source_version` does an image"),
        _field("score_fingerprint", pa.string(), "hash of how the label map reads truths; null without one"),
        _field("acknowledged", _TIME, "since when its fault is known for good, UTC; null: it is not"),
    ]
)

PIXELS = pa.schema(
    [
        _field("id", pa.string(), "the image", nullable=False),
        _field("truth", pa.int32(), "true class id; null where there is no truth or it is ignored"),
        _field("predicted", pa.int32(), "predicted class id; null where the mask abstains"),
        _field("pixels", pa.int64(), "number of pixels, at least 1", nullable=False),
    ]
)

CLASSES = pa.schema(
    [
        _field("class_id", pa.int32(), "pixel value in the masks", nullable=False),
        _field("class_name", pa.string(), "name from the label map", nullable=False),
        _field("precision", pa.float64(), "null where the class was never predicted"),
        _field("recall", pa.float64(), "null where the class is not in the truth"),
        _field("f1", pa.float64(), "null where the class is in neither truth nor prediction"),
        _field("iou", pa.float64(), "intersection over union; null where the class is in neither"),
        _field("dice", pa.float64(), "equals f1, under the name of the medical literature"),
        _field("support", pa.int64(), "pixels of the class in the truth", nullable=False),
        _field(
            "predicted_pixels",
            pa.int64(),
            "pixels predicted as the class, with or without truth",
            nullable=False,
        ),
    ]
)

SPLIT = pa.schema(  # of a training, not of a run
    [
        _field("id", pa.string(), "the image", nullable=False),
        _field("uri", pa.string(), "where the training read it", nullable=False),
        _field("truth", pa.string(), "where its ground truth was read; null where it has none"),
        _field("split", pa.string(), "`train`, `validation` or `left_out`", nullable=False),
        _field("reason", pa.string(), "why it was left out; else null"),
    ]
)

# what a worker tells the driver beside a row of `images`: its part of `pixels`, where the time went, what
# the model computed in, its number in the plan, whether its worker ran out of time before it, and the
# grey pixels of its truth that a threshold decided
_SPARSE = pa.struct([("truth", pa.int32()), ("predicted", pa.int32()), ("pixels", pa.int64())])
PRIVATE = pa.schema(
    [
        ("_pixels", pa.list_(_SPARSE)),
        ("_seconds", pa.map_(pa.string(), pa.float64())),
        ("_precision", pa.string()),
        ("_row", pa.int64()),
        ("_left_over", pa.bool_()),
        ("_between", pa.int64()),
        ("_traceback", pa.string()),
    ]
)

TABLES = {"images": IMAGES, "pixels": PIXELS, "classes": CLASSES}


def as_markdown(schema: pa.Schema) -> str:
    """The table of columns as the README shows it."""
    lines = ["| column | type | null | meaning |", "|---|---|---|---|"]
    for field in schema:
        description = field.metadata[b"description"].decode()
        lines.append(
            f"| `{field.name}` | {field.type} | {'yes' if field.nullable else 'no'} | {description} |"
        )
    return "\n".join(lines)
