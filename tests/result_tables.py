"""The tables of a results folder, to be held against another's."""

from __future__ import annotations

from pathlib import Path

import duckdb

PASSING = ("run_id", "finished_at", "segment_s")  # what differs from run to run by nature


def tables(out: Path, without: tuple[str, ...] = ()) -> list[list[tuple]]:
    """images, pixels and classes, in order."""
    queries = (
        f"select * exclude ({', '.join((*PASSING, *without))}) from '{out}/images/*.parquet' order by id",
        f"select * from '{out}/pixels/*.parquet' order by all",
        f"select * from '{out}/classes.parquet' order by all",
    )
    return [duckdb.sql(query).fetchall() for query in queries]


def mask_files(out: Path) -> dict[str, bytes]:
    """Every mask by its path."""
    root = out / "masks"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")}
