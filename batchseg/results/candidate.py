"""Another model's results, computed beside the good ones: a results folder of its own, candidate/.

The good results are not touched until it takes their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from batchseg.errors import OutputError
from batchseg.results.folder import Held, Results
from batchseg.results.ledger import Ledger
from batchseg.results.promotion import CANDIDATE, promotion_log
from batchseg.results.record import new_run_id
from batchseg.results.rewrite import replace_parts
from batchseg.results.tables import read_images
from batchseg.schema import PIXELS
from batchseg.storage.keys import KeySet
from batchseg.storage.location import output_errors
from batchseg.storage.tree import files_below


@dataclass(frozen=True)
class CandidateState:
    """What there is of a candidate.

    Attributes:
        run_id, model: of its last run; None while none has come to its end.
        obstacle: why it cannot be promoted, as far as its record tells; None where it can.
        files, size_bytes: what it costs on the disk.
    """

    run_id: str | None
    model: str | None
    obstacle: str | None
    files: int
    size_bytes: int


def candidate_of(results: Results) -> Results:
    """The results folder of its candidate, be it there or not."""
    return Results(str(results.root / CANDIDATE))


def candidate_state(results: Results) -> CandidateState | None:
    """None where there is no candidate, or nothing in its folder yet. Looks at every file's size."""
    candidate = candidate_of(results)
    if not candidate.runs.is_folder():
        return None
    sizes = [size for path, size in files_below(candidate.root) if path != ".lock"]
    if not sizes:
        return None
    record = candidate.record()
    run_id, model = (record["run_id"], record["model"]["name"]) if record else (None, None)
    return CandidateState(run_id, model, obstacle_in(record), len(sizes), sum(sizes))


def obstacle_in(record: dict[str, Any] | None) -> str | None:
    """Why a candidate with this record cannot be promoted; None where it can."""
    if record is None:
        return "its run has not finished"
    if record["status"] != "finished":
        return f"its last run was {record['status']}"
    if record["candidate"] is None:
        return "it was not held against the good results"
    if record["exit_code"]:
        return "; ".join(["its gates failed", *record["gates"]])
    if (record["night"] or {}).get("exit_code"):
        return "; ".join(["its night was not good", *record["night"]["sentences"]])
    return None


def refuse_nothing_good(results: Results) -> None:
    """Raises OutputError where there are no results that a candidate could be held against."""
    results.refuse_misplaced()
    if not results.are_there or not (results.images.files(".parquet") or promotion_log(results.root)):
        raise OutputError(
            f"{results.root}: holds no results that a candidate could be held against; run it without "
            "--candidate (in a file candidate: false)"
        )


def left_behind(good: Ledger, candidate: Ledger) -> str | None:
    """A sentence where images that have a mask in the good results have no row in the candidate."""
    left = np.count_nonzero(good.rows["ok"] & good.unlisted(KeySet([candidate.rows["id"]])))
    if not left:
        return None
    return (
        f"{left:,} images that have masks are not in the candidate; run it over all images, or with --prune "
        "where the source no longer lists them"
    )


@contextmanager
def held_candidate(
    results: Results, fingerprint: str, renamed: Mapping[str, str], recompute: bool
) -> Iterator[Held]:
    """Hold the folder of a candidate, ready for a run of this model; what was known of it counts no longer.

    Images whose fault is acknowledged in the good results are so in the candidate. The folder of the good
    results is held only until the candidate's is, so that a run there may begin.

    Raises:
        OutputError: there are no good results, or they are of this model already; or the candidate is of
            another model, and `recompute` does not say that it may go.
    """
    refuse_nothing_good(results)
    with ExitStack() as stack:
        with results.looked_at(renamed) as good:
            _refuse_good(good, fingerprint)
            candidate = candidate_of(results)
            _refuse_others_files(candidate)
            held = stack.enter_context(candidate.held(renamed))
            others = held.ledger.of_other_models(fingerprint)
            if others.any() and not recompute:
                raise OutputError(
                    f"{candidate.root}: holds the candidate of another model; --recompute replaces it, and "
                    f"`batchseg promote {results.root} --drop` removes it"
                )
            with output_errors(candidate.root):
                (candidate.root / "run.json").delete()  # a verdict on rows that are about to change
            held.ledger.drop(others)
            _take_over_known(good, held)
        yield held


def _take_over_known(good: Held, candidate: Held) -> None:
    """What is acknowledged to be no image in the good results is so for every model.

    A fault of a truth is not taken over: the row of such an image has a mask.
    """
    ledger, rows, had = candidate.ledger, good.ledger.rows, candidate.ledger.rows
    known = rows["acknowledged"] & ~rows["ok"] & ~rows["by_model"]
    known &= ~KeySet([had["id"][had["ok"] | had["acknowledged"]]]).contains(rows["id"])
    if not known.any():
        return
    ledger.drop(KeySet([rows["id"][known]]).contains(had["id"]))
    root = candidate.results.root
    for part, start, stop in good.ledger.extents():
        if known[start:stop].any():
            images = read_images(good.results.images / part).filter(pa.array(known[start:stop]))
            name = f"{new_run_id(candidate.results.last_run())}-00000.parquet"
            with output_errors(root):
                replace_parts(root, [], [(name, {"images": images, "pixels": PIXELS.empty_table()})])
            ledger.add(name, images)


def _refuse_good(good: Held, fingerprint: str) -> None:
    ledger, root = good.ledger, good.results.root
    if any(name.startswith("masks-") for name in ledger.fingerprints()):
        raise OutputError(f"{root}: holds scores of masks that lay there already, and takes no candidate")
    if ledger.rows["ok"].any() and not ledger.of_other_models(fingerprint).any():
        raise OutputError(
            f"{root}: holds the masks of this model already, so there is nothing to try; leave out candidate"
        )


def _refuse_others_files(candidate: Results) -> None:
    if candidate.runs.is_folder():
        return
    selector = fs.FileSelector(candidate.root.path, allow_not_found=True)
    found = {item.base_name for item in candidate.root.filesystem.get_file_info(selector)} - {".lock"}
    if found:
        raise OutputError(
            f"{candidate.root}: is there already and is no candidate of batchseg (it holds "
            f"{', '.join(sorted(found)[:3])}); move it away"
        )
