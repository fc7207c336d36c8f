"""Execute a surveyed job on Ray: drive each pass, finish, and leave a record whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.network import SegmentorConfig
from batchseg.config.run import RunConfig
from batchseg.engine.graph import CHUNK_S, WHOLE, Stages, build
from batchseg.engine.journal import Journal
from batchseg.engine.nodes import usable_nodes
from batchseg.engine.placement import Placement, place
from batchseg.engine.session import ray_session
from batchseg.engine.telemetry import Telemetry
from batchseg.engine.trace import Trace
from batchseg.errors import BatchsegError, Interrupted
from batchseg.inspect.guards import Doubt, doubts_of_measured, doubts_of_total, settle
from batchseg.labels.reading import Reading
from batchseg.labels.recorded import record_label_map
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.pipeline.collect import OnProgress, Sink, collect
from batchseg.pipeline.parts import PartsPass, Told
from batchseg.pipeline.timings import timings
from batchseg.results.closing import Closing, class_rows, closing_of
from batchseg.results.commits import Commits
from batchseg.results.folder import Held, Results
from batchseg.results.measured import MeasuredTotals, measured_totals
from batchseg.results.progress import INTERRUPTED_LINE
from batchseg.results.record import new_run_id, run_record
from batchseg.results.result import RunResult, result_of, total_facts
from batchseg.results.tally import PartsTally, Tally
from batchseg.results.verdict import Key
from batchseg.source.plan import Listing, Plan, write_plan, write_rest
from batchseg.stages.write import Stamp


def ignore(tally: Tally) -> None:
    """A progress callback for callers who do not look."""


@dataclass(frozen=True)
class Pass:
    """Some listed images, and the stages that they go through. A pass without images costs nothing.

    Attributes:
        parts: what is computed before, of images that are joined from parts.
    """

    chosen: Listing
    hardware: SegmentorConfig
    stages: Callable[[Placement], Stages]
    doing: str
    profile: bool = False
    parts: PartsPass | None = None


@dataclass(frozen=True)
class Task:
    """What is to be done, as far as it can be known without Ray.

    Attributes:
        reading: how ground truths are read.
        doubts: what is likely to be wrong with the source.
        fresh: images, from the first on, that did not fail before; None for all.
        overlays: draws those that are chosen once all is committed, and says what for the record.
        notes: what whoever started the run should know from the first.
        about: further facts for the record.
    """

    config: RunConfig | EvaluateConfig
    model: str | None
    key: Key
    reading: Reading
    listing: Listing
    passes: Sequence[Pass]
    doubts: Sequence[Doubt] = ()
    pruned: int = 0
    repainted: int = 0
    fresh: int | None = None
    overlays: Callable[[Held], dict[str, Any]] | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many there is something to do for."""
        return sum(each.chosen.images for each in self.passes)


def execute(task: Task, held: Held, on_progress: OnProgress) -> RunResult:
    """Go through the passes and bring the results folder up to date.

    Raises BatchsegError and KeyboardInterrupt; what was finished is committed and the record says so.
    """
    # Ray would take seconds to start and to stop
    with ray_session(task.config.ray.address) if task.images or task.overlays else nullcontext():
        return Execution(task, held, on_progress).run()


