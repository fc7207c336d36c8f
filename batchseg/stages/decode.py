"""Decode: bytes at a URI -> a uint8 RGB image, or the status that says why not."""

from __future__ import annotations

from batchseg.config import Limits
from batchseg.errors import RowFault
from batchseg.images import decode_image
from batchseg.schema import Status
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.reader import image_reader


def decode(limits: Limits) -> Stage:
    """Read and decode every image."""
    reader = image_reader()

    def work(item: Item) -> None:
        size = item.row["size"] or 0
        if size > limits.max_bytes:
            raise RowFault(
                Status.TOO_LARGE, f"the file has {size:,} bytes; limits.max_bytes is {limits.max_bytes:,}"
            )
        item.image_HWC = decode_image(reader.read(item.row["uri"]), limits)
        height, width, _ = item.image_HWC.shape
        item.size_hw = (height, width)

    return for_each("decode", work)
