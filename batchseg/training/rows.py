"""Which images a training learns from, and which judge it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from batchseg.schema import SPLIT
from batchseg.source.listing import LISTING, PROMPT
from batchseg.source.plan import Listing

COLUMN = "split"  # of a manifest
GROUP = "_group"
TRAIN, VALIDATION, LEFT_OUT = "train", "validation", "left_out"
_NO_NAME = ("", "nan")  # of a group: no text, or no number
_SAME = {"training": TRAIN, "val": VALIDATION, "valid": VALIDATION}
NO_TRUTH, BEYOND_FRACTION = "it has no ground truth", "train_fraction"


@dataclass(frozen=True)
class Rows:
    """Every image of the source and its part.

    Attributes:
        table: as `schema.SPLIT`, and to the right of it the prompts of a source that has some.
        notes: a sentence each on what is left out, and on what the ground truth cannot teach or judge.
    """

    table: pa.Table
    notes: tuple[str, ...] = ()

    @property
    def train(self) -> pa.Table:
        """Columns `id`, `uri` and `truth`, and `prompt` where there are some."""
        return self._of(TRAIN)

    @property
    def validation(self) -> pa.Table:
        """Columns `id`, `uri` and `truth`, and `prompt` where there are some."""
        return self._of(VALIDATION)

    @property
    def used(self) -> pa.Table:
        """Both parts together."""
        return pa.concat_tables([self.train, self.validation])

    @property
    def with_truth(self) -> pa.Table:
        """All images that have a ground truth, whatever part they are in."""
        return self.table.filter(self.table["truth"].is_valid())

    def left_out(self) -> Iterator[str]:
        """A sentence for each reason why images are not used."""
        reasons = self.table.filter(pc.equal(self.table["split"], LEFT_OUT))["reason"].to_pylist()
        for reason, count in Counter(reasons).most_common():
            yield f"{count:,} image{'s are' if count > 1 else ' is'} left out: {reason}"

    def _of(self, part: str) -> pa.Table:
        chosen = self.table.filter(pc.equal(self.table["split"], part))
        return chosen.drop_columns(["split", "reason"])


def split_rows(config: TrainConfig, listing: Listing) -> Rows:
    """Part the images that have ground truth. The same source and seed are always parted alike.

    One picture alone, of which there are windows, is to be parted itself: so far it is all to learn from.

    Raises SourceError where one part would be empty.
    """
    rows, usable = usable_rows(config, listing)
    with_truth = rows.filter(pa.array(usable))
    split, reasons = left_out_of(rows)
    if parts_itself(config, with_truth):
        split[usable], reasons[usable] = TRAIN, None
        return as_rows(rows, split, reasons)
    split[usable], reasons[usable] = _parts(config, with_truth)
    if not (split == VALIDATION).any():
        raise SourceError(f"{config.source.path}: no image is for validation: {_advice(config, with_truth)}")
    if not (split == TRAIN).any():
        raise SourceError(
            f"{config.source.path}: no image is left to learn from: {_advice(config, with_truth)}"
        )
    if config.train_fraction < 1:
        beyond = _beyond_fraction(config, np.flatnonzero(split == TRAIN))
        split[beyond], reasons[beyond] = LEFT_OUT, f"{BEYOND_FRACTION} is {config.train_fraction:g}"
    return as_rows(rows, split, reasons)


def parts_itself(config: TrainConfig, rows: pa.Table) -> bool:
    """Whether there is one picture alone, some windows of which judge the others."""
    is_free = isinstance(config.validation, float) and config.group is None and own_parts(rows) is None
    return len(rows) == 1 and config.tiling is not None and is_free


def usable_rows(config: TrainConfig, listing: Listing) -> tuple[pa.Table, NDArray[np.bool_]]:
    """All images, sorted by id, and which of them have a ground truth that may be used.

    Raises SourceError where none has, or where the column of their groups is not there.
    """
    needed = partial(_needed, config=config)
    rows = pa.concat_tables(map(needed, listing.tables())).sort_by("id")
    usable = (rows["truth"].is_valid().to_numpy()) & (rows["status"].is_null().to_numpy())
    if not usable.any():
        raise SourceError(f"{config.source.path}: no image has a ground truth to learn from; give --truth")
    return rows, usable


def left_out_of(rows: pa.Table) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The part of each row and why, as if none could be used."""
    reasons = np.array([error or NO_TRUTH for error in rows["error"].to_pylist()], object)
    return np.full(len(rows), LEFT_OUT, object), reasons


def as_rows(rows: pa.Table, split: NDArray[np.object_], reasons: NDArray[np.object_]) -> Rows:
    """Images with the part that each is in, and their prompts where they have some."""
    columns = [rows["id"], rows["uri"], rows["truth"], pa.array(split), pa.array(reasons, pa.string())]
    table = pa.table(columns, schema=SPLIT)
    asked = PROMPT.name in rows.column_names
    return Rows(table.append_column(PROMPT, rows[PROMPT.name]) if asked else table)


def groups_of(config: TrainConfig, rows: pa.Table) -> NDArray[np.object_]:
    """What must stay together, a value a row: the column that is named, else the image.

    Raises SourceError where that column has no value, or one alone.
    """
    if config.group is None:
        names: NDArray[np.object_] = rows["uri" if PROMPT.name in rows.column_names else "id"].to_numpy()
        return names
    column = rows[GROUP]
    if column.null_count:
        empty = rows.filter(column.is_null())["id"]
        raise SourceError(
            f"group: the column {config.group} is empty for {len(empty):,} images with ground truth, "
            f"{empty[0].as_py()} among them; fill it in, or take these rows out"
        )
    values = column.unique()
    if len(values) == 1:
        raise SourceError(
            f"group: the column {config.group} has one value for all images, {values[0].as_py()!r}, so none "
            "could be kept apart; name another column, or leave group out"
        )
    names = column.to_numpy()
    return names


