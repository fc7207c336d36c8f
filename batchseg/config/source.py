"""The source of a run: a folder or a manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from batchseg.config.bands import Bands, BlackWhite, Percentiles, Scale, of_each_band
from batchseg.config.base import SUFFIX_RULE, Model
from batchseg.config.places import Place

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff")

RGB_CHANNELS = 3

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
OurColumn = Literal["image", "image_bytes", "truth", "truth_bytes", "id", "version", "prompt"]


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
    bands: Bands = None
    scale: Scale = None
    orientation: Orientation = "exif"

    @model_validator(mode="after")
    def _first_or_random(self) -> _Source:
        one_choice(self.limit, self.sample)
        return self

    @model_validator(mode="after")
    def _a_scale_a_band(self) -> _Source:
        each = of_each_band(self.scale)
        if self.bands is not None and each is not None and len(each) != len(self.bands):
            raise ValueError(wrong_scale(len(each), len(self.bands)))
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
    truth: Place | None = Field(
        None,
        description="Folder with the ground truth, mirroring the image folder, or a labelling tool's file: "
        "COCO, Label Studio or CVAT.",
    )
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


def wrong_scale(values: int, bands: int) -> str:
    """What to say of a scale that has another number of values than there are bands."""
    return f"source.scale has the black and white of {values} bands, and {bands} are read; give one for each"


@dataclass(frozen=True)
class ImageReading:
    """How the pixels of a source's images are read.

    Attributes:
        scale: what is black and what is white in data that are not 8-bit; None: the range of their type.
        as_stored: an EXIF orientation is not applied.
        bands: numbers of the bands to read, from 1 on; None: all, or red, green and blue.
        scales: the black and white of each band, in place of `scale`.
        percentiles: of each picture's bands, which are black and white, in place of both.
        channels: how many the model reads; None: as many as there are.
    """

    scale: BlackWhite | None = None
    as_stored: bool = False
    bands: tuple[int, ...] | None = None
    scales: tuple[BlackWhite, ...] | None = None
    percentiles: tuple[float, float] | None = None
    channels: int | None = None

    @classmethod
    def of(cls, source: FolderSource | ManifestSource, channels: int | None = None) -> ImageReading:
        """As a source says, for a model of so many input channels."""
        given, pair, percentiles = source.scale, None, None
        scales = of_each_band(given)
        if isinstance(given, Percentiles):
            percentiles = given.percentiles
        elif given is not None and scales is None:
            pair = given if isinstance(given, tuple) else (0.0, given)
        as_stored = source.orientation == "stored"
        return cls(cast("BlackWhite | None", pair), as_stored, source.bands, scales, percentiles, channels)

    @property
    def is_by_band(self) -> bool:
        """Whether pictures are read as the bands they have, in their type, and not as 8-bit RGB."""
        asked = any(each is not None for each in (self.bands, self.scales, self.percentiles))
        return asked or self.channels not in (None, RGB_CHANNELS)

    @property
    def has_scale(self) -> bool:
        """Whether it is said what black and white are."""
        return any(each is not None for each in (self.scale, self.scales, self.percentiles))

    @property
    def altering(self) -> list[str]:
        """What of it changes a mask; nothing by default, so that what was computed stays valid."""
        pairs = (self.scale,) if self.scale is not None else self.scales
        facts = {
            "scale": pairs and ",".join(f"{black!r}..{white!r}" for black, white in pairs),
            "percentiles": self.percentiles and "{!r}..{!r}".format(*self.percentiles),
            "orientation": "stored" if self.as_stored else None,
            "bands": self.bands and ",".join(map(str, self.bands)),
        }
        return [f"{name}={value}" for name, value in facts.items() if value]


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
