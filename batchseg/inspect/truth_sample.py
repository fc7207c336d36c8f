"""A sample of the ground truths, spread evenly over the source: how they are read, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.source import ImageReading
from batchseg.config.truth import TruthSettings
from batchseg.errors import RowFault
from batchseg.images.annotation import Names
from batchseg.images.bands import picture_size
from batchseg.images.decode import TRANSPOSED
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import open_labels, tiff_head
from batchseg.inspect.image_sizes import look
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading, ReadingChoice, is_grey
from batchseg.schema import TruthStatus
from batchseg.segmentors.base import PixelRange, Resizing
from batchseg.source.annotations.spool import annotation_facts
from batchseg.source.plan import Listing
from batchseg.stages.by_window import is_large
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.stages.score import Truth, as_truth, check_truth_size
from batchseg.storage.reader import Reader, image_reader, truth_reader

KEPT_BYTES = 256 * 2**20
MAX_VALUES = 4096  # a photograph among the truths has a million colours, and one more tells nothing

Size = tuple[int, int]
Fault = tuple[str, RowFault]  # of an image, by its id


@dataclass
class TruthSample:
    """Pixels of the sampled truths.

    Attributes:
        files: truths that were read.
        classes: pixels by class name; by truth id or #colour where there is no label map.
        ignored: pixels that count nowhere.
        outside: pixels by truth id or #colour that the label map does not have.
        between: grey pixels that a threshold decided; None without one.
        read: how the label files are read, in words; None where there is no label map.
    """

    files: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    outside: dict[str, int] = field(default_factory=dict)
    between: int | None = None
    read: str | None = None


@dataclass
class Sampled:
    """What is concluded from some label files of a listing.

    Attributes:
        reading: how all of them are to be read; None where there is no label map.
        faults: what a run would record of the files.
        values: of the files that hold ids; None once there are too many.
        sizes: height and width of the image and of its truth, where the two differ.
        turned: images whose EXIF orientation leaves their size as it is, so that it does not tell what their
            truth was drawn on.
        unknown: what is wrong with the names of annotated classes, of all files; None where nothing is.
    """

    sample: TruthSample
    reading: Reading | None = None
    faults: list[Fault] = field(default_factory=list)
    values: set[int] | None = field(default_factory=set)
    sizes: list[tuple[Size, Size]] = field(default_factory=list)
    turned: int = 0
    unknown: str | None = None


@dataclass(frozen=True)
class Looking:
    """What a sample is looked at with.

    Attributes:
        expected: the range of pixels that the model was trained on.
        models: that see the images shrunk; none where they see them in windows.
        tiling: where it is set TIFFs are read in parts, and may be of any size.
    """

    truth: TruthSettings
    limits: Limits
    images: ImageReading
    expected: PixelRange | None = None
    models: tuple[Resizing, ...] = ()
    tiling: Tiling | None = None


def sample_truths(listing: Listing, count: int, label_map: LabelMap | None, looking: Looking) -> Sampled:
    """Look at `count` ground truths: to decide how all are read, and what they hold when they are read so."""
    return _Sampling(listing, "truth", truth_reader(), looking).sample(count, label_map)


def sample_masks(listing: Listing, count: int, label_map: LabelMap, looking: Looking) -> Sampled:
    """The same with the masks of a listing of masks."""
    return _Sampling(listing, "uri", image_reader(), looking).sample(count, label_map)


@dataclass
class _Sampling:
    listing: Listing
    column: str
    reader: Reader
    looking: Looking
    kept: dict[str, LabelFile] = field(default_factory=dict)  # decoded, and looked at once more
    large: dict[str, Size] = field(default_factory=dict)  # of which some pixels are looked at

    def sample(self, count: int, label_map: LabelMap | None) -> Sampled:
        chosen = list(self._spread(count))
        sampled = Sampled(TruthSample(files=len(chosen)))
        if label_map is not None:
            choice = ReadingChoice(label_map, self.looking.truth)
            if self.column == "truth" and (annotated := annotation_facts(self.listing)) is not None:
                sampled.reading = choice.of_names(annotated.path)
                sampled.unknown = sampled.reading.classes.unknown(annotated.classes, annotated.path)
            else:
                sampled.reading = self._decide(chosen, choice)
            sampled.sample.read = sampled.reading.sentence
            sampled.sample.between = 0 if sampled.reading.threshold is not None else None
        images = image_reader()
        for image_id, uri, at in chosen:
            try:
                shape = self._look(sampled, at)
                shape = self.large.get(at, shape)
                if self.column == "truth":
                    self._check_size(sampled, shape, images, uri)
            except RowFault as fault:
                if isinstance(fault.status, TruthStatus) or self.column == "uri":
                    sampled.faults.append((image_id, fault))  # what is wrong with the image its header shows
        return sampled

    def _decide(self, chosen: list[tuple[str, str, str]], decision: ReadingChoice) -> Reading:
        for _, _, at in chosen if decision.depends_on_files else ():
            try:
                file = self._decoded(at)
            except RowFault:
                continue
            decision.look(file.values)
            if sum(each.values.nbytes for each in self.kept.values()) + file.values.nbytes <= KEPT_BYTES:
                self.kept[at] = file
        return decision.reading()

    def _decoded(self, at: str) -> LabelFile:
        return (
            self.kept.pop(at, None)
            or self._some(at)
            or decode_labels(self.reader.read(at), self.looking.limits)
        )

    def _some(self, at: str) -> LabelFile | None:
        """Of a TIFF that is too large to be decoded as a whole, some of its pixels."""
        if not at.lower().endswith(TIFF_SUFFIXES):
            return None
        file = self.reader.by_window(at)
        if (head := tiff_head(file)) is None or not is_large((head.height, head.width), self.looking.limits):
            return None
        self.large[at] = (head.height, head.width)
        with open_labels(file, head) as labels:
            return labels.read_some()

    def _check_size(self, sampled: Sampled, truth_hw: Size, images: Reader, uri: str) -> None:
        """Raises RowFault."""
        as_read = self.looking.images
        header = look(images, uri, self.looking.limits, as_read.is_by_band, self.looking.tiling)
        size = image_hw = (header.height, header.width)
        is_turned = header.orientation != 1 and not as_read.as_stored
        if is_turned and header.orientation in TRANSPOSED:
            image_hw = size[::-1]
        # an orientation may stand behind the pixels, but of a TIFF
        if truth_hw == image_hw[::-1] != image_hw and header.name != "TIFF":
            image_hw = picture_size(images.read(uri), self.looking.limits, as_read)
        if truth_hw != image_hw:
            sampled.sizes.append((image_hw, truth_hw))
            check_truth_size(truth_hw, image_hw, header.orientation)
        sampled.turned += is_turned and image_hw == size

    def _look(self, sampled: Sampled, at: str) -> Size:
        file = self._decoded(at)
        _note_ids(sampled, file)
        sample, reading = sampled.sample, sampled.reading
        if reading is None:
            for value, pixels in _histogram(file.values):
                _count(sample.classes, _name(value, file.names), pixels)
            return file.values.shape[0], file.values.shape[1]
        try:
            truth = as_truth(file, reading)
        except RowFault as fault:
            if fault.status is TruthStatus.OUT_OF_RANGE:
                _sort_out(sample, reading, file)
            raise
        _count_classes(sample, reading.label_map, truth)
        return truth.ids_HW.shape[0], truth.ids_HW.shape[1]

    def _spread(self, count: int) -> Iterator[tuple[str, str, str]]:
        total = self.listing.with_truth if self.column == "truth" else self.listing.images
        wanted = set(np.linspace(0, total - 1, min(count, total)).astype(int).tolist())
        seen = 0
        for table in self.listing.tables():
            columns = (table[name].to_pylist() for name in ("id", "uri", self.column))
            for image_id, uri, at in zip(*columns, strict=True):
                if at is not None:
                    if seen in wanted:
                        yield image_id, uri, at
                    seen += 1


def _note_ids(sampled: Sampled, file: LabelFile) -> None:
    if sampled.values is None or not _holds_ids(sampled.reading, file):
        return
    found = np.unique(file.values)
    if len(sampled.values) + len(found) > MAX_VALUES:
        sampled.values = None
    else:
        sampled.values |= {int(value) for value in found}


def _holds_ids(reading: Reading | None, file: LabelFile) -> bool:
    if reading is None or reading.threshold is not None or file.lossy is not None or file.names is not None:
        return False
    if file.values.ndim == 3:
        return reading.rgb == "ids" and is_grey(file.values)
    return (reading.grey if file.palette is None else reading.palette) != "colours"


def _count_classes(sample: TruthSample, label_map: LabelMap, truth: Truth) -> None:
    counts = np.bincount(truth.ids_HW.ravel(), minlength=label_map.num_classes + 1)
    for class_id in np.flatnonzero(counts[:-1]).tolist():
        _count(sample.classes, label_map.names[class_id], int(counts[class_id]))
    sample.ignored += int(counts[-1])
    if truth.between is not None:
        sample.between = (sample.between or 0) + truth.between


def _sort_out(sample: TruthSample, reading: Reading, file: LabelFile) -> None:
    """Value by value, for a file that holds some which the label map does not have."""
    for value, pixels in _histogram(file.values):
        name, class_id = _meaning(value, reading, file)
        if class_id is None:
            _count(sample.outside, name, pixels)
        elif class_id == reading.label_map.void:
            sample.ignored += pixels
        else:
            _count(sample.classes, reading.label_map.names[class_id], pixels)


def _meaning(value: int | tuple[int, ...], reading: Reading, file: LabelFile) -> tuple[str, int | None]:
    """How a value is called, and its class or void; None where the label map does not have it."""
    if file.names is not None and isinstance(value, int):
        return repr(file.names[value]), reading.classes.id_of(file.names[value])
    one = np.array([[value]], np.uint8 if isinstance(value, tuple) else np.int64)
    try:
        return _name(value), int(reading.encode(one, file.palette, file.white)[0, 0])
    except RowFault:
        return _name(value), None


def _histogram(values: NDArray[Any]) -> list[tuple[int | tuple[int, ...], int]]:
    """Pixels by truth id, or by colour; the values in rising order, and of many the most frequent ones."""
    packed = values if values.ndim == 2 else values.astype(np.int64) @ np.array([2**16, 2**8, 1])
    found, counts = np.unique(packed, return_counts=True)
    most = np.sort(np.argsort(-counts, kind="stable")[:MAX_VALUES])
    keys: list[Any] = found[most].tolist()
    if values.ndim == 3:
        keys = [(code >> 16, code >> 8 & 255, code & 255) for code in keys]
    return list(zip(keys, counts[most].tolist(), strict=True))


def _name(value: int | tuple[int, ...], names: Names | None = None) -> str:
    if names is not None and isinstance(value, int):
        return names[value] or "(annotated by nobody)"
    return f"#{bytes(value).hex()}" if isinstance(value, tuple) else str(int(value))


def _count(counts: dict[str, int], name: str, pixels: int) -> None:
    counts[name] = counts.get(name, 0) + pixels
