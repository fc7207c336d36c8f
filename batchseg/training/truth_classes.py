"""The classes of a data set of which nobody says how they are called: the ids that its ground truth holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from batchseg.config.base import Limits
from batchseg.config.truth import TruthSettings
from batchseg.errors import LabelMapError, RowFault, SourceError
from batchseg.images.geotiff import areas_of
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import open_labels, tiff_head
from batchseg.labels.label_map import IGNORE_INDEX
from batchseg.labels.reading import is_grey
from batchseg.stages.by_window import is_large
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.storage.reader import Reader, truth_reader
from batchseg.training.rows import spread

TRUTHS = 5000  # looked at; an id of one that is not would be none of the classes, and its image left out
_NAMED = 8
_LABELS = "give --labels with a YAML file that names the classes"


def classes_of_truths(rows: pa.Table, truth: TruthSettings, limits: Limits) -> tuple[str, ...]:
    """`class_0` to `class_n` of ground truths whose ids are 0 to n; 255 counts nowhere.

    Args:
        rows: with a column `truth`.

    Raises:
        LabelMapError: they hold colours or names, ids are missing, or there is one class alone.
        SourceError: none of them can be read.
    """
    if truth.threshold is not None:
        return _names(2)
    if truth.values == "colours":
        raise LabelMapError(f"truth.values: colours needs their names; {_LABELS} and the `colour` of each")
    found = _ids(rows, limits)
    ids = sorted(found - {IGNORE_INDEX})
    if found == {0, IGNORE_INDEX}:
        raise LabelMapError(
            "the ground truth holds 0 and 255 alone, and 255 counts nowhere; where it is an object say "
            f"truth.threshold: 128 (--set truth.threshold=128), else {_LABELS}"
        )
    if len(ids) <= 1:
        shown = f"{ids[0]}" if ids else f"{IGNORE_INDEX}, which counts nowhere"
        raise LabelMapError(f"the ground truth shows one id alone, {shown}, so nothing could be learnt of it")
    if ids != [*range(len(ids))] or len(ids) > IGNORE_INDEX:
        raise LabelMapError(
            f"the ids of the ground truth are {_listed(ids)}, and not 0 to n without a gap, so nothing says "
            f"what the classes are; {_LABELS} and the `truth_ids` of each"
        )
    return _names(len(ids))


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"class_{index}" for index in range(count))


def _ids(rows: pa.Table, limits: Limits) -> set[int]:
    reader, fault, found = truth_reader(), None, set[int]()
    for row in spread(rows, TRUTHS):
        try:
            for file in _files(reader, row["truth"], limits):
                found |= {int(value) for value in np.unique(_id_values(row["id"], file))}
        except RowFault as exc:  # the training names it and leaves it out
            fault = fault or f"{row['id']}: {exc}"
    if not found:
        raise SourceError(f"no ground truth could be read to find its classes; {fault}")
    return found


def _files(reader: Reader, uri: str, limits: Limits) -> Iterator[LabelFile]:
    """A label file; one that is too large to be held a piece at a time. Raises RowFault."""
    place = reader.by_window(uri) if uri.lower().endswith(TIFF_SUFFIXES) else b""
    head = tiff_head(place)
    if head is None or not is_large((head.height, head.width), limits):
        yield decode_labels(reader.read(uri), limits)
        return
    with open_labels(place, head) as labels:
        for area in areas_of(labels.hw):
            yield labels.read(area)


def _id_values(image: str, file: LabelFile) -> np.ndarray:
    if file.names is not None:
        names = ", ".join(repr(name) for name in [*file.names][:_NAMED] if name)
        raise LabelMapError(
            f"{image}: its annotation names classes ({names}); {_LABELS}, and a background where pixels that "
            "nobody annotated are one"
        )
    if file.lossy is not None:
        raise LabelMapError(
            f"{image}: its ground truth is a {file.lossy}, which changes ids; for two classes say "
            "truth.threshold: 128 (--set truth.threshold=128), else save ids as PNG"
        )
    if file.values.ndim == 2:
        return file.values
    if not is_grey(file.values):
        raise LabelMapError(
            f"{image}: its ground truth is in colour, and nothing says which colour is which class; "
            f"{_LABELS} and the `colour` of each"
        )
    return file.values[..., 0]


def _listed(ids: Iterable[int]) -> str:
    numbers = [*map(str, ids)]
    return ", ".join(numbers[:_NAMED]) + (" ..." if len(numbers) > _NAMED else "")
