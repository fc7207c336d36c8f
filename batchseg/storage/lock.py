"""One run at a time in a results folder."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from threading import Event, Thread
from time import sleep, time
from typing import Any

from batchseg.errors import OutputError
from batchseg.storage.location import Location

HEARTBEAT_S = 10.0
STALE_S = 60.0
SETTLE_S = 1.0
FACTS = {"host": str, "pid": int, "started_at": str, "token": str, "seen": float}


@contextmanager
def exclusive(root: Location) -> Iterator[None]:
    """Hold the folder's lock, and show every ten seconds that its holder lives.

    A lock is taken over when its process is gone from this machine, or when it has been silent for a minute.
    Raises OutputError while another run holds it.
    """
    place, ours = root / ".lock", _owner()
    _acquire(place, ours)
    stop = Event()
    beat = Thread(target=_keep_alive, args=(place, ours, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _held_by(place, ours):
            place.delete()


def _owner() -> dict[str, Any]:
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "started_at": started, "token": secrets.token_hex(8)}


def _acquire(place: Location, ours: dict[str, Any]) -> None:
    try:
        with _one_by_one(place.parent):
            if _create(place, ours):
                return
            holder = _read(place)
            if holder is not None and _alive(holder):
                raise OutputError(
                    f"{place.parent}: another run writes here (process {holder['pid']} on {holder['host']}, "
                    f"since {holder['started_at']}); wait for it, or choose another --output"
                )
            place.delete()
            if not _create(place, ours):
                raise OutputError(
                    f"{place.parent}: another run has just taken over this folder; try again later"
                )
    except OSError as exc:
        raise OutputError(f"{place.parent}: cannot be written: {exc.strerror or exc}") from exc


@contextmanager
def _one_by_one(folder: Location) -> Iterator[None]:
    """Among the processes of one machine: of two that find a dead holder, the later must not delete the
    lock of the earlier."""
    if not folder.is_local:
        yield
        return
    opened = os.open(folder.path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's file system may know no such thing
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _create(place: Location, ours: dict[str, Any]) -> bool:
    """Write the lock unless there is one: in one step on a local disk, as near as it gets elsewhere."""
    if place.is_local:
        try:
            with open(place.path, "x", encoding="utf-8") as file:
                file.write(_beat(ours))
        except FileExistsError:
            return False
        return True
    if place.exists():
        return False
    place.write(_beat(ours).encode())
    sleep(SETTLE_S)  # of two that saw no lock, the one whose write came last holds it
    return _held_by(place, ours)


def _held_by(place: Location, ours: dict[str, Any]) -> bool:
    held = _read(place)
    return held is not None and bool(held["token"] == ours["token"])


def _read(place: Location) -> dict[str, Any] | None:
    try:
        held = json.loads(place.read())
    except (FileNotFoundError, ValueError):  # none, or one that was killed while writing it
        return None
    except RecursionError:
        held = None
    if not isinstance(held, dict) or not all(
        isinstance(held.get(name), kind) for name, kind in FACTS.items()
    ):
        raise OutputError(f"{place}: is no lock of batchseg; remove it, or choose another --output")
    return held


def _alive(holder: dict[str, Any]) -> bool:
    if holder["host"] == platform.node() and not _process_exists(holder["pid"]):
        return False
    seen: float = holder["seen"]
    return time() - seen < STALE_S


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it exists, and is somebody else's
        return True
    return True


def _keep_alive(place: Location, ours: dict[str, Any], stop: Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):  # a full disk or a slow network: the next beat may come through
            place.write(_beat(ours).encode())


def _beat(ours: dict[str, Any]) -> str:
    return json.dumps({**ours, "seen": time()})
