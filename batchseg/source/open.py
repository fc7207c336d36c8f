"""The source: a folder or a manifest as a stream of listing tables."""

from __future__ import annotations

from batchseg.config.source import FolderSource, ManifestSource
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest


def open_source(source: FolderSource | ManifestSource, without: tuple[str, ...] = ()) -> Folder | Manifest:
    """Check that the source can be used and make it ready to list; `without` names folders to pass over.

    Raises SourceError.
    """
    return Folder(source, without) if isinstance(source, FolderSource) else Manifest(source)
