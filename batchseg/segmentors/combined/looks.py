"""What the models see of a picture: whole or in windows, mirrored, in several sizes; each is an input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchseg.config.bands import BlackWhite
from batchseg.config.looks import Tiling, Views
from batchseg.errors import ConfigError
from batchseg.images.raster import Area
from batchseg.segmentors.base import Checkpoint, ModelInput, Preparer, Resizer
from batchseg.segmentors.combined.canvas import Canvas, Whole, WindowGrid
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.combined.windows import cut, seen_by, windows_along

Size = tuple[int, int]
_ONE_VIEW = Views()
_STEP = 32  # sizes of input are whole multiples of it: so deep networks halve evenly


class Picture(NamedTuple):
    """Pixels [H, W, C] in the type they are stored in, with black and white of each band; None: 0 and 255."""

    pixels_HWC: NDArray[Any]
    scale: tuple[BlackWhite, ...] | None = None


class Look(NamedTuple):
    """One input to one member: which window it is of, and how it was mirrored."""

    window: int
    number: int
    member: int
    flip: str
    model_input: ModelInput


@dataclass(frozen=True)
class Looks:
    """How the members look at a picture.

    Attributes:
        preparers: of each member, as its checkpoint asks for.
        as_is: of each member, without resizing.
    """

    preparers: Sequence[Preparer]
    as_is: Sequence[Preparer]
    decision: Decision
    tiling: Tiling | None = None
    views: Views = _ONE_VIEW

    @classmethod
    def of(
        cls, members: Sequence[Checkpoint], decision: Decision, tiling: Tiling | None, views: Views
    ) -> Looks:
        """Raises ConfigError where a member reads one size alone, and views ask for others."""
        looks = cls(
            [member.preparer() for member in members],
            [member.preparer(as_is=True) for member in members],
            decision,
            tiling,
            views,
        )
        for preparer in looks.as_is:
            if views.scales != (1.0,) and _sized(preparer, (64, 96)) != (64, 96):
                raise ConfigError("views.scales: the model reads pictures of one size alone; leave it out")
        return looks

    @property
    def is_plain(self) -> bool:
        """Whether one model sees each picture once, as a whole."""
        return len(self.preparers) == 1 and self.tiling is None and self.views.count == 1 and self._unscaled

    @property
    def _unscaled(self) -> bool:
        return self.views.scales == (1.0,)

    def canvas(
        self,
        picture_hw: Size,
        part: Area | None = None,
        nodata_HW: NDArray[np.bool_] | None = None,
        *,
        probing: bool = True,
    ) -> Canvas:
        """For a picture, or a part of one, which has no data somewhere.

        Args:
            probing: whether probes are taken of it.
        """
        decision = replace(self.decision, probing=probing)
        area = part or Area(0, 0, *picture_hw)
        looks = len(self.preparers) * self.views.count
        if self.tiling is None:
            return Whole(area, decision, looks, nodata_HW)
        from batchseg.segmentors.combined.mosaic import Mosaic

        windows = WindowGrid(*self._starts(picture_hw, area), self.tiling.window, self.tiling.blend)
        return Mosaic(area, decision, looks, windows, picture_hw=picture_hw, nodata_HW=nodata_HW)

    def inputs(self, picture: Picture, picture_hw: Size, part: Area | None = None) -> Iterator[Look]:
        """Every input of a picture, window by window, each made when it is asked for.

        Args:
            picture: the pixels of the picture, or of one with a `part` what is `seen_by` its windows.
        """
        if self.tiling is None:
            yield from self._of_window(0, picture)
            return
        area = part or Area(0, 0, *picture_hw)
        seen = seen_by(picture_hw, area, self.tiling)
        tops, lefts = self._starts(picture_hw, area)
        side = self.tiling.window
        for number, (top, left) in enumerate((top, left) for top in tops for left in lefts):
            window_HWC = cut(picture.pixels_HWC, Area(top, left, side, side), seen, picture_hw)
            yield from self._of_window(number, Picture(window_HWC, picture.scale))

    def _starts(self, picture_hw: Size, area: Area) -> tuple[list[int], list[int]]:
        assert self.tiling is not None
        return (
            windows_along(picture_hw[0], self.tiling, area.top, area.top + area.height),
            windows_along(picture_hw[1], self.tiling, area.left, area.left + area.width),
        )

    def _of_window(self, window: int, seen: Picture) -> Iterator[Look]:
        number = 0
        for member in range(len(self.preparers)):
            for scale in self.views.scales:
                for flip in self.views.flips:
                    prepared = self._prepared(member, _mirrored(seen, flip), scale)
                    yield Look(window, number, member, flip, prepared)
                    number += 1

    def _prepared(self, member: int, seen: Picture, scale: float) -> ModelInput:
        height, width = seen.pixels_HWC.shape[:2]
        size = self._input_size(member, (height, width), scale)
        return (
            self.preparers[member](*seen)
            if size is None
            else self.as_is[member](*resized_picture(seen, size))
        )

    def _input_size(self, member: int, window_hw: Size, scale: float) -> Size | None:
        """Of the input; None where the member's own preparer finds it."""
        if self.tiling is not None:
            side = max(1, round(self.tiling.size * scale))
            return side, side
        if scale == 1.0:
            return None
        height, width = _sized(self.preparers[member], window_hw)
        return _rounded(height * scale), _rounded(width * scale)


def _sized(preparer: Preparer, hw: Size) -> Size:
    return preparer.input_hw(hw) if isinstance(preparer, Resizer) else hw


def _rounded(length: float) -> int:
    return max(1, round(length / _STEP)) * _STEP


def _mirrored(seen: Picture, flip: str) -> Picture:
    if not flip:
        return seen
    rows, columns = (slice(None, None, -1 if axis in flip else 1) for axis in "vh")
    return Picture(np.ascontiguousarray(seen.pixels_HWC[rows, columns]), seen.scale)


def resized_picture(seen: Picture, size: Size) -> Picture:
    """By bilinear interpolation, without aliasing where it becomes smaller.

    What has a scale is scaled before, as in the models' own preparers.
    """
    if seen.pixels_HWC.shape[:2] == size:
        return seen
    import torch
    from torchvision.transforms.v2 import functional

    from batchseg.segmentors.network.levels import scaled_pixels

    pixels_HWC = torch.from_numpy(np.require(seen.pixels_HWC, requirements="W"))
    if seen.scale is not None:
        pixels_HWC = scaled_pixels(pixels_HWC[None], [seen.scale])[0]
    resized_CHW = functional.resize(pixels_HWC.permute(2, 0, 1), [*size], antialias=True)
    return Picture(resized_CHW.permute(1, 2, 0).contiguous().numpy(), None)
