"""The Ray Data graph of a job: which stages share a process, and how items cross between processes.

    CPU:       chunks ──> [ before · model · after ]                one actor a core
    GPU:       chunks ──> [ before ] ──> [ model ] ──> [ after ]    tasks, actors, tasks
    no model:  chunks ──> [ before · after ]                        tasks

On a CPU the model shares its process with its neighbours, so that pixels never leave it. With a GPU the
stages around the model are tasks of their own and keep the device fed; between them items travel in groups
of at most 64 MiB (or one image), so that what is under way is bounded in bytes, whatever the images' sizes.
It is bounded in time as well: what a task or a call has not begun when its time is up passes the stages that
are left untouched, and is computed by another plan, in smaller chunks.
An actor with a GPU has two groups in hand: one is unpacked, uploaded and packed while the other is computed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from threading import Lock
from time import monotonic
from typing import Any

import pyarrow as pa

from batchseg.engine.heap import uncollected
from batchseg.engine.journal import Journal, Through
from batchseg.engine.placement import Placement
from batchseg.engine.trace import Trace
from batchseg.source.plan import Plan
from batchseg.stages.item import Item, Stage
from batchseg.stages.write import Stamp, row_schema, to_table

ROWS_A_TABLE = 16
GROUP_BYTES = 64 * 2**20
GROUPS_IN_HAND = 2
KEPT_IN_ACTORS = True  # what a model loads is worth an actor, which takes a second to start
WHOLE = "all"  # the name of the work that has all stages in one process
CHUNK_S = 15.0  # what a kill may cost, and how long slow images show no progress
GROUP_S = (
    30.0  # the same on a GPU, where two groups share a model, and what it leaves over was decoded in vain
)

Make = Callable[[], list[Stage]]


@dataclass(frozen=True)
class Stages:
    """The stages of a job, as functions that make them inside the process where they run.

    Without a `model` the graph has no front: what the stages before it bring is a label map already.
    """

    before: Make
    model: Make | None
    after: Make


def build(
    plan: Plan,
    stages: Stages,
    placement: Placement,
    stamp: Stamp,
    journal: Journal,
    *,
    trace: Trace | None = None,
) -> Any:
    """The dataset of result rows (see `stages.write.row_schema`), lazy until it is iterated."""
    import ray.data

    # made in this process: `from_arrow` has a task look at every table, and waits for a worker to start
    numbers = [{"chunk": chunk} for chunk in range(plan.chunks)]
    chunks = ray.data.from_items(numbers, override_num_blocks=plan.chunks)
    arrow = {"batch_format": "pyarrow", "zero_copy_batch": True, "label_selector": placement.selector}
    read, rows = ReadChunks(plan), ToRows(row_schema(plan.carried), stamp)
    parts = tuple(make for make in (stages.before, stages.model, stages.after) if make)
    size = placement.batch_size
    whole = Work(WHOLE, parts, read, rows, journal, CHUNK_S, size, trace)
    if stages.model is None or not KEPT_IN_ACTORS:
        return chunks.map_batches(run_in_task, fn_args=(whole, stamp.run_id), batch_size=1, **arrow)
    if placement.device == "cpu":
        return chunks.map_batches(
            Worker,
            fn_constructor_args=(whole,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=placement.actors),
            num_cpus=placement.actor_cpus,
            **arrow,
        )
    inputs_a_group = 4 * size  # inputs of one shape make a batch, and shapes may be mixed
    before = Work("before", (stages.before,), read, partial(pack, inputs_a_group), journal, GROUP_S, size)
    model = Work("model", (stages.model,), unpack, partial(pack, ROWS_A_TABLE), journal, GROUP_S, size, trace)
    after = Work("after", (stages.after,), unpack, rows, journal)
    inputs = chunks.map_batches(run_in_task, fn_args=(before, stamp.run_id), batch_size=1, **arrow)
    label_maps = inputs.map_batches(
        Worker,
        fn_constructor_args=(model,),
        batch_size=1,
        num_cpus=placement.actor_cpus,
        num_gpus=placement.gpus_an_actor,
        **calls_at_once(placement.actors, GROUPS_IN_HAND),
        **arrow,
    )
    return label_maps.map_batches(run_in_task, fn_args=(after, stamp.run_id), batch_size=1, **arrow)


def calls_at_once(actors: int, count: int) -> dict[str, Any]:
    """The arguments of `map_batches` for a pool whose actors each have so many calls under way."""
    from ray.data import ActorPoolStrategy

    pool = partial(ActorPoolStrategy, size=actors, enable_true_multi_threading=True)
    try:
        return {"compute": pool(max_concurrent_calls_per_actor=count)}
    except TypeError:  # before Ray 2.59
        return {"compute": pool(), "max_concurrency": count}


@dataclass(frozen=True)
class Work:
    """Some stages, and how items enter and leave them.

    Attributes:
        budget_s: seconds after which a batch of work begins no further images; they are left over for
            another plan. None: any.
        batch_size: images of the first round, while nobody knows how long they take; the others have a
            multiple of it, for a batch that is not full may cost as much as one that is.
    """

    name: str
    parts: tuple[Make, ...]
    enter: Callable[[pa.Table], Iterator[Item]]
    leave: Callable[[Iterator[Item]], Iterator[pa.Table]]
    journal: Journal
    budget_s: float | None = None
    batch_size: int = 1
    trace: Trace | None = None


class Worker:
    """The stages, made once in their process: model and preparer stay loaded from batch to batch."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.making = Lock()
        self.image_s: float | None = None  # of the last round

    @cached_property
    def stages(self) -> list[Stage]:
        # made with the first batch, not with the actor: what goes wrong here then reaches the driver with
        # its cause, where the death of an actor in its constructor arrives as text
        with uncollected():
            return [stage for make in self.work.parts for stage in make()]

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        given = list(self.work.enter(batch))
        items, left = ([item for item in given if item.left_over is over] for over in (False, True))
        make = None if "stages" in self.__dict__ else self.make
        journal, name = self.work.journal, self.work.name
        done = journal.carry(name, items, self._pace(items, left), make) if items else ()
        yield from self.work.leave(chain(done, left))

    def _pace(self, items: list[Item], left: list[Item]) -> Through:
        trace, budget_s = self.work.trace, self.work.budget_s
        if trace and trace.wants(items):
            return trace.around(self.through)
        return self.through if budget_s is None else partial(self.in_time, budget_s, left)

    def in_time(self, budget_s: float, left: list[Item], items: Iterator[Item]) -> Iterator[Item]:
        """Send items through in rounds until time is up, and add to `left` what was not begun.

        Stages may hold items back, such as inputs of many shapes until each has a batch, but not beyond
        their round. A round has as many items as the time that is left seems to be good for.
        """
        clock, size = Clock(budget_s), self.work.batch_size
        while clock.left_s > 0 or not clock.begun:
            before = clock.begun, clock.left_s
            batches = 1 if self.image_s is None else int(clock.left_s / max(self.image_s, 1e-6)) // size
            yield from self.through(clock.begin(islice(items, max(1, batches) * size)))
            if clock.begun == before[0]:
                return
            self.image_s = (before[1] - clock.left_s) / (clock.begun - before[0])
        left += [item.leave_over() for item in items]

    def make(self) -> list[Stage]:
        with self.making:
            return self.stages

    def through(self, items: Iterator[Item]) -> Iterator[Item]:
        for stage in self.make():
            items = stage(items)
        return items


