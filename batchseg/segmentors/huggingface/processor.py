"""What a checkpoint's own image processor does, in two parts: geometry on the CPU, numbers on the device.

The geometry leaves pixels in their type, unless it resizes what has a scale: that becomes float32. The
numbers (rescaling, normalising) are one affine map a channel.
"""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from batchseg.errors import ModelError, RowFault
from batchseg.schema import Status
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.huggingface.content import CHANNELS, wrong_normalising
from batchseg.segmentors.huggingface.families import FIXED_SIZE, ONE_SIZE, TASK, VIDEO
from batchseg.segmentors.huggingface.input_size import InputSize
from batchseg.segmentors.network.levels import scale_of_type, scaled_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchseg.config.bands import BlackWhite
    from batchseg.segmentors.huggingface.files import CheckpointPlace

UNCUT = {"do_center_crop": False, "do_pad": False, "pad_size": None}
GEOMETRY = {**UNCUT, "do_rescale": False, "do_normalize": False}
NUMBERS = {**UNCUT, "do_resize": False, "do_split_image": False}
# what the library does to the channels of RGB, and fails at with others; it flips the first three of more
NOT_RGB = {"do_convert_rgb": False}
FEWER_THAN_RGB = {**NOT_RGB, "do_flip_channel_order": False}
_ALTERS = ("do_split_image", "do_flip_channel_order")
LARGEST_INPUT_PIXELS = 2**26


class HuggingFacePreparer:
    """The checkpoint's resizing, cutting into crops and channel order, for one image at a time.

    Two things of the library are left out: centre crops, and the padding of images to one size. Its semantic
    post-processing stretches the mask of the cropped or padded input over the whole image, so that the mask
    would not lie on what it shows. EoMT reads a fixed size and has to be padded: `geometry["content"]` is
    the height and width of the image in its upper left corner. `geometry["crops"]` holds the first and last
    + 1 pixel of each crop along the longer side.
    """

    def __init__(
        self, location: CheckpointPlace, model_type: str, as_is: bool = False, side: int | None = None
    ) -> None:
        self.location, self.model_type, self.side = location, model_type, side
        self.as_is = as_is and model_type not in ONE_SIZE

    @cached_property
    def _processor(self) -> Any:
        folder, code = self.location.folder(), self.location.trust_remote_code
        return load_processor(folder, self.model_type, code, self.side)

    def __call__(self, image_HWC: NDArray[Any], scale: tuple[BlackWhite, ...] | None = None) -> ModelInput:
        """Bands that are resized are scaled before, for that is the order in which the library has it.

        Raises RowFault for an image so narrow that the processor would blow it up beyond measure."""
        height, width = image_HWC.shape[:2]
        input_h, input_w = self.input_hw((height, width))
        if (input_h, input_w) != (height, width) and input_h * input_w > LARGEST_INPUT_PIXELS:
            raise RowFault(
                Status.TOO_LARGE,
                f"the image is {width} x {height} pixels, so narrow that the model's input would be "
                f"{input_w} x {input_h}",
            )
        scale = scale_of_type(image_HWC, scale)
        if scale is not None and self._leaves((height, width)):
            return ModelInput(np.ascontiguousarray(image_HWC)[None], (height, width), {}, scale)
        pixels_HWC = torch.from_numpy(np.require(image_HWC, requirements=["C", "W"]))
        if scale is not None:
            pixels_HWC = scaled_pixels(pixels_HWC[None], [scale])[0]
        settings = {**GEOMETRY, "do_resize": False} if self.as_is else GEOMETRY
        pixels_TCHW, crops = run_processor(self._processor, pixels_HWC.permute(2, 0, 1), settings)
        if pixels_TCHW.dtype != pixels_HWC.dtype:
            raise ModelError(f"the image processor of {self.location.name} does not keep the type of pixels")
        geometry: dict[str, Any] = {"crops": crops} if crops else {}
        if self.model_type in FIXED_SIZE and self._processor.do_pad and not crops:
            geometry["content"] = list(pixels_TCHW.shape[-2:])
            pixels_TCHW = _pad(pixels_TCHW, fixed_size(self._processor))
        return ModelInput(pixels_TCHW.permute(0, 2, 3, 1).contiguous().numpy(), (height, width), geometry)

    def _leaves(self, image_hw: tuple[int, int]) -> bool:
        """Whether all of the geometry leaves an image of this size as it is."""
        alters = any(getattr(self._processor, name, False) for name in _ALTERS)
        if alters or self.model_type in FIXED_SIZE or self.input_hw(image_hw) != image_hw:
            return False
        blank_CHW = torch.zeros((1, *image_hw), dtype=torch.uint8)  # a rule for sizes not known here shows
        return run_processor(self._processor, blank_CHW, GEOMETRY)[0].shape == (1, *blank_CHW.shape)

    def input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """That of the image where the processor does not resize, or by a rule not known here."""
        if self.as_is:
            return image_hw
        processor = self._processor
        resizes, step = getattr(processor, "do_resize", False), getattr(processor, "size_divisor", None)
        return InputSize.of(resizes, partial(_of_size, processor.size), step).input_hw(image_hw)


