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
    BAD_PROMPT = "bad_prompt"
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


def column(name: str, kind: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field:
    """A column with what it means, which the tables of the documentation show."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_TIME = pa.timestamp("us", tz="UTC")

IMAGES = pa.schema(
    [
        column("id", pa.string(), "POSIX path below the source folder, or the manifest's id", nullable=False),
        column("uri", pa.string(), "where the image was read from", nullable=False),
        column("status", pa.string(), "of the image and its mask: `ok`, or what failed", nullable=False),
        column("error", pa.string(), "one sentence on what failed, be it the image or its truth"),
        column("width", pa.int32(), "pixels, after EXIF orientation"),
        column("height", pa.int32(), "pixels, after EXIF orientation"),
        column("mask", pa.string(), "path of the mask, relative to the results folder"),
        column("has_truth", pa.bool_(), "whether metrics were computed against ground truth", nullable=False),
        column("accuracy", pa.float64(), "correct pixels / pixels with truth"),
        column("recall_weighted", pa.float64(), "recall, classes weighted by support (equals accuracy)"),
        column("f1_weighted", pa.float64(), "F1, classes weighted by support"),
        column("recall_macro", pa.float64(), "mean recall of the classes in truth or prediction"),
        column("f1_macro", pa.float64(), "mean F1 of the classes in truth or prediction"),
        column("precision_macro", pa.float64(), "mean precision of the classes in truth or prediction"),
        column(
            "mean_iou", pa.float64(), "mean intersection over union of the classes in truth or prediction"
        ),
        column("truth_pixels", pa.int64(), "pixels with ground truth (ignored ones excluded)"),
        column(
            "confidence_mean", pa.float64(), "mean top class probability, 0 to 1, at the model's resolution"
        ),
        column("entropy_mean", pa.float64(), "mean entropy over log(classes), 0 to 1"),
        column("entropy_p95", pa.float64(), "95th percentile of the same entropy"),
        column("low_confidence_fraction", pa.float64(), "fraction of pixels with top probability under 0.5"),
        column("segment_s", pa.float64(), "seconds in the model: its batch's time / images in the batch"),
        column(
            "source_version",
            pa.string(),
            "what tells a changed image: size and time, digest, or `version`",
        ),
        column("model", pa.string(), "the model as it was named"),
        column("fingerprint", pa.string(), "hash of the weights and of every setting that changes a mask"),
        column("run_id", pa.string(), "the run that computed the row", nullable=False),
        column("finished_at", _TIME, "when the row was finished, UTC", nullable=False),
        column("truth_status", pa.string(), "of its truth: `ok`, `none`, or what failed; null without mask"),
        column("truth_version", pa.string(), "what tells a changed truth, as `source_version` does an image"),
        column(
            "score_fingerprint",
            pa.string(),
            "hash of how the label map reads truths and of `metrics`; null without a truth, or objects",
        ),
        column("acknowledged", _TIME, "since when its fault is known for good, UTC; null: it is not"),
        column(
            "probed_pixels",
            pa.int32(),
            "pixels where probabilities were held against the truth, at most 4,096; null, as the five that "
            "follow, where a mask that lay there was scored, or the model has no probabilities",
        ),
        column("ece", pa.float64(), "expected calibration error over them, 15 bins, 0 to 1"),
        column("brier", pa.float64(), "mean squared distance of their probabilities from the truth, 0 to 2"),
        column(
            "nll",
            pa.float64(),
            "mean negative logarithm of their true classes' probabilities; null where decided again",
        ),
        column("truth_probability_p05", pa.float64(), "5th percentile of their true classes' probabilities"),
        column(
            "suspect_fraction",
            pa.float64(),
            "fraction of them where the model is sure of another class, by the data set as the run left it",
        ),
        column("boundary_iou", pa.float64(), "mean boundary IoU of the classes in truth or prediction"),
        column("nsd", pa.float64(), "mean normalised surface distance of the classes in truth or prediction"),
        column("hd95", pa.float64(), "mean 95th percentile Hausdorff distance of the classes in both"),
        column("panoptic_quality", pa.float64(), "mean of the classes with objects in truth or prediction"),
        column("object_recall", pa.float64(), "matched objects of the truth / its objects"),
        column("false_positives", pa.int32(), "objects of the prediction without a match"),
        column("prompt", pa.string(), "what was meant in the image; null where one list of classes holds"),
        column("presence", pa.float64(), "how likely that is to be there at all, 0 to 1, where a model says"),
        column(
            "prompt_iou",
            pa.float64(),
            "IoU of what was meant; 1 where it is in neither truth nor mask, as gIoU counts it",
        ),
        column(
            "contested_fraction",
            pa.float64(),
            "fraction of pixels that two prompts claim; null without prompts or without background",
        ),
    ]
)

PIXELS = pa.schema(
    [
        column("id", pa.string(), "the image", nullable=False),
        column("truth", pa.int32(), "true class id; null where there is no truth or it is ignored"),
        column("predicted", pa.int32(), "predicted class id; null where the mask abstains"),
        column("pixels", pa.int64(), "number of pixels, at least 1", nullable=False),
    ]
)

# columns of `images` that an earlier batchseg did not write
ADDED = tuple(IMAGES.names[IMAGES.names.index("truth_status") :])

OBJECTS = pa.schema(
    [
        column("id", pa.string(), "the image", nullable=False),
        column("side", pa.string(), "`truth` or `predicted`: where the object is from", nullable=False),
        column("object", pa.int32(), "its number among the image's of this side, from 1 on", nullable=False),
        column("class_id", pa.int32(), "its class", nullable=False),
        column("area", pa.int64(), "its pixels, also those where the other side is void", nullable=False),
        column("area_world", pa.float64(), "the same in squared units of the spacing; null without one"),
        column("left", pa.int32(), "first column of its box", nullable=False),
        column("top", pa.int32(), "first row of its box", nullable=False),
        column("width", pa.int32(), "columns of its box", nullable=False),
        column("height", pa.int32(), "rows of its box", nullable=False),
        column("centre_x", pa.float64(), "mean of its pixels, of which the first is at 0.5", nullable=False),
        column("centre_y", pa.float64(), "the same of the rows", nullable=False),
        column("touches_border", pa.bool_(), "whether it reaches the edge of the image", nullable=False),
        column(
            "outcome",
            pa.string(),
            "`matched`, `missed` (of the truth), `false_positive` (predicted), or `ignored` (predicted, more "
            "than half of it without truth); null without a truth",
        ),
        column("match", pa.int32(), "number of the object of the other side that it is matched with, if any"),
        column(
            "iou", pa.float64(), "best IoU with one of the other side and its class; null without a truth"
        ),
        column(
            "confidence_mean",
            pa.float64(),
            "mean top probability over its probes, from the run of the model; null without any",
        ),
        column("geometry", pa.binary(), "outline as WKB, in pixels or on the map; null where not asked for"),
    ]
)

BOUNDARY = pa.schema(
    [
        column("id", pa.string(), "the image", nullable=False),
        column("class_id", pa.int32(), "a class in truth or prediction", nullable=False),
        column("intersection", pa.int64(), "pixels in both boundary bands and both masks", nullable=False),
        column("union", pa.int64(), "pixels in either boundary band", nullable=False),
        column("boundary_iou", pa.float64(), "intersection / union"),
        column(
            "near",
            pa.int64(),
            "boundary pixels within the tolerance of the other side's; 0 where no distance is known",
            nullable=False,
        ),
        column("boundary_pixels", pa.int64(), "boundary pixels of both sides; 0 likewise", nullable=False),
        column("nsd", pa.float64(), "near / boundary_pixels"),
        column("tolerance", pa.float64(), "of NSD, in pixels or units of the spacing", nullable=False),
        column(
            "hd95", pa.float64(), "95 % Hausdorff distance, in the same; null where a side lacks the class"
        ),
    ]
)

CALIBRATION = pa.schema(
    [
        column("id", pa.string(), "the image", nullable=False),
        column("truth", pa.int32(), "true class id", nullable=False),
        column("predicted", pa.int32(), "most probable class id", nullable=False),
        column(
            "bin",
            pa.int32(),
            "of the top probability p, 0 to 14: b / 15 < p <= (b + 1) / 15",
            nullable=False,
        ),
        column("pixels", pa.int64(), "probed pixels, at least 1", nullable=False),
        column("top_sum", pa.float64(), "sum of their top probabilities", nullable=False),
        column("truth_sum", pa.float64(), "sum of their true classes' probabilities", nullable=False),
    ]
)

CLASSES = pa.schema(
    [
        column("class_id", pa.int32(), "pixel value in the masks", nullable=False),
        column("class_name", pa.string(), "name from the label map", nullable=False),
        column("precision", pa.float64(), "null where the class was never predicted"),
        column("recall", pa.float64(), "null where the class is not in the truth"),
        column("f1", pa.float64(), "null where the class is in neither truth nor prediction"),
        column("iou", pa.float64(), "intersection over union; null where the class is in neither"),
        column("dice", pa.float64(), "equals f1, under the name of the medical literature"),
        column("support", pa.int64(), "pixels of the class in the truth", nullable=False),
        column(
            "predicted_pixels",
            pa.int64(),
            "pixels predicted as the class, with or without truth",
            nullable=False,
        ),
    ]
)

SPLIT = pa.schema(  # of a training, not of a run
    [
        column("id", pa.string(), "the image", nullable=False),
        column("uri", pa.string(), "where the training read it", nullable=False),
        column("truth", pa.string(), "where its ground truth was read; null where it has none"),
        column("split", pa.string(), "`train`, `validation` or `left_out`", nullable=False),
        column("reason", pa.string(), "why it was left out; else null"),
    ]
)

CLASS_HISTORY = pa.schema(  # of a training likewise
    [
        column("epoch", pa.int32(), "a validated one, as in history.parquet", nullable=False),
        column("class_id", pa.int32(), "pixel value in the masks", nullable=False),
        column("class_name", pa.string(), "name from the label map", nullable=False),
        column("iou", pa.float64(), "over all validation images; null where none shows the class"),
        column("truth_pixels", pa.int64(), "pixels of the class in their truths", nullable=False),
    ]
)

# tables of rows of images, which lie in parts beside those of `images`
BESIDE = {"pixels": PIXELS, "objects": OBJECTS, "boundary": BOUNDARY, "calibration": CALIBRATION}

# what a worker tells the driver beside a row of `images`: its parts of the others, where the time went, what
# the model computed in and what computed it, its number in the plan, whether its worker ran out of time
# before it, and the grey pixels of its truth that a threshold decided
PRIVATE = pa.schema(
    [
        *((f"_{name}", pa.list_(pa.struct([*table][1:]))) for name, table in BESIDE.items()),
        ("_seconds", pa.map_(pa.string(), pa.float64())),
        ("_precision", pa.string()),
        ("_engine", pa.string()),
        ("_why_not", pa.string()),
        ("_row", pa.int64()),
        ("_left_over", pa.bool_()),
        ("_between", pa.int64()),
        ("_traceback", pa.string()),
    ]
)

TABLES = {"images": IMAGES, **BESIDE, "classes": CLASSES}


def as_markdown(schema: pa.Schema) -> str:
    """The table of columns as the README shows it."""
    lines = ["| column | type | null | meaning |", "|---|---|---|---|"]
    for field in schema:
        description = field.metadata[b"description"].decode()
        lines.append(
            f"| `{field.name}` | {field.type} | {'yes' if field.nullable else 'no'} | {description} |"
        )
    return "\n".join(lines)
