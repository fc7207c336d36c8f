"""What names of classes say: in words, whether two mean the same, and whether one means a side."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SEPARATORS = re.compile(r"[\W_]+")
# leftArm -> left Arm, LArm -> L Arm
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SIDE = re.compile(r"(left|right)\d*|[lr]")
_QUALIFIERS = {"other", "merged", "stuff"}  # COCO-Stuff and COCO panoptic: wall-other-merged, door-stuff
_MERE_NUMBER = re.compile(r"((label|class|level)?\d+)?")  # such as LABEL_3, which transformers fills in


def fold_name(name: str) -> str:
    """What is left of a name without case and separators: `Traffic-Light` and `traffic light` are one."""
    return _SEPARATORS.sub("", name.casefold())


def spoken(name: str) -> str:
    """A name in words, without what data sets add to tell classes apart: `tree-merged` -> `tree`.

    `trafficLight` and `traffic_light` are `traffic light`; a name of nothing else, such as `other`, stays.
    """
    words = [word for word in _SEPARATORS.split(_CAMEL.sub(" ", name)) if word]
    return " ".join([word for word in words if word.casefold() not in _QUALIFIERS] or words)


def is_mere_number(folded: str) -> bool:
    """Whether a folded name says nothing of its class."""
    return _MERE_NUMBER.fullmatch(folded) is not None


def with_side(names: Sequence[str]) -> list[str]:
    """Those that have the word left or right, or l or r: `left_hand`, `hand-R`, `leftArm`; not `bright`.

    Where the words are not told apart, both sides must be there: `leftarm` and `rightarm`.
    """
    folded = {fold_name(name) for name in names}
    return [name for name in names if _has_side(name) or _mirrored(fold_name(name)) in folded]


def _has_side(name: str) -> bool:
    words = _SEPARATORS.split(_CAMEL.sub(" ", name))
    return any(_SIDE.fullmatch(word.casefold()) for word in words)


def _mirrored(folded: str) -> str | None:
    """The name of the other side; None where there is none in it."""
    one, other = ("left", "right") if "left" in folded else ("right", "left")
    return folded.replace(one, other, 1) if one in folded else None
