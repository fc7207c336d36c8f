"""What a training keeps from epoch to epoch, so that one that was stopped goes on.

An epoch is finished when its state has its name, which happens in one step; then it is never repeated. The
weights of the best epoch lie beside it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from batchseg.errors import OutputError
from batchseg.training.job import State

_OF_TORCH = "inline_container"  # what torch says of a file that could not be written has no other sign


@dataclass(frozen=True)
class Kept:
    """The files, in a folder on a disk that every worker reaches."""

    folder: Path

    @property
    def finished(self) -> int:
        """How many epochs are finished."""
        return max((int(path.stem.partition("-")[2]) for path in self.folder.glob("epoch-*.pt")), default=0)

    def write(self, state: State, parts: Mapping[str, Any]) -> None:
        """Finish an epoch. `parts` are state dicts by name, `network` among them.

        Raises OutputError where there is no room for it; what was kept before is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        last, best = self._last(state.epoch), self._best(state.best_epoch)
        if state.best_epoch == state.epoch:  # first, for the last state names it
            _save(parts["network"], best)
        _save({**parts, "state": asdict(state)}, last)
        for path in (*self.folder.glob("epoch-*.pt"), *self.folder.glob("best-*.pt")):
            if path not in (last, best):
                path.unlink()

    def last(self, device: Any = "cpu") -> dict[str, Any] | None:
        """The parts of the last finished epoch and its `state`; None before the first."""
        return _load(self._last(self.finished), device) if self.finished else None

    def best(self, epoch: int) -> dict[str, Any]:
        """The network's state dict after the best epoch, on the CPU."""
        return _load(self._best(epoch), "cpu")

    def _last(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.pt"

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.pt"


def what_is_left(finished: int, epochs: int) -> str:
    """What an interrupt leaves of a training, in one sentence."""
    if not finished:
        return "interrupted in epoch 1, which is not kept; the same command begins with it again"
    if finished == epochs:
        return "interrupted; all epochs are kept, and the same command finishes the training"
    kept = "epoch 1 is" if finished == 1 else f"epochs 1 to {finished} are"
    return f"interrupted; {kept} kept, and the same command goes on from there with epoch {finished + 1}"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A disk that is full, or may not be written to, in one sentence. Raises OutputError."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as exc:
        raise OutputError(_no_room(folder, exc.strerror or str(exc))) from exc
    except SafetensorError as exc:
        raise OutputError(_no_room(folder, str(exc).rpartition("I/O error: ")[2])) from exc
    except RuntimeError as exc:
        if _OF_TORCH not in str(exc):
            raise
        raise OutputError(_no_room(folder, "a file broke off, as where the disk is full")) from exc


def _no_room(folder: Path, why: str) -> str:
    return (
        f"{folder}: cannot be written: {why}; what was finished before is kept, and the same command goes on "
        "from there once that is mended"
    )


def _save(value: Any, path: Path) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with writing(path.parent):
            torch.save(value, unfinished)
    except OutputError:
        unfinished.unlink(missing_ok=True)
        raise
    os.replace(unfinished, path)


def _load(path: Path, device: Any) -> dict[str, Any]:
    """Raises OutputError where it was cut off, or is something else."""
    try:
        loaded: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as exc:
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        raise OutputError(
            f"{path}: cannot be read, so the training cannot go on ({reason}); choose a fresh --output"
        ) from exc
    return loaded
