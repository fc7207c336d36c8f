"""Images that kill the process of their worker: found, recorded and left behind.

An exception stays inside Python, and the stages deal with it. A segmentation fault, the kernel's memory
killer or a call that never returns does not: Ray starts the worker anew and hands it the same batch, for
ever. So a worker leaves a note before it begins a batch and takes it away after. Who finds a note of its own
batch knows that the last attempt died, and goes on one image at a time, noting each; an image that was being
worked on in two such deaths is given up. A process whose device is broken ends itself, for the same to
happen: no later call could succeed in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

from batchseg.errors import ModelError, RowFault
from batchseg.schema import Status
from batchseg.stages.device import BrokenDeviceError
from batchseg.stages.item import Item
from batchseg.storage.location import Location, locate

DEATHS = 2  # one may be chance: a node that went away, or a process killed by hand
BROKEN_DEVICE = 70  # what such a process ends with
MAKING, DEATHS_MAKING = "", 3  # no image has this id

_alone = Lock()  # one image of a process is under suspicion at a time, whatever its other threads do

Through = Callable[[Iterator[Item]], Iterator[Item]]


@dataclass(frozen=True)
class Journal:
    """The notes of one run, in a folder that every worker reaches."""

    folder: str

    def carry(
        self, part: str, items: list[Item], through: Through, make: Callable[[], object] | None = None
    ) -> Iterator[Item]:
        """Send the items of a batch through the stages, however often that has killed the process before.

        Args:
            make: loads the model, where this process has not done so.

        Raises ModelError where no process has outlived that.
        """
        note = Note(locate(self.folder) / f"{part}-{len(items)}-{_digest(items)}.json")
        first = note.begin()
        if make is not None:
            _make(note, make)
        try:
            if first:
                yield from through(iter(items))
            else:
                for item in items:
                    yield from self._carefully(note, item, through)
        except BrokenDeviceError as exc:
            print(f"batchseg: {exc}: this process ends, and another goes on", file=sys.stderr, flush=True)
            os._exit(BROKEN_DEVICE)
        note.end()

    def begun(self, part: str) -> int:
        """Images of the batches that are under way in such a part; a batch may hold more than it begins."""
        names = (file.name.split("-") for file in locate(self.folder).files(".json"))
        return sum(int(count) for name, count, _ in names if name == part)

    def _carefully(self, note: Note, item: Item, through: Through) -> Iterator[Item]:
        name = item.name
        if item.alive and note.deaths(name) >= DEATHS:
            item.fault = RowFault(
                Status.MODEL_FAILED,
                f"the worker process died {DEATHS} times while it worked on this image, "
                + note.reasons.get(name, "or took longer than limits.segment_timeout_s"),
            )
            item.model_input = item.image_HWC = None
        with _alone:
            note.start(name)
            try:
                done = list(through(iter([item])))
            except BrokenDeviceError as exc:
                note.reasons[name] = f"at last of: {exc}"
                note.save()
                raise
            note.finish(name)
        yield from done


def _make(note: Note, make: Callable[[], object]) -> None:
    if note.deaths(MAKING) >= DEATHS_MAKING:
        raise ModelError(
            f"the process of a worker died {DEATHS_MAKING} times while it loaded the model; mostly memory "
            "is what it lacks: --actors 1 holds one copy (in a file segmentor.actors: 1)"
        )
    note.start(MAKING)
    try:
        make()
    finally:
        note.finish(MAKING)


class Note:
    """What has been begun and not ended, kept in a small file that outlives the process."""

    def __init__(self, place: Location) -> None:
        self.place = place
        self.open: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}

    def begin(self) -> bool:
        """Leave the note; False if one was there, which means that the last attempt died."""
        try:
            left = json.loads(self.place.read())
            self.open, self.reasons = Counter(left["open"]), left["reasons"]
        except FileNotFoundError:
            self.save()
            return True
        return False

    def deaths(self, name: str) -> int:
        return self.open[name]

    def start(self, name: str) -> None:
        self.open[name] += 1
        self.save()

    def finish(self, name: str) -> None:
        self.open[name] -= 1
        self.save()

    def end(self) -> None:
        self.place.delete()

    def save(self) -> None:
        begun = {name: count for name, count in self.open.items() if count}
        self.place.write(json.dumps({"open": begun, "reasons": self.reasons}).encode())


def _digest(items: Iterable[Item]) -> str:
    """A retried batch holds the same images, so it finds its note by them."""
    names = "\n".join(item.name for item in items)
    return hashlib.sha256(names.encode()).hexdigest()[:24]
