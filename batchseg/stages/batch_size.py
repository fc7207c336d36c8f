"""How many images go into one model call: fixed, or found out from the first batches."""

from __future__ import annotations

import sys
from collections.abc import Callable

TRIES = 3  # batches of a size before it is judged, by the fastest: the first of a size also allocates
GAIN = 1.05  # a doubled batch that is not this much faster is not worth its memory
FULL = 0.8  # share of the device's memory


class BatchSize:
    """A size that doubles while that makes images go through faster, up to `most` or a device nearly full.

    Attributes:
        size: images in the next batch.
        used: how full the device is, 0 to 1.
    """

    def __init__(self, size: int, most: int | None = None, used: Callable[[], float] | None = None) -> None:
        self.size, self.most = size, most or size
        self.used = used or memory_share
        self.rates: list[float] = []
        self.before = 0.0

    def note(self, images: int, seconds: float) -> None:
        """What a batch took."""
        if self.size >= self.most or images != self.size:
            return
        self.rates.append(images / max(seconds, 1e-9))
        if len(self.rates) < TRIES:
            return
        rate, self.rates = max(self.rates), []
        if rate < self.before * GAIN:
            self.settle(self.size // 2)
        elif 2 * self.used() > FULL or 2 * self.size > self.most:
            self.settle(self.size)
        else:
            self.before, self.size = rate, 2 * self.size

    def settle(self, size: int) -> None:
        """Stay at this size, or below if it was smaller already."""
        self.size = self.most = max(1, min(self.size, size))


def memory_share() -> float:
    """How full the GPU of this process is, 0 to 1, by whoever uses it; 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return 1 - float(free) / float(total)
