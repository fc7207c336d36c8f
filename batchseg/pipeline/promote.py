"""A candidate takes the place of the good results, or goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from batchseg.errors import OutputError
from batchseg.inspect.verify import verify
from batchseg.results.candidate import (
    CandidateState,
    candidate_of,
    candidate_state,
    left_behind,
    obstacle_in,
)
from batchseg.results.folder import Held, Results
from batchseg.results.promotion import begin_dropping, begin_promotion, finish_promotion, promotion_log
from batchseg.storage.location import output_errors
from batchseg.storage.lock import check, exclusive


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate.

    Attributes:
        results: the results folder.
        run_id, model: of the candidate's last run; None where it had not come to its end.
        promoted: whether its results are the good ones now; else it was dropped.
        size_bytes: of the candidate's files; 0 where only the end of a promotion was left to do.
    """

    results: str
    run_id: str | None
    model: str | None
    promoted: bool
    size_bytes: int


def promote(results: str) -> Promotion:
    """Let the candidate of a results folder take the place of the results there.

    Masks, overlays and tables are replaced as a whole, and the records in runs/ come together. Killed in
    between, the next command that opens the folder finishes it.

    Raises:
        OutputError: there is no candidate, its run has not finished, its gates failed, it is not whole, it
            lacks images that have masks now, or a run is at work on either. Nothing was changed then.
    """
    folder = Results(results)
    if (done := _finish(folder)) is not None:
        return done
    with _opened(folder) as (held, state):
        with candidate_of(folder).looked_at() as candidate:
            record = _fit(candidate, held)
            check(held.lock)
            with output_errors(folder.root):
                begin_promotion(folder.root, record)
        with output_errors(folder.root):
            finish_promotion(folder.root, held.lock)
    return Promotion(str(folder.root), state.run_id, state.model, True, state.size_bytes)


def drop_candidate(results: str) -> Promotion:
    """Remove the candidate of a results folder; the results stay.

    Raises OutputError where there is none, or a run is at work on either.
    """
    folder = Results(results)
    if (done := _finish(folder)) is not None:
        return done
    with _opened(folder) as (held, state):
        with exclusive(candidate_of(folder).root), output_errors(folder.root):
            begin_dropping(folder.root)
        with output_errors(folder.root):
            finish_promotion(folder.root, held.lock)
    return Promotion(str(folder.root), state.run_id, state.model, False, state.size_bytes)


@contextmanager
def _opened(folder: Results) -> Iterator[tuple[Held, CandidateState]]:
    with folder.looked_at() as held:
        state = candidate_state(folder)
        if state is None:
            raise OutputError(f"{folder.root}: has no candidate; `batchseg run --candidate` computes one")
        yield held, state


def _finish(folder: Results) -> Promotion | None:
    """What was begun before, and cut off: opening the folder carries it out."""
    folder.refuse_strangers()
    with output_errors(folder.root):
        log = promotion_log(folder.root)
    if log is None:
        return None
    with folder.looked_at():
        record = log["record"] or {}
    model = record.get("model", {}).get("name")
    return Promotion(str(folder.root), record.get("run_id"), model, bool(record), 0)


def _fit(candidate: Held, good: Held) -> dict[str, Any]:
    """The record of a candidate that may be promoted. Raises OutputError."""
    root, record = candidate.results.root, candidate.results.record()
    obstacle = obstacle_in(record)
    if obstacle is not None or record is None:
        raise OutputError(
            f"{root}: cannot be promoted: {obstacle}; the same run with --candidate goes on and judges it "
            f"anew, and `batchseg promote {good.results.root} --drop` removes it"
        )
    left = left_behind(good.ledger, candidate.ledger)
    if left and not record["config"].get("prune"):
        raise OutputError(f"{root}: {left}")
    report = verify(str(root), quick=True)
    if not report.ok:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items())
        raise OutputError(f"{root}: is not whole ({counts}); `batchseg verify {root}` says more")
    trace = record["profile"]
    return {
        **record,
        "profile": trace and trace.replace(str(root), str(good.results.root), 1),
        "candidate": {
            **record["candidate"],
            "promoted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    }
