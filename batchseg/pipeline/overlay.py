"""`batchseg overlay`: pictures of masks that lie there, after a run."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from batchseg.config.overlay import OverlayConfig
from batchseg.config.run import RunConfig
from batchseg.engine.session import ray_session
from batchseg.errors import OutputError
from batchseg.pipeline.choice import Choice
from batchseg.pipeline.drawing import OverlayReport, draw_overlays
from batchseg.results.folder import Results
from batchseg.results.progress import OnCounted, unwatched
from batchseg.results.recorded import is_evaluation, look_back
from batchseg.source.open import listed_tables, open_source
from batchseg.stages.viewing import Sight


def overlay(config: OverlayConfig, on_drawn: OnCounted = unwatched) -> OverlayReport:
    """Draw overlays from the masks of a results folder, without a model.

    The images, and for triptychs their truth, are read from where the last run read them.

    Raises:
        ConfigError: an id is not in the results.
        OutputError: there are no results with masks, or they cannot be read or written, or a run is at work
            on them.
    """
    results = Results(config.results)
    results.refuse_strangers()
    record = results.record()
    if is_evaluation(record):
        raise OutputError(
            f"{results.root}: holds scores of masks from elsewhere, whose images are not known; "
            "batchseg overlay draws the results of batchseg run"
        )
    past = look_back(results, record)
    job = past.job if isinstance(past.job, RunConfig) else None

    def listed() -> Iterable[pa.Table]:
        if job is None or not past.knows_truths:
            return ()
        return listed_tables(open_source(job.source, (config.results,)), results.work)

    named = (job.output.mask_name, job.tiffs) if job else ("stem", "none")
    choice = Choice(config, named[0], config.ids, named[1])
    with results.looked_at() as held, ray_session(config.ray.address):
        report = draw_overlays(
            held,
            choice,
            Sight(past.truths, past.images),
            past.limits,
            listed,
            exclude_head=config.ray.exclude_head,
            on_drawn=on_drawn,
        )
    report.remarks[:0] = past.remarks
    return report
