"""A loaded model of transformers: batches of prepared images in, scores out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from batchseg.errors import ModelError
from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.huggingface.content import input_channels, read_temperature
from batchseg.segmentors.huggingface.families import FIXED_SIZE, OWN, TASK, UNIVERSAL, VIDEO
from batchseg.segmentors.huggingface.loading import load_network
from batchseg.segmentors.huggingface.mask_classification import (
    MASK2FORMER_SIZE,
    class_scores,
    query_logits,
)
from batchseg.segmentors.huggingface.processor import fixed_size, load_processor, merge_crops, pixel_affine
from batchseg.segmentors.network.batched import BatchedNetwork
from batchseg.segmentors.network.compiled import speed_up
from batchseg.segmentors.network.engine import Engine, TorchEngine
from batchseg.segmentors.network.one_output import with_background
from batchseg.segmentors.network.precision import autocast, torch_dtype

if TYPE_CHECKING:
    from pathlib import Path

    from batchseg.labels.label_map import LabelMap
    from batchseg.segmentors.huggingface.files import CheckpointPlace


class Loadable(Protocol):
    """What a checkpoint tells of the network to load; see `checkpoint.HuggingFaceCheckpoint`."""

    @property
    def location(self) -> CheckpointPlace: ...
    @property
    def model_type(self) -> str: ...
    @property
    def label_map(self) -> LabelMap: ...
    @property
    def classes(self) -> tuple[str, ...] | None: ...
    @property
    def compile(self) -> bool: ...


class HuggingFaceModel(BatchedNetwork):
    """The network and all that stands between pixels and scores.

    The label maps that follow from them are those of the library's own `post_process_semantic_segmentation`
    at the size of the image (for EoMT with padding, after its `unpad_image`).
    """

    def __init__(
        self,
        network: Any,
        processor: Any,
        model_type: str,
        device: str,
        precision: str,
        *,
        task_L: Tensor | None = None,
    ) -> None:
        self.network = network
        self.by_queries = model_type in UNIVERSAL
        self.device = torch.device(device)
        self.dtype = torch_dtype(precision)
        content = network.config.to_dict()
        self.temperature = read_temperature(content, model_type)
        affine = pixel_affine(processor, input_channels(content, model_type))
        self.scale_C11, self.shift_C11 = (part.to(self.device) for part in affine)
        self.mask_size = _mask_size(model_type, processor)
        self.core = _Core(network, model_type, task_L)
        self.engine: Engine = TorchEngine(self.core, self.device, self.dtype)
        self.one_output = network.config.num_labels == 1

    @classmethod
    def load(cls, checkpoint: Loadable, device: str, precision: str) -> HuggingFaceModel:
        """Raises ModelError where the weights do not fill the network or its classes are others."""
        location, model_type = checkpoint.location, checkpoint.model_type
        folder = location.folder()
        network = _load_network(folder, model_type, location)
        if checkpoint.classes is not None:
            network.take_classes(checkpoint.classes, folder)
        outputs = network.config.num_labels
        if (outputs if outputs > 1 else 2) != checkpoint.label_map.num_classes:
            raise ModelError(
                f"{location.name}: the network has {network.config.num_labels} classes, "
                f"its config.json names {checkpoint.label_map.num_classes}"
            )
        processor = load_processor(folder, model_type, location.trust_remote_code)
        network = network.to(device).eval()
        speed_up(network, torch.device(device), checkpoint.compile)
        task_L = None
        if model_type in TASK:
            task_L = _task_tokens(folder, network.config.task_seq_len).to(device)
        return cls(network, processor, model_type, device, precision, task_L=task_L)

    def scores_of(self, levels_BHWC: Tensor, inputs: Sequence[ModelInput]) -> list[Scores]:
        outputs = self.engine(self._input(levels_BHWC))
        crops = len(inputs[0].pixels_THWC)
        found = []
        for index, each in enumerate(inputs):
            scores_TCHW = self._of_crops(outputs, slice(index * crops, (index + 1) * crops))
            merged_CHW = merge_crops(scores_TCHW, each.image_hw, each.geometry)
            found.append(Scores("probabilities" if self.by_queries else "logits", merged_CHW))
        return found

    def logits(self, pixels_BHWC: Tensor) -> Tensor:
        """Logits [B, C, h, w] of a semantic model, with gradients where those are on."""
        return self.logits_of(self.outputs(pixels_BHWC))

    def logits_of(self, outputs: Any) -> Tensor:
        """The same of what the network says."""
        return self._logits(outputs["logits"])

    def outputs(self, pixels_BHWC: Tensor, **asked: Any) -> Any:
        """What the network says of pixels and of what is asked of them, with gradients where those are on."""
        with autocast(self.device, self.dtype, pixels_BHWC.shape[2]):
            return self.network(pixel_values=self._input(pixels_BHWC.to(self.device)), **asked)

    def _input(self, pixels_BHWC: Tensor) -> Tensor:
        return pixels_BHWC.permute(0, 3, 1, 2) * self.scale_C11 + self.shift_C11

    def _of_crops(self, outputs: tuple[Tensor, ...], rows: slice) -> Tensor:
        """Scores [T, C, H, W] of one image, which is `rows` of the batch."""
        if not self.by_queries:
            return self._logits(outputs[0][rows])
        classes_BQK, masks_BQHW = outputs
        return class_scores(classes_BQK[rows], masks_BQHW[rows], self.mask_size)

    def _logits(self, logits_BCHW: Tensor) -> Tensor:
        if self.temperature != 1:  # in float32, so that no two classes come to be equal
            logits_BCHW = logits_BCHW.float() / self.temperature
        return with_background(logits_BCHW) if self.one_output else logits_BCHW


class _Core(nn.Module):
    """The network from normalised pixels to its logits: of pixels, or of queries and of their masks."""

    def __init__(self, network: nn.Module, model_type: str, task_L: Tensor | None) -> None:
        super().__init__()
        self.network, self.model_type, self.task_L = network, model_type, task_L

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, ...]:
        values = {"pixel_values": pixels_BCHW}
        if self.model_type in VIDEO:
            values = {"pixel_values_videos": pixels_BCHW[:, None]}
        if self.task_L is not None:
            values["task_inputs"] = self.task_L.expand(len(pixels_BCHW), -1)
        outputs = self.network(**values)
        return query_logits(outputs) if self.model_type in UNIVERSAL else (outputs["logits"],)


def _load_network(folder: Path, model_type: str, location: CheckpointPlace) -> Any:
    import transformers

    if model_type in OWN:
        importlib.import_module(f"batchseg.segmentors.llm.modeling_{model_type}")  # registers itself
    auto = transformers.AutoModelForSemanticSegmentation
    if model_type in UNIVERSAL:
        auto = transformers.AutoModelForUniversalSegmentation
    return load_network(auto, folder, location)


def _mask_size(model_type: str, processor: Any) -> tuple[int, int] | None:
    """What the library's post-processing interpolates mask logits to before it scores them."""
    if model_type == "mask2former":
        return MASK2FORMER_SIZE
    return fixed_size(processor) if model_type in FIXED_SIZE else None


def _task_tokens(folder: Path, length: int) -> Tensor:
    """OneFormer's request for a semantic map, as its processor words it: token ids, zero where padded."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as exc:
        raise ModelError(f"cannot load the tokenizer of {folder}: {exc}") from exc
    tokens = tokenizer(
        "the task is semantic", padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    task_1L: Tensor = tokens["input_ids"] * tokens["attention_mask"]
    return task_1L[0]
