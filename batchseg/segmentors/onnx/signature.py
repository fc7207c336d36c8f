"""What a network reads and gives: from its own shapes, and from what is said of it."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any, Literal

from batchseg.config.foreign import OnnxDescription
from batchseg.errors import ModelError

TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_BYTES = {"tensor(uint8)": "uint8"}
_WHOLE = ("tensor(int64)", "tensor(int32)", "tensor(uint8)", "tensor(int8)", "tensor(int16)", "tensor(bool)")
_WHOLE_TOO = ("tensor(uint16)", "tensor(uint32)", "tensor(uint64)")
_NAMES = ("names", "class_names", "classes", "labels", "id2label")  # in the metadata of exporters
_MOST_CHANNELS = 32
_USUAL_CHANNELS = (1, 3, 4)
_IMAGES, _MAPS = 4, 3  # dimensions
_PAIR = 2


@dataclass(frozen=True)
class Signature:
    """How a network is fed, and how its answer is read.

    Attributes:
        feed: name of the input, `dtype` its type as numpy calls it.
        channels: of the images that it reads.
        batch: how many images it reads at once; None: any number.
        size: height and width that images are brought to; None: any.
        is_fixed: the network reads that size alone.
        is_nhwc: channels come last.
        is_reversed: the first channel of an image is the last of the input: BGR of RGB.
        multiple: what the sides of the input are padded to multiples of.
        output: name of the output.
        scores: what it holds.
        class_axis: which of its dimensions are the classes; None: it has none.
        maps: how many it holds: 1 where a single one is told from the background.
        classes: their names.
    """

    feed: str
    dtype: str
    channels: int
    batch: int | None
    size: tuple[int, int] | None
    is_fixed: bool
    is_nhwc: bool
    is_reversed: bool
    multiple: int
    output: str
    scores: Literal["logits", "probabilities", "labels"]
    class_axis: int | None
    maps: int
    classes: tuple[str, ...]

    @classmethod
    def of(cls, session: Any, said: OnnxDescription, name: str) -> Signature:
        """Raises ModelError where the network is none that segments images, or too little is said of it."""
        inputs = session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(each.name for each in inputs)
            raise ModelError(
                f"{name} has {len(inputs)} inputs ({names}), and only networks of one can be fed; export it "
                "with the others as constants"
            )
        feed = inputs[0]
        dtype = {**TYPES, **_BYTES}.get(feed.type)
        if dtype is None:
            raise ModelError(
                f"{name}: its input {feed.name} is a {feed.type}, and pixels can be given as "
                f"{', '.join((*TYPES.values(), *_BYTES.values()))}; export it with one of these"
            )
        if len(feed.shape) != _IMAGES:
            raise ModelError(
                f"{name}: its input {feed.name} has the shape {_shown(feed.shape)}, and batches of images "
                "have four dimensions, such as [batch, 3, height, width]"
            )
        is_nhwc = _is_nhwc(feed.shape, said, name)
        channels = _known(feed.shape[3 if is_nhwc else 1]) or max(len(said.mean or ()), _USUAL_CHANNELS[1])
        size, is_fixed = _size(feed.shape[1:3] if is_nhwc else feed.shape[2:], said, name)
        output = _output(session, said, name)
        scores = _scores(output, said, name)
        classes = said.classes or _names_in(session.get_modelmeta().custom_metadata_map)
        axis, maps = _maps(output, scores, classes, is_nhwc, name)
        count = _known(feed.shape[0])
        if count is not None and _known(output.shape[0]) not in (None, count):
            raise ModelError(
                f"{name}: its output {output.name} has the shape {_shown(output.shape)}, and the network "
                f"reads {count} image{'' if count == 1 else 's'} at once; its first dimension must be that"
            )
        return cls(
            *(feed.name, dtype, channels, count, size, is_fixed, is_nhwc),
            said.channel_order == "BGR",
            *(said.multiple or 1, output.name, scores, axis, maps, classes),
        )

    @property
    def facts(self) -> list[Any]:
        """All that is said of the network and changes a mask."""
        return [
            *(self.size, self.is_nhwc, self.is_reversed, self.multiple),
            *(self.output, self.scores, self.classes),
        ]


def _known(dimension: Any) -> int | None:
    """The dimension where it is fixed; exporters write names, or -1, where it is not."""
    return dimension if isinstance(dimension, int) and dimension > 0 else None


def _shown(shape: Any) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _is_nhwc(shape: Any, said: OnnxDescription, name: str) -> bool:
    if said.layout is not None:
        return said.layout == "NHWC"
    first, last = (_known(shape[axis]) for axis in (1, 3))
    for likely in (range(1, _MOST_CHANNELS + 1), _USUAL_CHANNELS):
        is_first, is_last = first in likely, last in likely
        if is_first != is_last:
            return is_last
    raise ModelError(
        f"{name}: its input has the shape {_shown(shape)}, which does not tell where the channels are; say "
        "layout: NCHW or NHWC"
    )


def _size(sides: Any, said: OnnxDescription, name: str) -> tuple[tuple[int, int] | None, bool]:
    height, width = map(_known, sides)
    fixed = (height, width) if height is not None and width is not None else None
    if said.size is not None:
        if any(known not in (None, side) for known, side in zip((height, width), said.size, strict=True)):
            raise ModelError(
                f"{name}: size says {said.size[0]} x {said.size[1]}, and the network was exported for "
                f"{_shown(sides)}; leave size out, or export it anew"
            )
    elif fixed is None and (height, width) != (None, None):
        raise ModelError(f"{name}: the sides of its input are {_shown(sides)}; say size: [HEIGHT, WIDTH]")
    size = said.size or fixed
    multiple = said.multiple or 1
    if fixed is not None and any(side % multiple for side in fixed):
        raise ModelError(
            f"{name}: multiple says {multiple}, and the network was exported for {_shown(fixed)}; leave it "
            "out"
        )
    return size, fixed is not None


def _output(session: Any, said: OnnxDescription, name: str) -> Any:
    outputs = {each.name: each for each in session.get_outputs()}
    names = ", ".join(outputs)
    if said.output is not None:
        if said.output not in outputs:
            raise ModelError(f"{name}: there is no output {said.output}; there is {names}")
        return outputs[said.output]
    if len(outputs) > 1:
        first = next(iter(outputs))
        raise ModelError(f"{name} has the outputs {names}; say which one to take: output: {first}")
    return next(iter(outputs.values()))


def _scores(output: Any, said: OnnxDescription, name: str) -> Literal["logits", "probabilities", "labels"]:
    is_whole = output.type in (*_WHOLE, *_WHOLE_TOO)
    if not is_whole and output.type not in TYPES:
        raise ModelError(
            f"{name}: its output {output.name} is a {output.type}, which are no scores or class ids"
        )
    if is_whole and said.scores in ("logits", "probabilities"):
        raise ModelError(
            f"{name}: its output {output.name} holds whole numbers, which are class ids; leave scores out"
        )
    if is_whole:
        return "labels"
    if said.scores is None:
        raise ModelError(
            f"{name} does not say what its output {output.name} is; say scores: logits (before a softmax or "
            "sigmoid), probabilities (after it) or labels (class ids), in a YAML file beside it or as "
            "segmentor.scores"
        )
    return said.scores


def _maps(
    output: Any, scores: str, classes: tuple[str, ...], is_nhwc: bool, name: str
) -> tuple[int | None, int]:
    """The dimension of the classes, and how many maps there are."""
    shape = output.shape
    if len(shape) not in (_MAPS, _IMAGES):
        raise ModelError(
            f"{name}: its output {output.name} has the shape {_shown(shape)}, and maps of classes have "
            "three or four dimensions, such as [batch, classes, height, width]"
        )
    preferred = 3 if is_nhwc else 1
    axes = (preferred, 4 - preferred) if len(shape) == _IMAGES else ()
    if not classes:
        known = next((_known(shape[axis]) for axis in axes if scores != "labels"), None)
        which = f"{known} classes" if known else "classes"
        raise ModelError(
            f"{name} does not say what its {which} are called; name them in the order "
            "of its output (classes: background, ...), in a YAML file beside it or as "
            "segmentor.classes"
        )
    wanted = (1,) if scores == "labels" else (len(classes), *((1,) if len(classes) == _PAIR else ()))
    if not axes:
        if 1 not in wanted:
            raise ModelError(
                f"{name}: its output {output.name} has the shape {_shown(shape)}, a single map, and "
                f"{len(classes)} classes are named; name background and the class"
            )
        return None, 1
    for axis in axes:
        if _known(shape[axis]) in wanted:
            return axis, int(shape[axis])
    if _known(shape[preferred]) is None:
        return preferred, wanted[0]
    raise ModelError(
        f"{name}: its output {output.name} has the shape {_shown(shape)}, {_but(scores, classes)}"
    )


def _but(scores: str, classes: tuple[str, ...]) -> str:
    """What is said of a network and does not fit its shape."""
    if scores == "labels":
        return "and class ids (scores: labels) are a single map; say what it holds, logits or probabilities"
    named = ", ".join(classes[:_MAPS]) + (", ..." if len(classes) > _MAPS else "")
    return f"and {len(classes)} classes are named ({named}); name as many as there are"


def _names_in(metadata: dict[str, str]) -> tuple[str, ...]:
    """The names of the classes where an exporter left them: a list, or ids with their names."""
    for key in _NAMES:
        names = _listed(metadata.get(key, ""))
        if len(names) > 1 and len({name.casefold() for name in names}) == len(names):
            return names
    return ()


def _listed(text: str) -> tuple[str, ...]:
    value: Any = None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if isinstance(value, dict):
        by_id = {str(key): name for key, name in value.items()}
        value = [by_id.get(str(index)) for index in range(len(by_id))]
    if value is None and "," in text:
        value = [part.strip() for part in text.split(",")]
    is_list = isinstance(value, list | tuple)
    return tuple(value) if is_list and all(isinstance(each, str) and each.strip() for each in value) else ()
