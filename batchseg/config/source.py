"""The source of a run: a folder or a manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from batchseg.config.base import SUFFIX_RULE, Model
from batchseg.config.places import Place

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff")

Limit = Annotated[int | None, Field(ge=1, description="Stop after this many images.")]
SampleSize = Annotated[
    int | None, Field(ge=1, description="So many images, drawn at random from the whole listing.")
]
SampleSeed = Annotated[
    int,
    Field(ge=0, le=2**64 - 1, description="Another number draws another sample; the same draws the same."),
]
FollowLinks = Annotated[
    bool,
    Field(
        description="Follow links to folders, and links to files outside of the folder. A folder is listed "
        "once, however many links lead to it."
    ),
]
OurColumn = Literal["image", "image_bytes", "truth", "truth_bytes", "id", "version"]


Number = Annotated[float, Strict()]


def _rising(scale: float | tuple[float, float] | None) -> float | tuple[float, float] | None:
    if scale is not None:
        black, white = scale if isinstance(scale, tuple) else (0.0, scale)
        if not black < white:
            raise ValueError(f"white must lie above black, and {white:g} does not lie above {black:g}")
    return scale


Scale = Annotated[
    Number | tuple[Number, Number] | None,
    AfterValidator(_rising),
    Field(
        description="The value that is white, or [black, white], of images of 16 and 32 bits. "
        "Null: the range of 16 bits, or of the bits that the file says are used."
    ),
]
Orientation = Annotated[
    Literal["exif", "stored"],
    Field(description="Images upright, as EXIF says, or as their pixels are stored, which truth may be too."),
]


def one_choice(limit: int | None, sample: int | None) -> None:
    """Raises ValueError where the first images and images at random are asked for at once."""
    if limit is not None and sample is not None:
        raise ValueError("limit takes the first images and sample some at random; leave one of them out")


class _Source(Model):
    """What both kinds have."""

    kind: str
    path: Place
    limit: Limit = None
    sample: SampleSize = None
    seed: SampleSeed = 0
    scale: Scale = None
    orientation: Orientation = "exif"

    @model_validator(mode="after")
    def _first_or_random(self) -> _Source:
        one_choice(self.limit, self.sample)
        return self

    @property
    def is_partial(self) -> bool:
        """Whether images are left out only to have fewer."""
        return self.limit is not None or self.sample is not None


class FolderSource(_Source):
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
    follow_links: FollowLinks = False


class ManifestSource(_Source):
    """Images listed in Parquet: one file, several (a glob or a folder), or a partitioned folder."""

    kind: Literal["manifest"] = "manifest"
    path: Place = Field(description="The Parquet file, or a folder of them.")
    root: Place | None = Field(
        None,
        description="What relative URIs are relative to. Default: the manifest's folder.",
    )
    columns: dict[OurColumn, str] = Field(
        default_factory=dict,
        description="Which columns mean what where they have other names, such as {image: file_name}.",
    )


Source = Annotated[FolderSource | ManifestSource, Field(discriminator="kind")]

_PARQUET = re.compile(r"\.(parquet|pq)/?($|\?.*=)")  # a URI may end in options of its file system
_OF_FOLDERS = {*FolderSource.model_fields} - {*ManifestSource.model_fields}
_OF_MANIFESTS = {*ManifestSource.model_fields} - {*FolderSource.model_fields}


@dataclass(frozen=True)
class ImageReading:
    """How the pixels of a source's images are read.

    Attributes:
        scale: what is black and what is white in data that are not 8-bit; None: the range of their type.
        as_stored: an EXIF orientation is not applied.
    """

    scale: tuple[float, float] | None = None
    as_stored: bool = False

    @classmethod
    def of(cls, source: FolderSource | ManifestSource) -> ImageReading:
        scale = source.scale
        pair = scale if scale is None or isinstance(scale, tuple) else (0.0, scale)
        return cls(pair, source.orientation == "stored")

    @property
    def altering(self) -> list[str]:
        """What of it changes a mask; nothing by default, so that what was computed stays valid."""
        scale = [f"scale={self.scale[0]!r}..{self.scale[1]!r}"] if self.scale is not None else []
        return [*scale, *(["orientation=stored"] if self.as_stored else [])]


def infer_source(value: Any) -> Any:
    """A plain path, or a mapping without `kind`: Parquet files make a manifest, all else is a folder.

    Raises ValueError where a folder holds both Parquet files and images, and nothing says which is meant.
    """
    data = {"path": value} if isinstance(value, str) else value
    if not isinstance(data, Mapping) or "kind" in data:
        return data
    path = data.get("path")
    is_manifest = isinstance(path, str) and _looks_like_manifest(path, {*data})
    return {"kind": "manifest" if is_manifest else "folder", **data}


def _looks_like_manifest(path: str, given: set[str]) -> bool:
    if _PARQUET.search(path):
        return True
    folder = Path(path).expanduser()
    if "://" in path or not folder.is_dir():
        return False
    found = _parquet_below(folder)
    if found is None or given & _OF_MANIFESTS:
        return found is not None
    image = next((each for each in folder.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES), None)
    if image is None:
        return True
    if given & _OF_FOLDERS:
        return False
    raise ValueError(
        f"holds Parquet ({found.name}) beside images ({image.name}); for the images in the folder say "
        "source.kind: folder (--set source.kind=folder), for those that the Parquet lists "
        "source.kind: manifest"
    )


def _parquet_below(folder: Path) -> Path | None:
    """One look at a folder that may hold a million images, and at its partitions, told by their names."""
    partitions = []
    with suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".parquet", ".pq")):
                return Path(entry.path)
            if "=" in entry.name:
                partitions.append(Path(entry.path))
    return next((each for partition in partitions for each in partition.glob("**/*.parquet")), None)
