"""Prepare: a decoded image -> the model's input, geometry only, as narrow as that allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from batchseg.errors import BatchsegError, RowFault
from batchseg.schema import Status
from batchseg.segmentors.base import Preparer
from batchseg.segmentors.custom_code import user_line, user_traceback
from batchseg.stages.item import Item, Stage, for_each


def prepare(preparer: Preparer) -> Stage:
    """Resize and pad as the checkpoint asks for."""

    def work(item: Item) -> None:
        assert item.image_HWC is not None and item.size_hw is not None
        try:
            # the image may have been decoded smaller than it is; its mask gets its own size
            prepared = preparer(item.image_HWC, item.scale)
            item.model_input = replace(prepared, image_hw=item.size_hw, prompt=item.prompt)
        except Exception as exc:  # a preparer may be the user's own code, and fail on one image in any way
            raise prepare_fault(exc) from exc
        item.image_HWC = None

    return for_each("prepare", work)


def check_prompt(fault_of: Callable[[str], str | None]) -> Stage:
    """Refuse the prompts that the model cannot read, before their images are decoded.

    Args:
        fault_of: one sentence on what is wrong with a prompt; None: nothing is (`Prompted.prompt_fault`).
    """

    def work(item: Item) -> None:
        if item.prompt is not None and (problem := fault_of(item.prompt)) is not None:
            raise RowFault(Status.BAD_PROMPT, problem)

    return for_each("prompt", work)


def prepare_fault(exc: Exception) -> RowFault:
    """What a preparer raised, as the fault of its image. Raises what ends the job."""
    if isinstance(exc, RowFault):
        return exc
    if isinstance(exc, BatchsegError):
        raise exc
    return model_fault("preparing the input failed", exc)


def model_fault(what: str, exc: BaseException) -> RowFault:
    """`what` failed with an exception of somebody else's code; in a user's own class, at which line."""
    text, line = " ".join(str(exc).split()), user_line(exc)
    described = f"{type(exc).__name__}: {text[:300]}" if text else type(exc).__name__
    at = f" ({line})" if line else ""
    return RowFault(Status.MODEL_FAILED, f"{what}: {described}{at}", user_traceback(exc))
