"""The source of a run, listed and looked at, and held against what the results folder has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from batchseg.config.load import config_differences
from batchseg.config.prompting import Prompting
from batchseg.config.run import RunConfig
from batchseg.config.source import ImageReading
from batchseg.errors import OutputError
from batchseg.images.raster import load_rasterio
from batchseg.inspect.guards import Doubt
from batchseg.inspect.preflight import check_source, look_at_truths
from batchseg.inspect.truth_sample import Looking
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.metrics.measures import Measures
from batchseg.pipeline.fingerprints import score_fingerprint, without_truth_fingerprint
from batchseg.pipeline.split import take_split
from batchseg.pipeline.workload import Workload
from batchseg.results.folder import Results
from batchseg.results.ledger import Ledger
from batchseg.results.verdict import Key, Rows
from batchseg.segmentors.base import PixelRange, Resizing
from batchseg.source.annotations.spool import notes_of
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.open import list_source, open_source
from batchseg.source.plan import Listing
from batchseg.storage.location import Location

VANISHED = 3  # of fewer images that are gone nothing is concluded
_OF_PIXELS = ("source.bands", "source.scale", "source.orientation")


@dataclass(frozen=True)
class Survey:
    """A source that was listed and looked at.

    Attributes:
        reading: how its ground truths are read.
        doubts: what is likely to be wrong with its truths.
        key: what a run would compute its masks and scores with.
        notes: what should be known of the truths, and is no doubt.
    """

    listing: Listing
    looking: Looking
    reading: Reading
    doubts: list[Doubt]
    key: Key
    notes: tuple[str, ...] = ()


class Surveyed(Protocol):
    """What must be known of a model, or of what it left."""

    @property
    def label_map(self) -> LabelMap: ...

    @property
    def reading(self) -> ImageReading: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def expected(self) -> PixelRange | None: ...

    @property
    def resizings(self) -> tuple[Resizing, ...]: ...


def any_source(source: Folder | Manifest) -> None:
    """For masks that lie there: what they are of was decided before."""


def survey(
    config: RunConfig,
    model: Surveyed,
    work: Location,
    check: Callable[[Folder | Manifest], None] = any_source,
) -> Survey:
    """List the source and find what can be known to be wrong with it.

    Raises SourceError and LabelMapError, and ConfigError where masks would be TIFFs without rasterio.

    Args:
        check: raises ConfigError where the model cannot be used with the source, before it is listed.
    """
    source = open_source(config.source, (config.output.path,))
    check(source)
    listing = list_source(source, work / "listing.arrow", config.output.mask_name, config.tiffs)
    if listing.tiff_masks:
        load_rasterio()  # once, before anything is computed
    check_source(source, listing)
    listing = take_split(config, listing, work)
    shrinking = model.resizings if config.tiling is None else ()
    tiling = config.tiling if config.tiffs != "none" else None  # what has a PNG for a mask is read at once
    looking = Looking(config.truth, config.limits, model.reading, model.expected, shrinking, tiling)
    reading, doubts = look_at_truths(listing, model.label_map, looking, config.accept)
    measures = Measures.of(config, reading.label_map)
    score, without_truth = score_fingerprint(reading, measures), without_truth_fingerprint(measures)
    key = Key(model.fingerprint, score, without_truth=without_truth)
    return Survey(listing, looking, reading, doubts, key, notes_of(listing))


def refuse_vanished(results: Results, work: Workload) -> None:
    """Raises OutputError where most images that have masks cannot be found: a disk is not there, rather."""
    gone, segmented = work.vanished()
    if gone >= VANISHED and 2 * gone > segmented:
        raise OutputError(
            f"{results.root}: {gone:,} of {segmented:,} images that have masks are not to be found, and "
            "a run would take their masks away; is the disk of the source there? --recompute goes on without"
        )


def unlisted(ledger: Ledger, listing: Listing) -> Rows:
    """The rows of images that the source does not have."""
    return ledger.unlisted(listing.ids())


def refuse_mixture(results: Results, ledger: Ledger, found: Survey, config: RunConfig) -> None:
    """Raises OutputError where masks of this model would come to lie beside those of another."""
    listing = found.listing
    if config.split is not None and (left := int(unlisted(ledger, listing).sum())):
        raise OutputError(
            f"{results.root}: holds {left:,} images that are not among those of split {config.split}, and "
            "figures would be of all; choose a fresh --output"
        )
    _refuse_mixed_scores(results, ledger, found.key, config, listing)
    others = ledger.of_other_models(found.key.mask)
    if not others.any():
        return
    if not config.recompute:
        raise OutputError(
            f"{results.root} holds masks of another model or setting ({_changes(results, config)}); choose a "
            "fresh --output, or have everything computed again with --recompute (and --prune, where the "
            "source no longer lists some of the images)"
        )
    left = 0 if config.prune else int((others & unlisted(ledger, listing)).sum())
    if left:
        limited = config.source.is_partial
        where = "beyond source.limit or source.sample" if limited else "that the source does not list"
        mend = "leave that out" if limited else "remove them with --prune (in a file prune: true)"
        raise OutputError(
            f"{results.root}: holds masks of another model for {left:,} images {where}; {mend}, or choose a "
            "fresh --output"
        )


def _refuse_mixed_scores(
    results: Results, ledger: Ledger, key: Key, config: RunConfig, listing: Listing
) -> None:
    others = ledger.scored_otherwise(key.score)
    if config.prune or not listing.with_truth or not others.any():
        return
    left = int((others & unlisted(ledger, listing)).sum())
    if left:
        raise OutputError(
            f"{results.root}: holds scores of {left:,} images that the source does not list, whose truth was "
            "read by another label map, or which were measured by other metrics; run over all of them, "
            "remove them with --prune, or choose a fresh --output"
        )


def _changes(results: Results, config: RunConfig) -> str:
    before, now = (results.record() or {}).get("config", {}), config.model_dump(mode="json")
    if isinstance(before.get("segmentor"), dict) and "prompting" in now["segmentor"]:  # where it is older
        before = {**before, "segmentor": {"prompting": _UNSAID, **before["segmentor"]}}
    before = {**before, "source": {"orientation": "exif", **before.get("source", {})}}  # where it is older
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for part in ("segmentor", "labels", "merge", "source")
        for key, old, new in config_differences(before.get(part), now.get(part), part)
        if part != "source" or key in _OF_PIXELS
    ]
    return "; ".join(changes) or _NOT_IN_THE_CONFIGURATION


_UNSAID = Prompting().model_dump(mode="json")
_NOT_IN_THE_CONFIGURATION = (
    "the weights, your own code, or ignore_index or the words of the label map changed"
)
