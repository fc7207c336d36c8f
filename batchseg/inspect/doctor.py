"""Doctor: what is wrong with a source, and how much of it there is, before anything costs time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batchseg.config.base import Limits
from batchseg.config.doctor import DoctorConfig
from batchseg.config.source import FolderSource, Source
from batchseg.errors import RowFault, SourceError
from batchseg.inspect.findings import Findings, Problem
from batchseg.inspect.image_sizes import Sizes, read_header
from batchseg.inspect.preflight import check_source, choose_labels
from batchseg.inspect.truth_sample import TruthSample, sample_truths
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.registry import open_checkpoint
from batchseg.source.folder import MASK_SUFFIXES, Folder
from batchseg.source.names import Owners, usable
from batchseg.source.open import open_source
from batchseg.source.plan import Listing, write_listing
from batchseg.storage.keys import KeySet, keys
from batchseg.storage.location import locate
from batchseg.storage.reader import image_reader

EXAMPLES = 3


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
        sample: None without ground truth.
        unmatched: None where all of the truth folder need not have an image; it is no problem in itself.
        counts: problems by kind, all of them: the status a run would record, or `source`.
        problems: the first of each kind.
        notes: what should be known of the model, and is no problem.
    """

    source: str
    images: int
    with_truth: int
    sizes: Sizes
    sample: TruthSample | None
    unmatched: Unmatched | None
    counts: dict[str, int]
    problems: list[Problem]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.counts


def doctor(config: DoctorConfig) -> DoctorReport:
    """Look at every header and at some ground truths; no image is decoded and no model loaded.

    Raises:
        BatchsegError: the source cannot be listed, ids repeat, or the label map does not fit the model.
    """
    (label_map, notes), findings = _labels(config), Findings()
    source = open_source(config.source)
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = write_listing(source.tables(), locate(folder) / "listing.arrow", config.mask_name)
        try:
            check_source(source, listing)
        except SourceError as exc:
            findings.add("source", config.source.path, str(exc))
        sizes = _read_headers(listing, config.limits, findings)
        sample = sample_truths(listing, config.truths, label_map, config.limits, findings)
        unmatched = _unmatched(config.source, listing)
    return DoctorReport(
        source=config.source.path,
        images=listing.images,
        with_truth=listing.with_truth,
        sizes=sizes,
        sample=sample if listing.with_truth else None,
        unmatched=unmatched,
        counts=dict(findings.counts),
        problems=findings.listed,
        notes=notes if listing.with_truth else (),
    )


def _labels(config: DoctorConfig) -> tuple[LabelMap | None, tuple[str, ...]]:
    """The label map, and what the model has to say of it where it is its own."""
    if config.segmentor is None:
        return (load_label_map(config.labels) if config.labels is not None else None), ()
    checkpoint = open_checkpoint(config.segmentor)
    return choose_labels(config.labels, checkpoint), checkpoint.notes if config.labels is None else ()


def _read_headers(listing: Listing, limits: Limits, findings: Findings) -> Sizes:
    """The sizes of all images; a fault of an image hides that of its truth, as it does in a run."""
    sizes, reader = Sizes(), image_reader()
    for table in _marked(listing):
        rows = table.select(["id", "uri", "status", "error"]).to_pylist()
        for row, is_usable in zip(rows, usable(table), strict=True):
            try:
                if is_usable:
                    sizes.add(row["id"], *read_header(reader, row["uri"], limits))
            except RowFault as fault:
                findings.add(fault.status.kind, row["id"], str(fault))
                continue
            if row["status"] is not None:
                findings.add(row["status"], row["id"], row["error"])
    return sizes


def _marked(listing: Listing) -> Iterator[pa.Table]:
    """The listing with its collisions marked, as a first run would see them."""

    owners = Owners(listing.shared_masks, lambda masks: [None] * len(masks))
    return map(owners.settle, listing.tables())


def _unmatched(source: Source, listing: Listing) -> Unmatched | None:
    """Truth files without an image, among those that end as the rule says."""
    if not isinstance(source, FolderSource) or source.truth is None:
        return None
    if source.include or source.exclude or source.limit:
        return None
    used = KeySet(keys(table["truth"].drop_null().to_pylist()) for table in listing.tables())
    end = (source.truth_suffix or "=").partition("=")[2]
    files, examples = 0, []
    for table in Folder(FolderSource(path=source.truth), suffixes=MASK_SUFFIXES).tables():
        for index in np.flatnonzero(~used.contains(keys(table["uri"].to_pylist()))):
            name = table["id"][int(index)].as_py()
            if name.rpartition(".")[0].endswith(end):
                files += 1
                examples += [name] if files <= EXAMPLES else []
    return Unmatched(files, examples)
