"""The page that a run or a night makes of its results at its end."""

from __future__ import annotations

from batchseg.comparison.compare import CompareReport
from batchseg.config.compare import NightConfig
from batchseg.config.report import ReportConfig
from batchseg.config.run import RunConfig
from batchseg.errors import BatchsegError, OutputError
from batchseg.pipeline.trial import TrialResult
from batchseg.reporting.make import make_page
from batchseg.reporting.reference import Reference
from batchseg.results.folder import Results
from batchseg.results.result import RunResult


def page_of_run(result: RunResult, config: RunConfig) -> str:
    """Where it lies; of a candidate it says what became of the good results.

    Raises OutputError where it cannot be made; the results are there nevertheless.
    """
    asked = ReportConfig(results=result.output, ray=config.ray)
    try:
        if isinstance(result, TrialResult) and result.compared is not None:
            older = Reference(f"the good results in {result.good}", result.compared)
            return make_page(asked, older=lambda: older).path
        return make_page(asked).path
    except BatchsegError as exc:
        raise OutputError(f"the run has finished, but its page cannot be made: {exc}") from exc


def page_of_night(
    config: NightConfig, results: Results, compared: CompareReport | None, reference: str | None
) -> str:
    """Where it lies. Raises BatchsegError where it cannot be made."""
    folder, _, night = (reference or "").rpartition("/")
    name = f"the good night {night}" if folder.endswith("/nights") else "the good results"
    older = Reference(name, compared) if compared is not None else None
    asked = ReportConfig(results=str(results.root), ray=config.ray)
    return make_page(asked, older=lambda: older).path
