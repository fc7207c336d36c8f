"""What size an image processor brings its images to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InputSize:
    """The rule of an image processor, without the processor.

    Attributes:
        height, width: of every input; 0 where it depends on the image.
        shortest, longest: what the sides are scaled to, 0 for not at all.
        step: sides are multiples of it.
    """

    height: int = 0
    width: int = 0
    shortest: int = 0
    longest: int = 0
    step: int = 1

    @classmethod
    def of(cls, resizes: bool, of_size: Callable[[str], Any], step: int | None) -> InputSize:
        """By a processor's `do_resize`, its `size`, key by key, and its `size_divisor`."""
        if not resizes:
            return cls()
        keys = ("height", "width", "shortest_edge", "longest_edge")
        height, width, shortest, longest = (of_size(key) or 0 for key in keys)
        return cls(height, width, shortest, longest, step or 1)

    @classmethod
    def stated(cls, content: dict[str, Any]) -> InputSize | None:
        """By the file of a processor; None where that leaves it to the library's defaults."""
        size, resizes = content.get("size"), content.get("do_resize")
        if resizes is False:
            return cls()
        if resizes is not True or not isinstance(size, dict) or "max_size" in content:
            return None
        return cls.of(True, size.get, content.get("size_divisor"))

    def input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """That of the image where the processor does not resize, or by a rule not known here."""
        if self.height and self.width:
            return self.height, self.width
        if not self.shortest:
            return image_hw
        scale = self.shortest / min(image_hw)
        if self.longest:
            scale = min(scale, self.longest / max(image_hw))
        height, width = (math.ceil(max(1, round(side * scale)) / self.step) * self.step for side in image_hw)
        return height, width
