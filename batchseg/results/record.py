"""The record of a run, run.json: what ran, on what, how long, and what came of it."""

from __future__ import annotations

import os
import platform
import secrets
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.run import RunConfig
from batchseg.results.tally import Tally

VERSIONED = (
    *("batchseg", "torch", "torchvision", "transformers", "ray", "numpy", "pyarrow", "pillow"),
    *("segmentation_models_pytorch", "onnxruntime"),
)

SECOND = "%Y%m%dT%H%M%S"


def new_run_id(last: str) -> str:
    """Sorts by time, to the microsecond, and behind the `last` run of the folder whatever the clock says: the
    order of their names decides whose rows replace whose. A `last` that is no run's name says nothing."""
    now = datetime.now(timezone.utc)
    with suppress(ValueError):
        second = datetime.strptime(last[:15], SECOND).replace(tzinfo=timezone.utc)
        now = max(now, second + timedelta(microseconds=int(last[16:21], 16) + 1))
    return f"{now:{SECOND}}-{now.microsecond:05x}{secrets.token_hex(1)[0]}"


class RecordPart(BaseModel):
    """Whatever else is there stays: records of other versions are read, too."""

    model_config = ConfigDict(extra="allow", frozen=True)


class RecordedModel(RecordPart):
    """The model of a run."""

    name: str | None = Field(None, description="The model as it was named; null where masks were scored.")
    fingerprint: str | None = Field(None, description="Of the model and every setting that changes a mask.")
    classes: tuple[str, ...] = Field((), description="Names of the classes, in the order of their ids.")


class RecordedImages(RecordPart):
    """Numbers of images. What was segmented went through the model; what was only scored did not."""

    listed: int = Field(0, description="Images of the source.")
    done_before: int = Field(0, description="Those that there was nothing to do for.")
    segmented: int = Field(0, description="Those that went through the model in this run.")
    scored: int = Field(0, description="Those whose mask lay there, and which were only scored.")
    decided: int = Field(0, description="Those whose mask was decided from kept probabilities.")
    without_truth: int = Field(0, description="Those for which the source names no ground truth.")
    pruned: int = Field(0, description="Rows removed because the source no longer has their image.")
    repainted: int = Field(0, description="Masks whose palette was rewritten: the classes' colours changed.")
    full_names: int = Field(
        0, description="Masks of this run with their full name, such as a.png.png for a.png beside a.jpg."
    )
    passed_over: dict[str, int] = Field(
        default_factory=dict, description="What lies in the folder and is not listed, by extension or reason."
    )


class RecordedClass(RecordPart):
    """One class over the whole data set; figures are null where the table `classes` has null."""

    class_id: int = Field(description="Pixel value in the masks.")
    class_name: str = Field(description="Name from the label map.")
    iou: float | None = Field(None, description="Intersection over union.")
    precision: float | None = Field(None, description="Of what was predicted as the class.")
    recall: float | None = Field(None, description="Of what is the class.")
    f1: float | None = Field(None, description="Harmonic mean of both.")
    dice: float | None = Field(None, description="Equals f1.")
    support: int = Field(0, description="Pixels of the class in the truth.")
    predicted_pixels: int = Field(0, description="Pixels predicted as the class.")


class RecordedCalibration(RecordPart):
    """How far the model's probabilities can be trusted, at the probed pixels of the whole data set."""

    images: int = Field(0, description="Images with probed pixels.")
    pixels: int = Field(0, description="Probed pixels with truth.")
    ece: float | None = Field(None, description="Expected calibration error, 15 bins, 0 to 1.")
    brier: float | None = Field(None, description="Brier score, summed over the classes, 0 to 2.")
    nll: float | None = Field(None, description="Mean negative log-likelihood of the true classes.")


class RecordedImage(RecordPart):
    """One image, and how well it was segmented."""

    id: str = Field(description="As in the tables.")
    mean_iou: float | None = Field(None, description="Over the classes in its truth or prediction.")
    status: str = Field("ok", description="What became of it.")


