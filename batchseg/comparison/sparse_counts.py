"""Four numbers of pixels for every image and every class that occurs in it: 40 bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.metrics.class_sums import ClassSums

CORRECT, SUPPORT, PREDICTED, AREA = range(4)
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class SparseCounts:
    """The images are numbered; class C stands for where a mask abstains, and has an area only.

    Attributes:
        images: how many there are; one without entries counts nothing.
        image, label: [E], ascending by image.
        pixels: int64 [E, 4]: with truth predicted rightly, true, predicted; and the whole area predicted.
    """

    images: int
    num_classes: int
    image: Integers
    label: Integers
    pixels: NDArray[np.int64]

    @classmethod
    def from_entries(
        cls,
        image: Integers,
        truth: Integers,
        predicted: Integers,
        pixels: Integers,
        shape: tuple[int, int],
    ) -> SparseCounts:
        """Count entries, [P] each, class ids -1 for none; `shape` is the number of images and of classes."""
        images, num_classes = shape
        side = num_classes + 1
        true = truth >= 0
        right = true & (truth == predicted)
        first = image.astype(np.int64) * side
        codes = np.concatenate(
            [first[true] + truth[true], first + np.where(predicted < 0, num_classes, predicted)]
        )
        found, places = np.unique(codes, return_inverse=True)
        at_truth, at_predicted = np.split(places, [np.count_nonzero(true)])
        counts = np.zeros((len(found), 4), np.int64)
        np.add.at(counts[:, CORRECT], at_predicted[right], pixels[right])
        np.add.at(counts[:, SUPPORT], at_truth, pixels[true])
        np.add.at(counts[:, PREDICTED], at_predicted[true], pixels[true])
        np.add.at(counts[:, AREA], at_predicted, pixels)
        return cls(
            images,
            num_classes,
            (found // side).astype(np.int32),
            (found % side).astype(np.int32),
            counts,
        )

    @classmethod
    def chained(cls, parts: Sequence[SparseCounts], num_classes: int) -> SparseCounts:
        """The images of all parts, one part after the other."""
        starts = np.cumsum([0, *(part.images for part in parts)])
        moved = [part.image + np.int32(start) for part, start in zip(parts, starts[:-1], strict=True)]
        return cls(
            int(starts[-1]),
            num_classes,
            np.concatenate([np.empty(0, np.int32), *moved]),
            np.concatenate([np.empty(0, np.int32), *(part.label for part in parts)]),
            np.concatenate([np.empty((0, 4), np.int64), *(part.pixels for part in parts)]),
        )

    def take(self, order: Integers) -> SparseCounts:
        """Some of the images, each at most once, in a new order."""
        places = np.full(self.images, -1, np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        moved = places[self.image]
        kept = np.flatnonzero(moved >= 0)
        kept = kept[np.argsort(moved[kept], kind="stable")]
        return SparseCounts(len(order), self.num_classes, moved[kept], self.label[kept], self.pixels[kept])

    def dense(self, start: int, stop: int) -> NDArray[np.float64]:
        """The images from `start` to before `stop`, [N, C+1, 4]; numbers below 2**53, so exact."""
        first, last = np.searchsorted(self.image, [start, stop])
        block = np.zeros((min(stop, self.images) - start, self.num_classes + 1, 4))
        entries = slice(first, last)
        block[self.image[entries] - start, self.label[entries]] = self.pixels[entries]
        return block

    def total(self) -> NDArray[np.int64]:
        """The sum over all images, [C+1, 4]."""
        total = np.zeros((self.num_classes + 1, 4), np.int64)
        np.add.at(total, self.label, self.pixels)
        return total


def class_sums(counts: NDArray[Any]) -> ClassSums:
    """The classes of [..., C+1, 4]: without the place of what abstains, which is no class."""
    classes = counts[..., :-1, :]
    return ClassSums(classes[..., CORRECT], classes[..., SUPPORT], classes[..., PREDICTED])
