"""Which fold predicts which image, and which images each fold learns from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from batchseg.schema import SPLIT
from batchseg.source.plan import Listing
from batchseg.storage.location import locate
from batchseg.training.rows import (
    BEYOND_FRACTION,
    LEFT_OUT,
    TRAIN,
    VALIDATION,
    Rows,
    as_rows,
    groups_of,
    left_out_of,
    own_parts,
    share_of_groups,
    usable_rows,
)

FOLD, GROUPED_BY = "fold", "group"


@dataclass(frozen=True)
class Folds:
    """Every image of a source and the fold that predicts it.

    Attributes:
        table: `id`, `uri`, `truth`, `reason` why it is in no fold, `fold` from 1 on, `group`, and the prompts
            of a source that has some.
    """

    table: pa.Table

    @classmethod
    def read(cls, path: Path) -> Folds:
        return cls(pq.read_table(path))

    def write(self, path: Path) -> None:
        """Raises OSError."""
        locate(str(path)).write_by(lambda place: pq.write_table(self.table, place))

    @property
    def count(self) -> int:
        """How many folds there are."""
        return int(pc.max(self.table[FOLD]).as_py())

    def held_out(self, fold: int) -> pa.Table:
        """The images that a fold predicts, as the validation of a `split.parquet`."""
        chosen = self.table.filter(pc.equal(self.table[FOLD], fold))
        columns = [chosen[name] for name in ("id", "uri", "truth")]
        part, reason = pa.array([VALIDATION] * len(chosen)), pa.nulls(len(chosen), pa.string())
        return pa.table([*columns, part, reason], schema=SPLIT)

    def rows(self, fold: int, config: TrainConfig) -> Rows:
        """What the training of a fold has. Of the other folds a share of the groups judges its epochs, so
        nothing of the fold itself has a say in the model that predicts it.

        Raises SourceError where no image would be left to learn from.
        """
        folds = pc.fill_null(self.table[FOLD], 0).to_numpy()
        split = np.full(len(folds), LEFT_OUT, object)
        reasons = self.table["reason"].to_numpy().astype(object)
        reasons[folds == fold] = f"fold {fold} predicts it"
        others = np.flatnonzero((folds != 0) & (folds != fold))
        groups = self.table[GROUPED_BY].to_numpy()[others]
        notes: tuple[str, ...] = ()
        if len({*groups}) == 1:  # of two folds of a group each
            notes = (f"fold {fold} learns from one group alone, so images of it also judge its epochs",)
            groups = self.table["id"].to_numpy()[others]
        assert not isinstance(config.validation, tuple)
        judge = share_of_groups(groups, config.validation, [config.seed, 4, fold])
        split[others] = np.where(judge, VALIDATION, TRAIN)
        if judge.all():
            raise SourceError(
                f"fold {fold} would have {len(others)} images, all of them for validation, and none to learn "
                "from; take fewer folds, or a smaller share for validation"
            )
        if config.train_fraction < 1:
            train = np.flatnonzero(split == TRAIN)
            order = np.random.default_rng([config.seed, 1]).permutation(len(train))
            beyond = train[order[max(1, round(len(train) * config.train_fraction)) :]]
            split[beyond], reasons[beyond] = LEFT_OUT, f"{BEYOND_FRACTION} is {config.train_fraction:g}"
        return replace(as_rows(self.table, split, reasons), notes=notes)


def part_folds(config: TrainConfig, listing: Listing) -> Folds:
    """Part the images that have ground truth into `config.folds` of about the same size, group by group.

    The same source and seed are always parted alike. Of a manifest with a column `split` only train and
    validation take part. Raises SourceError where there are fewer groups than folds.
    """
    rows, usable = usable_rows(config, listing)
    split, reasons = left_out_of(rows)
    own = own_parts(rows.filter(pa.array(usable)))
    split[usable], reasons[usable] = own if own is not None else (TRAIN, None)
    inside = split != LEFT_OUT
    chosen = rows.filter(pa.array(inside))
    if not len(chosen):
        raise SourceError(f"{config.source.path}: its column split names no image train or validation")
    groups = groups_of(config, chosen)
    folds = np.zeros(len(rows), np.int32)
    folds[inside] = _assigned(config, groups)
    named = np.full(len(rows), None, object)
    named[inside] = groups
    table = as_rows(rows, split, reasons).table.drop_columns(["split"])
    table = table.append_column(FOLD, pa.array(folds, mask=folds == 0))
    return Folds(table.append_column(GROUPED_BY, pa.array(named, pa.string())))


def _assigned(config: TrainConfig, groups: NDArray[np.object_]) -> NDArray[np.int32]:
    """The fold of each row: the largest group first, each to the fold that has the fewest images."""
    names, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    folds = config.folds or 0
    if len(names) < folds:
        what = f"values of the column {config.group}" if config.group else "images with ground truth"
        raise SourceError(f"folds is {folds}, and there are {len(names)} {what}; take fewer folds")
    order = np.random.default_rng([config.seed, 5]).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    fold_of, sizes = np.zeros(len(names), np.int32), np.zeros(folds, np.int64)
    for name in order:
        fold = int(sizes.argmin())
        fold_of[name] = fold + 1
        sizes[fold] += counts[name]
    assigned: NDArray[np.int32] = fold_of[group]
    return assigned
