"""Segment: what the models see of each image -> label maps, in batches of one input shape."""

from __future__ import annotations

import faulthandler
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from time import perf_counter
from typing import NamedTuple

from batchseg.errors import RowFault
from batchseg.images.raster import Area
from batchseg.segmentors.base import Scores, Segmentor, Uploader
from batchseg.segmentors.combined.canvas import Canvas, Whole
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.looks import Look, Looks, Picture
from batchseg.stages.batch_size import BatchSize
from batchseg.stages.device import BrokenDeviceError, is_broken, out_of_memory
from batchseg.stages.item import Item, named
from batchseg.stages.prepare import model_fault, prepare_fault

WAITING_PIXELS = 64 * 2**20  # label maps of a batch exist at once, so large images go in small batches


@dataclass(frozen=True)
class Batching:
    """How inputs go to a model.

    Attributes:
        size: of the first batches.
        largest: up to which size batches may grow while that is faster; None keeps them as they are.
        timeout_s: what a call may take, before it ends the process.
        first_call_s: what the first call for each shape of a batch may take longer, such as for compiling.
        pad: whether a batch that is not full is filled up with copies of its last image. Kernels, and with
            them the rounding, are chosen by the size of a batch: with one size a mask does not depend on what
            else was in the batch.
    """

    size: int
    largest: int | None = None
    timeout_s: float | None = None
    first_call_s: float = 0.0
    pad: bool = False


@dataclass(eq=False)
class _Work:
    """An item, and what is known of it so far. It is open until its label map is there, or it failed."""

    item: Item
    canvas: Canvas | None = None

    @property
    def is_open(self) -> bool:
        return self.canvas is not None and self.item.alive

    @property
    def pixels(self) -> int:
        """Of its label map, which is there or will be, and bytes of what else is there."""
        if self.canvas is not None:
            return self.canvas.area.height * self.canvas.area.width
        made = self.item.prediction
        if made is None:
            return 0
        probes = made.probes.nbytes if made.probes else 0  # of many classes more than a small label map
        return made.labels_HW.size + len(made.probabilities or b"") + probes


class _Job(NamedTuple):
    """One input of an item."""

    work: _Work
    look: Look


class _Call(NamedTuple):
    """One of a model, with how many inputs it is given: those of a batch, and what fills that up."""

    inputs: int
    shape: tuple[int, ...]
    answer: Callable[[], list[Scores]]


