"""Windows of pictures, where a training has some: which there are, and which of them judge.

A picture is cut as `batchseg run` cuts it with the same tiling, but without overlap. Windows go where their
picture goes, so that no picture is on both sides. One picture alone is parted itself, in blocks that lie
apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.train import TrainConfig
from batchseg.errors import RowFault, SourceError
from batchseg.images.decode import TRANSPOSED
from batchseg.images.label_rasters import tiff_head
from batchseg.images.raster import Area, RasterFile, has_rasterio
from batchseg.inspect.image_sizes import look
from batchseg.segmentors.combined.windows import windows_along
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.storage.embedded import is_embedded
from batchseg.storage.many import for_many
from batchseg.storage.reader import Reader, image_reader
from batchseg.training.rows import LEFT_OUT, TRAIN, VALIDATION, Rows

WINDOW, COUNTED, SIZE = "window", "counted", "picture_hw"
_AREA, _SIZE = pa.list_(pa.int64(), 4), pa.list_(pa.int64(), 2)
NOTHING_COUNTS, TOO_NEAR = "nothing in them counts (ignored, or without data)", "they lie next to what judges"
MARGIN = 0.25  # of a window's side, which is read around one to learn from: crops lie anywhere in it
BLOCK, BLOCKS = 16, 8  # windows of a block that judges, if there are enough, and how many blocks at most

Size = tuple[int, int]
Box = NDArray[np.int64]


def raster_file(reader: Reader, uri: str, tiling: Tiling | None) -> RasterFile | None:
    """What a picture is read by where `batchseg run` reads it in parts; None of others. Raises RowFault."""
    may_be = is_embedded(uri) or uri.lower().endswith(TIFF_SUFFIXES)
    if tiling is None or not may_be:
        return None
    file = reader.by_window(uri)
    head = tiff_head(file)
    is_raster = head is not None and max(head.height, head.width) > tiling.part
    return file if is_raster else None


def cut_windows(config: TrainConfig, rows: Rows) -> Rows:
    """Every window of every picture that is used, with the part that its picture is in.

    Only headers are read. Columns beside those of `rows`: `window`, `counted` and `picture_hw`, in pixels of
    the picture; the first two are top, left, height and width. `counted` is what no window before it has.

    Raises SourceError where all pictures are smaller than a window.
    """
    tiling = config.tiling
    assert tiling is not None
    used = rows.table.filter(pc.not_equal(rows.table["split"], LEFT_OUT))
    stored = config.source.orientation == "stored"
    size_of = partial(_size_of, image_reader(), config.limits, tiling, as_stored=stored)
    sizes = [*for_many(size_of, used["uri"].to_pylist())]
    known = [size for size in sizes if isinstance(size, tuple)]
    if known and all(max(size) < tiling.window for size in known):
        height, width = max(known)
        raise SourceError(
            f"tiling (--tile): windows of {tiling.window} x {tiling.window} pixels are larger than every "
            f"image, the largest of which is {width} x {height}; take smaller ones, or leave them out"
        )
    places, found, reasons = [], list[tuple[Any, ...]](), []
    for place, size in enumerate(sizes):
        boxes = _grid(size, tiling) if isinstance(size, tuple) else [(None, None)]
        places += [place] * len(boxes)
        found += [(*each, size if isinstance(size, tuple) else None) for each in boxes]
        reasons += [None if isinstance(size, tuple) else size] * len(boxes)
    table = used.take(pa.array(places, pa.int64()))
    for at, (name, kind) in enumerate(((WINDOW, _AREA), (COUNTED, _AREA), (SIZE, _SIZE))):
        table = table.append_column(name, pa.array([each[at] for each in found], kind))
    return with_reasons(Rows(table), np.array(reasons, object))


def with_reasons(rows: Rows, reasons: NDArray[np.object_]) -> Rows:
    """Those that have a reason are left out for it."""
    table, out = rows.table, np.array([reason is not None for reason in reasons], bool)
    table = with_column(table, "split", np.where(out, LEFT_OUT, table["split"].to_pylist()).tolist())
    said = [new or old for new, old in zip(reasons, table["reason"].to_pylist(), strict=True)]
    return replace(rows, table=with_column(table, "reason", said))


def with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """A table with other values in a column that it has, of the same type."""
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, table.schema.field(name).type))


def hold_out(rows: Rows, tiling: Tiling, share: float, seed: int) -> Rows:
    """Of one picture alone: some blocks of its windows judge, and none that is near them is learnt from.

    Blocks rather than windows, for neighbours show the same (Roberts et al. 2017). Between what is learnt
    from, margins included, and what judges lies most of a window. Raises SourceError where nothing would be
    left to learn from.
    """
    usable = np.flatnonzero(pc.not_equal(rows.table["split"], LEFT_OUT).to_numpy(zero_copy_only=False))
    boxes_N4 = np.array(rows.table[WINDOW].take(pa.array(usable)).to_pylist(), np.int64).reshape(-1, 4)
    judges_N = _in_blocks(boxes_N4[:, :2], share, seed)
    near_N = _near(boxes_N4, boxes_N4[judges_N], tiling.window) & ~judges_N
    if not (judges_N.any() and (~judges_N & ~near_N).any()):
        name, count = rows.table["id"][0].as_py(), len(usable)
        raise SourceError(
            f"{name} is the only image, and has {count} window{'s'[: count != 1]} of {tiling.window} x "
            f"{tiling.window} pixels in which something counts: too few for some to judge and others, apart "
            "from these, to be learnt from; take smaller windows (--tile), or a smaller share for validation"
        )
    split = np.array(rows.table["split"].to_pylist(), object)
    reasons = np.full(len(split), None, object)
    split[usable[judges_N]] = VALIDATION
    reasons[usable[near_N]] = TOO_NEAR
    return with_reasons(replace(rows, table=with_column(rows.table, "split", split.tolist())), reasons)


def with_margins(rows: Rows, share: float) -> Rows:
    """Windows to learn from with a share of their side around them, within the picture; all counts."""
    columns = (rows.table[name].to_pylist() for name in ("split", WINDOW, COUNTED, SIZE))
    windows, counted = [], []
    for part, window, counts, size in zip(*columns, strict=True):
        seen = _enlarged(Area(*window), size, share) if part == TRAIN else window
        windows.append(seen)
        counted.append(seen if part == TRAIN else counts)
    return replace(rows, table=with_column(with_column(rows.table, WINDOW, windows), COUNTED, counted))


def _size_of(reader: Reader, limits: Limits, tiling: Tiling, uri: str, *, as_stored: bool) -> Size | str:
    """Height and width as it is read; what is wrong with it where it cannot be."""
    try:
        header = look(reader, uri, limits, has_rasterio(), tiling)
    except RowFault as fault:
        return str(fault)
    turned = header.orientation in TRANSPOSED and not as_stored
    return (header.width, header.height) if turned else (header.height, header.width)


def _grid(size: Size, tiling: Tiling) -> list[tuple[Area, Area]]:
    """Each window and what it counts, row by row."""
    grid, side = tiling.model_copy(update={"overlap": 0.0}), tiling.window
    down, across = ([*_spans(windows_along(length, grid, 0, length), side, length)] for length in size)
    return [
        (Area(top, left, side, side), Area(first, start, last - first, end - start))
        for (top, first, last), (left, start, end) in product(down, across)
    ]


def _spans(starts: list[int], side: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Where a window begins, and from where to where it counts."""
    done = 0
    for start in starts:
        yield start, done, min(start + side, length)
        done = start + side