class Execution:
    """One run of a task, and what becomes known on the way."""

    def __init__(self, task: Task, held: Held, on_progress: OnProgress) -> None:
        self.task, self.held, self.on_progress = task, held, on_progress
        self.results: Results = held.results
        self.run_id = new_run_id(self.results.last_run())
        self.tally = Tally(task.images, task.config.limits.stop_after_failures, task.fresh)
        self.tally.warnings = {doubt.guard: doubt.sentence for doubt in task.doubts}
        self.tally.work = {each.doing: each.chosen.images for each in task.passes if each.chosen.images}
        self.tally.notes = task.notes
        self.commits = Commits(held, self.run_id, self.tally)
        self.placement: Placement | None = None  # of the last pass
        self.facts: dict[str, Any] = {
            "model": {
                "name": task.model,
                "fingerprint": task.key.mask,
                "classes": task.reading.label_map.names,
            },
            "score_fingerprint": task.key.score,
            "truth_read": task.reading.sentence if task.listing.with_truth else None,
            "truth_reading": task.reading.settings if task.listing.with_truth else None,
            "truth_label_map": record_label_map(task.reading.label_map),
            "placement": None,
            "notes": list(task.notes),
            **task.about,
        }

    def run(self) -> RunResult:
        self.on_progress(self.tally)
        try:
            first = 0
            for each in self.task.passes:
                if each.chosen.images:
                    if each.parts:
                        self._compute_parts(each.parts)
                    self._go_through(each, first)
                    if each.parts:
                        each.parts.rasters.delete_joined(self.held)
                first += each.chosen.images
            if self.task.overlays:
                self.facts["overlays"] = self.task.overlays(self.held)
            total = self.held.finish(self.task.reading.label_map)
        except KeyboardInterrupt as exc:
            interrupted = Interrupted(self._what_is_left())
            self._leave(interrupted)
            raise interrupted from exc
        except BaseException as exc:
            self._leave(exc)
            raise
        closing, classes = closing_of(self.results), class_rows(total, self.task.reading.label_map)
        measured = measured_totals(self.results.root, self.task.config, self.task.reading.label_map)
        self._doubt(total, closing, measured)
        facts = {
            **self.tally.computing,
            "worst": closing.worst,
            "calibration": closing.calibration,
            "acknowledged": self.held.ledger.acknowledged,
            **total_facts(total, classes, self.task.config.gates, self.tally, closing.prompted),
            **measured.facts,
        }
        record = self._record("finished", facts)
        self.results.write_record(record)
        return result_of(record, str(self.results.root), self.tally)

    def _doubt(self, total: ConfusionMatrix, closing: Closing, measured: MeasuredTotals) -> None:
        """Add what only the whole tells to the warnings."""
        # exact where all images have a truth; of some without one more is taken off, and less is said
        without_data = max(0, closing.pixels - int(total.counts.sum()))
        counted = (max(0, closing.annotated_pixels - without_data), closing.segmented)
        config, label_map = self.task.config, self.task.reading.label_map
        found = doubts_of_total(total, *counted, label_map, isinstance(config, EvaluateConfig))
        more = doubts_of_measured(measured.too_large, measured.without_spacing)
        doubts = settle([*found, *more], config.accept)
        self.tally.warnings |= {doubt.guard: doubt.sentence for doubt in doubts}

    def _what_is_left(self) -> str:
        listed = self.task.listing.images
        committed = listed - self.task.images + self.tally.done
        begun = Journal(str(self.results.work)).begun(WHOLE)
        again = f"up to {begun:,} that were under way are" if begun else "what was under way is"
        kept = self.tally.parts.beside if self.tally.parts else ""
        return (
            f"{INTERRUPTED_LINE}{committed:,} of {listed:,} images{kept} are committed; {again} computed "
            "again; the same command goes on"
        )

    def _leave(self, exc: BaseException) -> None:
        """What was finished is committed; the next run goes on from there."""
        if not self.held.is_ours:  # else the last word is the other run's
            return
        with suppress(BatchsegError):  # what went wrong before is the better sentence
            self.held.ledger.drop_superseded()
        how = "interrupted" if isinstance(exc, KeyboardInterrupt) else "failed"
        self.results.write_record(self._record(how, {"error": str(exc)}))

    def _record(self, status: str, facts: dict[str, Any]) -> dict[str, Any]:
        listing = self.task.listing
        images = {
            "listed": listing.images,
            "done_before": listing.images - self.task.images,
            "segmented": self.tally.segmented,
            "decided": self.tally.decided,
            "scored": self.tally.scored,
            "without_truth": listing.images - listing.with_truth,
            "pruned": self.task.pruned,
            "full_names": sum(each.chosen.full_names for each in self.task.passes),
            "passed_over": listing.passed_over,
            "repainted": self.task.repainted,
        }
        known = {
            **self.facts,
            "images": images,
            "split": listing.split,
            "timings": timings(self.tally, self.placement),
            **({"parts": self.tally.parts.facts} if self.tally.parts else {}),
            **facts,
        }
        return run_record(self.run_id, status, self.task.config, self.tally, known)

    def _compute_parts(self, each: PartsPass) -> None:
        """Those that are not kept. Their images are joined in the pass after it, and deleted then."""
        rasters = each.rasters
        parts = self.tally.parts = PartsTally(rasters.parts.images, rasters.kept)
        if parts.total:
            placement = self._place(each.hardware, rasters.windows, at_most=parts.total)
            parts.actors = placement.actors
            plan = write_plan(rasters.parts, self.results.work / "plan-parts.arrow", 1)
            with Telemetry(placement, str(self.results.root)) as telemetry:
                told = Told(self.tally, parts)
                self._drive(plan, each.stages(placement), placement, telemetry, sink=told)
                if left := parts.total - parts.done:
                    raise BatchsegError(f"Ray lost {left:,} parts; the same command computes them again")

    def _go_through(self, each: Pass, first: int) -> None:
        placement = self._place(each.hardware, each.chosen.images)
        plan = write_plan(
            each.chosen,
            self.results.work / f"plan-{each.chosen.path.name}",
            placement.chunk_rows(each.chosen.images),
            first,
        )
        trace, stages = self._traced(plan) if each.profile else None, each.stages(placement)
        with Telemetry(placement, str(self.results.root)) as telemetry:
            self._drive(plan, stages, placement, telemetry, trace=trace)
            before = -1
            while len(left := self.commits.untold(first, first + each.chosen.images)):
                if self.tally.done == before:
                    raise BatchsegError(f"Ray lost {len(left):,} rows; the same command computes them again")
                before = self.tally.done
                place_of_rest = self.results.work / f"rest-{self.tally.done}.arrow"
                rest = write_rest(plan, left, place_of_rest, self._rows_in_time(placement))
                self._drive(rest, stages, placement, telemetry)

    def _place(self, hardware: SegmentorConfig, inputs: int, at_most: int | None = None) -> Placement:
        """Where some work is done; the record tells of the first, which is the model's where it runs."""
        nodes = usable_nodes(self.task.config.ray.exclude_head)
        self.placement = place(hardware, nodes, inputs, at_most)
        self.facts["placement"] = self.facts["placement"] or asdict(self.placement)
        return self.placement

    def _drive(
        self,
        plan: Plan,
        stages: Stages,
        placement: Placement,
        telemetry: Telemetry,
        *,
        trace: Trace | None = None,
        sink: Sink | None = None,
    ) -> None:
        """Take every row; whatever ends the run, the rows that were finished are committed first.

        An interrupt may come between any two steps: rows are held before anything else is done with them,
        and what the tally says at the end is what was committed.
        """
        key = self.task.key
        stamp = Stamp(self.task.model, key.mask, key.score, self.run_id, key.without_truth)
        dataset = build(plan, stages, placement, stamp, Journal(str(self.results.work)), trace=trace)

        def report(tally: Tally) -> None:
            telemetry(tally)
            self.on_progress(tally)

        collect(dataset, sink or self.commits, report)

    def _rows_in_time(self, placement: Placement) -> int:
        """Images that a worker is through with before its time is up, at the speed there has been so far."""
        image_s = self.tally.seconds.total() / max(1, self.tally.done)
        return max(1, min(placement.most_rows, int(CHUNK_S / max(image_s, 1e-3))))

    def _traced(self, plan: Plan) -> Trace:
        """From the middle of the run, when everything is warm."""
        image = plan.read(plan.chunks // 2)["id"][0].as_py()
        trace = Trace(image, str(self.results.root / "profiles" / f"{self.run_id}.json.gz"))
        self.facts["profile"] = trace.target
        return trace
