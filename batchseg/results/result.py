"""What the library call of a run returns, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from batchseg.config.base import Gates
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.gates import unmet
from batchseg.results.tally import Tally

EXIT_FINISHED, EXIT_TOO_MANY_FAILED, EXIT_GATE_FAILED = 0, 3, 4


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    Attributes:
        output: the results folder.
        statuses: images computed in this run, by status.
        done_before: images that needed no work.
        segmented: images that went through the model in this run.
        scored: images whose mask lay there already, and which were only scored.
        without_truth: images for which the source names no ground truth.
        metrics: of the whole data set (all committed images, earlier runs included), by name; None
            without ground truth. With a prompt a row also gIoU (`giou`), cIoU (`ciou`) and
            `no_target_accuracy`.
        classes: the rows of the table `classes`, of the whole data set likewise.
        worst: (mean IoU, id) of the images with the lowest mean IoU in the whole results folder, ascending.
        acknowledged: images of the folder that failed, and are not tried again because of `acknowledge`.
        faults: by status, the id and the error of the first image of this run that has it.
        gates: one sentence for each gate that failed.
        warnings: what is likely to be wrong with the figures: by guard, one sentence.
        page: where the page to look at lies; None where none was asked for.
        exit_code: 0 finished, 3 too many images failed, 4 a quality gate failed.
    """

    run_id: str
    output: str
    listed: int
    done_before: int
    segmented: int
    scored: int
    without_truth: int
    statuses: dict[str, int]
    metrics: dict[str, float | None]
    classes: list[dict[str, Any]]
    worst: list[tuple[float, str]]
    acknowledged: int
    faults: dict[str, str]
    elapsed_s: float
    images_per_s: float | None
    exit_code: int
    gates: list[str]
    warnings: dict[str, str]
    record: dict[str, Any] = field(repr=False)
    page: str | None = None

    @property
    def computed(self) -> int:
        """Images of this run, segmented or only scored."""
        return sum(self.statuses.values())

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Of the model's probabilities over the whole data set: images and pixels probed, ece, brier and nll;
        None where none were held against a truth."""
        known: dict[str, Any] | None = self.record["calibration"]
        return known

    @property
    def failed(self) -> int:
        """Images of this run that are not ok."""
        return self.computed - self.statuses.get("ok", 0)


def judge(
    gates: Gates,
    tally: Tally,
    metrics: dict[str, float | None],
    classes: Sequence[Mapping[str, Any]] = (),
) -> tuple[int, list[str]]:
    """The exit code of a finished run, and a sentence for every gate that failed; `classes` are the rows of
    that table."""
    sentences = []
    if not gates.allows(tally.failed, tally.total):
        sentences.append(f"{tally.failed} of {tally.total} images failed; max_failed is {gates.max_failed}")
    code = EXIT_TOO_MANY_FAILED if sentences else EXIT_FINISHED
    sentences += unmet(gates, metrics, classes)
    if code == EXIT_FINISHED and sentences:
        code = EXIT_GATE_FAILED
    return code, sentences


def result_of(record: dict[str, Any], output: str, tally: Tally) -> RunResult:
    """The library's view of a finished run's record."""
    return RunResult(
        run_id=record["run_id"],
        output=output,
        listed=record["images"]["listed"],
        done_before=record["images"]["done_before"],
        segmented=record["images"]["segmented"],
        scored=record["images"]["scored"],
        without_truth=record["images"]["without_truth"],
        statuses=record["computed"],
        metrics=record["metrics"],
        classes=record["classes"],
        worst=[(image["mean_iou"], image["id"]) for image in record["worst"]],
        acknowledged=record["acknowledged"],
        faults=tally.faults,
        elapsed_s=record["timings"]["elapsed_s"],
        images_per_s=record["timings"]["images_per_s"],
        exit_code=record["exit_code"],
        gates=record["gates"],
        warnings=record["warnings"],
        record=record,
    )


def total_facts(
    total: ConfusionMatrix,
    classes: Sequence[Mapping[str, Any]],
    gates: Gates,
    tally: Tally,
    prompted: Mapping[str, float | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """Metrics over the data set, those of its prompts, its classes, and the verdict on them."""
    metrics = {**total.summary(), **prompted}
    code, sentences = judge(gates, tally, metrics, classes)
    return {
        "metrics": metrics,
        "classes": classes,
        "truth_pixels": total.truth_pixels,
        "gates": sentences,
        "exit_code": code,
    }
