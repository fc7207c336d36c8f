"""The rows of one side of a comparison, read one part at a time.

What stays of an image is its id, 40 bytes for each class that occurs in it, and about 60 bytes besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.comparison.side import Side
from batchseg.comparison.sparse_counts import SparseCounts
from batchseg.errors import OutputError
from batchseg.results.tables import read_columns, read_images
from batchseg.schema import IMAGES, PIXELS, TRUTH_FAULTS, Status
from batchseg.storage.keys import keys, superseded
from batchseg.storage.location import Location

CERTAINTY = ("confidence_mean", "entropy_mean", "entropy_p95", "low_confidence_fraction")
OF_IMAGES = (
    "id",
    "status",
    "truth_status",
    "has_truth",
    "source_version",
    "fingerprint",
    "run_id",
    "prompt",
    *CERTAINTY,
)

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SideRows:
    """One image each, in the order of the tables.

    Attributes:
        ids: string [N].
        ok: whether nothing was wrong with it.
        segmented: whether it has a mask; a fault of the truth alone takes nothing from it.
        scored: whether it was held against ground truth.
        prompted: whether it has a prompt of its own.
        versions: keys of what tells a changed image.
        certainty: float64 [N, 4], the columns of CERTAINTY; NaN where the model says nothing.
        models: the fingerprints among the rows that have a mask.
    """

    ids: pa.Array
    ok: Flags
    segmented: Flags
    scored: Flags
    prompted: Flags
    versions: NDArray[np.int64]
    certainty: NDArray[np.float64]
    models: frozenset[str]
    counts: SparseCounts

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def of_masks(self) -> bool:
        """Whether what was scored are masks that lay there, whose versions are not those of images."""
        return any(fingerprint.startswith("masks-") for fingerprint in self.models)

    def names(self, places: NDArray[np.intp]) -> list[str]:
        """Some of the ids."""
        names: list[str] = self.ids.take(pa.array(places)).to_pylist()
        return names


def read_rows(side: Side) -> SideRows:
    """Read one side; where a run under way has computed an image anew, its later row. Raises OutputError."""
    tables, counts = [], []
    for part in side.results.images.files(".parquet"):
        images = read_images(part, OF_IMAGES)
        tables.append(images)
        counts.append(_counts(side, part, images["id"]))
    rows = pa.concat_tables(tables) if tables else IMAGES.empty_table().select(OF_IMAGES)
    again = superseded(keys(table["id"].to_pylist()) for table in tables)
    wanted = ~np.concatenate(again) if again else np.empty(0, bool)
    if side.run_id is not None:
        wanted &= pc.equal(rows["run_id"], side.run_id).to_numpy()
    everything = SparseCounts.chained(counts, len(side.classes))
    return _side_rows(rows.filter(pa.array(wanted)), everything.take(np.flatnonzero(wanted)))


def _side_rows(rows: pa.Table, counts: SparseCounts) -> SideRows:
    status = rows["status"].to_numpy()
    segmented = status == Status.OK.value
    ok = segmented & ~np.isin(rows["truth_status"].to_numpy(), TRUTH_FAULTS)
    fingerprints = rows["fingerprint"].filter(pa.array(segmented)).unique().drop_null().to_pylist()
    return SideRows(
        ids=_joined(rows["id"]),
        ok=ok,
        segmented=segmented,
        scored=rows["has_truth"].to_numpy(),
        prompted=rows["prompt"].is_valid().to_numpy(),
        versions=keys(rows["source_version"].to_pylist()),
        certainty=np.column_stack([_floats(rows[name]) for name in CERTAINTY]),
        models=frozenset(fingerprints),
        counts=counts,
    )


def _counts(side: Side, part: Location, ids: pa.ChunkedArray) -> SparseCounts:
    place = side.results.pixels / part.name
    pixels = read_columns(place, PIXELS, PIXELS.names)
    image = pc.index_in(pixels["id"], _joined(ids))
    truth, predicted = (pc.fill_null(pixels[name], -1).to_numpy() for name in ("truth", "predicted"))
    if image.null_count or _strange(truth, side) or _strange(predicted, side):
        raise OutputError(
            f"{place}: counts pixels of images or classes that cannot be; "
            "`batchseg verify` says more, and --repair mends it"
        )
    return SparseCounts.from_entries(
        image.to_numpy(), truth, predicted, pixels["pixels"].to_numpy(), (len(ids), len(side.classes))
    )


def _strange(labels: NDArray[Any], side: Side) -> bool:
    return bool(labels.size) and not -1 <= labels.min() <= labels.max() < len(side.classes)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pc.fill_null(column, np.nan).to_numpy()
    return numbers


def _joined(ids: pa.ChunkedArray) -> pa.Array:
    # 64-bit offsets: the names of fifty million images are more than 2 GiB
    return ids.cast(pa.large_string()).combine_chunks()
