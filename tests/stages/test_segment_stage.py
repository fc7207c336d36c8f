"""The segment stage around fake segmentors: batches, failures, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Lock
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from batchseg.errors import RowFault
from batchseg.schema import Status
from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.combined.decision import Decision
from batchseg.stages import segment as stage_module
from batchseg.stages.item import Item
from batchseg.stages.segment import Batches, Segment


class OutOfMemoryError(RuntimeError):
    """Named as torch's own."""


class Fake:
    """A segmentor that answers each image's value, and remembers its batches.

    Args:
        fails: raises for the values of a batch that must fail.
        room: images that fit into memory at once.
    """

    def __init__(self, fails: Callable[[list[int]], None] = lambda values: None, room: int = 99) -> None:
        self.fails, self.room = fails, room
        self.batches: list[list[int]] = []

    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        values = [int(each.pixels_THWC.flat[0]) for each in inputs]
        assert len({each.pixels_THWC.shape for each in inputs}) == 1
        self.batches.append(values)
        if len(values) > self.room:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.fails(values)
        return [
            Scores("labels", np.full(each.image_hw, value, np.uint8))
            for each, value in zip(inputs, values, strict=True)
        ]


def item(value: int, hw: tuple[int, int] = (2, 3), image_hw: tuple[int, int] | None = None) -> Item:
    pixels = np.full((1, *hw, 3), value, np.uint8)
    return Item({"id": value}, model_input=ModelInput(pixels, image_hw or hw, {}))


def dead(value: int) -> Item:
    return Item({"id": value}, fault=RowFault(Status.UNREADABLE, "not an image"))


def stage(segmentor: Any, batch_size: int, precision: str | None = None, **batches: Any) -> Segment:
    return Segment([segmentor], Decision(200), Batches(batch_size, **batches), precision)


def run(segmentor: Any, items: list[Item], batch_size: int = 4) -> list[Item]:
    return list(stage(segmentor, batch_size, "fp32")(iter(items)))


def ids(items: list[Item]) -> list[int]:
    return [each.row["id"] for each in items]


def failed(items: list[Item]) -> dict[int, str]:
    """Ids of failed images and their sentences; all others must hold their own prediction."""
    for each in items:
        if each.fault is None:
            assert each.prediction is not None
            assert (each.prediction.labels_HW == each.row["id"]).all()
        else:
            assert (each.fault.status, each.prediction) == (Status.MODEL_FAILED, None)
    return {each.row["id"]: str(each.fault) for each in items if each.fault}


# -- batches


def test_batches_have_one_shape_and_at_most_the_size() -> None:
    fake = Fake()
    sizes = {0: (2, 3), 1: (4, 5)}
    out = run(fake, [item(value, sizes[value % 2]) for value in range(12)])
    assert fake.batches == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10], [9, 11]]
    assert ids(out) == [*range(12)]  # in the order in which they came, whatever their shape
    assert failed(out) == {}


def test_batches_grow_where_a_call_costs_the_same_for_twice_as_many() -> None:
    def five_milliseconds(_: list[int]) -> None:
        end = perf_counter() + 0.005
        while perf_counter() < end:
            pass

    fake = Fake(five_milliseconds)
    out = list(stage(fake, 1, "fp32", largest=4)(item(value) for value in range(30)))
    sizes = [len(batch) for batch in fake.batches]
    assert (sizes[0], max(sizes), sizes[:-1] == sorted(sizes[:-1])) == (1, 4, True)
    assert ids(out) == [*range(30)]
    assert failed(out) == {}


def test_every_item_leaves_once_with_what_it_took() -> None:
    out = run(Fake(), [item(value) for value in range(10)])
    assert sorted(ids(out)) == list(range(10))
    for each in out:
        assert each.model_input is None
        assert each.precision == "fp32"
        assert each.seconds["segment"] >= 0