class Clock:
    """Lets items through until time is up, the first one in any case, so that every batch of work gets on."""

    def __init__(self, budget_s: float) -> None:
        self.until, self.begun = monotonic() + budget_s, 0

    @property
    def left_s(self) -> float:
        return self.until - monotonic()

    def begin(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            self.begun += 1
            yield item
            if self.left_s <= 0:
                return


_kept: dict[tuple[str, bytes], Worker] = {}


def run_in_task(batch: pa.Table, work: Work, run_id: str) -> Iterator[pa.Table]:
    """The same in a stateless task: a process that has served this run before still has its stages."""
    key = (run_id, pickle.dumps(work.parts))
    if key not in _kept:
        for old in [old for old in _kept if old[0] != run_id]:
            del _kept[old]
        _kept[key] = Worker(work)
    worker = _kept[key]
    worker.work = work  # a run has another plan for what its first one left over
    yield from worker(batch)


@dataclass(frozen=True)
class ReadChunks:
    """Chunk numbers -> the items of their rows."""

    plan: Plan

    def __call__(self, batch: pa.Table) -> Iterator[Item]:
        for chunk in batch["chunk"].to_pylist():
            yield from (Item.from_plan(row) for row in self.plan.read(chunk).to_pylist())


@dataclass(frozen=True)
class ToRows:
    """Items -> the rows the driver commits."""

    schema: pa.Schema
    stamp: Stamp

    def __call__(self, items: Iterator[Item]) -> Iterator[pa.Table]:
        while some := list(islice(items, ROWS_A_TABLE)):
            yield to_table(some, self.schema, self.stamp)


def pack(count: int, items: Iterator[Item]) -> Iterator[pa.Table]:
    """Items -> groups as bytes that cross to another process: Ray would pickle them just so, a copy later."""
    for group in _groups(count, items):
        yield pa.table({"items": pa.array([pickle.dumps(group, protocol=5)], pa.large_binary())})


def unpack(batch: pa.Table) -> Iterator[Item]:
    """The inverse of `pack`."""
    for value in batch["items"]:
        yield from pickle.loads(value.as_buffer())


def _groups(count: int, items: Iterator[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == count or size + item.nbytes > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += item.nbytes
    if group:
        yield group
