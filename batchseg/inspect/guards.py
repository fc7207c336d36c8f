"""Guards against plausible nonsense: figures that can be computed, and mean something else than they seem to.

What is certain is refused before anything costs time; what is likely is said, and stands in the record.
`--accept NAME` passes over one of them; the names are `config.truth.GUARDS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import LabelMapError, SourceError
from batchseg.inspect.image_sample import SHRUNK, ImageSample
from batchseg.inspect.truth_sample import Sampled
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import TruthStatus
from batchseg.segmentors.base import PixelRange

MANY_IGNORED = 0.1  # of the pixels with a truth file, from which on a class without any is suspicious
MOST_IGNORED = 0.5
FEW_FILES = 3  # of fewer truths that cannot be used nothing is concluded, but of ids outside the label map
FEW_IMAGES = 3
FAR = 1.5  # standard deviations of the training images: a black image has 1.8 to 2.1 with ImageNet's
_NAMED = 5


@dataclass(frozen=True)
class Doubt:
    """What a guard has to say.

    Attributes:
        guard: its name.
        is_certain: whether a run is refused for it.
        is_of_labels: whether another label map would mend it.
    """

    guard: str
    sentence: str
    is_certain: bool = False
    is_of_labels: bool = True


def settle(doubts: Sequence[Doubt], accepted: Sequence[str]) -> list[Doubt]:
    """Leave out what is accepted. Raises LabelMapError or SourceError for what is certain."""
    left = [doubt for doubt in doubts if doubt.guard not in accepted]
    for doubt in left:
        if doubt.is_certain:
            error = LabelMapError if doubt.is_of_labels else SourceError
            raise error(f"{doubt.sentence} (--accept {doubt.guard} goes on all the same)")
    return left


def doubts_of_truths(sampled: Sampled, noun: str = "ground truths") -> Iterator[Doubt]:
    """What a sample of label files tells before a run."""
    reading, sample = sampled.reading, sampled.sample
    if reading is None:
        return
    if sampled.unknown is not None:
        yield Doubt("failing_truth", sampled.unknown, is_certain=True)
    else:
        yield from _failing(sampled, noun)
    binary = _binary(sampled, reading.label_map, noun)
    yield from binary
    pixels = sample.ignored + sum(sample.classes.values())
    if pixels and sample.ignored > MOST_IGNORED * pixels and not binary:
        yield _ignored(sample.ignored, pixels, f"sampled {noun}", _NOBODYS if reading.by_name else _WHY)


def doubts_of_turned(sampled: Sampled) -> Iterator[Doubt]:
    """What the headers of the sampled truths' images tell."""
    if sampled.turned:
        yield turned(f"{sampled.turned} of {sampled.sample.files} sampled images with a truth")


def doubts_of_images(sample: ImageSample, expected: PixelRange | None) -> Iterator[Doubt]:
    """What a sample of images tells before a run, also against the range that the model was trained on."""
    for sentence in sample.warnings:
        yield Doubt("dark_images", sentence)
    if sample.most_shrunk is not None and sample.seen_hw is not None:
        yield _shrunk(sample.shrunk, sample.looked_at, sample.most_shrunk, sample.seen_hw)
    if expected is None or sample.mean_rgb is None or len(sample.mean_rgb) != len(expected.mean):
        return
    means = np.array(sample.mean_rgb) / 255
    away = np.abs(means - expected.mean) / np.array(expected.std)
    if away.max() > FAR:
        found, usual = (
            ", ".join(f"{255 * value:.0f}" for value in values) for values in (means, expected.mean)
        )
        yield Doubt(
            "input_range",
            f"the mean of the images is {found} of {sample.channels} (0 to 255, over {sample.files}), and "
            f"that of the images the model was trained on is {usual}; are they read as they are meant "
            "(source.scale)?",
        )


def _shrunk(images: int, of: int, factor: float, seen_hw: tuple[int, int]) -> Doubt:
    return Doubt(
        "shrunk_images",
        f"{images} of {of} sampled images are shrunk more than {SHRUNK} times along a side before the model "
        f"sees them, the most {factor:.3g} times; windows keep what is small: --tile {min(seen_hw)} (in a "
        f"file tiling: {min(seen_hw)})",
    )


def turned(which: str) -> Doubt:
    """Of images whose truth may have been drawn on the pixels as they are stored."""
    return Doubt(
        "turned_images",
        f"{which} are turned upright, as their EXIF orientation says; if their truths were drawn on the "
        "pixels as stored, say --orientation stored (source.orientation: stored)",
    )


def _ignored(part: int, whole: int, noun: str, why: str) -> Doubt:
    return Doubt("ignored_truth", f"{_share(part, whole)} of the {noun} is ignored; {why}")


_NOBODYS = "what nobody annotated counts nowhere, unless a class of the label map is called background"
_WHY = "is the label map the one that they were made with, and are its truth_ids or colours complete?"