def test_items_leave_as_soon_as_their_batch_is_full() -> None:
    taken: list[int] = []

    def source() -> Iterator[Item]:
        for value in range(8):
            taken.append(value)
            yield item(value)

    first = next(stage(Fake(), 2)(source()))
    assert (first.row["id"], taken) == (0, [0, 1])


def test_dead_items_pass_untouched_in_their_place() -> None:
    fake = Fake()
    sick = [dead(7), dead(8)]
    out = run(fake, [item(0), sick[0], item(1), sick[1]])
    assert ids(out) == [0, 7, 1, 8]
    assert out[1::2] == sick
    assert (out[1].seconds, out[1].precision, fake.batches) == ({}, None, [[0, 1]])


def test_no_items_is_no_call() -> None:
    fake = Fake()
    assert run(fake, []) == []
    assert run(fake, [dead(1)])[0].row["id"] == 1
    assert fake.batches == []


def test_large_images_do_not_wait_for_a_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "WAITING_PIXELS", 1000)
    waiting, most = 0, 0

    def source() -> Iterator[Item]:
        nonlocal waiting, most
        for index in range(60):
            # two large images among many small ones of other shapes
            large = index % 3 == 0
            waiting += 400 if large else 10
            most = max(most, waiting)
            yield item(index, (5, 5 + index % 7), (20, 20) if large else (2, 5))

    fake = Fake()
    out = []
    for each in stage(fake, 50)(source()):
        assert each.prediction is not None
        waiting -= each.prediction.labels_HW.size
        out.append(each)
    assert sorted(ids(out)) == list(range(60))
    assert most <= 1000 + 2 * 400  # the image that was one too many, and one that came while a batch left


# -- two threads


