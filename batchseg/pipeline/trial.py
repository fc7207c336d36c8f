"""A candidate on trial: held against the good results, and judged."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from batchseg.comparison.compare import CompareReport, compare
from batchseg.config.compare import CompareConfig, Comparison
from batchseg.errors import BatchsegError
from batchseg.results.candidate import left_behind
from batchseg.results.folder import Held, Results
from batchseg.results.result import EXIT_GATE_FAILED, RunResult
from batchseg.storage.lock import exclusive
from batchseg.storage.tree import files_below


@dataclass(frozen=True)
class TrialResult(RunResult):
    """What came out of a run whose results are a candidate.

    `exit_code` and `gates` cover the comparison too. `output` is the candidate's folder.

    Attributes:
        good: the results folder that it was held against, and was not touched.
        compared: with the good results; None where the two cannot be compared.
        size_bytes: what the candidate costs on the disk.
    """

    good: str = ""
    compared: CompareReport | None = None
    size_bytes: int = 0


def judge_candidate(
    result: RunResult, held: Held, good: Results, settings: Comparison, may_lose: bool
) -> TrialResult:
    """Compare, and write the verdict into the candidate's run.json.

    Args:
        held: the candidate.
        may_lose: whether images of the good results that the candidate has not may go.

    Raises:
        OutputError: a run is at work on the good results, or the verdict cannot be written.
    """
    with exclusive(good.root):  # its tables must not change meanwhile
        compared, sentences = compare_with(settings, str(good.root), str(held.results.root))
        left = left_behind(good.ledger(), held.ledger)
        sentences = [f"{each}{_renaming(good, result)}" for each in sentences]
    gates = [*result.gates, *(compared.gates if compared else []), *sentences]
    if left and not may_lose:
        gates.append(left)
    code = result.exit_code or (EXIT_GATE_FAILED if gates else 0)
    size = sum(size for _, size in files_below(held.results.root))
    verdict = {
        "good": str(good.root),
        "size_bytes": size,
        "compared": asdict(compared) if compared else None,
    }
    record = {**result.record, "exit_code": code, "gates": gates, "candidate": verdict}
    held.results.write_record(record)
    known = {each.name: getattr(result, each.name) for each in fields(RunResult)}
    changed = {"exit_code": code, "gates": gates, "record": record}
    return TrialResult(**{**known, **changed}, good=str(good.root), compared=compared, size_bytes=size)


def _renaming(good: Results, result: RunResult) -> str:
    """What to do where the classes have other names than in the good results, and are as many."""
    before = (good.record() or {}).get("model", {}).get("classes") or []
    now = result.record["model"]["classes"]
    if list(before) == list(now) or len(before) != len(now):
        return ""
    return (
        "; if only names changed, first run the model of the good results with this label map, which "
        "computes nothing"
    )


def compare_with(
    settings: Comparison, old: str, new: str, before: str = "the good results"
) -> tuple[CompareReport | None, list[str]]:
    """The comparison of two results folders, or a sentence on why it cannot be made; `before` names `old`."""
    shared = {name: getattr(settings, name) for name in Comparison.model_fields}
    try:
        return compare(CompareConfig(old=old, new=new, **shared)), []
    except BatchsegError as exc:
        return None, [f"not compared with {before}: {exc}"]
