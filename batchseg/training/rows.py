"""Which images a training learns from, and which judge it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from batchseg.schema import SPLIT
from batchseg.source.listing import PROMPT
from batchseg.source.plan import Listing

COLUMN = "split"  # of a manifest
TRAIN, VALIDATION, LEFT_OUT = "train", "validation", "left_out"
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

    Raises SourceError where one part would be empty.
    """
    rows = pa.concat_tables(map(_needed, listing.tables())).sort_by("id")
    usable = (rows["truth"].is_valid().to_numpy()) & (rows["status"].is_null().to_numpy())
    with_truth = rows.filter(pa.array(usable))
    if not len(with_truth):
        raise SourceError(f"{config.source.path}: no image has a ground truth to learn from; give --truth")
    split = np.full(len(rows), LEFT_OUT, object)
    reasons = np.array([error or NO_TRUTH for error in rows["error"].to_pylist()], object)
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
    columns = [rows["id"], rows["uri"], rows["truth"], pa.array(split), pa.array(reasons, pa.string())]
    table = pa.table(columns, schema=SPLIT)
    asked = PROMPT.name in rows.column_names
    return Rows(table.append_column(PROMPT, rows[PROMPT.name]) if asked else table)


def spread(rows: pa.Table, count: int) -> list[dict[str, str]]:
    """So many rows, evenly over all of them; all where there are no more."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    taken: list[dict[str, str]] = rows.take(pa.array(chosen)).to_pylist()
    return taken


def _needed(table: pa.Table) -> pa.Table:
    split = (
        table[COLUMN].cast(pa.string()) if COLUMN in table.column_names else pa.nulls(len(table), pa.string())
    )
    prompts = [name for name in (PROMPT.name,) if name in table.column_names]
    return table.select(["id", "uri", "truth", "status", "error", *prompts]).append_column(COLUMN, split)


def _parts(config: TrainConfig, rows: pa.Table) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The part of each row and why it is left out: by the manifest's own split, globs, or a random share."""
    none = np.full(len(rows), None, object)
    if rows[COLUMN].null_count < len(rows):
        given = [_part_named(name) for name in rows[COLUMN].to_pylist()]
        parts = np.array([part for part, _ in given], object)
        return parts, np.array([reason for _, reason in given], object)
    if isinstance(config.validation, tuple):
        ids = rows["id"].to_pylist()
        validation = np.array([any(fnmatch(name, glob) for glob in config.validation) for name in ids])
    else:
        image = np.arange(len(rows))
        if PROMPT.name in rows.column_names:  # what is asked of one image stays together
            image = np.unique(rows["uri"].to_numpy(), return_inverse=True)[1]
        images = int(image.max()) + 1
        order = np.random.default_rng([config.seed, 0]).permutation(images)
        validation = np.isin(image, order[: max(1, round(images * config.validation))])
    return np.where(validation, VALIDATION, TRAIN).astype(object), none


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
