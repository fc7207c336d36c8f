"""The plan of a run: which images are computed, in chunks that workers fetch by number.

It lies in the results folder as an Arrow file, one record batch a chunk, so that neither the driver nor the
object store holds the listing: ten million rows cost the driver only their keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.run import Tiffs
from batchseg.errors import SourceError
from batchseg.source.listing import LISTING, PROMPT
from batchseg.source.names import TIFF_SUFFIX, mask_keys, with_mask_names
from batchseg.source.prompts import LONGEST_SLUG, is_prompted_id
from batchseg.storage.keys import KeySet, keys, repeated
from batchseg.storage.location import Location, locate

CHUNK_BYTES = 16 * 2**20
ROWS_A_BATCH = 8192
NAMED_IDS = 5
EXAMPLES = 3


@dataclass(frozen=True)
class Plan:
    """Where the chunks lie and what they hold; `token` tells it from earlier plans of the same path."""

    path: str
    token: str
    chunks: int
    schema: pa.Schema

    def read(self, chunk: int) -> pa.Table:
        """The listing rows of one chunk, with the name of each mask."""
        return pa.Table.from_batches([_opened(self.path, self.token).get_batch(chunk)])

    @property
    def carried(self) -> pa.Schema:
        """The manifest's own columns."""
        ours = (*LISTING.names, PROMPT.name, "mask", "_row", "_kept", "_part")
        return pa.schema([column for column in self.schema if column.name not in ours])


@dataclass
class Listing:
    """A source, or what remains to be done of it, with what can be known of it only as a whole.

    Attributes:
        split: images of the source by what the model's training made of them.
        shared_masks: the names of masks that several images would have, as keys.
        full_names: how many masks have their full name, because another image has the short one.
        tiff_masks: how many masks would be TIFFs.
        passed_over: what lies in the source and is not listed, by kind.
    """

    path: Location
    images: int = 0
    with_truth: int = 0
    examples: list[str] = field(default_factory=list)
    split: dict[str, int] = field(default_factory=dict)
    shared_masks: KeySet = field(default_factory=KeySet)
    full_names: int = 0
    tiff_masks: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)

    def masks(self) -> KeySet:
        """The names of the masks that the images would have, as keys."""
        return KeySet(mask_keys(table) for table in self.tables())

    def ids(self) -> KeySet:
        """The ids of all images."""
        return KeySet(keys(table["id"]) for table in self.tables())

    def tables(self) -> Iterator[pa.Table]:
        """The rows as they were listed."""
        if not self.images:
            return
        with pa.ipc.open_file(self.path.filesystem.open_input_file(self.path.path)) as reader:
            for index in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(index)])


def write_listing(
    tables: Iterable[pa.Table], path: Location, mask_name: str, tiffs: Tiffs = "none"
) -> Listing:
    """List the source into a file. Raises SourceError where two rows have the same id."""
    listing, ids, masks = Listing(path), [], []

    def noted() -> Iterator[pa.Table]:
        for table in regrouped(tables):
            table = with_mask_names(table, mask_name, tiffs)
            listing.tiff_masks += pc.sum(pc.ends_with(table["mask"], TIFF_SUFFIX)).as_py() or 0
            ids.append(keys(table["id"]))
            masks.append(mask_keys(table))
            yield table

    _write_counted(noted(), listing)
    listing.shared_masks = repeated(masks)
    _refuse_repeated_ids(listing, repeated(ids))
    return listing


def write_chosen(tables: Iterable[pa.Table], path: Location) -> Listing:
    """Some of the listed rows, as a listing of their own."""
    chosen = Listing(path)
    _write_counted(regrouped(tables), chosen)
    return chosen


def write_plan(chosen: Listing, path: Location, chunk_rows: int, first: int = 0) -> Plan:
    """Cut it into chunks of at most `chunk_rows` images and 16 MiB of files; rows count from `first`."""
    return _write_chunks(_numbered(chosen.tables(), first), path, chunk_rows)


