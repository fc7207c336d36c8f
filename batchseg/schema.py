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
        _field(
            "score_fingerprint",
            pa.string(),
            "hash of how the label map reads truths and of `metrics`; null without a truth, or objects",
        ),
        _field("acknowledged", _TIME, "since when its fault is known for good, UTC; null: it is not"),
        _field(
            "probed_pixels",
            pa.int32(),
            "pixels where probabilities were held against the truth, at most 4,096; null, as the five that "
            "follow, where a mask that lay there was scored, or the model has no probabilities",
        ),
        _field("ece", pa.float64(), "expected calibration error over them, 15 bins, 0 to 1"),
        _field("brier", pa.float64(), "mean squared distance of their probabilities from the truth, 0 to 2"),
        _field(
            "nll",
            pa.float64(),
            "mean negative logarithm of their true classes' probabilities; null where decided again",
        ),
        _field("truth_probability_p05", pa.float64(), "5th percentile of their true classes' probabilities"),
        _field(
            "suspect_fraction",
            pa.float64(),
            "fraction of them where the model is sure of another class, by the data set as the run left it",
        ),
        _field("boundary_iou", pa.float64(), "mean boundary IoU of the classes in truth or prediction"),
        _field("nsd", pa.float64(), "mean normalised surface distance of the classes in truth or prediction"),
        _field("hd95", pa.float64(), "mean 95th percentile Hausdorff distance of the classes in both"),
        _field("panoptic_quality", pa.float64(), "mean of the classes with objects in truth or prediction"),
        _field("object_recall", pa.float64(), "matched objects of the truth / its objects"),
        _field("false_positives", pa.int32(), "objects of the prediction without a match"),
        _field("prompt", pa.string(), "what was meant in the image; null where one list of classes holds"),
        _field("presence", pa.float64(), "how likely that is to be there at all, 0 to 1, where a model says"),
        _field(
            "prompt_iou",
            pa.float64(),
            "IoU of what was meant; 1 where it is in neither truth nor mask, as gIoU counts it",
        ),
        _field(
            "contested_fraction",
            pa.float64(),
            "fraction of pixels that two prompts claim; null without prompts or without background",
        ),
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

# columns of `images` that an earlier batchseg did not write
ADDED = tuple(IMAGES.names[IMAGES.names.index("truth_status") :])

OBJECTS = pa.schema(
    [
        _field("id", pa.string(), "the image", nullable=False),
        _field("side", pa.string(), "`truth` or `predicted`: where the object is from", nullable=False),
        _field("object", pa.int32(), "its number among the image's of this side, from 1 on", nullable=False),
        _field("class_id", pa.int32(), "its class", nullable=False),
        _field("area", pa.int64(), "its pixels, also those where the other side is void", nullable=False),
        _field("area_world", pa.float64(), "the same in squared units of the spacing; null without one"),
        _field("left", pa.int32(), "first column of its box", nullable=False),
        _field("top", pa.int32(), "first row of its box", nullable=False),
        _field("width", pa.int32(), "columns of its box", nullable=False),
        _field("height", pa.int32(), "rows of its box", nullable=False),
        _field(
            "centre_x",
            pa.float64(),
            "mean of its pixels, of which the first is at 0.5",
            nullable=False,
        ),
        _field("centre_y", pa.float64(), "the same of the rows", nullable=False),
        _field("touches_border", pa.bool_(), "whether it reaches the edge of the image", nullable=False),
        _field(
            "outcome",
            pa.string(),
            "`matched`, `missed` (of the truth), `false_positive` (predicted), or `ignored` (predicted, more "
            "than half of it without truth); null without a truth",
        ),
        _field("match", pa.int32(), "number of the object of the other side that it is matched with, if any"),
        _field(
            "iou", pa.float64(), "best IoU with one of the other side and its class; null without a truth"
        ),
        _field(
            "confidence_mean",
            pa.float64(),
            "mean top probability over its probes, from the run of the model; null without any",
        ),
        _field("geometry", pa.binary(), "outline as WKB, in pixels or on the map; null where not asked for"),
    ]
)

BOUNDARY = pa.schema(
    [
        _field("id", pa.string(), "the image", nullable=False),
        _field("class_id", pa.int32(), "a class in truth or prediction", nullable=False),
        _field("intersection", pa.int64(), "pixels in both boundary bands and both masks", nullable=False),
        _field("union", pa.int64(), "pixels in either boundary band", nullable=False),
        _field("boundary_iou", pa.float64(), "intersection / union"),
        _field(
            "near",
            pa.int64(),
            "boundary pixels within the tolerance of the other side's; 0 where no distance is known",
            nullable=False,
        ),
        _field("boundary_pixels", pa.int64(), "boundary pixels of both sides; 0 likewise", nullable=False),
        _field("nsd", pa.float64(), "near / boundary_pixels"),
        _field("tolerance", pa.float64(), "of NSD, in pixels or units of the spacing", nullable=False),
        _field(
            "hd95", pa.float64(), "95 % Hausdorff distance, in the same; null where a side lacks the class"
        ),
    ]
)

CALIBRATION = pa.schema(
    [
        _field("id", pa.string(), "the image", nullable=False),
        _field("truth", pa.int32(), "true class id", nullable=False),
        _field("predicted", pa.int32(), "most probable class id", nullable=False),
        _field(
            "bin",
            pa.int32(),
            "of the top probability p, 0 to 14: b / 15 < p <= (b + 1) / 15",
            nullable=False,
        ),
        _field("pixels", pa.int64(), "probed pixels, at least 1", nullable=False),
        _field("top_sum", pa.float64(), "sum of their top probabilities", nullable=False),
        _field("truth_sum", pa.float64(), "sum of their true classes' probabilities", nullable=False),
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

# tables of rows of images, which lie in parts beside those of `images`
BESIDE = {"pixels": PIXELS, "objects": OBJECTS, "boundary": BOUNDARY, "calibration": CALIBRATION}

# what a worker tells the driver beside a row of `images`: its parts of the others, where the time went, what
# the model computed in, its number in the plan, whether its worker ran out of time before it, and the
# grey pixels of its truth that a threshold decided
PRIVATE = pa.schema(
    [
        *((f"_{name}", pa.list_(pa.struct([*table][1:]))) for name, table in BESIDE.items()),
        ("_seconds", pa.map_(pa.string(), pa.float64())),
        ("_precision", pa.string()),
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