class Segment:
    """A stage around loaded segmentors, the members: one, or several that decide together.

    Items leave in the order in which they came. Ray counts what a task has handed on, and skips as much when
    the task is tried again after its process died: in any other order images would be lost or doubled.

    What a member sees of an image fills batches together with what it sees of others. A batch that fails is
    bisected down to the images that cause it: they become `model_failed`. A batch that does not fit into the
    device's memory is halved too, and later batches stay at that size. Where the device is broken
    `BrokenDeviceError` is raised: no image is to blame for what fails after that in this process.

    Two threads may send items through at once. The model then sees one batch at a time, while the other
    thread packs and unpacks, and takes its next batch to the device.

    Args:
        decision: what turns scores into a label map.
        precision: what the members compute in, for the record.
        looks: how the members look at a picture; None where one sees each as it was prepared.
        probe_all: whether probes are taken of images without a truth, too.
    """

    def __init__(
        self,
        members: Sequence[Segmentor],
        decision: Decision,
        batches: Batching,
        precision: str | None = None,
        looks: Looks | None = None,
        *,
        probe_all: bool = True,
    ) -> None:
        self.members, self.decision, self.looks = members, decision, looks
        self.precision, self.batches, self.probe_all = precision, batches, probe_all
        self.called: set[tuple[int, ...]] = set()
        self.batch = BatchSize(batches.size, batches.largest)
        self.turn = Lock()

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        queue: deque[_Work] = deque()
        groups: dict[tuple[int, ...], list[_Job]] = defaultdict(list)
        for item in items:
            work = _Work(item)
            queue.append(work)
            for look in self._looks(work):
                shape = (look.member, *look.model_input.pixels_THWC.shape)
                group = groups[shape]
                group.append(_Job(work, look))
                if len(group) >= self.batch.size:
                    self._finish(group)
            yield from _finished(queue)
            while sum(each.pixels for each in queue) > WAITING_PIXELS:
                front = queue[0]
                for group in groups.values():
                    if any(job.work is front for job in group):
                        self._finish(group)
                yield from _finished(queue)
        for group in groups.values():
            self._finish(group)
        yield from _finished(queue)

    def _looks(self, work: _Work) -> Iterator[Look]:
        """The inputs of an item, until it fails."""
        item = work.item
        probing = self.probe_all or item.row["truth"] is not None
        if item.model_input is not None:
            prepared, item.model_input = item.model_input, None
            decision = replace(self.decision, probing=probing)
            work.canvas = Whole(Area(0, 0, *prepared.image_hw), decision, nodata_HW=item.nodata_HW)
            yield Look(0, 0, 0, "", prepared)
        elif self.looks is not None and item.alive:
            picture_HWC, size_hw = item.image_HWC, item.size_hw
            assert picture_HWC is not None and size_hw is not None
            item.image_HWC = None
            area = item.part.area if item.part is not None else None
            work.canvas = self.looks.canvas(size_hw, area, item.nodata_HW, probing=probing)
            looks = self.looks.inputs(Picture(picture_HWC, item.scale), size_hw, area)
            while work.is_open:
                try:
                    look = next(looks, None)
                except Exception as exc:  # a preparer may be the user's own code, and fail in any way
                    item.fault = prepare_fault(exc)
                    return
                if look is None:
                    return
                told = replace(look.model_input, prompt=item.prompt)
                yield look if item.prompt is None else look._replace(model_input=told)

    def _finish(self, group: list[_Job]) -> None:
        while group:
            # more may wait than fit, for the size shrinks when memory runs out
            batch = group[: self.batch.size]
            del group[: len(batch)]
            if batch := [job for job in batch if job.work.is_open]:
                self._finish_batch(batch)

    def _finish_batch(self, batch: list[_Job]) -> None:
        call = self._uploaded(batch)
        with self.turn:
            start = perf_counter()
            with named("segment"):
                outcomes = self._answers(batch, call)
                for job in batch:
                    self._take(job, outcomes.pop(0), len(batch))
            seconds = perf_counter() - start
            engine, why_not = self._engine(batch[0].look.member)
            self.batch.note(len(batch), seconds)
        for job in batch:
            item = job.work.item
            item.precision = self.precision
            item.engine, item.why_not = engine, why_not
            item.seconds["segment"] = item.seconds.get("segment", 0.0) + seconds / len(batch)

    def _engine(self, member: int) -> tuple[str | None, str | None]:
        """What computed the last batch of a member, and why that is not what was to do it."""
        engine = getattr(self.members[member], "engine", None)  # a `HasEngine`, whose module needs torch
        return getattr(engine, "used", None), getattr(engine, "why_not", None)

    def _take(self, job: _Job, outcome: Scores | RowFault, together: int) -> None:
        """Add an answer to what is known of its item, and decide where it is the last."""
        if isinstance(outcome, Scores) and job.work.is_open:
            outcome = self._decided(job, outcome, together) or outcome
        if isinstance(outcome, RowFault):
            job.work.item.fault = job.work.item.fault or outcome

    def _decided(self, job: _Job, scores: Scores, together: int) -> RowFault | None:
        canvas, look = job.work.canvas, job.look
        assert canvas is not None
        try:
            canvas.add(look.window, Answer(scores, look.member, look.flip, look.number))
            if canvas.is_complete:
                item = job.work.item
                item.prediction, item.sureness = canvas.prediction(), canvas.sureness
                job.work.canvas = None
        except Exception as exc:  # such as scores that are not numbers
            _check_device(exc)
            if out_of_memory(exc) and together > 1:
                self.batch.settle(together // 2)
            return model_fault("the model failed", exc)
        return None

    def _uploaded(self, batch: Sequence[_Job]) -> _Call:
        """The call for a batch, whose inputs are on the device if they can be there beforehand."""
        member = self.members[batch[0].look.member]
        inputs = [job.look.model_input for job in batch]
        if self.batches.pad:
            inputs += [inputs[-1]] * (self.batch.size - len(inputs))
        shape = (len(inputs), *inputs[0].pixels_THWC.shape)
        if isinstance(member, Uploader):
            with suppress(Exception):  # what is wrong, such as memory that is full, shows again in the call
                return _Call(len(inputs), shape, member.upload(inputs))
        return _Call(len(inputs), shape, partial(member.scores, inputs))

    def _answers(self, batch: Sequence[_Job], call: _Call) -> list[Scores | RowFault]:
        try:
            return [*self._answer(call)[: len(batch)]]
        except Exception as exc:  # a model may fail in any way; the job goes on without the image
            _check_device(exc)
            if len(batch) == 1:
                return [model_fault("the model failed", exc)]
            half = len(batch) // 2
            if out_of_memory(exc):
                self.batch.settle(half)
        halves = batch[:half], batch[half:]
        return [outcome for part in halves for outcome in self._answers(part, self._uploaded(part))]

    def _answer(self, call: _Call) -> list[Scores]:
        with deadline(self._time_for(call.shape)):
            answers = call.answer()
        if len(answers) != call.inputs:
            raise ValueError(f"{len(answers)} answers for {call.inputs} images")
        for each in answers:
            if not isinstance(each, Scores):
                raise TypeError(f"an answer of type {type(each).__name__}, and not Scores")
        return answers

    def _time_for(self, shape: tuple[int, ...]) -> float | None:
        if self.batches.timeout_s is None:
            return None
        first = shape not in self.called
        self.called.add(shape)
        return self.batches.timeout_s + (self.batches.first_call_s if first else 0.0)


@contextmanager
def deadline(timeout_s: float | None) -> Iterator[None]:
    """End the process when the time is up: a call that hangs in native code listens to nothing else.

    Whoever runs the process starts it anew and finds the image (see engine.journal).
    """
    if timeout_s is None:
        yield
        return
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(timeout_s, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _check_device(exc: Exception) -> None:
    """Raises BrokenDeviceError where no further call can succeed."""
    if is_broken(exc):
        raise BrokenDeviceError(" ".join(str(exc).split())[:300]) from exc


def _finished(queue: deque[_Work]) -> Iterator[Item]:
    """Take what is finished from the front."""
    while queue and not queue[0].is_open:
        yield queue.popleft().item
