"""A sample of the ground truths, spread evenly over the source, held against the label map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.label_files import decode_labels
from batchseg.inspect.findings import Findings
from batchseg.inspect.image_sizes import read_header
from batchseg.labels.label_map import LabelMap
from batchseg.schema import TruthStatus
from batchseg.source.plan import Listing
from batchseg.storage.reader import image_reader, truth_reader

MAX_VALUES = 4096  # a photograph among the truths has a million colours, and one more tells nothing


@dataclass
class TruthSample:
    """Pixels of the sampled truths.

    Attributes:
        files: truths that were read.
        classes: pixels by class name; by truth id or #colour where there is no label map.
        ignored: pixels that count nowhere.
        outside: pixels by truth id or #colour that the label map does not have.
    """

    files: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    outside: dict[str, int] = field(default_factory=dict)


def sample_truths(
    listing: Listing, count: int, label_map: LabelMap | None, limits: Limits, findings: Findings
) -> TruthSample:
    """Read `count` truths; what a run would record of them goes to `findings`."""
    images, truths = image_reader(), truth_reader()
    raw: Counter[int | tuple[int, ...]] = Counter()
    sample = TruthSample()
    for image_id, uri, truth in _spread(listing, count):
        sample.files += 1
        try:
            values = decode_labels(truths.read(truth), limits)
            raw.update(_histogram(values))
            if label_map is not None:
                label_map.encode(values)
            _check_size(values, read_header(images, uri, limits))
        except RowFault as fault:
            if isinstance(fault.status, TruthStatus):  # what is wrong with the image its header shows
                findings.add(fault.status.kind, image_id, str(fault))
    _sort_out(sample, raw, label_map)
    return sample


def _spread(listing: Listing, count: int) -> Iterator[tuple[str, str, str]]:
    chosen = set(np.linspace(0, listing.with_truth - 1, min(count, listing.with_truth)).astype(int).tolist())
    seen = 0
    for table in listing.tables():
        columns = (table[name].to_pylist() for name in ("id", "uri", "truth"))
        for image_id, uri, truth in zip(*columns, strict=True):
            if truth is not None:
                if seen in chosen:
                    yield image_id, uri, truth
                seen += 1


def _histogram(values: NDArray[Any]) -> dict[int | tuple[int, ...], int]:
    """Pixels by truth id, or by colour."""
    if values.ndim == 2:
        found, counts = np.unique(values, return_counts=True)
        keys: list[Any] = found.tolist()
    else:
        packed = values.astype(np.int64) @ np.array([2**16, 2**8, 1])
        found, counts = np.unique(packed, return_counts=True)
        keys = [(code >> 16, code >> 8 & 255, code & 255) for code in found.tolist()]
    most = np.argsort(-counts, kind="stable")[:MAX_VALUES]
    return {keys[index]: int(counts[index]) for index in most}


def _check_size(values: NDArray[Any], header: tuple[str, int, int, int]) -> None:
    _, width, height, _ = header
    truth_height, truth_width = values.shape[:2]
    # EXIF orientation, which a header alone does not settle, swaps the two
    if {truth_width, truth_height} != {width, height}:
        raise RowFault(
            TruthStatus.MISMATCH,
            f"the image is {width} x {height} pixels, its truth {truth_width} x {truth_height}",
        )


def _sort_out(sample: TruthSample, raw: Counter[int | tuple[int, ...]], label_map: LabelMap | None) -> None:
    classes: Counter[str] = Counter()
    for value, pixels in sorted(raw.items(), key=lambda item: (isinstance(item[0], tuple), item[0])):
        name = f"#{bytes(value).hex()}" if isinstance(value, tuple) else str(value)
        class_id = _class_of(value, label_map) if label_map is not None else None
        if label_map is None:
            classes[name] += pixels
        elif class_id is None:
            sample.outside[name] = pixels
        elif class_id == label_map.void:
            sample.ignored += pixels
        else:
            classes[label_map.names[class_id]] += pixels
    sample.classes = dict(classes)


def _class_of(value: int | tuple[int, ...], label_map: LabelMap) -> int | None:
    one = np.array([[value]], np.uint8 if isinstance(value, tuple) else np.int64)
    try:
        return int(label_map.encode(one)[0, 0])
    except RowFault:
        return None
