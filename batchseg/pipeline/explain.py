"""`batchseg explain`: what the masks of a run rest on.

The model is loaded in this process, and asked about a few images one after the other: there is no Ray
session, for that would take longer to start than many an image takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.explain import ExplainConfig, explanation_name
from batchseg.config.overlay import Overlays
from batchseg.config.run import RunConfig
from batchseg.errors import BatchsegError, ModelError, OutputError, RowFault
from batchseg.images.encode import encode_picture
from batchseg.pipeline.choice import Choice
from batchseg.pipeline.explained import Explainer
from batchseg.pipeline.model import OpenedModel
from batchseg.results.explanations import FOLDER, put_explanation
from batchseg.results.folder import Held, Results
from batchseg.results.masks import is_inside
from batchseg.results.progress import OnCounted, unwatched
from batchseg.results.recorded import is_evaluation, recorded_job, recorded_model
from batchseg.schema import Status
from batchseg.segmentors.network.precision import resolve_precision
from batchseg.segmentors.registry import resolve_device

_COLUMNS = (
    "id",
    "uri",
    "status",
    "error",
    "mask",
    "width",
    "height",
    "fingerprint",
    "source_version",
    "prompt",
)


@dataclass
class ExplainReport:
    """What was explained.

    Attributes:
        results: the folder, which has the pictures in explanations/.
        chosen: images that were to be explained.
        explained: those of which every method found something.
        problems: the others, as id and sentence.
        rows: what was written, as rows of the table `explanations`.
    """

    results: str
    chosen: int = 0
    explained: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def explain(
    results: ExplainConfig | Plain,
    on_explained: OnCounted = unwatched,
    *,
    ids: Sequence[str] | None = None,
    worst: int | None = None,
    methods: Sequence[str] | None = None,
    class_name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ExplainReport:
    """Explain masks of a results folder by the model that made them, in this process.

    The pictures are explanations/ID.METHOD.png in the results, and explanations/explanations.parquet has a
    row for each. Masks and tables stay as they are.

    Args:
        results: the whole job; or the folder, as RESULTS of the command line, whose options the others are.
        on_explained: called in this process with the images that are through, and all.
        settings: any other setting, nested as in a configuration file.

    Raises:
        ConfigError: an id or a class is not there, or the model has no such method.
        ModelError: the model is gone, or another than in the run.
        OutputError: there are no results of a model, or they cannot be read or written.
    """
    given = {"ids": ids, "worst": worst, "methods": methods, "class_name": class_name}
    config = from_arguments(ExplainConfig, ("results", results), given, settings, {})
    folder = Results(config.results)
    folder.refuse_strangers()
    record = folder.record()
    job = _job(folder, record)
    model = _opened(folder, job, record)
    with folder.looked_at() as held:
        return _explain(config, job, model, held, on_explained)


def _job(results: Results, record: dict[str, Any] | None) -> RunConfig:
    """That of the last run. Raises OutputError where no model can be asked about its images."""
    if is_evaluation(record):
        raise OutputError(
            f"{results.root}: holds scores of masks from elsewhere, whose model is not known; batchseg "
            "explain asks the model of batchseg run"
        )
    if (record or {}).get("decided") is not None:
        raise OutputError(
            f"{results.root}: holds masks that were decided again without a model; explain those of the run "
            "that they come from"
        )
    try:
        job = recorded_job(record)
    except ValidationError as exc:
        raise OutputError(
            f"{results.root}: run.json is missing, or from another version of batchseg; the same run again "
            "writes it"
        ) from exc
    if job.tiling is not None:
        raise OutputError(
            f"{results.root}: its run saw pictures in windows (tiling), and batchseg explain asks about "
            "pictures as a whole; run some images without tiling, into another folder, and explain those"
        )
    return job.model_copy(update={"segmentor": recorded_model(record, job.segmentor)})


def _opened(results: Results, job: RunConfig, record: dict[str, Any] | None) -> OpenedModel:
    """Raises ModelError where it is gone, or is another than in the run."""
    try:
        model = OpenedModel.open(job)
    except BatchsegError as exc:
        raise ModelError(f"{results.root}: the model of its run cannot be opened: {exc}") from exc
    before = ((record or {}).get("model") or {}).get("fingerprint")
    if before not in (model.fingerprint, *model.renamed):
        raise ModelError(
            f"{results.root}: {model.name} is another model by now than in the run (its files, or settings, "
            "have changed); run again with --recompute, or put the model back"
        )
    return model


def _explain(
    config: ExplainConfig, job: RunConfig, model: OpenedModel, held: Held, on_explained: OnCounted
) -> ExplainReport:
    rows, report = _chosen(config, held), ExplainReport(str(held.results.root))
    report.chosen = len(rows)
    if not rows:
        return report
    device = resolve_device(config.device)
    precision = resolve_precision(job.segmentor.precision, device)
    members = [member.load(device, precision) for member in model.members]
    explainer = Explainer(config, job, model, members, held.results.root)
    for done, row in enumerate(rows):
        on_explained(done, len(rows))
        try:
            _refuse_unexplainable(row, model, held)
            for figures, picture_HWC in explainer.explain(row):
                report.rows.append(_write(held, row, figures, encode_picture(picture_HWC, "png")))
        except RowFault as fault:
            report.problems.append((row["id"], str(fault).removeprefix("label file: ")))
        else:
            report.explained += 1
    on_explained(len(rows), len(rows))
    return report


def _chosen(config: ExplainConfig, held: Held) -> list[dict[str, Any]]:
    """Rows of the worst images, or of those of the ids. Raises ConfigError where an id has no row."""
    choice = Choice(Overlays(which=f"worst {config.worst}"), "stem", config.ids)
    ids = [name for table in choice.rows(held) for name in table["id"].to_pylist()]
    rows: list[dict[str, Any]] = held.ledger.values(held.ledger.find(ids), _COLUMNS).to_pylist()
    return rows


def _refuse_unexplainable(row: dict[str, Any], model: OpenedModel, held: Held) -> None:
    """Raises RowFault where there is no mask of this model."""
    if row["status"] != Status.OK.value or row["mask"] is None:
        raise RowFault(Status(row["status"]), f"has no mask: {row['error'] or row['status']}")
    if row["fingerprint"] not in (model.fingerprint, *model.renamed):
        raise RowFault(Status.MODEL_FAILED, "its mask is of another model than the last run's; run again")
    below = row["mask"].removeprefix("masks/")
    if not all(is_inside(held.results.root / folder, below) for folder in ("masks", FOLDER)):
        raise RowFault(Status.DENIED, f"its mask {row['mask']} lies outside of the results")


def _write(held: Held, row: dict[str, Any], figures: dict[str, Any], picture: bytes) -> dict[str, Any]:
    name = explanation_name(row["mask"].removeprefix("masks/"), figures["method"])
    of_image = {key: row[key] for key in ("id", "fingerprint", "source_version")}
    written = {**of_image, **figures, "picture": f"{FOLDER}/{name}"}
    put_explanation(held, written, picture)
    return written
