"""Execute a surveyed job on Ray: plan, place, drive, finish, and leave a record whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import SegmentorConfig
from batchseg.engine.drive import drive
from batchseg.engine.graph import Stages, build
from batchseg.engine.journal import Journal
from batchseg.engine.nodes import usable_nodes
from batchseg.engine.placement import Placement, place
from batchseg.engine.session import ray_session
from batchseg.engine.telemetry import Telemetry
from batchseg.engine.trace import Trace
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.timings import timings
from batchseg.results.commits import Commits
from batchseg.results.folder import Done, Results
from batchseg.results.record import RunResult, new_run_id, result_of, run_record, total_facts
from batchseg.results.tally import Tally
from batchseg.source.plan import Listing, Plan, write_plan, write_remaining

OnProgress = Callable[[Tally], None]


def ignore(tally: Tally) -> None:
    """A progress callback for callers who do not look."""


@dataclass(frozen=True)
class Task:
    """What is to be done, as far as it can be known without Ray."""

    config: RunConfig | EvaluateConfig
    hardware: SegmentorConfig
    model: str | None
    fingerprint: str
    label_map: LabelMap
    listing: Listing
    done: Done
    prune: bool
    stages: Callable[[Placement], Stages]
    profile: bool = False


def execute(task: Task, results: Results, on_progress: OnProgress) -> RunResult:
    """Compute what is not done and bring the results folder up to date.

    Raises BatchsegError and KeyboardInterrupt; what was finished is committed and the record says so.
    """
    remaining = write_remaining(task.listing, results.work / "remaining.arrow", task.done)
    if not remaining.images:  # Ray would take seconds to start and to stop
        return _execute(task, results, remaining, None, on_progress)
    with ray_session(task.config.ray.address):
        placement = place(task.hardware, usable_nodes(task.config.ray.exclude_head), remaining.images)
        with Telemetry(placement, str(results.root)) as telemetry:

            def report(tally: Tally) -> None:
                telemetry(tally)
                on_progress(tally)

            return _execute(task, results, remaining, placement, report)


def _execute(
    task: Task, results: Results, remaining: Listing, placement: Placement | None, report: OnProgress
) -> RunResult:
    run_id, listed, tally = new_run_id(results.last_run()), task.listing.images, Tally(remaining.images)
    facts: dict[str, Any] = {
        "model": {"name": task.model, "fingerprint": task.fingerprint, "classes": task.label_map.names},
        "images": {"listed": listed, "done_before": listed - remaining.images},
        "placement": placement and asdict(placement),
    }
    stamp = {"model": task.model, "fingerprint": task.fingerprint, "run_id": run_id}
    report(tally)
    try:
        if placement:
            rows = placement.chunk_rows(remaining.images)
            plan = write_plan(remaining, results.work / "plan.arrow", rows)
            trace = traced(plan, results, run_id) if task.profile else None
            facts["profile"] = trace and trace.target
            stages, journal = task.stages(placement), Journal(str(results.work))
            dataset = build(plan, stages, placement, stamp, journal, trace=trace)
            collect(dataset, Commits(results, run_id, tally), report)
        facts["images"]["pruned"] = results.prune(task.listing.ids()) if task.prune else 0
        total = results.finish(task.label_map)
    except BaseException as exc:
        status = "interrupted" if isinstance(exc, KeyboardInterrupt) else "failed"
        facts |= {"timings": timings(tally, placement), "error": str(exc)}
        results.write_record(run_record(run_id, status, task.config, tally, facts))
        raise
    facts |= {"timings": timings(tally, placement), "precision": tally.precision}
    facts |= total_facts(total, task.config.gates, tally)
    record = run_record(run_id, "finished", task.config, tally, facts)
    results.write_record(record)
    return result_of(record, str(results.root), tally)


def collect(dataset: Any, commits: Commits, report: OnProgress) -> None:
    """Take every row; whatever ends the run, the rows that were finished are committed first.

    An interrupt may come between any two steps: rows are held before anything else is done with them, and
    what the tally says at the end is what was committed.
    """

    def take(rows: pa.Table) -> None:
        commits.take(rows)
        report(commits.tally)

    try:
        drive(dataset, take)
    finally:
        commits.close()


def traced(plan: Plan, results: Results, run_id: str) -> Trace:
    """From the middle of the run, when everything is warm."""
    image = plan.read(plan.chunks // 2)["id"][0].as_py()
    return Trace(image, str(results.root / "profiles" / f"{run_id}.json.gz"))
