"""The configuration of a run that is over, from its record."""

from __future__ import annotations

import os
from typing import Any

from batchseg.config.compare import NightConfig
from batchseg.labels.label_file import BUILT_IN
from batchseg.storage.location import is_uri


def recorded_job(record: dict[str, Any] | None) -> NightConfig:
    """That of the last run, be it by hand or a night's, whose record has more settings.

    Relative paths are as they were meant where the run was started. Raises pydantic's ValidationError where
    there is no record, or another version of batchseg wrote it.
    """
    record = record or {}
    job = NightConfig.model_validate(record.get("config"))
    folder = record.get("machine", {}).get("folder") or ""

    def absolute(path: str | None) -> str | None:
        return path if path is None or is_uri(path) else os.path.join(folder, os.path.expanduser(path))

    names = ("path", "truth", "root")
    paths = {name: absolute(getattr(job.source, name)) for name in names if hasattr(job.source, name)}
    labels = job.labels if (BUILT_IN / f"{job.labels}.yaml").is_file() else absolute(job.labels)
    return job.model_copy(update={"source": job.source.model_copy(update=paths), "labels": labels})
