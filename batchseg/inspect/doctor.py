"""Doctor: what is wrong with a source, and how much of it there is, before anything costs time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.doctor import DoctorConfig
from batchseg.config.source import FolderSource, ImageReading
from batchseg.errors import ConfigError, RowFault, SourceError
from batchseg.inspect.findings import Findings, Problem
from batchseg.inspect.guards import Doubt, doubts_of_images, doubts_of_truths, turned
from batchseg.inspect.image_sample import ImageSample, sample_images
from batchseg.inspect.image_sizes import Sizes, look
from batchseg.inspect.preflight import check_source, choose_bands, choose_labels, refuse_small_tile
from batchseg.inspect.prompts import (
    PromptFacts,
    fault_of_prompts,
    look_at_prompts,
    refuse_more_classes,
    refuse_other_prompts,
)
from batchseg.inspect.truth_sample import Looking, TruthSample, sample_truths
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.relation import with_merge
from batchseg.schema import Status
from batchseg.segmentors.base import Normaliser, PixelRange, Resizing, prompting_of
from batchseg.segmentors.combined.ensemble import AnyCheckpoint, remarks_of, resizings_of
from batchseg.segmentors.registry import open_checkpoint
from batchseg.source.annotations.spool import AnnotationFacts, annotation_facts
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.names import Owners, usable
from batchseg.source.open import list_source, open_source
from batchseg.source.plan import Listing
from batchseg.source.truths import MASK_SUFFIXES, Truths
from batchseg.storage.keys import KeySet, keys
from batchseg.storage.location import locate
from batchseg.storage.reader import image_reader

EXAMPLES = 3
IMAGES = 8  # decoded: what they tell of 16 bits does not need more


@dataclass(frozen=True)
class Unmatched:
    """Files of the truth folder that belong to no image: how many, and some of them."""

    files: int
    examples: list[str]


@dataclass(frozen=True)
class DoctorReport:
    """What a source holds, and what a run would stumble over.

    Attributes:
        sizes: of the images whose header can be read: what a run would read and segment.
        pictures: of the images a few were decoded for.
        sample: None without ground truth.
        unmatched: None where all of the truth folder need not have an image; it is no problem in itself.
        counts: problems by kind, all of them: the status a run would record, or `source`.
        problems: the first of each kind.
        warnings: what is likely not as it is meant, a sentence each; a run does not stumble over it.
        passed_over: what lies in the folder and is not listed, by extension or reason.
        prompts: None where the source has none.
        notes: what should be known of the model, and is no problem.
    """

    source: str
    images: int
    with_truth: int
    sizes: Sizes
    pictures: ImageSample
    sample: TruthSample | None
    unmatched: Unmatched | None
    counts: dict[str, int]
    problems: list[Problem]
    warnings: list[str]
    passed_over: dict[str, int]
    notes: tuple[str, ...] = ()
    prompts: PromptFacts | None = None

    @property
    def ok(self) -> bool:
        return not self.counts


def doctor(
    source: DoctorConfig | Plain,
    *,
    model: Plain | Sequence[Plain] | Mapping[str, Any] | None = None,
    truth: Plain | None = None,
    labels: Plain | None = None,
    settings: Mapping[str, Any] | None = None,
) -> DoctorReport:
    """Look at every header, at a few images and at some ground truths; no model is loaded.

    Args:
        source: all that is to be looked at; or the folder or manifest of the images, as SOURCE of the command
            line, whose options the others are.
        settings: any other setting, nested as in a configuration file.

    Raises:
        BatchsegError: the source cannot be listed, ids repeat, or the label map does not fit the model.
    """
    given = {"model": model, "truth": truth, "labels": labels}
    return _doctor(from_arguments(DoctorConfig, ("source", source), given, settings))


def _doctor(config: DoctorConfig) -> DoctorReport:
    model, findings = _Model.of(config), Findings()
    source = open_source(config.source)
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = list_source(source, locate(folder) / "listing.arrow", config.mask_name)
        try:
            check_source(source, listing)
            model.fits(source, config)
        except (SourceError, ConfigError) as exc:
            findings.add("source", config.source.path, str(exc))
        images_as = model.reading
        sizes = _read_headers(listing, config, findings, images_as.is_by_band)
        shrinking = model.resizings if config.tiling is None else ()
        pictures = sample_images(
            listing, IMAGES, images_as, config.limits, models=shrinking, tiling=config.tiling
        )
        for uri, problem in pictures.unsupported:
            findings.add(Status.UNSUPPORTED.kind, uri, problem)
        looking = Looking(config.truth, config.limits, images_as, tiling=config.tiling)
        sampled = sample_truths(listing, config.truths, model.label_map, looking)
        for image_id, fault in sampled.faults:
            findings.add(fault.status.kind, image_id, str(fault))
        doubts = [*doubts_of_truths(sampled), *_turned(sizes, images_as)]
        doubts += doubts_of_images(pictures, model.expected)
        warnings = _warnings(doubts, config, findings)
        prompts = look_at_prompts(listing, fault_of_prompts(model.checkpoint), findings)
        warnings += prompts.warnings if prompts else ()
        annotated = annotation_facts(listing)
        unmatched = _unmatched(source, listing, annotated)
    return DoctorReport(
        source=config.source.path,
        images=listing.images,
        with_truth=listing.with_truth,
        sizes=sizes,
        pictures=pictures,
        sample=sampled.sample if listing.with_truth else None,
        unmatched=unmatched,
        counts=dict(findings.counts),
        problems=findings.listed,
        warnings=warnings,
        passed_over=listing.passed_over,
        prompts=prompts,
        notes=(
            *(model.notes if listing.with_truth or model.is_prompted else ()),
            *(remarks_of(model.checkpoint) if model.checkpoint is not None else ()),
            *(annotated.notes if annotated else ()),
        ),
    )


def _warnings(doubts: list[Doubt], config: DoctorConfig, findings: Findings) -> list[str]:
    """What a run would refuse goes to `findings`; what it would warn of is returned."""
    warnings = []
    for doubt in doubts:
        if doubt.guard in config.accept:
            continue
        if doubt.is_certain:
            findings.add(doubt.guard, config.source.path, doubt.sentence)
        else:
            warnings.append(f"{doubt.sentence} (--accept {doubt.guard})")
    return warnings


@dataclass(frozen=True)
class _Model:
    """What is known of the model: how its images are read, its classes, what it has to say, and which pixels
    it expects."""

    reading: ImageReading
    label_map: LabelMap | None
    notes: tuple[str, ...] = ()
    expected: PixelRange | None = None
    resizings: tuple[Resizing, ...] = ()
    checkpoint: AnyCheckpoint | None = None

    @property
    def is_prompted(self) -> bool:
        """Whether it is told in words what to segment."""
        return prompting_of(self.checkpoint) is not None

    def fits(self, source: Folder | Manifest, config: DoctorConfig) -> None:
        """Raises ConfigError where the source has prompts that the model does not take, or the reverse."""
        if self.checkpoint is not None and config.segmentor is not None:
            mode, name = prompting_of(self.checkpoint), config.segmentor.name
            refuse_other_prompts(source, mode, name)
            refuse_more_classes(self.checkpoint.label_map, mode, name)

    @classmethod
    def of(cls, config: DoctorConfig) -> _Model:
        if config.segmentor is None:
            return cls(choose_bands(config.source, None), _given_labels(config))
        checkpoint = open_checkpoint(config.segmentor, config.labels)
        refuse_small_tile(config.tiling, checkpoint)
        # those of a prompted model are about its prompts
        notes = checkpoint.notes if config.labels is None or prompting_of(checkpoint) else ()
        expected = checkpoint.pixel_range if isinstance(checkpoint, Normaliser) else None
        reading, label_map = (
            choose_bands(config.source, checkpoint),
            choose_labels(config.labels, checkpoint, config.merge),
        )
        return cls(reading, label_map, notes, expected, resizings_of(checkpoint), checkpoint)


def _given_labels(config: DoctorConfig) -> LabelMap | None:
    if config.labels is None:
        return None
    label_map = load_label_map(config.labels)
    return with_merge(label_map, config.merge)


def _read_headers(listing: Listing, config: DoctorConfig, findings: Findings, by_band: bool) -> Sizes:
    """The sizes of all images; a fault of an image hides that of its truth, as it does in a run."""
    sizes, reader = Sizes(), image_reader()
    limits, tiling = config.limits, config.tiling
    for table in _marked(listing):
        rows = table.select(["id", "uri", "truth", "status", "error"]).to_pylist()
        for row, is_usable in zip(rows, usable(table), strict=True):
            try:
                if is_usable:
                    header = look(reader, row["uri"], limits, by_band, tiling)
                    sizes.add(row["id"], header, row["truth"] is not None)
            except RowFault as fault:
                findings.add(fault.status.kind, row["id"], str(fault))
                continue
            if row["status"] is not None:
                findings.add(row["status"], row["id"], row["error"])
    return sizes


def _turned(sizes: Sizes, images_as: ImageReading) -> Iterator[Doubt]:
    """Of all headers, where a run looks at a sample of them."""
    if sizes.turned_with_truth and not images_as.as_stored:
        yield turned(f"{sizes.turned_with_truth:,} of the images with a truth")


def _marked(listing: Listing) -> Iterator[pa.Table]:
    """The listing with its collisions marked, as a first run would see them."""

    owners = Owners(listing.shared_masks, lambda masks: [None] * len(masks), listing.masks)
    return map(owners.settle, listing.tables())


def _unmatched(
    opened: Folder | Manifest, listing: Listing, annotated: AnnotationFacts | None
) -> Unmatched | None:
    """Annotated images that are not listed, or truth files without an image, among those that end as the rule
    says."""
    if annotated is not None:
        known = annotated.unmatched
        return None if known is None else Unmatched(known, [*annotated.examples])
    if not isinstance(opened, Folder) or not isinstance(opened.truths, Truths):
        return None
    source = opened.source
    if source.include or source.exclude or source.is_partial:
        return None
    used = KeySet(keys(table["truth"].drop_null().to_pylist()) for table in listing.tables())
    end = (source.truth_suffix or "=").partition("=")[2]
    files, examples = 0, []
    for table in Folder(FolderSource(path=str(opened.truths.root)), suffixes=MASK_SUFFIXES).tables():
        for index in np.flatnonzero(~used.contains(keys(table["uri"].to_pylist()))):
            name = table["id"][int(index)].as_py()
            if name.rpartition(".")[0].endswith(end):
                files += 1
                examples += [name] if files <= EXAMPLES else []
    return Unmatched(files, examples)