class RunRecord(RecordPart):
    """What run.json and runs/ID.json hold. `batchseg config schema record` prints its JSON schema."""

    run_id: str = Field(description="Sorts by time.")
    status: Literal["finished", "interrupted", "failed"] = Field("finished", description="How it ended.")
    finished_at: str | None = Field(None, description="ISO 8601, UTC.")
    config: dict[str, Any] = Field(default_factory=dict, description="The whole configuration.")
    versions: dict[str, str | None] = Field(default_factory=dict, description="Of packages.")
    machine: dict[str, Any] = Field(
        default_factory=dict, description="Host, Python, CPUs, and where relative paths start."
    )
    computed: dict[str, StrictInt] = Field(
        default_factory=dict, description="Images of this run by what became of them: `ok`, or what failed."
    )
    model: RecordedModel = RecordedModel()
    score_fingerprint: str | None = Field(None, description="Of how truths are read.")
    images: RecordedImages = RecordedImages()
    split: dict[str, StrictInt] = Field(
        default_factory=dict,
        description="Images of the whole source by their part in the model's training: train, validation, "
        "left_out, unknown; empty where nothing tells.",
    )
    placement: dict[str, Any] | None = Field(None, description="Devices, actors, threads and batch size.")
    timings: dict[str, Any] = Field(default_factory=dict, description="Seconds, and images a second.")
    precision: str | None = Field(None, description="What the model computed in.")
    engine: str | None = Field(None, description="What computed its scores: torch, openvino, onnxruntime.")
    quantised: dict[str, float] | None = Field(
        None,
        description="Of a quantised model: `agreement`, the share of the pixels of some `images` that have "
        "the class that they have without, and on how many inputs it was `calibrated_on`.",
    )
    metrics: dict[str, float | None] = Field(default_factory=dict, description="Over the whole data set.")
    classes: tuple[RecordedClass, ...] = Field((), description="Every class over the whole data set.")
    calibration: RecordedCalibration | None = Field(
        None, description="Of the model's probabilities; null where none were held against a truth."
    )
    parts: dict[str, float | None] | None = Field(
        None,
        description="Of large rasters: parts that this run computed, and those kept from an earlier one; "
        "seconds from the first to the last, and the share of the actors' time in which they worked.",
    )
    worst: tuple[RecordedImage, ...] = Field(
        (), description="The images with the lowest mean IoU in the whole results folder, ascending."
    )
    acknowledged: int = Field(
        0, description="Images of the folder that failed and are not tried again: `batchseg acknowledge`."
    )
    boundary: dict[str, Any] | None = Field(
        None,
        description="Boundary IoU, NSD and HD95 over the whole data set and of every class, with their "
        "definition, where `metrics` has boundary.",
    )
    objects: dict[str, Any] | None = Field(
        None,
        description="PQ, recall by size and false positives an image over the whole data set and of every "
        "class, with their definition, where `metrics` has objects.",
    )
    truth_pixels: int | None = Field(None, description="Pixels with ground truth in the whole data set.")
    truth_between: int | None = Field(
        None,
        description="Pixels of this run's truths that truth.threshold decided, neither black nor white. "
        "Null without a threshold.",
    )
    warnings: dict[str, str] = Field(
        default_factory=dict, description="What is likely to be wrong: by guard, one sentence."
    )
    truth_read: str | None = Field(None, description="How ground truths are read, in words.")
    truth_reading: dict[str, Any] | None = Field(
        None, description="The same for programs: what RGB, palette and grey files hold, and the threshold."
    )
    truth_label_map: dict[str, Any] | None = Field(
        None, description="The label map by which truths are read, for whoever looks at the images again."
    )
    mask_reading: dict[str, Any] | None = Field(
        None,
        description="What the RGB, palette and grey files of masks hold that were scored where they lay.",
    )
    label_map: dict[str, Any] | None = Field(
        None, description="That of the probabilities, where the run kept any, as `batchseg decide` needs it."
    )
    foreground: int | None = Field(
        None, description="With it: which of two classes segmentor.threshold is about."
    )
    decided: dict[str, Any] | None = Field(
        None,
        description="Where the masks were decided from kept probabilities: by which settings, and of what.",
    )
    gates: tuple[str, ...] = Field((), description="One sentence for each gate that failed.")
    exit_code: int | None = Field(None, description="Of a run that finished.")
    error: str | None = Field(None, description="Why it did not finish.")
    profile: str | None = Field(None, description="Where its trace lies.")
    candidate: dict[str, Any] | None = Field(
        None, description="Of a run beside good results: their folder, the comparison, its bytes on the disk."
    )
    night: dict[str, Any] | None = Field(None, description="What a night adds: its verdict and comparison.")


def run_record(
    run_id: str, status: str, config: RunConfig | EvaluateConfig, tally: Tally, facts: dict[str, Any]
) -> dict[str, Any]:
    """What run.json holds, see `RunRecord`; `facts` are the parts that only the caller knows."""
    known = {
        "run_id": run_id,
        "status": status,
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "versions": package_versions(),
        "machine": {
            "host": platform.node(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "folder": os.getcwd(),  # where relative paths start
        },
        "computed": dict(sorted(tally.statuses.items())),
        "truth_between": tally.between,
        "warnings": tally.warnings,
        **facts,
    }
    return RunRecord.model_validate(known).model_dump(mode="json")


def parse_record(data: bytes) -> dict[str, Any]:
    """What run.json holds. Raises ValueError where it is not the record of a run."""
    try:
        return RunRecord.model_validate_json(data).model_dump(mode="json")
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise ValueError(f"cannot be read: {first['msg']}") from exc
        place = ".".join(map(str, first["loc"])) or "it"
        raise ValueError(f"is not the record of a run: {place}: {first['msg']}") from exc


def package_versions() -> dict[str, str | None]:
    """What is installed of the packages that shape a result."""
    return {name: _version(name) for name in VERSIONED}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