def _in_blocks(corners_N2: Box, share: float, seed: int) -> NDArray[np.bool_]:
    """Which windows lie in blocks that judge: square ones of about `BLOCK` windows, of few windows one."""
    row_N, column_N = (np.unique(each, return_inverse=True)[1] for each in corners_N2.T)
    wanted = max(1, round(share * len(corners_N2)))
    blocks = min(BLOCKS, max(1, round(wanted / BLOCK)))
    side = max(1, round((wanted / blocks) ** 0.5))
    block_N = (row_N // side) * (column_N.max(initial=0) + 1) + column_N // side
    names, counts = np.unique(block_N, return_counts=True)
    full = names[counts >= counts.max(initial=0) / 2]  # those at an edge, or with little truth, say less
    chosen = np.random.default_rng([seed, 6]).permutation(full)[:blocks]
    return np.isin(block_N, chosen)


def _near(boxes_N4: Box, judges_M4: Box, distance: int) -> NDArray[np.bool_]:
    """Which windows are nearer than so many pixels to one that judges, along both sides."""
    near_N = np.zeros(len(boxes_N4), bool)
    for top, left, height, width in judges_M4:
        down_N = np.maximum(top - boxes_N4[:, 0] - boxes_N4[:, 2], boxes_N4[:, 0] - top - height)
        across_N = np.maximum(left - boxes_N4[:, 1] - boxes_N4[:, 3], boxes_N4[:, 1] - left - width)
        near_N |= np.maximum(down_N, across_N) < distance
    return near_N


def _enlarged(box: Area, size: list[int], share: float) -> Area:
    ends = []
    for start, length, whole in ((box.top, box.height, size[0]), (box.left, box.width, size[1])):
        more = int(share * length)
        ends.append((max(0, start - more), min(whole, start + length + more)))
    (top, bottom), (left, right) = ends
    return Area(top, left, bottom - top, right - left)