def write_rest(plan: Plan, rows: Sequence[int] | NDArray[np.intp], path: Location, chunk_rows: int) -> Plan:
    """The rows of a plan that are left over, by their numbers, in chunks of another size."""
    wanted = pa.array(rows, pa.int64())
    tables = (plan.read(chunk) for chunk in range(plan.chunks))
    left = (table.filter(pc.is_in(table["_row"], wanted)) for table in tables)
    return _write_chunks(regrouped(table for table in left if len(table)), path, chunk_rows)


def _numbered(tables: Iterable[pa.Table], first: int) -> Iterator[pa.Table]:
    for table in tables:
        yield table.append_column("_row", pa.array(range(first, first + len(table)), pa.int64()))
        first += len(table)


def _write_chunks(tables: Iterable[pa.Table], path: Location, chunk_rows: int) -> Plan:
    chunks, schema, writer = 0, LISTING, None
    with path.filesystem.open_output_stream(path.path) as stream:
        for table in tables:
            schema = table.schema
            writer = writer or pa.ipc.new_file(stream, schema)
            for chunk in _chunks(table, chunk_rows):
                writer.write_batch(chunk.combine_chunks().to_batches()[0])
                chunks += 1
        if writer:
            writer.close()
    return Plan(str(path), secrets.token_hex(4), chunks, schema)


def regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of some thousand: a folder of few images, or a night of few new ones, is no
    reason for chunks that do not fill a batch."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= ROWS_A_BATCH:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _write_counted(tables: Iterable[pa.Table], listing: Listing) -> None:
    writer = None
    with listing.path.filesystem.open_output_stream(listing.path.path) as stream:
        for table in tables:
            writer = writer or pa.ipc.new_file(stream, table.schema)
            writer.write_table(table)
            listing.images += len(table)
            listing.with_truth += len(table) - table["truth"].null_count
            listing.examples += table["id"].slice(0, EXAMPLES - len(listing.examples)).to_pylist()
        if writer:
            writer.close()


def _refuse_repeated_ids(listing: Listing, twice: KeySet) -> None:
    if not len(twice):
        return
    seen: set[str] = set()
    named: dict[str, bool] = {}  # whether each may be made of its prompt
    for name, prompt in _those(listing, twice):
        if name in seen:
            named[name] = is_prompted_id(name, prompt)
        elif len(seen) < NAMED_IDS * 100:  # enough to name some; all of them may be millions
            seen.add(name)
        if len(named) == NAMED_IDS:
            break
    if named:
        more = f" and {len(twice) - NAMED_IDS} more" if len(twice) > NAMED_IDS else ""
        advice = _advice(of_prompts=all(named.values()))
        raise SourceError(f"the manifest has the same id in several rows: {', '.join(named)}{more}; {advice}")


def _advice(*, of_prompts: bool) -> str:
    if not of_prompts:
        return "give every image an id of its own"
    return (
        "the same prompt stands there twice for an image, or two whose words are the same up to "
        f"{LONGEST_SLUG} characters; leave one out, or give every row an id of its own (a column `id`)"
    )


def _those(listing: Listing, wanted: KeySet) -> Iterator[tuple[str, str | None]]:
    """Ids and prompts."""
    for table in listing.tables():
        names, prompts = table["id"].to_pylist(), [None] * len(table)
        if PROMPT.name in table.column_names:
            prompts = table[PROMPT.name].to_pylist()
        yield from ((names[at], prompts[at]) for at in np.flatnonzero(wanted.contains(keys(names))))


def _chunks(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    sizes = np.array(table["size"].fill_null(0).to_numpy(), dtype=np.int64)
    start, weight = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= rows or weight + size > CHUNK_BYTES):
            yield table.slice(start, index - start)
            start, weight = index, 0
        weight += int(size)
    if len(table) > start:
        yield table.slice(start)


@lru_cache(maxsize=4)
def _opened(path: str, token: str) -> pa.ipc.RecordBatchFileReader:
    place = locate(path)
    source = pa.memory_map(place.path) if place.is_local else place.filesystem.open_input_file(place.path)
    return pa.ipc.open_file(source)