def _failing(sampled: Sampled, noun: str) -> Iterator[Doubt]:
    """Truths that are not there yet may come another night."""
    faults = [(name, fault) for name, fault in sampled.faults if fault.status is not TruthStatus.MISSING]
    outside = [fault for _, fault in faults if fault.status is TruthStatus.OUT_OF_RANGE]
    files = sampled.sample.files
    if 2 * len(faults) <= files or (len(faults) < FEW_FILES and 2 * len(outside) <= files):
        return
    kind = Counter(fault.status for _, fault in faults).most_common(1)[0][0]
    image_id, first = next((name, fault) for name, fault in faults if fault.status is kind)
    factor = _factor(sampled)
    scaled = f"; each is {factor} times as large as its image, so resize them (nearest)" if factor else ""
    of_labels = kind is TruthStatus.OUT_OF_RANGE
    what = "do not fit the label map" if of_labels else "cannot be used"
    sentence = f"{len(faults)} of {files} sampled {noun} {what}; {image_id}: {first}{scaled}"
    yield Doubt("failing_truth", sentence, is_certain=True, is_of_labels=of_labels)


def _factor(sampled: Sampled) -> str | None:
    """By what all the sizes differ, where that is one number."""
    ratios = [side[1] / side[0] for sizes in sampled.sizes for side in zip(*sizes, strict=True)]
    if not ratios or max(ratios) > 1.02 * min(ratios):  # sides are whole pixels
        return None
    return f"{np.median(ratios):.3g}"


def _binary(sampled: Sampled, label_map: LabelMap, noun: str) -> list[Doubt]:
    if not _might_mean_a_class(label_map) or sampled.values != {0, label_map.ignore_index}:
        return []
    ignored, second = label_map.ignore_index, label_map.names[1]
    sentence = (
        f"the {noun} hold 0 and {ignored} alone, and {ignored} is ignored, so {second!r} would never be"
    )
    return [Doubt("binary_truth", f"{sentence} judged; {_give_it_ids(label_map, noun)}", is_certain=True)]


def _might_mean_a_class(label_map: LabelMap) -> bool:
    """Whether the ignored id may be the second of two classes; who lists it means what is said of it."""
    return label_map.num_classes == 2 and label_map.ignore_index not in (label_map.remap or {})


def _give_it_ids(label_map: LabelMap, noun: str) -> str:
    ignored = label_map.ignore_index
    own = f"give {label_map.names[1]!r} `truth_ids: [{ignored}]` in a label map of your own (--labels FILE)"
    if noun == "masks":
        return f"{own}, and say --mask-ids truth (mask_ids: truth)"
    # a model that is told what to segment row by row has no other label map
    return f"say truth.threshold: 128 (--set truth.threshold=128), or {own}"


def doubts_of_total(
    total: ConfusionMatrix, annotated_pixels: int, images: int, label_map: LabelMap, masks_given: bool = False
) -> Iterator[Doubt]:
    """What the sum over all images tells after a run.

    Args:
        annotated_pixels: of the images with a ground truth that was read, ignored ones included.
        images: that have a mask.
        masks_given: whether the masks are another program's.
    """
    ignored = annotated_pixels - total.truth_pixels
    if ignored > MOST_IGNORED * annotated_pixels:
        yield _ignored(ignored, annotated_pixels, "ground truth", _WHY)
    if ignored > MANY_IGNORED * annotated_pixels:
        support = total.class_sums.support
        absent = [label_map.names[index] for index in np.flatnonzero(support == 0).tolist()]
        if absent:
            more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            yield Doubt(
                "absent_class",
                f"no pixel of the ground truth is {', '.join(map(repr, absent[:_NAMED]))}{more}, while "
                f"{_share(ignored, annotated_pixels)} of it is ignored; {_WHY}",
            )
    elif ignored:
        yield from _unjudged(total.class_sums.support, ignored, label_map, "ground truth")
    if masks_given:
        pixels = total.counts.sum(axis=0)
        yield from _unjudged(pixels[:-1], int(pixels[-1]), label_map, "masks")
    predicted = np.flatnonzero(total.counts[:, :-1].sum(axis=0))
    meant = np.array_equal(np.flatnonzero(total.class_sums.support), predicted)
    if label_map.num_classes > 1 and images >= FEW_IMAGES and len(predicted) == 1 and not meant:
        yield Doubt(
            "one_class",
            f"every pixel of all {images:,} images is predicted as {label_map.names[predicted[0]]!r}; are "
            "these images what the model was trained on, and is its checkpoint whole?",
        )


def doubts_of_measured(too_large: int, without_spacing: int) -> Iterator[Doubt]:
    """What is not known of some images although it was asked for, after a run.

    Args:
        too_large: images whose mask is read by window.
        without_spacing: images the size of whose pixels is not known.
    """
    sentences = []
    if too_large:
        sentences.append(
            "rasters that are too large to be held at once have no boundary and object metrics "
            f"({too_large:,} of them)"
        )
    if without_spacing:
        sentences.append(
            "images of whose pixels nothing tells the size have no NSD and no HD95 "
            f"({without_spacing:,} of them); give it as spacing, or say boundary.unit: pixels"
        )
    if sentences:
        yield Doubt("unmeasured_images", "; ".join(sentences))


def _unjudged(pixels_C: NDArray[Any], ignored: int, label_map: LabelMap, noun: str) -> Iterator[Doubt]:
    """What `_binary` finds, where too few files hold the second class for a sample to have one of them."""
    if _might_mean_a_class(label_map) and ignored and pixels_C[0] and not pixels_C[1]:
        sentence = f"no pixel of the {noun} is {label_map.names[1]!r}, and {ignored:,} are ignored"
        yield Doubt("binary_truth", f"{sentence}; if these mean it, {_give_it_ids(label_map, noun)}")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}"