def _of_size(size: Any, key: str) -> Any:
    return getattr(size, key, None)


def load_processor(folder: Path, model_type: str, trust_remote_code: bool, side: int | None = None) -> Any:
    """The checkpoint's image processor (of one frame, for a video model). Raises ModelError.

    Args:
        side: of a square that it shall bring every image to; None: as its file says.
    """
    from transformers import AutoImageProcessor, AutoVideoProcessor

    auto = AutoVideoProcessor if model_type in VIDEO else AutoImageProcessor
    # OneFormer's class descriptions are for training, and would be fetched from the hub
    extra: dict[str, Any] = {"class_info_file": None} if model_type in TASK else {}
    if side is not None:
        extra |= {"do_resize": True, "size": {"height": side, "width": side}}
    try:
        return auto.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True, **extra
        )
    except Exception as exc:  # the library's own code may fail in any way
        raise ModelError(f"cannot load the image processor of {folder}: {exc}") from exc


def run_processor(
    processor: Any, image_CHW: Tensor, settings: dict[str, Any]
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Pixels [T, C, H, W] and the extent of the crops, empty where the image was not split.

    Settings that a processor does not have are left out.
    """
    takes = processor.valid_kwargs.__annotations__
    if len(image_CHW) != CHANNELS:
        settings = {**settings, **(NOT_RGB if len(image_CHW) > CHANNELS else FEWER_THAN_RGB)}
    known = {key: value for key, value in settings.items() if key in takes}
    common = {"input_data_format": "channels_first", "return_tensors": "pt"}
    if "pixel_values_videos" in processor.model_input_names:
        return processor(videos=image_CHW[None], **common, **known)["pixel_values_videos"][0], []
    batch = processor(images=image_CHW, **common, **known)
    crops = [(int(start), int(end)) for _, start, end in batch.get("patch_offsets", [])]
    return batch["pixel_values"], crops


def pixel_affine(processor: Any, channels: int = CHANNELS) -> tuple[Tensor, Tensor]:
    """Scale and shift a channel, float32 [C, 1, 1], of the processor's rescaling and normalising.

    They are read off what it makes of a black and of a white image, so that every processor's own idea of
    its settings holds: some ignore `do_normalize`, some turn the channels round.
    """
    levels = (torch.full((channels, 32, 32), level, dtype=torch.uint8) for level in (0, 255))
    try:
        black, white = (run_processor(processor, each, NUMBERS)[0][0, :, :1, :1].double() for each in levels)
    except (RuntimeError, ValueError) as exc:
        if channels == CHANNELS:
            raise
        found = f"has {len(processor.image_mean)} by default" if processor.image_mean else f"fails: {exc}"
        raise ModelError(wrong_normalising("the model", channels, found)) from exc
    return ((white - black) / 255).float(), black.float()


def fixed_size(processor: Any) -> tuple[int, int]:
    """Height and width of the input of a model that reads only one."""
    size = processor.size
    return size["shortest_edge"], size["longest_edge"] or size["shortest_edge"]


def merge_crops(scores_TCHW: Tensor, image_hw: tuple[int, int], geometry: dict[str, Any]) -> Tensor:
    """Scores [C, H, W] of the image alone: the mean where crops overlap, and nothing of the padding."""
    if "content" in geometry:
        height, width = geometry["content"]
        return scores_TCHW[0, :, :height, :width]
    if "crops" not in geometry:
        return scores_TCHW[0]
    axis = 1 if image_hw[0] > image_hw[1] else 2
    shape, length = [*scores_TCHW.shape[1:]], geometry["crops"][-1][1]
    shape[axis] = length
    total_CHW, times_N = scores_TCHW.new_zeros(shape), scores_TCHW.new_zeros(length)
    for scores_CHW, (start, end) in zip(scores_TCHW, geometry["crops"], strict=True):
        total_CHW.narrow(axis, start, end - start).add_(scores_CHW)
        times_N[start:end] += 1
    return total_CHW / (times_N[:, None] if axis == 1 else times_N)


def _pad(pixels_TCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Black at the bottom and on the right."""
    height, width = pixels_TCHW.shape[-2:]
    return functional.pad(pixels_TCHW, (0, size[1] - width, 0, size[0] - height))
