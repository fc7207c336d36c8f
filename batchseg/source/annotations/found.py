"""What a file of annotations says, whatever tool wrote it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from batchseg.images.annotation import Annotation

KINDS = (
    "COCO JSON (instances or panoptic), Label Studio JSON or JSON-MIN, CVAT for images 1.1 (XML or zip), and "
    "CVAT's Segmentation mask 1.1 (zip)"
)
_LONGEST = 4096  # of a path on any system
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image that is named in the file.

    Attributes:
        name: its path, as `plain_path` leaves it.
        read: what is annotated on it.
    """

    name: str
    read: Callable[[], Annotation]


@dataclass
class FoundAnnotations:
    """All of a file.

    Attributes:
        left_out: what marks no area, by kind.
        notes: whatever else a person should know, a sentence each.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def plain_path(name: str) -> str:
    """The path of an image as a tool wrote it, without what is no folder: `..\\a\\b.jpg` is `a/b.jpg`."""
    path = _DRIVE.sub("", name.replace("\\", "/"))[-_LONGEST:]
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def problem_of(sentence: str) -> Annotation:
    """Of an image whose annotation cannot be used."""
    return Annotation(problem=sentence)
