"""What a sample of the ground truths says against a training, before it costs hours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.errors import RowFault, SourceError
from batchseg.labels.label_map import LabelMap
from batchseg.training.data import PairReader
from batchseg.training.rows import Rows, spread

TRUTHS, IMAGES = 200, 16  # read of either part; an image takes longer than a truth
NAMED = 5


@dataclass(frozen=True)
class Seen:
    """Truths of one part of a training.

    Attributes:
        pixels_C: pixels of each class.
        ignored: pixels that count nowhere.
        files: how many were read, of how many there are.
    """

    pixels_C: NDArray[np.int64]
    ignored: int
    files: int
    of: int

    @property
    def ignored_share(self) -> float:
        return self.ignored / max(1, self.ignored + int(self.pixels_C.sum()))

    def __str__(self) -> str:
        return f"{self.files:,} of {self.of:,}"


def check_truths(rows: Rows, pairs: PairReader) -> list[str]:
    """Sentences on what the ground truth cannot teach, or cannot judge.

    Raises SourceError where nothing could be learnt, or judged: most of the images cannot be used with their
    truth, all of it is ignored, or what there is to learn from shows one class only.
    """
    label_map = pairs.reading.label_map
    _check_pairs(rows.train, pairs, "to learn from")
    _check_pairs(rows.validation, pairs, "for validation")
    train, judges = (look_at_classes(part, pairs) for part in (rows.train, rows.validation))
    if train.files and not train.pixels_C.any():
        raise SourceError(
            f"every pixel of the ground truth to learn from is ignored ({train} looked at), so the label map "
            "does not fit it; `batchseg doctor` shows what it holds"
        )
    if judges.files and not judges.pixels_C.any():
        raise SourceError(
            f"every pixel of the ground truth for validation is ignored ({judges} looked at), so nothing "
            "could be judged; give other images for it (validation)"
        )
    _refuse_one_class(train, label_map)
    return list(_notes(train, judges, label_map))


def _check_pairs(rows: pa.Table, pairs: PairReader, purpose: str) -> None:
    """Raises SourceError where most of some images cannot be used together with their truth."""
    chosen, faults = spread(rows, IMAGES), []
    for row in chosen:
        try:
            pairs.read(row)
        except RowFault as fault:
            faults.append((row["id"], fault))
    if 2 * len(faults) > len(chosen):
        name, first = faults[0]
        raise SourceError(
            f"{len(faults)} of {len(chosen)} images {purpose} cannot be used with their ground truth; "
            f"{name}: {first}"
        )


def look_at_classes(rows: pa.Table, pairs: PairReader) -> Seen:
    """Count the classes of some truths, those that can be read."""
    classes = pairs.reading.label_map.num_classes
    pixels, files = np.zeros(classes, np.int64), 0
    ignored = 0
    for row in spread(rows, TRUTHS):
        try:
            truth_HW = pairs.ids(row)
        except RowFault:  # the training names it and leaves it out
            continue
        counts = np.bincount(truth_HW.ravel(), minlength=classes)
        pixels += counts[:classes]
        ignored += int(counts[classes:].sum())
        files += 1
    return Seen(pixels, ignored, files, len(rows))


def _refuse_one_class(train: Seen, label_map: LabelMap) -> None:
    """Certain where all was looked at; and likely where the rest is ignored, as in masks of 0 and 255."""
    shown = np.flatnonzero(train.pixels_C)
    if len(shown) != 1 or label_map.num_classes == 1 or not (train.ignored or train.files == train.of):
        return
    ignored = f" and {train.ignored_share:.0%} of its pixels are ignored" if train.ignored else ""
    raise SourceError(
        f"the ground truth to learn from shows one class alone, {label_map.names[shown[0]]!r}{ignored} "
        f"({train} looked at); where an object is 255, or any other id, truth_ids in the label map says so"
    )


def _notes(train: Seen, judges: Seen, label_map: LabelMap) -> Iterator[str]:
    if train.ignored_share > 0.5:
        yield f"{train.ignored_share:.0%} of the pixels to learn from are ignored ({train} truths looked at)"
    unlearnt = train.pixels_C == 0
    if unlearnt.any() and train.files:
        yield f"no truth to learn from shows {_named(unlearnt, label_map)} ({train} looked at)"
    unjudged = ~unlearnt & (judges.pixels_C == 0)
    if unjudged.any() and judges.files:
        yield f"no truth of the validation shows {_named(unjudged, label_map)} ({judges} looked at)"


def _named(classes: NDArray[np.bool_], label_map: LabelMap) -> str:
    return listed_names([label_map.names[index] for index in np.flatnonzero(classes)])


def listed_names(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
