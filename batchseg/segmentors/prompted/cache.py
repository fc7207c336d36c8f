"""What was computed of an image or of a text, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

States = tuple[Tensor, ...]


class TensorCache:
    """The tensors that were asked for last, up to a number of bytes; the latest stay whatever their size."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0
        self._held: OrderedDict[Hashable, Sequence[States]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Sequence[States]]) -> Sequence[States]:
        """What is kept under a key, or what is made for it."""
        if key not in self._held:
            made = self._held[key] = make()
            self.held_bytes += _bytes(made)
        self._held.move_to_end(key)
        while self.held_bytes > self.most_bytes and len(self._held) > 1:
            self.held_bytes -= _bytes(self._held.popitem(last=False)[1])
        return self._held[key]


def _bytes(values: Sequence[States]) -> int:
    return sum(tensor.nbytes for states in values for tensor in states)
