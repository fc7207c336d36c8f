"""The source: a folder or a manifest as a stream of listing tables."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.run import Tiffs
from batchseg.config.source import FolderSource, ManifestSource
from batchseg.source.folder import Folder, stem_rule
from batchseg.source.manifest import Manifest
from batchseg.source.plan import Listing, write_listing
from batchseg.source.truths import MASK_SUFFIXES
from batchseg.storage.location import Location


def open_source(source: FolderSource | ManifestSource, without: tuple[str, ...] = ()) -> Folder | Manifest:
    """Check that the source can be used and make it ready to list; `without` names folders to pass over.

    Raises SourceError.
    """
    return Folder(source, without) if isinstance(source, FolderSource) else Manifest(source)


def open_masks(config: EvaluateConfig) -> Folder:
    """The masks of an evaluation, which play the part of the images. Raises SourceError."""
    shared = ("include", "exclude", "follow_links", "limit", "sample", "seed")
    chosen = {name: getattr(config, name) for name in shared}
    source = FolderSource(
        path=config.masks, truth=config.truth.path, truth_suffix=config.truth_suffix, **chosen
    )
    first, second = stem_rule(config.mask_suffix), stem_rule(config.truth_suffix)
    return Folder(source, (config.output,), MASK_SUFFIXES, lambda stem: second(first(stem)))


def list_source(
    source: Folder | Manifest,
    path: Location,
    mask_name: str,
    tiffs: Tiffs = "none",
    work: Location | None = None,
) -> Listing:
    """List it into a file, and keep what was passed over. Raises SourceError.

    Args:
        work: the folder that annotations are put into, and read from as truths; None: that of the file.
    """
    listing = write_listing(listed_tables(source, work or path.parent), path, mask_name, tiffs)
    if isinstance(source, Folder):
        listing.passed_over = source.passed_over.counts
    return listing


def listed_tables(source: Folder | Manifest, work: Location) -> Iterator[pa.Table]:
    """Its listing, in tables of bounded size, with what `list_source` says of `work`. Raises SourceError."""
    return source.tables(work) if isinstance(source, Folder) else source.tables()
