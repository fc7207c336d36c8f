"""A candidate takes the place of the results, or is dropped: all of it, whenever the process dies.

A log says what is to be done; writing it is the commit. Whoever finds a log under the folder's lock carries
it out, which may be repeated. While there is a log no run may work on the candidate.

.promote.json    {"record": the candidate's run.json, "swap": [name, ...], "drop": [name, ...],
                  "cleared": whether the old files are gone}, or {"record": null, ...} where it is dropped

On a local disk the old files are put aside by renaming, and removed at the end. An object store knows no
renaming: there the old files that the candidate has no counterpart of are removed first, and then each of
the candidate's is copied over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from batchseg.errors import OutputError
from batchseg.storage.keys import KeySet, keys
from batchseg.storage.location import Location
from batchseg.storage.lock import Lock, check
from batchseg.storage.many import for_many
from batchseg.storage.tree import files_below

LOG = ".promote.json"
CANDIDATE = "candidate"
ASIDE = ".superseded"

# what is of one model, and so is replaced as a whole
OF_A_MODEL = (
    "masks",
    "overlays",
    "probabilities",
    "explanations",
    "images",
    "pixels",
    "objects",
    "boundary",
    "calibration",
    "classes.parquet",
    "report.html",
    ".palette",
)
OF_ALL_RUNS = ("runs", "profiles")  # whose files come together


def begin_promotion(root: Location, record: dict[str, Any]) -> None:
    """Write the log after which the candidate takes the place of the results. Raises OSError."""
    candidate = root / CANDIDATE
    swap = [name for name in OF_A_MODEL if (candidate / name).exists()]
    drop = [name for name in OF_A_MODEL if name not in swap and (root / name).exists()]
    _write(root, {"record": record, "swap": swap, "drop": drop, "cleared": False})


def begin_dropping(root: Location) -> None:
    """Write the log after which the candidate goes. Raises OSError."""
    _write(root, {"record": None, "swap": [], "drop": [], "cleared": False})


def finish_promotion(root: Location, lock: Lock | None = None) -> None:
    """Carry out a log, if there is one, which may be that of a killed process.

    Raises OSError, and OutputError where it is no log, or where another run has taken the folder over.
    """
    log = promotion_log(root)
    if log is None:
        return
    check(lock)
    if log["record"] is not None:
        if root.is_local:
            _swap(root, log["swap"], log["drop"])
        else:
            _copy_over(root, log, lock)
        for name in OF_ALL_RUNS:
            _move_files(root / CANDIDATE / name, root / name)
        data = json.dumps(log["record"], indent=2, default=str).encode()
        (root / "runs" / f"{log['record']['run_id']}.json").write(data)
        (root / "run.json").write(data)
    check(lock)
    (root / CANDIDATE).delete_folder()
    (root / ASIDE).delete_folder()
    (root / LOG).delete()


def _write(root: Location, log: dict[str, Any]) -> None:
    (root / LOG).write(json.dumps(log, default=str).encode())


def promotion_log(root: Location) -> dict[str, Any] | None:
    """What was begun and not finished, if anything. Raises OSError, and OutputError where it is no log."""
    try:
        log = json.loads((root / LOG).read())
        known = {*log["swap"], *log["drop"]} <= set(OF_A_MODEL)
        known &= log["record"] is None or isinstance(log["record"]["run_id"], str)
        known &= isinstance(log["cleared"], bool)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        known = False
    if not known or "/" in (log["record"] or {}).get("run_id", ""):
        raise OutputError(f"{root / LOG}: is no log of batchseg; remove it and run verify")
    return dict(log)


# -- by renaming


def _swap(root: Location, swap: Sequence[str], drop: Sequence[str]) -> None:
    for name in swap:
        new = root / CANDIDATE / name
        if new.exists():  # else it is in its place already
            _put_aside(root, name)
            new.move(root / name)
    for name in drop:
        _put_aside(root, name)


def _put_aside(root: Location, name: str) -> None:
    if (root / name).exists():
        (root / ASIDE).make_folder()
        (root / name).move(root / ASIDE / name)


# -- by copying


def _copy_over(root: Location, log: dict[str, Any], lock: Lock | None) -> None:
    if not log["cleared"]:  # until then the candidate is whole, and tells what stays
        for name in (*log["swap"], *log["drop"]):
            check(lock)
            _delete_others(root / name, root / CANDIDATE / name)
        _write(root, {**log, "cleared": True})
    for name in log["swap"]:
        check(lock)
        _move_files(root / CANDIDATE / name, root / name)


def _delete_others(old: Location, new: Location) -> None:
    """Delete the files of a folder that another has not; a single file is replaced by moving."""
    if not old.is_folder():
        if not new.exists():
            old.delete()
        return
    kept = KeySet([keys([path for path, _ in files_below(new)])])
    paths = [path for path, _ in files_below(old)]
    going = np.flatnonzero(~kept.contains(keys(paths)))
    for _ in for_many(Location.delete, (old / paths[index] for index in going)):
        pass


def _move_files(source: Location, target: Location) -> None:
    """Move the files of a folder into another, or a single file; none where it is not there."""
    if not source.is_folder():
        if source.exists():
            source.move(target)
        return
    for _ in for_many(lambda pair: pair[0].move(pair[1]), _pairs(source, target)):
        pass


def _pairs(source: Location, target: Location) -> Iterator[tuple[Location, Location]]:
    made: set[str] = set()
    for path in [path for path, _ in files_below(source)]:
        to = target / path
        if to.is_local and to.parent.path not in made:
            to.parent.make_folder()
            made.add(to.parent.path)
        yield source / path, to
