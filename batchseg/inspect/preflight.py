"""What can be known to be wrong before anything costs time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from batchseg.config.looks import Tiling, Views
from batchseg.config.source import ImageReading, Source, wrong_scale
from batchseg.errors import ConfigError, LabelMapError, SourceError
from batchseg.images.raster import load_rasterio
from batchseg.inspect.guards import (
    Doubt,
    doubts_of_images,
    doubts_of_truths,
    doubts_of_turned,
    settle,
)
from batchseg.inspect.image_sample import sample_images
from batchseg.inspect.truth_sample import Looking, Sampled, sample_masks, sample_truths
from batchseg.labels.label_file import load_both
from batchseg.labels.label_map import LabelMap
from batchseg.labels.merging import Merging
from batchseg.labels.names import fold_name, is_mere_number, with_side
from batchseg.labels.reading import Reading
from batchseg.labels.relation import load_relation, with_merge
from batchseg.segmentors.combined.ensemble import AnyCheckpoint
from batchseg.source.annotations.truths import AnnotatedTruths
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.plan import Listing
from batchseg.source.truths import Truths

LOOKED_AT, DECODED = 16, 8  # label files, and images
_NAMED = 3


def check_source(source: Folder | Manifest, listing: Listing) -> None:
    """Raises SourceError where there is no image at all, or where truth matches none of them."""
    if not listing.images:
        raise SourceError(_nothing_found(source))
    if isinstance(source, Folder) and source.truths is not None and not listing.with_truth:
        raise SourceError(_no_truth(source, source.truths, listing))


def _no_truth(source: Folder, truths: Truths | AnnotatedTruths, listing: Listing) -> str:
    images = ", ".join(listing.examples)
    if isinstance(truths, AnnotatedTruths):
        there = ", ".join(truths.names) or "nothing"
        more = "".join(f" ({note})" for note in truths.notes)
        return f"no image is annotated in {truths.place}: the images are {images}; it has {there}{more}"
    there = ", ".join(source.truth_examples(3)) or "nothing"
    return (
        f"no image has a ground truth in {truths.root}: the images are {images}; the truth folder holds "
        f"{there}; a rule such as --truth-suffix _image=_label may map one to the other"
    )


def _nothing_found(source: Folder | Manifest) -> str:
    if isinstance(source, Manifest):
        return f"{source.source.path}: the manifest has no rows"
    config, there = source.source, source.passed_over.sentence()
    globs = " that match include and not exclude" if config.include or config.exclude else ""
    return (
        f"{config.path}: no images (JPEG, PNG, WebP, BMP, GIF, TIFF) in this folder or below it{globs}"
        f"{'; what lies there: ' if there else ''}{there}"
    )


def choose_labels(
    name: str | None, checkpoint: AnyCheckpoint, merge: Merging | str = MappingProxyType({})
) -> LabelMap:
    """The label map of a run: of as many classes as the model, and none of its names at another id.

    What it merges is compared as it was before. Of a model that was trained on the merged classes it is taken
    as it is after.

    Args:
        name: built-in, or a file; None: the model's own.
        merge: classes of it that are one in this run, whatever the file merges already; or the file of a
            reviewed relation, which puts them into another label map.

    Raises LabelMapError where it does not fit the model.
    """
    return fit_labels(name, checkpoint.label_map, merge)


def fit_labels(name: str | None, own: LabelMap, merge: Merging | str = MappingProxyType({})) -> LabelMap:
    """The same by the label map that a model, or what is kept of its probabilities, has of its own."""
    _refuse_target(name, merge)
    return with_merge(own if name is None else _fitting(name, own), merge)


def _refuse_target(name: str | None, merge: Merging | str) -> None:
    """Raises LabelMapError where the labels are those that a relation leads to."""
    if name is None or not isinstance(merge, str):
        return
    target = load_relation(merge).target
    if name == target or Path(name).resolve() == Path(target).resolve():
        raise LabelMapError(
            f"labels {name}: is where the relation {merge} leads to, which brings it; leave it out, or name "
            "the label map of the model's own classes"
        )


def _fitting(name: str, own: LabelMap) -> LabelMap:
    before, after = load_both(name)
    if before.num_classes != own.num_classes == after.num_classes:
        before, after = after, replace(after, groups=None)
    if before.num_classes != own.num_classes:
        raise LabelMapError(
            f"labels {name}: {before.num_classes} classes, but the model predicts {own.num_classes} "
            f"({', '.join(own.names[:5])} ...); choose the label map the model was trained with"
        )
    if moved := _moved(before, own):
        found = " and ".join(f"{mine!r} is {at}, of the model {there}" for mine, at, there in moved[:2])
        raise LabelMapError(
            f"labels {name}: its classes are in another order than the model's ({found}); put them in the "
            "model's order, or choose the label map the model was trained with"
        )
    return after


def choose_bands(source: Source, checkpoint: AnyCheckpoint | None) -> ImageReading:
    """How the images of a source are read for a model (None: not known).

    Raises ConfigError where `source.bands` or `source.scale` have another number of bands than it reads, or
    where bands are to be read and rasterio is not installed.
    """
    channels = checkpoint.channels if checkpoint is not None else None
    reading = ImageReading.of(source, channels)
    if reading.bands is not None and channels not in (None, len(reading.bands)):
        raise ConfigError(
            f"source.bands names {len(reading.bands)} band{'' if len(reading.bands) == 1 else 's'} "
            f"({', '.join(map(str, reading.bands))}), and the model reads {channels}"
        )
    if reading.scales is not None and channels not in (None, len(reading.scales)):
        raise ConfigError(wrong_scale(len(reading.scales), channels))
    if reading.is_by_band:
        load_rasterio()
    return reading


def _moved(chosen: LabelMap, own: LabelMap) -> list[tuple[str, int, int]]:
    """Names that both have, at different ids: the name, its id, and its id in the model."""
    ours, theirs = _ids_of_names(chosen), _ids_of_names(own)
    return [
        (chosen.names[at], at, theirs[folded]) for folded, at in ours.items() if theirs.get(folded, at) != at
    ]


def _ids_of_names(label_map: LabelMap) -> dict[str, int]:
    """Of names that say something and stand once; case and separators do not count."""
    folded = [*map(fold_name, label_map.names)]
    return {
        name: index
        for index, name in enumerate(folded)
        if folded.count(name) == 1 and not is_mere_number(name)
    }


def refuse_small_tile(tiling: Tiling | None, checkpoint: AnyCheckpoint) -> None:
    """Raises ConfigError where a window has less than one cell of the model's coarsest features."""
    if tiling is not None and tiling.size < checkpoint.stride:
        raise ConfigError(
            f"tiling.size (--tile) is {tiling.size} pixels, and the model's coarsest features have one cell "
            f"for {checkpoint.stride}; take windows of {checkpoint.stride} pixels or, better, many times as "
            "much"
        )


