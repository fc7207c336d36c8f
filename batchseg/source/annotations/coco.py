"""COCO: instances and stuff as polygons or runs, and panoptic pictures.

https://cocodataset.org/#format-data. Several rings of an annotation are parts of it; later annotations lie on
top; a crowd is of its class. A million polygons of 30 corners take about 0.8 GB, since their corners are held
once, as numbers of 8 bytes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from batchseg.images.annotation import Annotation, AreaKind, MarkedArea, Size
from batchseg.source.annotations.found import AnnotatedImage, FoundAnnotations, plain_path, problem_of

Beside = Callable[[str], bytes]  # the file of a name in the folder that is called like the JSON


class _Area(NamedTuple):
    category: int | str
    kind: AreaKind
    data: bytes
    shape: tuple[int, ...]


@dataclass
class _Image:
    name: str
    hw: Size | None
    areas: list[_Area] = field(default_factory=list)
    picture: tuple[str, dict[int, int | str]] | None = None  # its file, and the category of each segment
    problem: str | None = None


@dataclass
class CocoFile:
    """What was read of the file so far; its parts come in any order."""

    images: dict[int | str, _Image] = field(default_factory=dict)
    categories: dict[int | str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def take(self, key: str, value: Any) -> None:
        """One element of a part of the file. Raises ValueError where it is damaged."""
        if key == "images":
            entry = _mapping(key, value)
            known = self.images.setdefault(_key(entry, "id", key), _Image("", None))
            if known.name:
                raise ValueError(f"two of its images have the id {entry['id']!r}")
            name = entry.get("file_name")
            if not isinstance(name, str) or not name:
                raise ValueError(f"its image {entry['id']!r} has no file_name")
            known.name, known.hw = plain_path(name), _size(entry)
        elif key == "categories":
            entry = _mapping(key, value)
            category = _key(entry, "id", key)
            self.categories[category] = str(entry.get("name") or category)
        elif key == "annotations":
            entry = _mapping(key, value)
            image = self.images.setdefault(_key(entry, "image_id", key), _Image("", None))
            try:
                self._annotate(image, entry)
            except (KeyError, TypeError, ValueError, OverflowError) as exc:
                reason = f"it has no {exc}" if isinstance(exc, KeyError) else str(exc)
                image.problem = image.problem or f"annotation {entry.get('id', '?')} is damaged: {reason}"

    def _annotate(self, image: _Image, entry: dict[str, Any]) -> None:
        if "segments_info" in entry:
            segments = [_mapping("segments_info", each) for each in entry["segments_info"]]
            found = {int(each["id"]): _key(each, "category_id", "segments_info") for each in segments}
            image.picture = str(entry.get("file_name")), found
            return
        read = _area_of(entry.get("segmentation"))
        if read is None:
            self.left_out["annotation without a segmentation"] += 1
        else:
            image.areas.append(_Area(_key(entry, "category_id", "annotations"), *read))

    def found(self, beside: Beside) -> FoundAnnotations:
        """All of it. Raises ValueError where no image is named."""
        lost = [image for image in self.images.values() if not image.name]
        if lost:
            self.left_out["annotation of images that the file does not list"] += sum(
                max(1, len(image.areas)) for image in lost
            )
        named = [image for image in self.images.values() if image.name]
        images = [AnnotatedImage(image.name, partial(self._read, image, beside)) for image in named]
        return FoundAnnotations(images, self.left_out)

    def _read(self, image: _Image, beside: Beside) -> Annotation:
        if image.problem is not None:
            return problem_of(image.problem)
        if image.hw is None:
            return problem_of("the file of the annotations does not tell the width and height of the image")
        used = [area.category for area in image.areas]
        used += image.picture[1].values() if image.picture else []
        if unknown := [each for each in used if each not in self.categories]:
            return problem_of(
                f"category {unknown[0]!r} of its annotation is not among the categories of the file"
            )
        if image.picture is not None:
            return self._panoptic(image.hw, *image.picture, beside)
        sizes = [area.shape for area in image.areas if area.kind in ("columns", "coco")]
        if other := next((size for size in sizes if size != image.hw), None):
            return problem_of(
                f"runs of its annotation are of {other[1]} x {other[0]} pixels, and the file says the image "
                f"is {image.hw[1]} x {image.hw[0]}"
            )
        return Annotation(image.hw, tuple(self._areas(image)))

    def _areas(self, image: _Image) -> Iterator[MarkedArea]:
        for area in image.areas:
            shape = area.shape if area.kind == "polygon" else ()
            yield MarkedArea(self.categories[area.category], area.kind, area.data, shape)

    def _panoptic(self, hw: Size, name: str, segments: dict[int, int | str], beside: Beside) -> Annotation:
        try:
            picture = beside(plain_path(name))
        except OSError as exc:
            return problem_of(f"the picture of its segments, {name}, cannot be read: {exc.strerror or exc}")
        classes = {_colour(segment): self.categories[category] for segment, category in segments.items()}
        return Annotation(hw, picture=picture, colours={0: None, **classes})


def _area_of(segmentation: Any) -> tuple[AreaKind, bytes, tuple[int, ...]] | None:
    """None where there is no area. Raises KeyError, TypeError, ValueError and OverflowError."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        height, width = (int(side) for side in segmentation["size"])
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return "coco", counts.encode("ascii"), (height, width)
        return "columns", array("I", counts).tobytes(), (height, width)
    if not isinstance(segmentation, list):
        raise ValueError("its segmentation is neither polygons nor runs")
    rings = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if any(len(ring) % 2 for ring in rings):
        raise ValueError("its polygon has an x without a y")
    corners = array("d", rings[0] if len(rings) == 1 else [*chain.from_iterable(rings)])
    return "polygon", corners.tobytes(), tuple(len(ring) // 2 for ring in rings)


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"its {key} hold {value!r:.40}, which is no object")
    return value


def _key(entry: dict[str, Any], name: str, part: str) -> int | str:
    value = entry.get(name)
    if not isinstance(value, int | str):
        raise ValueError(f"one of its {part} has no {name}")
    return value


def _size(entry: dict[str, Any]) -> Size | None:
    height, width = entry.get("height"), entry.get("width")
    if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
        return None
    return height, width


def _colour(segment: int) -> int:
    """Of the id of a segment, as 0xrrggbb: red is the lowest byte of the id."""
    red, green, blue = segment & 255, segment >> 8 & 255, segment >> 16 & 255
    return red << 16 | green << 8 | blue