class Ahead(Fake):
    """One whose inputs can go to the device early; it takes a batch only when two have arrived there."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.uploads = 0
        self.two_arrived = Event()
        self.working = Lock()

    def upload(self, inputs: Sequence[ModelInput]) -> Callable[[], list[Scores]]:
        self.uploads += 1
        if self.uploads == 2:
            self.two_arrived.set()
        return partial(self.alone, inputs)

    def alone(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        assert self.two_arrived.wait(60)
        assert self.working.acquire(blocking=False), "two batches at once"
        try:
            return super().scores(inputs)
        finally:
            self.working.release()


def test_one_thread_uploads_while_the_other_has_the_model() -> None:
    fake = Ahead()
    around = stage(fake, 2)
    halves = [item(value) for value in range(8)], [item(value) for value in range(8, 16)]
    with ThreadPoolExecutor(2) as pool:
        outs = list(pool.map(lambda items: list(around(iter(items))), halves))
    assert [ids(out) for out in outs] == [[*range(8)], [*range(8, 16)]]
    assert [failed(out) for out in outs] == [{}, {}]
    assert sorted(fake.batches) == [[value, value + 1] for value in range(0, 16, 2)]


def test_an_upload_that_fails_is_no_verdict_on_the_images() -> None:
    class Full(Fake):
        def upload(self, inputs: Sequence[ModelInput]) -> Callable[[], list[Scores]]:
            raise OutOfMemoryError

    assert failed(run(Full(), [item(value) for value in range(6)])) == {}


def test_uploaded_batches_that_fail_are_halved_too() -> None:
    fake = Ahead(fails=fail_on(5))
    fake.two_arrived.set()
    out = run(fake, [item(value) for value in range(8)], 8)
    assert failed(out) == {5: "the model failed: ValueError: cannot take 5"}
    assert fake.uploads == 1 + 2 * 3


# -- failures


def fail_on(*unlucky: int) -> Callable[[list[int]], None]:
    def fails(values: list[int]) -> None:
        for value in values:
            if value in unlucky:
                raise ValueError(f"cannot take\n {value}")

    return fails


@pytest.mark.parametrize("unlucky", [(0,), (5,), (7,), (1, 6), (0, 1, 2, 3), tuple(range(8))])
def test_the_images_that_fail_are_found_and_the_others_go_on(unlucky: tuple[int, ...]) -> None:
    out = run(Fake(fail_on(*unlucky)), [item(value) for value in range(8)], 8)
    assert ids(out) == list(range(8))
    assert failed(out) == {value: f"the model failed: ValueError: cannot take {value}" for value in unlucky}


def test_one_failing_image_costs_few_calls() -> None:
    fake = Fake(fail_on(37))
    run(fake, [item(value) for value in range(64)], 64)
    assert len(fake.batches) == 1 + 2 * 6  # halved six times, two halves each


def test_a_failure_does_not_shrink_later_batches() -> None:
    fake = Fake(fail_on(1))
    run(fake, [item(value) for value in range(8)], 4)
    assert fake.batches[-1] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda inputs: [], "0 label maps for 1 images"),
        (lambda inputs: [Scores("labels", np.zeros((2, 3), np.uint8))] * 2, "2 answers for 1 images"),
        (
            lambda inputs: [Scores("labels", np.zeros((3, 2), np.uint8))],
            "a label map of shape (3, 2) for an image of (2, 3)",
        ),
        (lambda inputs: [Scores("labels", np.zeros((1, 2, 3), np.uint8))], "shape (1, 2, 3)"),
        (lambda inputs: [None], "AttributeError"),
        (lambda inputs: None, "TypeError"),
    ],
)
def test_answers_that_cannot_be_right_are_failures_of_the_model(
    answer: Callable[[Any], Any], sentence: str
) -> None:
    class Wrong:
        def scores(self, inputs: Sequence[ModelInput]) -> Any:
            return answer(inputs)

    (out,) = run(Wrong(), [item(1)])
    assert out.fault.status is Status.MODEL_FAILED
    assert sentence in str(out.fault)


# -- memory


def test_memory_that_runs_out_halves_the_batch_and_is_remembered() -> None:
    fake = Fake(room=3)
    out = run(fake, [item(value) for value in range(24)], 8)
    assert failed(out) == {}
    assert ids(out) == list(range(24))
    first_batch = [8, 4, 2, 2, 4, 2, 2]
    assert [len(batch) for batch in fake.batches] == first_batch + [2] * 8


def test_images_that_waited_longer_than_fits_now_go_in_smaller_batches() -> None:
    fake = Fake(room=4)
    other = [item(value, (9, 9)) for value in range(100, 107)]
    out = run(fake, [*other, *(item(value) for value in range(8))], 8)
    assert failed(out) == {}
    assert sorted(ids(out)) == [*range(8), *range(100, 107)]
    assert [len(batch) for batch in fake.batches] == [8, 4, 4, 4, 3]


def test_an_image_that_never_fits_fails_alone() -> None:
    def fails(values: list[int]) -> None:
        if 2 in values:
            raise MemoryError

    out = run(Fake(fails), [item(value) for value in range(6)], 4)
    assert failed(out) == {2: "the model failed: MemoryError"}


def test_interrupts_are_no_failures_of_the_model() -> None:
    def interrupt(values: list[int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Fake(interrupt), [item(0)])


# -- batches that are filled up


def test_every_call_has_one_size_where_batches_are_filled_up() -> None:
    fake = Fake(fail_on(5))
    out = list(stage(fake, 4, "fp32", pad=True)(item(value) for value in range(7)))
    assert ids(out) == [*range(7)]
    assert failed(out) == {5: "the model failed: ValueError: cannot take 5"}
    assert {len(batch) for batch in fake.batches} == {4}  # the halves of a batch that failed, too
    assert fake.batches[:2] == [[0, 1, 2, 3], [4, 5, 6, 6]]


def test_a_batch_that_was_filled_up_is_answered_whole() -> None:
    class Short(Fake):
        def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
            return super().scores(inputs)[:-1]

    out = list(stage(Short(), 4, pad=True)(iter([item(7)])))
    assert failed(out) == {7: "the model failed: ValueError: 3 answers for 4 images"}
