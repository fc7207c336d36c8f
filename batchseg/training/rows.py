"""Which images a training learns from, and which judge it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from batchseg.source.plan import Listing

SPLIT = "split"
TRAIN, VALIDATION = ("train", "training"), ("validation", "val", "valid")


@dataclass(frozen=True)
class Rows:
    """Columns `id`, `uri` and `truth` of the images with ground truth."""

    train: pa.Table
    validation: pa.Table


def split_rows(config: TrainConfig, listing: Listing) -> Rows:
    """Part the images that have ground truth. The same source and seed are always parted alike.

    Raises SourceError where one part would be empty.
    """
    tables = [_with_truth(table) for table in listing.tables()]
    rows = pa.concat_tables(tables).sort_by("id")
    if not len(rows):
        raise SourceError(f"{config.source.path}: no image has a ground truth to learn from; give --truth")
    train, validation = _parts(config, rows)
    if not validation.any():
        raise SourceError(f"{config.source.path}: no image is for validation: {_advice(config, rows)}")
    if not train.any():
        raise SourceError(f"{config.source.path}: no image is left to learn from: {_advice(config, rows)}")
    chosen = rows.filter(pa.array(train)).drop_columns([SPLIT])
    if config.train_fraction < 1:
        count = max(1, round(len(chosen) * config.train_fraction))
        order = np.random.default_rng([config.seed, 1]).permutation(len(chosen))
        chosen = chosen.take(np.sort(order[:count]))
    return Rows(chosen, rows.filter(pa.array(validation)).drop_columns([SPLIT]))


def _with_truth(table: pa.Table) -> pa.Table:
    split = (
        table[SPLIT].cast(pa.string()) if SPLIT in table.column_names else pa.nulls(len(table), pa.string())
    )
    table = table.select(["id", "uri", "truth", "status"]).append_column(SPLIT, split)
    usable = pc.and_(pc.is_valid(table["truth"]), pc.is_null(table["status"]))
    return table.filter(usable).drop_columns(["status"])


def _parts(config: TrainConfig, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Two masks over the rows: the manifest's own split, globs, or a share drawn at random."""
    if rows[SPLIT].null_count < len(rows):
        split = np.array(rows[SPLIT].to_pylist(), object)
        return np.isin(split, TRAIN), np.isin(split, VALIDATION)
    if isinstance(config.validation, tuple):
        ids = rows["id"].to_pylist()
        validation = np.array([any(fnmatch(name, glob) for glob in config.validation) for name in ids])
    else:
        order = np.random.default_rng([config.seed, 0]).permutation(len(rows))
        validation = np.zeros(len(rows), bool)
        validation[order[: round(len(rows) * config.validation)]] = True
    return ~validation, validation


def _advice(config: TrainConfig, rows: pa.Table) -> str:
    if rows[SPLIT].null_count < len(rows):
        found = ", ".join(sorted({str(name) for name in rows[SPLIT].unique().to_pylist()}))
        return f"its column split holds {found}; it must hold train and validation"
    count = f"{len(rows)} image{'s'[: len(rows) != 1]} with ground truth"
    return f"there are {count}, and validation is {config.validation}; set another share, or globs on ids"
