"""Model inputs on their way to the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from batchseg.segmentors.base import ModelInput


def to_device(inputs: Sequence[ModelInput], device: torch.device) -> Tensor:
    """The crops of all inputs, [B * T, H, W, C] in their own type, on the device: of uint8 a quarter of the
    bytes of float32. Where types are mixed, the widest of them, which holds the values of all.

    On a GPU they go through pinned memory and on a stream of their own, beside the one that computes.
    """
    crops = [each.pixels_THWC for each in inputs]
    shape = (sum(map(len, crops)), *crops[0].shape[1:])
    on_gpu = device.type == "cuda"
    widest = np.result_type(*{each.dtype for each in crops})
    dtype = torch.from_numpy(np.empty(0, widest)).dtype
    host_BHWC = torch.empty(shape, dtype=dtype, pin_memory=on_gpu)
    np.concatenate(crops, out=host_BHWC.numpy())
    if not on_gpu:
        return host_BHWC.to(device)
    stream = _side_stream(device)
    with torch.cuda.stream(stream):
        pixels_BHWC = host_BHWC.to(device, non_blocking=True)
    stream.synchronize()
    # its memory belongs to the side stream, which may not use it again while the other computes with it
    pixels_BHWC.record_stream(torch.cuda.current_stream(device))
    return pixels_BHWC


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
