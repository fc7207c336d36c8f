"""Label Studio: tasks with brushes, polygons, rectangles and ellipses, as JSON or JSON-MIN.

https://labelstud.io/guide/export. Places are percent of the image, and pixels are what the size of the image
makes of them. Of a task's annotations the latest that is marked as ground truth counts, else the latest; a
cancelled one never, and neither do predictions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from batchseg.config.source import IMAGE_SUFFIXES
from batchseg.images.annotation import Annotation, MarkedArea, Size
from batchseg.source.annotations.found import AnnotatedImage, FoundAnnotations, plain_path, problem_of
from batchseg.source.annotations.outlines import ellipse, outlined, turned_box

_UPLOAD = re.compile(r"(?:^|/)upload/(?:\d+/)?[0-9a-f]{8}-")
_USUAL = "image"
_ESCAPED = ("/data/", "http://", "https://")  # of others all is the name
Regions = Sequence[dict[str, Any]]


@dataclass
class LabelStudioFile:
    """What was read of the file so far, task by task."""

    images: list[AnnotatedImage] = field(default_factory=list)
    minimal: dict[str, tuple[str, Regions]] = field(default_factory=dict)  # when, and what, by image
    left_out: Counter[str] = field(default_factory=Counter)
    several: int = 0
    unlabelled: int = 0
    sizeless: int = 0

    def take(self, value: Any) -> None:
        """One element of the list. Raises ValueError where it is no task."""
        try:
            self._take(value)
        except (AttributeError, KeyError, TypeError, OverflowError) as exc:
            raise ValueError(f"one of its tasks is not as Label Studio writes it ({exc})") from exc

    def _take(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("it is a list of what are no objects")
        if "image_id" in value and "category_id" in value:
            raise ValueError(
                "it looks like results of COCO, which do not name their images; give the annotations with "
                "`images` and `categories`"
            )
        given = value.get("annotations", value.get("predictions"))
        if isinstance(value.get("data"), dict) and isinstance(given, list):
            self._take_task(value)
        elif (name := _image_of(value)) is not None:
            self._take_minimal(value, name)
        else:
            raise ValueError("its elements are no tasks of Label Studio")

    def _take_task(self, task: dict[str, Any]) -> None:
        name = _image_of(task["data"])
        if name is None:
            raise ValueError(f"its task {task.get('id', '?')!r} does not say which of its data is the image")
        valid = [each for each in task.get("annotations", ()) if not each.get("was_cancelled")]
        chosen = [each for each in valid if each.get("ground_truth")] or valid
        self.several += len(valid) > 1
        if not chosen:
            self.unlabelled += 1
            return
        latest = max(chosen, key=lambda each: (_when(each), str(each.get("id", "")).zfill(20)))
        guesses = [each for guess in task.get("predictions") or [] for each in _results(guess)]
        self._add(_path(name), _results(latest), guesses)

    def _take_minimal(self, row: dict[str, Any], name: str) -> None:
        path, when = _path(name), _when(row)
        values = [value for value in row.values() if isinstance(value, list)]
        regions = [{"value": each, **each} for value in values for each in value if isinstance(each, dict)]
        before = self.minimal.get(path)
        self.several += before is not None
        if before is None or when > before[0]:
            self.minimal[path] = when, regions

    def found(self) -> FoundAnnotations:
        """All of it."""
        for path, (_, regions) in self.minimal.items():
            self._add(path, regions, ())
        notes = []
        if self.several:
            notes.append(
                f"{_tasks(self.several)} several annotations, of which the latest ground truth counts, or "
                "else the latest"
            )
        if self.unlabelled:
            notes.append(f"{_tasks(self.unlabelled)} no annotation, and no truth here")
        if self.sizeless:
            notes.append(
                f"{_tasks(self.sizeless)} an annotation without any region; the export does not tell the "
                "size of such images, so they have no truth here"
            )
        return FoundAnnotations(self.images, self.left_out, notes)

    def _add(self, path: str, regions: Regions, guesses: Regions) -> None:
        try:
            hw = _size(regions) or _size(guesses)
            if hw is None:
                self.sizeless += 1
                return
            annotation = Annotation(hw, tuple(self._areas(regions, hw)))
        except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as exc:
            reason = f"it has no {exc}" if isinstance(exc, KeyError) else str(exc)
            annotation = problem_of(f"a region of its annotation is damaged: {reason}")
        self.images.append(AnnotatedImage(path, lambda: annotation))

    def _areas(self, regions: Regions, hw: Size) -> Iterator[MarkedArea]:
        labelled = {each.get("id") for each in regions if _labels(each)}
        for region in regions:
            labels = _labels(region)
            area = None if not labels else _area_of(labels[0], region, hw)
            if area is not None:
                if len(labels) > 1:
                    raise ValueError(f"it has two labels, {labels[0]!r} and {labels[1]!r}")
                yield area
            elif labels or region.get("id") not in labelled:
                kind = str(region.get("type") or "region")
                self.left_out[kind if labels else f"{kind} without a label"] += 1


def _area_of(label: str, region: dict[str, Any], hw: Size) -> MarkedArea | None:
    """None where it is no area. Raises ValueError, TypeError, KeyError."""
    value, (height, width) = region["value"], hw
    is_area = "rle" in value or "points" in value or "radiusX" in value or {"width", "height"} <= {*value}
    if is_area and region.get("image_rotation"):
        raise ValueError("it was drawn on the turned image; turn the image itself, and label that")
    if is_area and region.get("item_index"):
        raise ValueError("its task has several images")
    if "imageDataURL" in value:
        raise ValueError("it is of a BitMask, which is not read; draw it with BrushLabels")
    if "rle" in value:
        return MarkedArea(label, "brush", bytes(value["rle"]))
    if "points" in value:
        corners = [(x * width / 100, y * height / 100) for x, y in value["points"]]
    elif "radiusX" in value:
        radii = value["radiusX"] * width / 100, value["radiusY"] * height / 100
        centre = value["x"] * width / 100, value["y"] * height / 100
        corners = ellipse(centre, radii, value.get("rotation") or 0)
    elif {"x", "y", "width", "height"} <= {*value}:
        left, top = value["x"] * width / 100, value["y"] * height / 100
        size = value["width"] * width / 100, value["height"] * height / 100
        corners = turned_box((left, top), size, value.get("rotation") or 0, about=(left, top))
    else:
        return None
    return outlined(label, corners)


def _labels(region: dict[str, Any]) -> list[str]:
    value = region.get("value")
    if not isinstance(value, dict):
        return []
    given = [names for key, names in value.items() if key.endswith("labels") and names]
    return [str(name) for names in given for name in ([names] if isinstance(names, str) else names)]


def _results(annotation: dict[str, Any]) -> Regions:
    return [each for each in annotation.get("result") or [] if isinstance(each, dict) and "value" in each]


def _size(regions: Regions) -> Size | None:
    """Raises ValueError where regions are of two sizes."""
    sizes = {
        (int(each["original_height"]), int(each["original_width"]))
        for each in regions
        if each.get("original_height") and each.get("original_width")
    }
    if len(sizes) > 1:
        raise ValueError("some of its regions are of another size of the image than others")
    return next(iter(sizes), None)


def _image_of(data: dict[str, Any]) -> str | None:
    """The value that names the image: the one called so, or the only one that ends as images do."""
    usual = data.get(_USUAL)
    if isinstance(usual, str):
        return usual
    named = {value for value in data.values() if isinstance(value, str) and _ends_as_image(value)}
    return next(iter(named)) if len(named) == 1 else None


def _ends_as_image(text: str) -> bool:
    return _path(text).lower().endswith(IMAGE_SUFFIXES)


def _path(uri: str) -> str:
    """Of the image that a task names: of an upload its own name, of local files what follows `?d=`."""
    if uri.startswith("data:"):
        return "an image inside its task"
    if not uri.startswith(_ESCAPED):
        return plain_path(uri.partition("://")[2] or uri)
    parts = urlsplit(uri)
    local = parse_qs(parts.query).get("d")
    path = local[0] if local else unquote(parts.path)
    upload = _UPLOAD.search(path)
    return plain_path(path[upload.end() :] if upload else path)


def _when(annotation: dict[str, Any]) -> str:
    value = annotation.get("updated_at") or annotation.get("created_at") or ""
    return f"{value:020}" if isinstance(value, int) else str(value)


def _tasks(count: int) -> str:
    return f"{count:,} tasks have" if count > 1 else "1 task has"
