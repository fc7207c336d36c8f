"""A run that was cut off: how far it came, and what it may have left that the next run mends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchseg.inspect.parts import Part
from batchseg.results.folder import Results
from batchseg.results.masks import read_names
from batchseg.results.tables import read_part
from batchseg.storage.keys import Keys, KeySet, keys
from batchseg.storage.location import Location
from batchseg.storage.lock import is_held_by_another

LISTED = {"listing.arrow", "split.arrow"}  # what a run writes before it drops and commits rows


@dataclass(frozen=True)
class CutOff:
    """What is known of a run that did not come to its end.

    Attributes:
        masks: keys of the paths below the results folder of masks that it may have written without a row.
        began: whether the tables may be others by now than what the last record and `classes` tell of. A run
            whose source could not be listed has changed nothing.
    """

    masks: KeySet
    began: bool


def cut_off(results: Results, record: dict[str, Any] | None) -> CutOff | None:
    """Whether a run is not through with the folder: it was interrupted or killed, or is at work."""
    status = (record or {}).get("status")
    if not results.work.is_folder() and status != "interrupted":
        return None
    files = results.work.files(".arrow")
    masks = KeySet(keys([f"masks/{name}" for name in read_names(file)]) for file in files)
    return CutOff(masks, began=not _stands(results, record, {file.name for file in files}))


def _stands(results: Results, record: dict[str, Any] | None, files: set[str]) -> bool:
    """Whether the last record is of a run that finished, and no rows came or went since."""
    if record is None or record["status"] != "finished" or not files <= LISTED:
        return False
    return results.last_run().startswith(record["run_id"]) and not is_held_by_another(results.root)


def how_far(results: Results, record: dict[str, Any] | None, parts: list[Part]) -> str:
    """One sentence: interrupted, how many images are done, and what goes on."""
    what = "a run is at work" if is_held_by_another(results.root) else "interrupted"
    then = "" if what == "a run is at work" else "; the same command goes on"
    listed = sum(len(table) for table in _rows(results.work / "listing.arrow"))
    if listed:
        left = _left(results, parts)
        return f"{what}: {listed - left:,} of {listed:,} images are done{then}"
    told = (record or {}).get("images", {})
    if (record or {}).get("status") == "interrupted" and told.get("listed"):
        done = told["done_before"] + sum((record or {})["computed"].values())
        return f"{what}: {done:,} of {told['listed']:,} images are done{then}"
    return f"{what} before its images were listed{then}"


def _left(results: Results, parts: list[Part]) -> int:
    """Images that were to be done and are not: those without a row, and those without the run's own one."""
    to_segment = _ids(results.work / "segment.arrow")
    to_score = _ids(results.work / "score.arrow")
    left = int(np.count_nonzero(~KeySet(part.ids for part in parts).contains(to_segment)))
    if not len(to_score):
        return left
    return left + int(np.count_nonzero(~KeySet(_of_last_run(results, parts)).contains(to_score)))


def _of_last_run(results: Results, parts: list[Part]) -> list[Keys]:
    """What the run has done that committed last, if no record says that it finished: runs sort by time."""
    runs = [
        (part, read_part(results.images / part.name, ["run_id"])["run_id"].dictionary_encode())
        for part in parts
        if not part.lost
    ]
    last = max((name for _, column in runs for name in column.unique().to_pylist() if name), default="")
    if not last or results.finished(last):
        return []
    return [part.ids[pc.equal(column, last).to_numpy()] for part, column in runs]


def _ids(place: Location) -> Keys:
    return np.concatenate([np.empty(0, np.int64), *(keys(table["id"]) for table in _rows(place))])


def _rows(place: Location) -> Iterator[pa.Table]:
    """The ids of a listing; none where it was cut off or is not there."""
    try:
        with place.filesystem.open_input_file(place.path) as file, pa.ipc.open_file(file) as reader:
            for index in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(index)]).select(["id"])
    except (OSError, pa.ArrowException, KeyError):
        return
