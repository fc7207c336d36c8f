"""The source: a folder or a manifest as a stream of listing tables."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from batchseg.config.run import Tiffs
from batchseg.config.source import FolderSource, ManifestSource
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.plan import Listing, write_listing
from batchseg.storage.location import Location


def open_source(source: FolderSource | ManifestSource, without: tuple[str, ...] = ()) -> Folder | Manifest:
    """Check that the source can be used and make it ready to list; `without` names folders to pass over.

    Raises SourceError.
    """
    return Folder(source, without) if isinstance(source, FolderSource) else Manifest(source)


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
