"""The source: a folder or a manifest as a stream of listing tables."""

from __future__ import annotations

from batchseg.config import FolderSource, ManifestSource
from batchseg.stages.source.folder import Folder
from batchseg.stages.source.manifest import Manifest

__all__ = ["Folder", "Manifest", "open_source"]


def open_source(source: FolderSource | ManifestSource, without: tuple[str, ...] = ()) -> Folder | Manifest:
    """Check that the source can be used and make it ready to list; `without` names folders to pass over.

    Raises SourceError.
    """
    return Folder(source, without) if isinstance(source, FolderSource) else Manifest(source)
