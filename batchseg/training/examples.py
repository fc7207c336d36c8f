"""What is learnt from and judged by, row by row: images or windows of them, and which classes each shows.

The ground truth of every window is read once, and with `sampling: balanced` that of every image to learn
from. What was found is kept, so that a training that goes on does not look again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.config.looks import Tiling
from batchseg.config.train import TrainConfig
from batchseg.errors import RowFault, SourceError
from batchseg.images.geotiff import check_truth_place, georeference_of
from batchseg.images.raster import Area, has_gaps, open_raster, read_window
from batchseg.images.raster_picture import plan_picture
from batchseg.labels.label_map import Ids
from batchseg.stages.by_window import open_truth
from batchseg.stages.score import check_truth_size
from batchseg.storage.location import locate
from batchseg.storage.many import for_many
from batchseg.training.data import PairReader
from batchseg.training.kept import writing
from batchseg.training.rows import LEFT_OUT, TRAIN, VALIDATION, Rows
from batchseg.training.sampling import CLASSES
from batchseg.training.window_samples import WindowReader
from batchseg.training.windows import (
    COUNTED,
    MARGIN,
    NOTHING_COUNTS,
    SIZE,
    TOO_NEAR,
    hold_out,
    raster_file,
    with_margins,
    with_reasons,
)

WINDOWS_FILE, CLASSES_FILE = "windows.parquet", "classes.parquet"
PROBES = 16  # pixels along a window's side by which it is told to have no data
_NAMED = 5

Found = list[int] | None  # classes that an example shows; None: its truth cannot be read
Row = dict[str, Any]


def examples_of(
    config: TrainConfig,
    rows: Rows,
    windows: Callable[[], Rows] | None,
    pairs: PairReader,
    *,
    has_margin: bool,
    kept: tuple[Path, Path],
    anew: bool,
) -> Rows:
    """The rows of a training, with notes of their own.

    Args:
        rows: images.
        windows: cuts them, as `cut_windows`; None without tiling.
        pairs: reads them, as the model does.
        has_margin: the model takes inputs that are larger than a window.
        kept: the folders of the training and of its state, where what is found is kept.
        anew: it is found again, whatever is kept; otherwise its notes stand in the training's record.

    Raises SourceError where nothing is left to learn from, or to judge by; OutputError.
    """
    root, state = kept
    if windows is None and config.sampling == "uniform":
        return replace(rows, notes=())
    file = state / CLASSES_FILE if windows is None else root / WINDOWS_FILE
    if file.exists() and not anew:
        return Rows(pq.read_table(file))
    if windows is None:
        found = _with_own_classes(replace(rows, notes=()), pairs)
    else:
        assert isinstance(pairs, WindowReader)
        found = with_margins(_of_windows(config, rows, windows(), pairs), MARGIN if has_margin else 0.0)
    with writing(file.parent):
        locate(str(file)).write_by(partial(pq.write_table, found.table))
    return found


def _with_own_classes(rows: Rows, pairs: PairReader) -> Rows:
    """Images that are learnt from with the classes that they show."""
    shown = iter([*for_many(partial(_shown, pairs), rows.train.to_pylist())])
    split = rows.table["split"].to_pylist()
    return _with_classes(rows, [next(shown) if part == TRAIN else None for part in split], pairs)


def _shown(pairs: PairReader, row: Row) -> Found:
    try:
        return _classes(pairs.ids(row), pairs.reading.label_map.num_classes)
    except RowFault:  # the training names it and leaves it out
        return None


def _classes(ids_HW: Ids, num_classes: int) -> list[int]:
    counts = np.bincount(ids_HW.ravel(), minlength=num_classes)[:num_classes]
    shown: list[int] = np.flatnonzero(counts).tolist()
    return shown


def _with_classes(rows: Rows, found: list[Found], pairs: PairReader) -> Rows:
    """With a column, and a note on the classes that are never drawn."""
    names = pairs.reading.label_map.names
    lacking = [names[index] for index in {*range(len(names))}.difference(*(some for some in found if some))]
    table = rows.table.append_column(CLASSES, pa.array(found, pa.list_(pa.int32())))
    if not lacking:
        return replace(rows, table=table)
    note = (
        f"sampling: balanced has no crop to draw for {_listed(lacking)}: no ground truth to learn from shows "
        "it, so the other classes share the draws"
    )
    return Rows(table, (*rows.notes, note))


# --- windows ---


def _of_windows(config: TrainConfig, images: Rows, windows: Rows, pairs: WindowReader) -> Rows:
    found, reasons = list[Found](), list[str | None]()
    start = 0
    for _, group in groupby(windows.table["id"].to_pylist()):
        count = len([*group])
        shown, why_not = _looked_at(pairs, windows.table.slice(start, count).to_pylist())
        start += count
        found += shown
        reasons += why_not
    rows = with_reasons(windows, np.array(reasons, object))
    part_of = dict(zip(images.table["id"].to_pylist(), images.table["split"].to_pylist(), strict=True))
    _refuse_nothing(rows, part_of)
    is_alone = VALIDATION not in part_of.values()
    if is_alone:
        assert isinstance(config.validation, float)
        rows = hold_out(rows, pairs.tiling, config.validation, config.seed)
    rows = replace(rows, notes=(*_notes(rows, pairs, is_alone),))
    if config.sampling == "uniform":
        return rows
    split = rows.table["split"].to_pylist()
    mine = [each if part == TRAIN else None for each, part in zip(found, split, strict=True)]
    return _with_classes(rows, mine, pairs)


def _looked_at(pairs: WindowReader, rows: list[Row]) -> tuple[list[Found], list[str | None]]:
    """The classes of the windows of one picture, and why some of them are left out."""
    if rows[0]["split"] == LEFT_OUT:
        return [None], [None]
    try:
        shown = [*_look(pairs, rows)]
    except RowFault as fault:
        return [None] * len(rows), [str(fault)] * len(rows)
    return shown, [NOTHING_COUNTS if each == [] else None for each in shown]


def _look(pairs: WindowReader, rows: list[Row]) -> Iterator[Found]:
    """Of a raster a row of windows at a time, which is quick in tiles as in strips. Raises RowFault."""
    uri, truth_uri, classes = rows[0]["uri"], rows[0]["truth"], pairs.reading.label_map.num_classes
    counted = [Area(*row[COUNTED]) for row in rows]
    if (file := raster_file(pairs.images, uri, pairs.tiling)) is None:
        ids_HW = pairs.whole_ids(rows[0])
        check_truth_size(ids_HW.shape, tuple(rows[0][SIZE]))
        yield from (_classes(ids_HW[_slices(area)], classes) for area in counted)
        return
    with open_raster(file) as dataset:
        hw, place = (dataset.height, dataset.width), georeference_of(dataset)
        is_empty = _empty(dataset, pairs)
    with open_truth(pairs.truths, pairs.reading, pairs.limits, truth_uri) as truth:
        check_truth_size(truth.hw, hw)
        check_truth_place(place, truth.georeference)
        for (top, height), group in groupby(counted, key=lambda area: (area.top, area.height)):
            try:
                strip_HW = truth.read(Area(top, 0, height, hw[1])).ids_HW
            except RowFault:  # the training names the windows that cannot be read
                yield from (None for _ in group)
                continue
            for area in group:
                ids_HW = strip_HW[:, area.left : area.left + area.width]
                yield [] if is_empty(area) else _classes(ids_HW, classes)


def _empty(dataset: Any, pairs: WindowReader) -> Callable[[Area], bool]:
    """Tells by some pixels whether a rectangle of a raster has no data at all. Raises RowFault."""
    bands, step = plan_picture(dataset, pairs.images_as).bands, max(1, pairs.tiling.window // PROBES)
    if not has_gaps(dataset, bands):
        return lambda area: False
    size_hw = (-(-dataset.height // step), -(-dataset.width // step))
    nodata_HW = read_window(dataset, bands, size_hw=size_hw).nodata_HW

    def is_empty(area: Area) -> bool:
        some = tuple(slice(start // step, -(-end // step)) for start, end in area.slices)
        return nodata_HW is not None and bool(nodata_HW[some].all())

    return is_empty


def _slices(area: Area) -> tuple[slice, slice]:
    rows, columns = (slice(*ends) for ends in area.slices)
    return rows, columns


_MEANT = {TRAIN: "to learn from", VALIDATION: "for validation"}


def _refuse_nothing(rows: Rows, part_of: dict[str, str]) -> None:
    """Raises SourceError where all windows of a part, to which images belong by their ids, are left out."""
    left = {*rows.table["split"].to_pylist()}
    reasons = zip(rows.table["id"].to_pylist(), rows.table["reason"].to_pylist(), strict=True)
    for name, why in reasons:
        if part_of[name] not in left:
            why = "all of its ground truth is ignored or without data" if why == NOTHING_COUNTS else why
            raise SourceError(f"no window of an image {_MEANT[part_of[name]]} can be used; {name}: {why}")


def _notes(rows: Rows, pairs: WindowReader, is_alone: bool) -> Iterator[str]:
    table, tiling = rows.table, pairs.tiling
    parts, reasons = Counter(table["split"].to_pylist()), Counter(table["reason"].to_pylist())
    yield (
        f"windows of {tiling.size} x {tiling.size} pixels are learnt from ({parts[TRAIN]:,}) and judge "
        f"({parts[VALIDATION]:,}); {_as_run(tiling)} shows the model the same"
    )
    if is_alone:
        yield (
            f"{table['id'][0].as_py()} is the only image, so blocks of its windows judge, and "
            f"{reasons[TOO_NEAR]:,} windows are left out because {TOO_NEAR}"
        )
    if count := reasons[NOTHING_COUNTS]:
        used = {*table.filter(pc.not_equal(table["split"], LEFT_OUT))["id"].to_pylist()}
        empty = {*table.filter(pc.equal(table["reason"], NOTHING_COUNTS))["id"].to_pylist()} - used
        more = f", among them all of {_listed(sorted(empty))}" if empty else ""
        yield f"{count:,} window{'s'[: count != 1]} left out, for {NOTHING_COUNTS}{more}"
    by_image = dict.fromkeys(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))
    for name, reason in by_image:
        if reason not in (None, NOTHING_COUNTS, TOO_NEAR):
            yield f"{name} is left out: {reason}"


def _as_run(tiling: Tiling) -> str:
    scale = "" if tiling.scale == 1 else f" --set tiling.scale={tiling.scale:g}"
    return f"`batchseg run --tile {tiling.size}{scale}`"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
