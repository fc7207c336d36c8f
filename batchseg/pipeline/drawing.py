"""Overlays of masks that lie in a results folder, drawn by Ray's CPU workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.base import Limits
from batchseg.config.network import SegmentorConfig
from batchseg.config.run import RunConfig
from batchseg.config.source import ImageReading
from batchseg.engine.drive import drive
from batchseg.engine.nodes import usable_nodes
from batchseg.engine.placement import place
from batchseg.errors import RowFault, SourceError
from batchseg.labels.reading import Reading
from batchseg.pipeline.choice import Choice
from batchseg.results.folder import Held
from batchseg.results.progress import OnCounted, unwatched
from batchseg.source.listing import truths_of
from batchseg.source.plan import Listing, Plan, write_chosen, write_plan
from batchseg.stages.by_window import is_large
from batchseg.stages.item import Item
from batchseg.stages.overlay import Drawn, Painter
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.stages.viewing import Sight, read_prediction
from batchseg.storage.reader import Reader, truth_reader

LISTED_PROBLEMS = 20
_DRAWN = pa.schema(
    [("id", pa.string()), ("has_mask", pa.bool_()), ("written", pa.bool_()), ("problem", pa.string())]
)


@dataclass
class OverlayReport:
    """What was drawn.

    Attributes:
        chosen: images that an overlay was asked for.
        written: overlays.
        lacking: of these, images that have a mask and got no overlay.
        troubled: images for which something is lacking: the image, the truth, or the whole overlay.
        problems: the first of these, as id and sentence.
        remarks: sentences on all of them.
    """

    chosen: int = 0
    written: int = 0
    lacking: int = 0
    troubled: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, drawn: pa.Table) -> None:
        """Count what a worker tells of some images."""
        self.written += pc.sum(drawn["written"]).as_py()
        self.lacking += pc.sum(pc.and_not(drawn["has_mask"], drawn["written"])).as_py()
        troubled = drawn.filter(pc.is_valid(drawn["problem"]))
        self.troubled += len(troubled)
        room = LISTED_PROBLEMS - len(self.problems)
        self.problems += [(row["id"], row["problem"]) for row in troubled.slice(0, room).to_pylist()]


def draw_overlays(
    held: Held,
    choice: Choice,
    sight: Sight,
    limits: Limits,
    listed: Callable[[], Iterable[pa.Table]],
    *,
    exclude_head: bool = False,
    on_drawn: OnCounted = unwatched,
) -> OverlayReport:
    """Draw and write them, within a Ray session. The tables stay as they are.

    Args:
        listed: the source as it is listed; called for triptychs, whose truths it names.
        on_drawn: called in this process with the images that are through, and all.

    Raises:
        ConfigError: an id is not in the results.
        OutputError: the results cannot be read or written.
    """
    import ray.data

    held.ledger.drop_superseded()  # so that every image has one row
    work, report = held.results.work, OverlayReport()
    planned = _planned(held, choice, listed, report)
    chosen = write_chosen(planned, work / "overlays.arrow")
    report.chosen = chosen.images
    if not chosen.images:
        return report
    placement = place(SegmentorConfig(device="cpu"), usable_nodes(exclude_head), chosen.images)
    plan = write_plan(chosen, work / "overlays-plan.arrow", placement.chunk_rows(chosen.images))
    chunks = ray.data.from_arrow([pa.table({"chunk": [chunk]}) for chunk in range(plan.chunks)])
    dataset = chunks.map_batches(
        draw_chunks,
        fn_args=(plan, partial(Painter, held.results.root, sight, limits, choice.overlays)),
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        label_selector=placement.selector,
    )
    done = 0

    def take(drawn: pa.Table) -> None:
        nonlocal done
        report.add(drawn)
        done += len(drawn)
        on_drawn(done, report.chosen)

    drive(dataset, take)
    report.problems.sort()
    return report


def _planned(
    held: Held, choice: Choice, listed: Callable[[], Iterable[pa.Table]], report: OverlayReport
) -> Iterator[pa.Table]:
    rows: Iterable[pa.Table] = (table for table in choice.rows(held) if len(table))
    if choice.overlays.kind != "triptych":
        for table in rows:
            yield choice.plan(table, [None] * len(table))
        return
    rows = list(rows)
    truths: list[list[str | None]] = [[None] * len(table) for table in rows]
    if rows:
        try:
            truths = truths_of(rows, listed())
        except SourceError as exc:
            report.remarks.append(f"no truth is shown, for the source cannot be listed: {exc}")
    for table, theirs in zip(rows, truths, strict=True):
        yield choice.plan(table, theirs)


def draw_chunks(batch: pa.Table, plan: Plan, make: Callable[[], Painter]) -> Iterator[pa.Table]:
    """In a task: the images of some chunks, one at a time."""
    painter, masks = make(), truth_reader()
    for chunk in batch["chunk"].to_pylist():
        rows = []
        for row in plan.read(chunk).to_pylist():
            item = Item.from_plan(row)
            drawn = _draw(painter, masks, item)
            has_mask = item.kept is not None
            rows.append({"id": item.row["id"], "has_mask": has_mask, **drawn._asdict()})
        yield pa.Table.from_pylist(rows, schema=_DRAWN)


def _draw(painter: Painter, masks: Reader, item: Item) -> Drawn:
    if item.kept is not None:
        item.size_hw = size_hw = (item.kept["height"], item.kept["width"])
        place = painter.results / item.kept["mask"]
        if item.kept["mask"].endswith(TIFF_SUFFIXES) and is_large(size_hw, painter.limits):
            item.large = str(place)
            return painter.draw(item)
        try:
            item.prediction = read_prediction(masks, str(place), size_hw, painter.label_map.num_classes)
        except RowFault as fault:
            mask = str(fault).removeprefix("label file: ")
            return Drawn(False, f"its mask {item.kept['mask']} cannot be used: {mask}")
    return painter.draw(item)


def some_overlays(
    config: RunConfig, reading: Reading, listing: Listing
) -> Callable[[Held], dict[str, Any]] | None:
    """Draw the worst images or a sample, once all are there; None where that is not wanted."""
    wanted = config.output.pictures
    if wanted is None or wanted.count is None:
        return None
    choice = Choice(wanted, config.output.mask_name, tiffs=config.tiffs)
    head = config.ray.exclude_head
    sight = Sight(reading, ImageReading.of(config.source))
    return lambda held: asdict(
        draw_overlays(held, choice, sight, config.limits, listing.tables, exclude_head=head)
    )
