"""The source of a run: a folder or a manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
)

from batchseg.config.base import SUFFIX_RULE, Model
from batchseg.config.places import Place

_PARQUET = re.compile(r"\.(parquet|pq)/?($|\?.*=)")  # a URI may end in options of its file system


class FolderSource(Model):
    """Images in a folder, local or on anything `pyarrow.fs` opens."""

    kind: Literal["folder"] = "folder"
    path: Place = Field(description="Folder with the images: a path or a URI (s3://, gs://, hdfs://).")
    include: tuple[str, ...] = Field((), description="Globs on the id; an image must match one. Empty: all.")
    exclude: tuple[str, ...] = Field(
        (), description="Globs on the id; an image that matches one is left out."
    )
    truth: Place | None = Field(None, description="Folder with the ground truth, mirroring the image folder.")
    truth_suffix: str | None = Field(
        None,
        pattern=SUFFIX_RULE,
        description="FROM=TO: how the end of an image's stem changes to its truth's.",
    )
    limit: int | None = Field(None, ge=1, description="Stop after this many images.")


class ManifestSource(Model):
    """Images listed in Parquet: one file, several (a glob or a folder), or a partitioned folder."""

    kind: Literal["manifest"] = "manifest"
    path: Place = Field(description="The Parquet file, or a folder of them.")
    root: Place | None = Field(
        None,
        description="What relative URIs are relative to. Default: the manifest's folder.",
    )
    limit: int | None = Field(None, ge=1, description="Stop after this many images.")


Source = Annotated[FolderSource | ManifestSource, Field(discriminator="kind")]


def infer_source(value: Any) -> Any:
    """A plain path, or a mapping without `kind`: Parquet files make a manifest, all else is a folder."""
    data = {"path": value} if isinstance(value, str) else value
    if not isinstance(data, Mapping) or "kind" in data:
        return data
    path = data.get("path")
    is_manifest = isinstance(path, str) and _looks_like_manifest(path)
    return {"kind": "manifest" if is_manifest else "folder", **data}


def _looks_like_manifest(path: str) -> bool:
    if _PARQUET.search(path):
        return True
    folder = Path(path).expanduser()
    if "://" in path or not folder.is_dir():
        return False
    # partitions are told by their names, so that no large folder of images is searched to its depths
    return any(any(folder.glob(glob)) for glob in ("*.parquet", "*.pq", "*=*/**/*.parquet"))
