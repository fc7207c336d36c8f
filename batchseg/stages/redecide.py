"""Redecide: the probabilities beside a mask that lies there -> another label map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.run import Kept
from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference, georeference_of
from batchseg.images.probability_file import (
    ProbabilityFile,
    open_probabilities,
    probability_name,
    squares_of,
)
from batchseg.images.raster import Area, open_raster
from batchseg.labels.label_map import Ids, LabelMap
from batchseg.schema import Status
from batchseg.segmentors.base import Confidence, Prediction
from batchseg.segmentors.combined.codes import CodeProbes, decide_codes
from batchseg.segmentors.combined.decision import Decision
from batchseg.stages.by_window import is_large
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.places import TIFF_SUFFIXES, is_tiff_mask
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.storage.location import Location
from batchseg.storage.lock import Lock
from batchseg.storage.reader import Reader, by_window, image_reader

_CONFIDENCE = ("confidence_mean", "entropy_mean", "entropy_p95", "low_confidence_fraction")
Band = tuple[Ids, NDArray[np.bool_]]


@dataclass(frozen=True)
class Stored:
    """The probabilities that a results folder holds.

    Attributes:
        classes: how many they are of.
    """

    results: Location
    kept: Kept
    classes: int


def redecide(
    stored: Stored,
    decision: Decision,
    results: Location,
    label_map: LabelMap,
    *,
    limits: Limits,
    lock: Lock | None = None,
) -> Stage:
    """Decide the label map of every item anew, in place of segmenting its image.

    `item.kept` is the row of the mask that lies beside the probabilities. A mask that is too large to be held
    is written here, row by row, and left to the stage that scores it by window.
    """
    reader = image_reader()

    def work(item: Item) -> None:
        assert item.kept is not None
        before, item.kept = item.kept, None
        item.size_hw = size_hw = (before["height"], before["width"])
        item.confidence = _confidence(before) if decision.groups == (None,) else None
        item.presence = before["presence"]
        if is_tiff_mask(item):
            item.place = _place_of_mask(stored.results, before["mask"], reader)
        with _open(stored, before) as source:
            if is_large(size_hw, limits) and item.row["mask"].endswith(TIFF_SUFFIXES):
                if lock is not None:
                    lock.check_now_and_then()
                masks, name = results / "masks", item.row["mask"]
                labels = (band[0] for band in source.bands(decision))
                write_raster_mask(masks, name, labels, size_hw, label_map=label_map, source=item.place)
                item.large = str(masks / name)
                return
            probes = CodeProbes(size_hw, decision)
            bands = [*source.bands(decision, probes)]
        labels_HW, nodata_HW = (np.concatenate(each) for each in zip(*bands, strict=True))
        item.prediction = Prediction(
            labels_HW, item.confidence, probes=probes.probes(), presence=item.presence
        )
        item.nodata_HW = nodata_HW if nodata_HW.any() else None

    return for_each("decide", work)


@dataclass(frozen=True)
class _Source:
    """An open file of probabilities, and its path; what is wrong with it is said of the image."""

    file: ProbabilityFile
    path: str

    def bands(self, decision: Decision, probes: CodeProbes | None = None) -> Iterator[Band]:
        """Label map, and where there are no data, some rows at a time. Raises RowFault.

        Args:
            probes: take theirs on the way; None: nobody wants any.
        """

        def decided(square: Area) -> Band:
            codes = self.file.read(square)
            if probes is not None:
                probes.take(square, codes)
            return decide_codes(codes, decision)

        all_squares = squares_of(Area(0, 0, *self.file.shape_hw))
        for _, squares in groupby(all_squares, key=lambda square: square.top):
            with _faults(self.path):
                found = [decided(square) for square in squares]
            labels, nodata = zip(*found, strict=True)
            yield np.concatenate(labels, axis=1), np.concatenate(nodata, axis=1)


@contextmanager
def _open(stored: Stored, before: dict[str, Any]) -> Iterator[_Source]:
    """The file beside a mask. Raises RowFault."""
    path = f"probabilities/{probability_name(before['mask'].removeprefix('masks/'), stored.kept)}"
    hw = (before["height"], before["width"])
    with ExitStack() as stack:
        with _faults(path):
            place = by_window(stored.results / path)
            raw = place if isinstance(place, str) else stack.enter_context(place())
            file = stack.enter_context(open_probabilities(raw))
            if file.shape_hw != hw or len(file.names) != stored.classes:
                raise RowFault(
                    Status.UNREADABLE,
                    f"it has {len(file.names)} classes and {file.shape_hw[1]} x {file.shape_hw[0]} pixels, "
                    f"and the results {stored.classes} and {hw[1]} x {hw[0]}",
                )
        yield _Source(file, path)


@contextmanager
def _faults(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise RowFault(Status.UNREADABLE, f"its {path} is not there; the same run again makes it") from exc
    except OSError as exc:
        raise RowFault(Status.UNREADABLE, f"its {path} cannot be read: {exc.strerror or exc}") from exc
    except RowFault as fault:
        sentence = f"its {path} cannot be used: {fault}; delete it, and the same run again makes it"
        raise RowFault(fault.status, sentence) from fault


def _place_of_mask(results: Location, mask: str, reader: Reader) -> Georeference | None:
    """Where a mask lies that is a TIFF. Raises RowFault where it cannot be read."""
    if not mask.endswith(TIFF_SUFFIXES):
        return None
    try:
        with open_raster(reader.by_window(str(results / mask))) as dataset:
            return georeference_of(dataset)
    except RowFault as fault:
        raise RowFault(Status.UNREADABLE, f"its mask {mask} cannot be read: {fault}") from fault


def _confidence(row: dict[str, Any]) -> Confidence | None:
    """As it was: the model was no less sure of its classes for what is decided from them."""
    figures = [row[name] for name in _CONFIDENCE]
    if None in figures:
        return None
    return replace(Confidence(*figures), contested_fraction=row["contested_fraction"])
