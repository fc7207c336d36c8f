"""Results of several models over images of their own, as one results folder."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchseg.config.run import RunConfig
from batchseg.errors import OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.labels.recorded import recorded_label_map
from batchseg.results.closing import class_rows, closing_of
from batchseg.results.folder import Held, Results
from batchseg.results.opened import OpenedResults
from batchseg.results.record import new_run_id, run_record
from batchseg.results.result import total_facts
from batchseg.results.rewrite import KINDS
from batchseg.results.tally import Tally, kinds
from batchseg.storage.location import locate

FILES = ("masks", "probabilities")


def gather(folders: Sequence[Path], config: RunConfig, name: str) -> dict[str, Any]:
    """Write the results in `folders`, no two of which have an image in common, as one results folder.

    Its tables are theirs, and its figures are of all of them. It is made anew as a whole, or not at all.

    Args:
        config: of a run that would have made it; it says where that is, on a local disk.
        name: what the record calls the models.

    Returns:
        the record, as run.json holds it.

    Raises:
        OutputError: it cannot be written, or one of them is not there.
    """
    into = Path(config.output.path)
    unfinished = into.with_name(f".{into.name}.unfinished")
    records = [_record(folder) for folder in folders]
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        with Results(str(unfinished)).held() as held:
            for folder in folders:
                _take_over(folder, unfinished)
            record = _finish(held.results.open(held.lock), config, records, name)
        shutil.rmtree(into, ignore_errors=True)
        os.replace(unfinished, into)
    except OSError as exc:
        raise OutputError(f"{into}: cannot be written: {exc.strerror or exc}") from exc
    return record


def _record(folder: Path) -> dict[str, Any]:
    record = Results(str(folder)).record()
    if record is None or record["status"] != "finished":
        raise OutputError(f"{folder}: holds no results of a run that came to its end")
    return record


def _take_over(folder: Path, into: Path) -> None:
    """Files first and `images` last, as a run commits them."""
    for name in FILES:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, into / name, copy_function=link_or_copy, dirs_exist_ok=True)
    for kind in reversed(KINDS):
        for part in (locate(str(folder)) / kind).files(".parquet"):
            (into / kind).mkdir(exist_ok=True)
            shutil.copyfile(part.path, into / kind / part.name)


def link_or_copy(source: str, to: str) -> None:
    """One file under two names where the disk has that, for neither is ever written into. Raises OSError."""
    with suppress(OSError):
        os.link(source, to)
        return
    shutil.copy2(source, to)


def _finish(held: Held, config: RunConfig, records: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    label_map: LabelMap = recorded_label_map(records[0]["truth_label_map"])
    total = held.finish(label_map)
    results, first = held.results, records[0]
    closing, classes = closing_of(results), class_rows(total, label_map)
    images = OpenedResults(results).images
    tally = Tally(len(images), statuses=Counter(kinds(images)))
    same = ("score_fingerprint", "truth_read", "truth_reading", "truth_label_map", "precision")
    facts = {
        **{key: first[key] for key in same},
        "model": {"name": name, "fingerprint": None, "classes": label_map.names},
        "images": {"listed": len(images), "segmented": closing.segmented},
        "warnings": {guard: text for each in records for guard, text in each["warnings"].items()},
        "worst": closing.worst,
        "calibration": closing.calibration,
        **total_facts(total, classes, config.gates, tally, closing.prompted),
    }
    record = run_record(new_run_id(results.last_run()), "finished", config, tally, facts)
    results.write_record(record)
    return record
