"""CVAT: "CVAT for images 1.1", which is XML, and "Segmentation mask 1.1", pictures with a table of colours.

https://docs.cvat.ai/docs/manual/advanced/formats/. Areas lie on top of each other by their z_order, and of
one z_order later ones on top.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO
from xml.parsers import expat

from batchseg.images.annotation import Annotation, MarkedArea
from batchseg.source.annotations.found import AnnotatedImage, FoundAnnotations, plain_path, problem_of
from batchseg.source.annotations.outlines import ellipse, outlined, turned_box

_PIECE = 2**20
_NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
Attributes = dict[str, str]


def read_cvat_xml(file: BinaryIO) -> FoundAnnotations:
    """All of an XML file. Raises ValueError where it is none of CVAT's for images."""
    reader, parser = _Elements(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        while data := file.read(_PIECE):
            parser.Parse(data, False)
        parser.Parse(b"", True)
    except expat.ExpatError as exc:
        raise ValueError(f"its XML is damaged: {exc}") from exc
    images = [AnnotatedImage(image.name, partial(_read, image)) for image in reader.images]
    return FoundAnnotations(images, reader.left_out)


@dataclass
class _Image:
    name: str
    attributes: Attributes
    areas: list[tuple[int, MarkedArea]] = field(default_factory=list)
    problem: str | None = None


@dataclass
class _Elements:
    """What the elements of the file say, in their order."""

    images: list[_Image] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    image: _Image | None = None

    def start(self, tag: str, attributes: Attributes) -> None:
        self.depth += 1
        if self.depth == 1 and tag != "annotations":
            raise ValueError(f"it is XML of <{tag}>, and CVAT's begins with <annotations>")
        if self.depth == 2 and tag == "track":
            raise ValueError('it is "CVAT for video"; export "CVAT for images 1.1"')
        if self.depth == 2 and tag == "image":
            self.image = _Image(plain_path(attributes.get("name", "")), attributes)
            if not self.image.name:
                raise ValueError(f"its image {attributes.get('id', '?')} has no name")
            self.images.append(self.image)
        elif self.depth == 3 and self.image is not None:
            self._mark(self.image, tag, attributes)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if self.depth == 1:
            self.image = None

    def _mark(self, image: _Image, tag: str, attributes: Attributes) -> None:
        read = _AREAS.get(tag)
        if read is None:
            self.left_out[tag] += 1
            return
        try:
            area = read(attributes["label"], attributes)
            image.areas.append((int(attributes.get("z_order") or 0), area))
        except (KeyError, ValueError, OverflowError) as exc:
            reason = f"it has no {exc}" if isinstance(exc, KeyError) else str(exc)
            image.problem = image.problem or f"a <{tag}> of its annotation is damaged: {reason}"


def _refuse_doctype(*_: Any) -> None:
    raise ValueError("its XML declares entities or a document type, which CVAT's does not")


def _read(image: _Image) -> Annotation:
    if image.problem is not None:
        return problem_of(image.problem)
    sides = [image.attributes.get(name, "") for name in ("height", "width")]
    if not all(side.isdecimal() and int(side) for side in sides):
        return problem_of("the file of the annotations does not tell the width and height of the image")
    ordered = sorted(image.areas, key=lambda each: each[0])  # stable
    return Annotation((int(sides[0]), int(sides[1])), tuple(area for _, area in ordered))


def _polygon(label: str, given: Attributes) -> MarkedArea:
    corners = [pair.split(",") for pair in given["points"].split(";") if pair.strip()]
    return outlined(label, [(float(x), float(y)) for x, y in corners])


def _box(label: str, given: Attributes) -> MarkedArea:
    left, top, right, bottom = (float(given[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    centre = (left + right) / 2, (top + bottom) / 2
    turned = float(given.get("rotation") or 0)
    return outlined(label, turned_box((left, top), (right - left, bottom - top), turned, about=centre))


def _ellipse(label: str, given: Attributes) -> MarkedArea:
    x, y, across, down = (float(given[name]) for name in ("cx", "cy", "rx", "ry"))
    return outlined(label, ellipse((x, y), (across, down), float(given.get("rotation") or 0)))


def _mask(label: str, given: Attributes) -> MarkedArea:
    counts = array("I", [int(count) for count in given["rle"].split(",")])
    left, top, width, height = (int(float(given[name])) for name in ("left", "top", "width", "height"))
    return MarkedArea(label, "box", counts.tobytes(), (left, top, width, height))


_AREAS: dict[str, Callable[[str, Attributes], MarkedArea]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def read_colours(text: str) -> dict[int, str]:
    """The class of each colour, as 0xrrggbb, from a labelmap.txt. Raises ValueError where it is none."""
    colours: dict[int, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, *fields = line.rsplit(":", 3)
        parts = fields[0].split(",") if len(fields) == 3 else []
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
            raise ValueError(f"its labelmap.txt has the line {line!r}, not NAME:R,G,B:PARTS:ACTIONS")
        red, green, blue = map(int, parts)
        code = red << 16 | green << 8 | blue
        if code in colours:
            raise ValueError(f"its labelmap.txt gives {colours[code]!r} and {name!r} one colour, {fields[0]}")
        colours[code] = name
    if not colours:
        raise ValueError("its labelmap.txt names no class")
    return colours
