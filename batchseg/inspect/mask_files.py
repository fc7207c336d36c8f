"""The masks of a results folder on trial: are they all there, and are they what the tables say?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.errors import OutputError, RowFault
from batchseg.images.geotiff import areas_of
from batchseg.images.label_files import decode_labels
from batchseg.images.label_rasters import open_labels
from batchseg.inspect.findings import Findings
from batchseg.inspect.parts import Part, broken_rows, may_have_gaps
from batchseg.results.folder import Results
from batchseg.results.masks import file_paths, is_unfinished, may_be_mask
from batchseg.results.tables import read_part
from batchseg.source.names import TIFF_SUFFIX
from batchseg.storage.keys import KeySet, keys, repeated
from batchseg.storage.location import Location
from batchseg.storage.reader import by_window

Histogram = dict[int | None, int]
Found = dict[int, int]
Fault = tuple[str, str]


def try_presence(results: Results, parts: list[Part], pending: KeySet, findings: Findings) -> int:
    """Rows and masks match one to one; how many masks there are. Opens no mask.

    `pending` are masks that a run may have written before it was cut off; the next one finds them.
    """
    wanted, found = KeySet(part.masks for part in parts), []
    for paths in file_paths(results.root, "masks"):
        finished = [path for path in paths if not is_unfinished(path)]
        found.append(keys(finished))
        for index in np.flatnonzero(~wanted.contains(found[-1]) & ~pending.contains(found[-1])):
            if may_be_mask(results.root, finished[index]):
                findings.add("mask_stray", finished[index], "no row names this mask")
            else:
                findings.add("foreign", finished[index], "is no mask; move it to another folder")
    present = KeySet(found)
    shared = repeated(part.masks[part.named & ~part.broken & ~part.superseded] for part in parts)
    for part in parts:
        for kind, rows, sentence in (
            ("mask_missing", part.named & ~present.contains(part.masks), "its mask {} is not there"),
            ("mask_shared", part.named & shared.contains(part.masks), "its mask {} is another image's, too"),
        ):
            rows &= ~part.broken & ~part.superseded
            for image_id, mask in broken_rows(results, part, rows, "id", "mask"):
                findings.add(kind, image_id, sentence.format(mask))
            part.broken |= rows
    return len(present)


def try_contents(results: Results, parts: list[Part], num_classes: int | None, findings: Findings) -> int:
    """Decode the mask of every row that is not broken yet; how many were decoded. Raises OutputError."""
    decoded = 0
    for part in parts:
        rows = np.flatnonzero(part.named & ~part.broken & ~part.superseded) if not part.lost else ()
        if not len(rows):
            continue
        table = read_part(results.images / part.name, ["id", "uri", "mask", "width", "height"])
        table = table.take(pa.array(rows))
        histograms = _predicted(read_part(results.pixels / part.name, ["id", "predicted", "pixels"]))
        gaps = may_have_gaps(table["uri"]).tolist()
        for index, row, has_gaps in zip(rows, table.to_pylist(), gaps, strict=True):
            counted = dict(histograms.get(row["id"], {}))
            if has_gaps:  # pixels without data are void in the mask, and no table counts them
                lacking = row["width"] * row["height"] - sum(counted.values())
                counted[None] = counted.get(None, 0) + lacking
            fault = _try_mask(results, row, counted, num_classes)
            decoded += 1
            if fault is not None:
                findings.add(fault[0], row["id"], f"its mask {row['mask']} {fault[1]}")
                part.broken[index] = True
    return decoded


def _predicted(pixels: pa.Table) -> dict[str, Histogram]:
    """Pixels by predicted class, for each image; None where the mask abstains."""
    sums = pixels.group_by(["id", "predicted"]).aggregate([("pixels", "sum")])
    columns = (sums[name].to_pylist() for name in ("id", "predicted", "pixels_sum"))
    histograms: dict[str, Histogram] = {}
    for image_id, predicted, count in zip(*columns, strict=True):
        histograms.setdefault(image_id, {})[predicted] = count
    return histograms


def _try_mask(
    results: Results, row: dict[str, Any], counted: Histogram, num_classes: int | None
) -> tuple[str, str] | None:
    place, hw = results.root / row["mask"], (row["height"], row["width"])
    try:
        found = _of_tiff(place, hw) if row["mask"].endswith(TIFF_SUFFIX) else _of_png(place, hw)
    except FileNotFoundError:
        return "mask_missing", "is not there"
    except OSError as exc:  # a file that may not be read may well be whole
        raise OutputError(f"{place}: cannot be read: {exc.strerror or exc}") from exc
    except RowFault as fault:
        return "mask_unreadable", f"cannot be read: {str(fault).removeprefix('label file: ')}"
    return found if isinstance(found, tuple) else _compare(found, counted, num_classes)


def _of_png(place: Location, hw: tuple[int, int]) -> Found | Fault:
    # the run may have had a higher limit than the default, and then so has its mask
    limits = Limits(max_pixels=max(Limits().max_pixels, hw[0] * hw[1]))
    ids_HW = decode_labels(place.read(), limits).values
    fault = _unlike(ids_HW.shape[:2], hw) or _no_ids(ids_HW)
    return fault or _histogram(np.bincount(ids_HW.ravel()))


def _of_tiff(place: Location, hw: tuple[int, int]) -> Found | Fault:
    """By window, whatever its size: histograms add."""
    counts = np.zeros(2**16, np.int64)
    with open_labels(by_window(place)) as labels:
        if fault := _unlike(labels.hw, hw):
            return fault
        for area in areas_of(hw):
            ids_HW = labels.read(area).values
            if fault := _no_ids(ids_HW):
                return fault
            counts += np.bincount(ids_HW.ravel(), minlength=len(counts))
    return _histogram(counts)


def _unlike(found_hw: tuple[int, ...], hw: tuple[int, int]) -> Fault | None:
    if found_hw == hw:
        return None
    return "mask_size", f"is {found_hw[1]} x {found_hw[0]} pixels, its row {hw[1]} x {hw[0]}"


def _no_ids(ids_HW: NDArray[Any]) -> Fault | None:
    if ids_HW.ndim == 2 and ids_HW.dtype in (np.uint8, np.uint16):
        return None
    return "mask_values", "does not hold class ids of 8 or 16 bits"


def _histogram(counts: NDArray[np.int64]) -> Found:
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _compare(found: Found, counted: Histogram, num_classes: int | None) -> Fault | None:
    """The mask's histogram against the table's. One value that is no class may stand for void."""
    if num_classes is None:
        num_classes = 1 + max((value for value in counted if value is not None), default=-1)
    strange = [value for value in found if value >= num_classes]
    void = counted.get(None, 0)
    if len(strange) > (1 if void else 0):
        return "mask_values", f"has pixel values that are no class: {', '.join(map(str, strange[:5]))}"
    classes: Histogram = {value: count for value, count in found.items() if value < num_classes}
    if strange:
        classes[None] = found[strange[0]]
    for value in sorted({*classes, *counted}, key=lambda value: -1 if value is None else value):
        if classes.get(value, 0) != counted.get(value, 0):
            name = "void" if value is None else f"class {value}"
            return "mask_counts", (
                f"has {classes.get(value, 0)} pixels of {name}, the table {counted.get(value, 0)}"
            )
    return None
