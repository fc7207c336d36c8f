"""`batchseg decide`: other masks from the probabilities of a run, without its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.decide import DecideConfig
from batchseg.config.network import ScoringConfig, SegmentorConfig
from batchseg.config.run import Kept, RunConfig
from batchseg.config.source import FolderSource, ImageReading
from batchseg.engine.graph import Stages
from batchseg.engine.placement import Placement
from batchseg.errors import ConfigError, LabelMapError, OutputError
from batchseg.inspect.preflight import fit_labels
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.labels.recorded import recorded_label_map
from batchseg.pipeline.assembly import score_and_measure, scoring
from batchseg.pipeline.collect import OnProgress
from batchseg.pipeline.execute import Pass, Task, execute, ignore
from batchseg.pipeline.fingerprints import decided_fingerprint
from batchseg.pipeline.merged_again import made_of, measured_as, merged_twice
from batchseg.pipeline.survey import survey
from batchseg.pipeline.workload import Workload, as_structs
from batchseg.results.folder import Held, Results
from batchseg.results.gates import refuse_unknown_classes
from batchseg.results.palettes import repaint
from batchseg.results.recorded import recorded_job
from batchseg.results.result import RunResult
from batchseg.results.verdict import KEPT, Key
from batchseg.schema import Status
from batchseg.segmentors.base import PixelRange, Resizing
from batchseg.segmentors.combined.decision import Decision, factors_of, prompt_factors
from batchseg.source.folder import seen_from
from batchseg.source.names import mark
from batchseg.source.plan import Listing, write_chosen
from batchseg.stages.item import Stage
from batchseg.stages.redecide import Stored, redecide
from batchseg.stages.write import write_mask
from batchseg.storage.location import Location, locate
from batchseg.storage.lock import Lock


@dataclass(frozen=True)
class Redecision:
    """How the masks of a run are decided again.

    Attributes:
        job: the run's configuration, with what is other now: what it would be with the model.
        before: fingerprint of the masks that lie there.
        fingerprint: of those to come.
    """

    job: RunConfig
    stored: Stored
    before: str
    label_map: LabelMap
    reading: ImageReading
    fingerprint: str
    decision: Decision
    expected: PixelRange | None = None
    resizings: tuple[Resizing, ...] = ()


def decide(
    results: DecideConfig | Plain,
    on_progress: OnProgress = ignore,
    *,
    output: Plain | None = None,
    none_below: float | None = None,
    merge: Mapping[str, Any] | None = None,
    labels: Plain | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunResult:
    """Decide the masks of a results folder anew from the probabilities beside them, and score those.

    The source is listed again, and each image whose mask is there as it is now gets a mask in `output`. What
    was decided so before is not decided again.

    Args:
        results: the whole job; or the folder, as RESULTS of the command line, whose options the others are.
        on_progress: called in this process whenever rows have come in.
        settings: any other setting, nested as in a configuration file.

    Raises:
        BatchsegError: the job as a whole cannot be done, such as where the results hold no probabilities.
    """
    given = {"output": output, "none_below": none_below, "merge": merge, "labels": labels}
    return _decide(from_arguments(DecideConfig, ("results", results), given, settings, {}), on_progress)


def _decide(config: DecideConfig, on_progress: OnProgress) -> RunResult:
    old, new = Results(config.results), Results(config.output)
    old.refuse_strangers()
    if not old.runs.is_folder():
        raise OutputError(f"{old.root}: holds no results of `batchseg run`: it has no folder runs/")
    if str(old.root) == str(new.root):
        raise ConfigError(f"{new.root}: holds the masks that are decided again; choose another --output")
    if seen_from(old.root, config.output).startswith(f"{old.root.path.rstrip('/')}/"):
        raise ConfigError(f"{new.root}: lies in {old.root}; choose an --output outside of these results")
    with old.looked_at() as source:
        again = redecision_of(config, old)
        refuse_unknown_classes(config.gates.minimum, again.label_map.names, "gates.minimum (--min)")
        with new.held() as held:
            return execute(_task(config, again, source, held), held, on_progress)


def redecision_of(config: DecideConfig, old: Results) -> Redecision:
    """What is to be decided, from the record of the run.

    Raises:
        OutputError: the results hold no probabilities, or are of another version.
        ConfigError: what is asked for cannot be decided from them.
    """
    record = old.record() or {}
    if not record.get("label_map"):
        raise OutputError(
            f"{old.root}: its last run kept no probabilities; run it again with output.probabilities "
            "(--probabilities top2, or full to merge classes)"
        )
    try:
        job, own = recorded_job(record), recorded_label_map(record["label_map"])
    except (ValidationError, LabelMapError) as exc:
        raise OutputError(f"{old.root}: its run.json is from another version of batchseg") from exc
    kept, settings = job.output.probabilities, job.segmentor
    assert kept is not None and isinstance(settings, ScoringConfig)
    label_map = fit_labels(config.labels, own, config.merge)
    _refuse_merging_of_two(kept, label_map, old)
    given = {name: getattr(config, name) for name in ("none_below", "threshold")}
    settings = settings.model_copy(update={name: each for name, each in given.items() if each is not None})
    none_below = settings.none_below or None
    settings = settings.model_copy(update={"none_below": none_below})
    foreground = record["foreground"] if label_map.groups is None else 1
    decision = Decision(
        classes=label_map.num_classes,
        groups=(label_map.groups,),
        factors=factors_of(settings.threshold, foreground, label_map)
        or prompt_factors(settings, label_map, made_of(job.merge, own, label_map)),
        none_below=none_below,
    )
    before = record["model"]["fingerprint"]
    return Redecision(
        job=_job(config, job, settings),
        stored=Stored(old.root, kept, own.num_classes),
        before=before,
        label_map=label_map,
        reading=ImageReading.of(job.source),
        fingerprint=decided_fingerprint(before, label_map, settings.deciding),
        decision=decision,
    )


def _refuse_merging_of_two(kept: Kept, label_map: LabelMap, old: Results) -> None:
    if kept == "top2" and label_map.groups is not None:
        raise ConfigError(
            f"{old.root}: holds the probabilities of two classes a pixel (top2), and merging adds those of "
            "all; run with output.probabilities: full, or leave the merging out"
        )


def _job(config: DecideConfig, job: RunConfig, settings: ScoringConfig) -> RunConfig:
    """The run, as it would be with the model and the new settings."""
    source = job.source
    if config.truth is not None:
        if not isinstance(source, FolderSource):
            raise ConfigError("truth (--truth): a manifest names its truths itself; leave it out")
        source = source.model_copy(update={"truth": config.truth})
    known = {name: getattr(job, name) for name in RunConfig.model_fields}
    output = {"path": config.output, "overlays": False, "report": False, "probabilities": None}
    changed: dict[str, Any] = {
        **measured_as(job, config.merge),
        "source": source,
        "segmentor": settings,
        "output": job.output.model_copy(update=output),
        "labels": config.labels or job.labels,
        "merge": merged_twice(job.merge, config.merge),
        "accept": tuple(dict.fromkeys([*job.accept, *config.accept])),
        "gates": config.gates,
        "ray": config.ray,
        "recompute": config.recompute,
        **dict.fromkeys(("candidate", "prune", "profile"), False),
    }
    return RunConfig.model_construct(**{**known, **changed})


def _task(config: DecideConfig, again: Redecision, source: Held, held: Held) -> Task:
    job, folder, results = again.job, held.results.work, held.results.root
    found = survey(job, again, folder)
    if held.ledger.of_other_models(found.key.mask).any() and not config.recompute:
        raise OutputError(
            f"{results} holds other masks than are to be decided; choose a fresh --output, or have all "
            "decided again with --recompute"
        )
    work = Workload.of(found.listing, held.ledger, found.key)
    gone = held.ledger.unlisted(found.listing.ids())
    work.drop(work.replaced() | gone)
    repainted = repaint(held, found.reading.label_map)
    chosen = _with_masks(work.to_segment(folder), source, again, found.key, folder)
    cpu = SegmentorConfig(device="cpu")
    settings = config.model_dump(mode="json", include={"results", *_DECIDING})
    return Task(
        config=job,
        model=job.segmentor.name,
        key=found.key,
        reading=found.reading,
        doubts=found.doubts,
        listing=found.listing,
        pruned=int(gone.sum()),
        repainted=repainted,
        fresh=work.fresh,
        about={"decided": {**settings, "fingerprint": again.before}},
        passes=(
            Pass(chosen, cpu, partial(deciding, again, found.reading, str(results), held.lock), "deciding"),
            Pass(
                work.to_score(folder),
                cpu,
                partial(scoring, job, found.reading, results, again.reading),
                "scoring",
            ),
        ),
    )


_DECIDING = ("none_below", "threshold", "merge", "labels")


def _with_masks(chosen: Listing, source: Held, again: Redecision, key: Key, folder: Location) -> Listing:
    """The same with what is known of the mask of each in the results, and a fault where there is none."""
    before = Key(again.before, key.score)

    def told() -> Iterator[pa.Table]:
        for table in chosen.tables():
            verdict = source.ledger.judge(table, before)
            there = verdict.segmented
            known = as_structs(source.ledger.values(verdict.at[there], KEPT))
            structs = known.take(pa.array(np.cumsum(there) - 1, mask=~there))
            lacking = ~there & pc.is_null(table["status"]).to_numpy()
            table = mark(table, lacking, Status.UNREADABLE, lambda row: _NO_MASK.format(source.results.root))
            yield table.append_column("_kept", structs)

    found = write_chosen(told(), folder / "decide.arrow")
    found.full_names = chosen.full_names
    return found


_NO_MASK = "there is no mask of it, as it is now, in {}; the same run again makes one, and then decide again"


def deciding(
    again: Redecision, reading: Reading, results: str, lock: Lock | None, placement: Placement
) -> Stages:
    """redecide, write | score."""
    return Stages(before=partial(decide_and_score, again, reading, results, lock), model=None, after=list)


def decide_and_score(again: Redecision, reading: Reading, results: str, lock: Lock | None) -> list[Stage]:
    """From probabilities that lie there to masks and counts."""
    root, limits, label_map = locate(results), again.job.limits, reading.label_map
    return [
        redecide(again.stored, again.decision, root, label_map, limits=limits, lock=lock),
        write_mask(root, label_map, lock),
        *score_and_measure(again.job, reading, again.reading),
    ]
