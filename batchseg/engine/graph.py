"""The Ray Data graph of a job: which stages share a process, and how items cross between processes.

    CPU:       chunks ──> [ before · model · after ]                one actor a core
    GPU:       chunks ──> [ before ] ──> [ model ] ──> [ after ]    tasks, actors, tasks
    no model:  chunks ──> [ before · after ]                        tasks

On a CPU the model shares its process with its neighbours, so that pixels never leave it. With a GPU the
stages around the model are tasks of their own and keep the device fed; between them items travel in groups
of at most 64 MiB (or one image), so that what is under way is bounded in bytes, whatever the images' sizes.
An actor with a GPU has two groups in hand: one is unpacked, uploaded and packed while the other is computed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from math import inf
from threading import Lock
from time import monotonic
from typing import Any

import pyarrow as pa

from batchseg.engine.journal import Journal
from batchseg.engine.placement import Placement
from batchseg.engine.trace import Trace
from batchseg.source.plan import Plan
from batchseg.stages.item import Item, Stage
from batchseg.stages.write import Stamp, row_schema, to_table

ROWS_A_TABLE = 16
GROUP_BYTES = 64 * 2**20
GROUPS_IN_HAND = 2
KEPT_IN_ACTORS = True  # what a model loads is worth an actor, which takes a second to start
CHUNK_S = 15.0  # what a kill may cost, and how long slow images show no progress

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

    chunks = ray.data.from_arrow([pa.table({"chunk": [chunk]}) for chunk in range(plan.chunks)])
    arrow = {"batch_format": "pyarrow", "zero_copy_batch": True, "label_selector": placement.selector}
    read, rows = ReadChunks(plan), ToRows(row_schema(plan.carried), stamp)
    parts = tuple(make for make in (stages.before, stages.model, stages.after) if make)
    whole = Work("all", parts, read, rows, journal, trace, budget_s=CHUNK_S)
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
    inputs_a_group = 4 * placement.batch_size  # inputs of one shape make a batch, and shapes may be mixed
    before = Work("before", (stages.before,), read, partial(pack, inputs_a_group), journal)
    model = Work("model", (stages.model,), unpack, partial(pack, ROWS_A_TABLE), journal, trace)
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
        budget_s: seconds after which a chunk begins no further images; they are left over for another plan.
    """

    name: str
    parts: tuple[Make, ...]
    enter: Callable[[pa.Table], Iterator[Item]]
    leave: Callable[[Iterator[Item]], Iterator[pa.Table]]
    journal: Journal
    trace: Trace | None = None
    budget_s: float | None = None


class Worker:
    """The stages, made once in their process: model and preparer stay loaded from batch to batch."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.making = Lock()

    @cached_property
    def stages(self) -> list[Stage]:
        # made with the first batch, not with the actor: what goes wrong here then reaches the driver with
        # its cause, where the death of an actor in its constructor arrives as text
        return [stage for make in self.work.parts for stage in make()]

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        items = list(self.work.enter(batch))
        trace, paced = self.work.trace, Paced(self.work.budget_s)
        through = trace.around(self.through) if trace and trace.wants(items) else self.through
        done = self.work.journal.carry(self.work.name, items, lambda some: through(paced(some)))
        yield from self.work.leave(done)
        if paced.left:
            yield from self.work.leave(iter(paced.left))

    def through(self, items: Iterator[Item]) -> Iterator[Item]:
        with self.making:
            stages = self.stages
        for stage in stages:
            items = stage(items)
        return items


class Paced:
    """Lets items through until time is up, and marks the others as left over.

    Attributes:
        left: the items that were not begun.
    """

    def __init__(self, budget_s: float | None) -> None:
        self.until = monotonic() + budget_s if budget_s is not None else inf
        self.left: list[Item] = []

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        begun = False
        for item in items:
            # the first one always goes, so that every chunk gets on
            if begun and monotonic() >= self.until:
                item.left_over = True
                self.left.append(item)
                continue
            begun = True
            yield item


_kept: dict[tuple[str, bytes], Worker] = {}


def run_in_task(batch: pa.Table, work: Work, run_id: str) -> Iterator[pa.Table]:
    """The same in a stateless task: a process that has served this run before still has its stages."""
    key = (run_id, pickle.dumps(work.parts))
    if key not in _kept:
        for old in [old for old in _kept if old[0] != run_id]:
            del _kept[old]
        _kept[key] = Worker(work)
    yield from _kept[key](batch)


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
