"""One writer at a time in a folder.

A lock is a small file that its holder writes anew every ten seconds. It is taken over when its process is
gone from this machine, or when the file is older than a minute by the clock of the storage itself: the
clocks of two machines are never compared. A holder that slept finds out before it commits, and stops.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from batchseg.errors import OutputError
from batchseg.storage.location import Location, temporary_name

HEARTBEAT_S = 10.0
STALE_S = 60.0
SETTLE_S = 1.0
LOOK_AGAIN_S = 1.0
FACTS = {"host": str, "pid": int, "started_at": str, "token": str}


@dataclass
class Lock:
    """A lock that is held, or was: travels to workers, who ask as its driver does.

    Attributes:
        folder: what it locks.
        token: tells this holder from any other.
    """

    folder: Location
    token: str
    looked_at: float = 0.0

    def check(self) -> None:
        """Raises OutputError where another run has taken the folder over."""
        holder = _read(self.folder / ".lock")
        if holder is None or holder["token"] != self.token:
            by = f" by process {holder['pid']} on {holder['host']}" if holder else ""
            raise OutputError(
                f"{self.folder}: this run was silent for so long that the folder was taken over{by}; what it "
                "committed until then stays, and the same command goes on once the other run has ended"
            )

    def check_now_and_then(self) -> None:
        """The same, at most once a second: for what is done for every image."""
        if monotonic() - self.looked_at >= LOOK_AGAIN_S:
            self.check()
            self.looked_at = monotonic()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Nobody on this machine takes the lock over meanwhile. Raises OutputError where it is lost."""
        with _one_by_one(self.folder):
            self.check()
            yield


def check(lock: Lock | None) -> None:
    """Raises OutputError where a lock that was held is another's; without one there is nothing to lose."""
    if lock is not None:
        lock.check()


@contextmanager
def exclusive(root: Location) -> Iterator[Lock]:
    """Hold the folder's lock. Raises OutputError while another run holds it."""
    place, ours = root / ".lock", _owner()
    _acquire(place, ours)
    lock, stop = Lock(root, ours["token"]), Event()
    beat = Thread(target=_keep_alive, args=(lock, ours, stop), daemon=True)
    beat.start()
    try:
        yield lock
    finally:
        stop.set()
        beat.join()
        with suppress(OutputError, OSError), lock.kept():  # what another took over is not ours to remove
            place.delete()


def is_held_by_another(root: Location) -> bool:
    """Whether a lock lies here whose process may live; one that this process holds is no other's.

    Raises OSError, and OutputError where the file is no lock.
    """
    holder = _read(root / ".lock")
    if holder is None or (holder["host"], holder["pid"]) == (platform.node(), os.getpid()):
        return False
    return bool(holder["host"] != platform.node() or _process_exists(holder["pid"]))


def _owner() -> dict[str, Any]:
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "started_at": started, "token": secrets.token_hex(8)}


def _acquire(place: Location, ours: dict[str, Any]) -> None:
    try:
        with _one_by_one(place.parent):
            if _create(place, ours):
                return
            holder = _read(place)
            if holder is not None and _alive(place, holder):
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
                file.write(json.dumps(ours))
        except FileExistsError:
            return False
        return True
    if place.exists():
        return False
    place.write(json.dumps(ours).encode())
    sleep(SETTLE_S)  # of two that saw no lock, the one whose write came last holds it
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


def _alive(place: Location, holder: dict[str, Any]) -> bool:
    if holder["host"] == platform.node() and not _process_exists(holder["pid"]):
        return False
    return _age_s(place) < STALE_S


def _age_s(place: Location) -> float:
    """Seconds since the lock was written, by the clock that dates the files there."""
    probe = place.parent / temporary_name()
    try:
        probe.write(b"")
        now_ns, written_ns = probe.info().mtime_ns, place.info().mtime_ns
    finally:
        probe.delete()
    # without times of change nothing tells that the holder is dead
    return (now_ns - written_ns) / 1e9 if now_ns and written_ns else 0.0


def _process_exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it exists, and is somebody else's
        return True
    return True


def _keep_alive(lock: Lock, ours: dict[str, Any], stop: Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            with lock.kept():
                (lock.folder / ".lock").write(json.dumps(ours).encode())
        except OSError:  # a full disk or a slow network: the next beat may come through
            continue
        except OutputError:  # taken over: the next commit says so
            return