def refuse_mirrored_sides(views: Views | None, label_map: LabelMap) -> None:
    """Raises ConfigError where pictures would be mirrored left to right, and classes have a side."""
    if views is None or "horizontal" not in views.flip or views.mirror_sides:
        return
    sided = with_side(label_map.names)
    if sided:
        more = f" and {len(sided) - _NAMED} more" if len(sided) > _NAMED else ""
        raise ConfigError(
            "views.flip: horizontal takes left for right, and classes have a side: "
            f"{', '.join(map(repr, sided[:_NAMED]))}{more}; leave it out, or say views.mirror_sides: true "
            "where these names do not mean a side"
        )


def look_at_truths(
    listing: Listing, label_map: LabelMap, looking: Looking, accepted: Sequence[str]
) -> tuple[Reading, list[Doubt]]:
    """How the ground truths of a listing are read, and what is doubtful about them.

    Raises LabelMapError or SourceError where they cannot mean what a run would take them for.
    """
    sampled = sample_truths(listing, LOOKED_AT, label_map, looking)
    reading, doubts = _conclude(sampled, "ground truths", accepted)
    return reading, doubts + settle([*doubts_of_turned(sampled)], accepted)


def look_at_masks(
    listing: Listing, label_map: LabelMap, looking: Looking, accepted: Sequence[str]
) -> tuple[Reading, list[Doubt]]:
    """The same with the masks of a listing of masks."""
    return _conclude(sample_masks(listing, LOOKED_AT, label_map, looking), "masks", accepted)


def look_at_pixels(
    listing: Listing, looking: Looking, accepted: Sequence[str], is_new: bool = False
) -> list[Doubt]:
    """What is doubtful about the images of a listing that are to be segmented.

    Args:
        is_new: nothing has been done so far. Later all that is left may be images that cannot be read.

    Raises SourceError where most images of a new job do not have the bands that are to be read.
    """
    how = (looking.images, looking.limits)
    sample = sample_images(listing, DECODED, *how, models=looking.models, tiling=looking.tiling)
    if is_new and len(sample.unsupported) > sample.files:
        raise SourceError(": ".join(sample.unsupported[0]))
    return settle([*doubts_of_images(sample, looking.expected)], accepted)


def _conclude(sampled: Sampled, noun: str, accepted: Sequence[str]) -> tuple[Reading, list[Doubt]]:
    assert sampled.reading is not None  # there is a label map
    return sampled.reading, settle([*doubts_of_truths(sampled, noun)], accepted)
