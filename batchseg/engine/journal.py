"""Images that kill the process of their worker: found, recorded and left behind.

An exception stays inside Python, and the stages deal with it. A segmentation fault, the kernel's memory
killer or a call that never returns does not: Ray starts the worker anew and hands it the same batch, for
ever. So a worker leaves a note before it begins a batch and takes it away after. Who finds a note of its own
batch knows that the last attempt died, and goes on one image at a time, noting each; an image that was being
worked on in two such deaths is given up.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

from batchseg.errors import ModelError, RowFault
from batchseg.schema import Status
from batchseg.stages.item import Item
from batchseg.storage.location import Location, locate

DEATHS = 2  # one may be chance: a node that went away, or a process killed by hand
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
        if first:
            yield from through(iter(items))
        else:
            for item in items:
                yield from self._carefully(note, item, through)
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
                "or took longer than limits.segment_timeout_s",
            )
            item.model_input = item.image_HWC = None
        with _alone:
            note.start(name)
            done = list(through(iter([item])))
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

    def begin(self) -> bool:
        """Leave the note; False if one was there, which means that the last attempt died."""
        try:
            self.open = Counter(json.loads(self.place.read()))
        except FileNotFoundError:
            self._save()
            return True
        return False

    def deaths(self, name: str) -> int:
        return self.open[name]

    def start(self, name: str) -> None:
        self.open[name] += 1
        self._save()

    def finish(self, name: str) -> None:
        self.open[name] -= 1
        self._save()

    def end(self) -> None:
        self.place.delete()

    def _save(self) -> None:
        self.place.write(json.dumps({name: count for name, count in self.open.items() if count}).encode())


def _digest(items: Iterable[Item]) -> str:
    """A retried batch holds the same images, so it finds its note by them."""
    names = "\n".join(item.name for item in items)
    return hashlib.sha256(names.encode()).hexdigest()[:24]