def share_of_groups(groups: NDArray[Any], share: float, seed: Sequence[int]) -> NDArray[np.bool_]:
    """Which rows judge: those of a random share of the groups, at least one."""
    group = np.unique(groups, return_inverse=True)[1]
    count = int(group.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    return np.isin(group, order[: max(1, round(count * share))])


def own_parts(rows: pa.Table) -> tuple[NDArray[np.object_], NDArray[np.object_]] | None:
    """The part of each row and why it is left out, by the manifest's column `split`; None without one."""
    if rows[COLUMN].null_count == len(rows):
        return None
    given = [_part_named(name) for name in rows[COLUMN].to_pylist()]
    parts = np.array([part for part, _ in given], object)
    return parts, np.array([reason for _, reason in given], object)


def spread(rows: pa.Table, count: int) -> list[dict[str, str]]:
    """So many rows, evenly over all of them; all where there are no more."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    taken: list[dict[str, str]] = rows.take(pa.array(chosen)).to_pylist()
    return taken


def _needed(table: pa.Table, config: TrainConfig) -> pa.Table:
    has_split = COLUMN in table.column_names
    split = _as_text(table, COLUMN, COLUMN) if has_split else pa.nulls(len(table), pa.string())
    prompts = [name for name in (PROMPT.name,) if name in table.column_names]
    needed = table.select(["id", "uri", "truth", "status", "error", *prompts]).append_column(COLUMN, split)
    return needed if config.group is None else needed.append_column(GROUP, _group(table, config))


def _group(table: pa.Table, config: TrainConfig) -> pa.ChunkedArray:
    if config.group is not None and config.group in table.column_names:
        names = _as_text(table, config.group, "group")
        is_empty = pc.is_in(pc.utf8_trim_whitespace(names), pa.array(_NO_NAME))
        return pc.if_else(is_empty, None, names)
    ours = (*LISTING.names, "mask", PROMPT.name)
    own = ", ".join(name for name in table.column_names if name not in ours)
    there = f"its own columns are {own}" if own else "it has no columns of its own, as a manifest may have"
    raise SourceError(f"{config.source.path}: group names the column {config.group}, and {there}")


def _as_text(table: pa.Table, column: str, key: str) -> pa.ChunkedArray:
    """Raises SourceError where a column holds something else."""
    try:
        return table[column].cast(pa.string())
    except (pa.ArrowException, UnicodeDecodeError) as exc:
        reason = str(exc).splitlines()[0]
        raise SourceError(f"{key}: the column {column} cannot be read as text: {reason}") from exc


def _refuse_other_parts(config: TrainConfig, rows: pa.Table, parts: NDArray[np.object_]) -> None:
    """Raises SourceError where a manifest's own column `split` goes against what is asked for."""
    if isinstance(config.validation, tuple):
        raise SourceError(
            "validation gives globs, and the manifest's column split parts the images itself; leave one out"
        )
    if config.group is None:
        return
    used = parts != LEFT_OUT
    groups = groups_of(config, rows.filter(pa.array(used)))
    both = {*groups[parts[used] == TRAIN]} & {*groups[parts[used] == VALIDATION]}
    if both:
        raise SourceError(
            f"group: values of the column {config.group} are on both sides of the column split ({len(both)}, "
            f"{min(both)!r} among them); move all images of each to one side, or leave group out"
        )


def _parts(config: TrainConfig, rows: pa.Table) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The part of each row and why it is left out: by the manifest's own split, globs, or a random share."""
    if (own := own_parts(rows)) is not None:
        _refuse_other_parts(config, rows, own[0])
        return own
    if isinstance(config.validation, tuple):
        ids = rows["id"].to_pylist()
        validation = np.array([any(fnmatch(name, glob) for glob in config.validation) for name in ids])
    else:
        # without groups by the place of each row, which sorts as its id does
        alone = config.group is None and PROMPT.name not in rows.column_names
        groups: NDArray[Any] = np.arange(len(rows)) if alone else groups_of(config, rows)
        validation = share_of_groups(groups, config.validation, [config.seed, 0])
    return np.where(validation, VALIDATION, TRAIN).astype(object), np.full(len(rows), None, object)


def _part_named(name: str | None) -> tuple[str, str | None]:
    """The part that a manifest's word means; case and blanks around it do not count."""
    if name is None:
        return LEFT_OUT, "its column split is empty"
    word = name.strip().casefold()
    part = _SAME.get(word, word)
    return (part, None) if part in (TRAIN, VALIDATION) else (LEFT_OUT, f"its column split says {name}")


def _beyond_fraction(config: TrainConfig, train: NDArray[np.intp]) -> NDArray[np.intp]:
    count = max(1, round(len(train) * config.train_fraction))
    order = np.random.default_rng([config.seed, 1]).permutation(len(train))
    return train[np.sort(order[count:])]


def _advice(config: TrainConfig, rows: pa.Table) -> str:
    if rows[COLUMN].null_count < len(rows):
        found = ", ".join(sorted({str(name) for name in rows[COLUMN].unique().to_pylist()}))
        return f"its column split holds {found}; it must hold train and validation"
    count = f"{len(rows)} image{'s'[: len(rows) != 1]} with ground truth"
    return f"there are {count}, and validation is {config.validation}; set another share, or globs on ids"
