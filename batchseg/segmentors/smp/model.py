"""A loaded model of segmentation_models_pytorch: batches of prepared images in, scores out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from batchseg.errors import ModelError
from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.huggingface.files import WEIGHTS, CheckpointPlace, read_checkpoint_config
from batchseg.segmentors.network.batched import BatchedNetwork
from batchseg.segmentors.network.compiled import speed_up
from batchseg.segmentors.network.engine import Engine, TorchEngine
from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.network.one_output import with_background
from batchseg.segmentors.network.padding import cut_padding, pad_to_multiple
from batchseg.segmentors.network.precision import torch_dtype
from batchseg.segmentors.network.state_dict import read_state
from batchseg.segmentors.smp.loading import PICKLED, SMP, load_smp

_LONGEST = 300  # of a library's own error
# of no use to a trained model, or set here
_NOT_KEPT = ("encoder_weights", "activation", "classes_names", "class_names", "labels", "names", "id2label")


class SmpModel(BatchedNetwork):
    """The network, and all that stands between pixels and scores.

    Its input is padded to multiples of the stride of its encoder, and the scores are cut again. They are
    logits, whatever activation the model was saved with: that has the same best class.
    """

    def __init__(
        self, network: Any, normalisation: Normalisation, device: str, precision: str, compiled: bool = False
    ) -> None:
        self.device, self.dtype = torch.device(device), torch_dtype(precision)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self.multiple = int(network.encoder.output_stride)
        self.normalise = normalisation.on(self.device)
        speed_up(self.network, self.device, compiled)
        self.engine: Engine = TorchEngine(_Core(self.network), self.device, self.dtype)

    def scores_of(self, levels_BHWC: Tensor, inputs: Sequence[ModelInput]) -> list[Scores]:
        return [Scores("logits", logits_CHW) for logits_CHW in self._forward(levels_BHWC)]

    def _forward(self, levels_BHWC: Tensor) -> Tensor:
        """Logits [B, C, H, W] at the size of the input, to which the network itself brings them."""
        input_BCHW = self.normalise(levels_BHWC)
        padded_BCHW = pad_to_multiple(input_BCHW, self.multiple).contiguous(memory_format=torch.channels_last)
        (maps,) = self.engine(padded_BCHW)
        (padded_h, padded_w), (height, width) = padded_BCHW.shape[-2:], input_BCHW.shape[-2:]
        logits = cut_padding(maps, (padded_h, padded_w), (height, width))
        return with_background(logits) if logits.shape[1] == 1 else logits


class _Core(nn.Module):
    """The network from normalised pixels to logits alone: some give a class of the image beside them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor]:
        answer = self.network(pixels_BCHW)
        return (answer[0] if isinstance(answer, tuple) else answer,)


def load_network_of(location: CheckpointPlace, architecture: str) -> nn.Module:
    """The network with its weights, in float32.

    Raises ModelError where the library does not know it, or the weights do not fit it.
    """
    folder = location.folder()
    network = _network(architecture, read_checkpoint_config(folder, location.name), location.name)
    file = folder / WEIGHTS
    _fill(network, file if file.is_file() else folder / PICKLED, location.name)
    return network


def _network(architecture: str, content: dict[str, Any], name: str) -> nn.Module:
    """Without weights: none are downloaded for an encoder that is filled from the file."""
    smp = load_smp()
    made = getattr(smp, architecture, None)
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        known = ", ".join(sorted({each.__name__ for each in smp.MODEL_ARCHITECTURES_MAPPING.values()}))
        raise ModelError(
            f"{name}: {SMP} {smp.__version__} has no architecture {architecture}; it has {known}"
        )
    given = {key: each for key, each in content.items() if key[0] != "_" and key not in _NOT_KEPT}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on names of encoders that are outdated
            return made(**given, encoder_weights=None, activation=None)
    except Exception as exc:  # the library's own code may fail in any way
        raise ModelError(
            f"{name}: its network cannot be made by {SMP} {smp.__version__}: {type(exc).__name__}: "
            f"{' '.join(str(exc).split())[:_LONGEST]}"
        ) from exc


def _fill(network: nn.Module, file: Path, name: str) -> None:
    """Raises ModelError where the weights do not fit, or reading them could run code."""
    state = read_state(str(file))
    try:
        network.load_state_dict(state, strict=True)  # which renames those of older versions
    except RuntimeError as exc:
        reason = " ".join(str(exc).split())[:_LONGEST]
        raise ModelError(f"{name}: its {file.name} does not fit its config.json: {reason}") from exc
    network.float()
