"""Segment: model inputs -> label maps at the original resolution, in batches of one input shape."""

from __future__ import annotations

import faulthandler
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import Lock
from time import perf_counter
from typing import NamedTuple

from batchseg.errors import RowFault
from batchseg.segmentors.base import ModelInput, Prediction, Segmentor, Uploader
from batchseg.stages.batch_size import BatchSize
from batchseg.stages.item import Item, named
from batchseg.stages.prepare import model_fault

WAITING_PIXELS = 64 * 2**20  # label maps of a batch exist at once, so large images go in small batches


class Call(NamedTuple):
    """One of the model, with what it is given: the inputs of a batch, and what fills that up."""

    inputs: Sequence[ModelInput]
    predict: Callable[[], list[Prediction]]


class Segment:
    """A stage around a loaded segmentor.

    Items leave in the order in which they came. Ray counts what a task has handed on, and skips as much when
    the task is tried again after its process died: in any other order images would be lost or doubled.

    A batch that fails is bisected down to the images that cause it: they become `model_failed`. A batch
    that does not fit into the device's memory is halved too, and later batches stay at that size.

    Two threads may send items through at once. The model then sees one batch at a time, while the other
    thread packs and unpacks, and takes its next batch to the device.

    Args:
        batch_size: of the first batches.
        timeout_s: what a call may take, before it ends the process.
        largest_batch: up to which size batches may grow while that is faster; None keeps them as they are.
        first_call_s: what the first call for each shape of a batch may take longer, such as for compiling.
        pad: whether a batch that is not full is filled up with copies of its last image. Kernels, and with
            them the rounding, are chosen by the size of a batch: with one size a mask does not depend on what
            else was in the batch.
    """

    def __init__(
        self,
        segmentor: Segmentor,
        batch_size: int,
        precision: str | None = None,
        *,
        timeout_s: float | None = None,
        largest_batch: int | None = None,
        first_call_s: float = 0.0,
        pad: bool = False,
    ) -> None:
        self.segmentor = segmentor
        self.timeout_s, self.first_call_s = timeout_s, first_call_s
        self.called: set[tuple[int, ...]] = set()
        self.precision, self.pad = precision, pad
        self.batch = BatchSize(batch_size, largest_batch)
        self.turn = Lock()

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        queue: deque[Item] = deque()
        groups: dict[tuple[int, ...], list[Item]] = defaultdict(list)
        for item in items:
            queue.append(item)
            if item.model_input is not None:
                group = groups[item.model_input.pixels_THWC.shape]
                group.append(item)
                if len(group) >= self.batch.size:
                    self._finish(group)
            yield from _finished(queue)
            while sum(map(_pixels, queue)) > WAITING_PIXELS:
                front = queue[0].model_input
                assert front is not None  # or it would have left
                self._finish(groups[front.pixels_THWC.shape])
                yield from _finished(queue)
        for group in groups.values():
            self._finish(group)
        yield from queue

    def _finish(self, group: list[Item]) -> None:
        while group:
            # more may wait than fit, for the size shrinks when memory runs out
            batch = group[: self.batch.size]
            del group[: len(batch)]
            self._finish_batch(batch)

    def _finish_batch(self, batch: list[Item]) -> None:
        call = self._uploaded(batch)
        with self.turn:
            start = perf_counter()
            with named("segment"):
                outcomes = self._segment(batch, call)
            seconds = perf_counter() - start
            self.batch.note(len(batch), seconds)
        for item, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, RowFault):
                item.fault = outcome
            else:
                item.prediction = outcome
            item.model_input, item.precision = None, self.precision
            item.seconds["segment"] = seconds / len(batch)

    def _uploaded(self, batch: Sequence[Item]) -> Call:
        """The call for a batch, whose inputs are on the device if they can be there beforehand."""
        inputs = [item.model_input for item in batch if item.model_input is not None]
        if self.pad:  # with what costs the least when it is brought to its image's size
            inputs += [replace(inputs[-1], image_hw=(1, 1))] * (self.batch.size - len(inputs))
        if isinstance(self.segmentor, Uploader):
            with suppress(Exception):  # what is wrong, such as memory that is full, shows again in the call
                return Call(inputs, self.segmentor.upload(inputs))
        return Call(inputs, partial(self.segmentor.segment, inputs))

    def _segment(self, batch: Sequence[Item], call: Call) -> list[Prediction | RowFault]:
        try:
            return [*self._predict(call)[: len(batch)]]
        except Exception as exc:  # a model may fail in any way; the job goes on without the image
            if len(batch) == 1:
                return [model_fault("the model failed", exc)]
            half = len(batch) // 2
            if out_of_memory(exc):
                self.batch.settle(half)
        halves = batch[:half], batch[half:]
        return [outcome for part in halves for outcome in self._segment(part, self._uploaded(part))]

    def _predict(self, call: Call) -> list[Prediction]:
        inputs = call.inputs
        with deadline(self._time_for((len(inputs), *inputs[0].pixels_THWC.shape))):
            predictions = call.predict()
        if len(predictions) != len(inputs):
            raise ValueError(f"{len(predictions)} label maps for {len(inputs)} images")
        for each, prediction in zip(inputs, predictions, strict=True):
            if prediction.labels_HW.shape != each.image_hw:
                raise ValueError(
                    f"a label map of shape {prediction.labels_HW.shape} for an image of {each.image_hw}"
                )
        return predictions

    def _time_for(self, shape: tuple[int, ...]) -> float | None:
        if self.timeout_s is None:
            return None
        first = shape not in self.called
        self.called.add(shape)
        return self.timeout_s + (self.first_call_s if first else 0.0)


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


def out_of_memory(exc: BaseException) -> bool:
    """Whether a device (torch's own error, by name so that torch need not be here) or the host ran out."""
    return isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError"


def _finished(queue: deque[Item]) -> Iterator[Item]:
    """Take what is finished from the front."""
    while queue and queue[0].model_input is None:
        yield queue.popleft()


def _pixels(item: Item) -> int:
    """Of its label map, which is there or will be."""
    if item.model_input is not None:
        height, width = item.model_input.image_hw
        return height * width
    return item.prediction.labels_HW.size if item.prediction else 0
