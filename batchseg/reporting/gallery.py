"""The pictures of the page, drawn by Ray's CPU workers, where the files are read as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from batchseg.config.base import RayConfig
from batchseg.engine.drive import drive
from batchseg.engine.nodes import anywhere_but, usable_nodes
from batchseg.engine.session import ray_session
from batchseg.reporting.pictures import PICTURE, REQUEST, Artist
from batchseg.results.progress import OnCounted

AT_ONCE = 2  # pictures a task draws: a moment's work, so that all cores have some


def draw_pictures(
    requests: Sequence[dict[str, Any]], make: Callable[[], Artist], cluster: RayConfig, on_picture: OnCounted
) -> dict[str, dict[str, Any]]:
    """A row of `PICTURE` for each of `REQUEST`, by id.

    Args:
        make: makes an `Artist`, in each task.
        on_picture: called in this process with the pictures that are drawn, and all.
    """
    if not requests:
        return {}
    pictures: dict[str, dict[str, Any]] = {}

    def take(rows: pa.Table) -> None:
        pictures.update({row["id"]: row for row in rows.to_pylist()})
        on_picture(len(pictures), len(requests))

    on_picture(0, len(requests))
    table = pa.Table.from_pylist(list(requests), schema=REQUEST)
    with ray_session(cluster.address):
        import ray.data

        chunks = [table.slice(start, AT_ONCE) for start in range(0, len(table), AT_ONCE)]
        dataset = ray.data.from_arrow(chunks).map_batches(
            partial(_draw, make=make),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            label_selector=anywhere_but(usable_nodes(cluster.exclude_head).without),
        )
        drive(dataset, take)
    return pictures


def _draw(requests: pa.Table, make: Callable[[], Artist]) -> Iterator[pa.Table]:
    """In a task."""
    artist = make()
    for request in requests.to_pylist():
        yield pa.Table.from_pylist([artist.picture(request)], schema=PICTURE)
