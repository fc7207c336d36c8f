"""The `torchvision` segmentor: the models of torchvision.models.segmentation.

The label maps are those of the library's own recipe: resize the shorter side, normalise, take `out`,
interpolate it to the size of the image, argmax.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_builder, get_model_weights

from batchseg.config.segmentor import TorchvisionSegmentor
from batchseg.errors import ModelError
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import ModelInput, PixelRange, Resize, Scores
from batchseg.segmentors.network.batched import BatchedNetwork
from batchseg.segmentors.network.compiled import speed_up
from batchseg.segmentors.network.engine import Engine, TorchEngine
from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.network.one_output import with_background
from batchseg.segmentors.network.precision import torch_dtype
from batchseg.segmentors.network.sizing import SizedPreparer, Sizing
from batchseg.segmentors.network.state_dict import FILES, State, read_state
from batchseg.segmentors.strangers import hollow_file
from batchseg.storage.hashing import sha256_of

CLASSIFIER = {  # the weight whose length is the number of classes
    "deeplabv3_mobilenet_v3_large": "classifier.4.weight",
    "deeplabv3_resnet50": "classifier.4.weight",
    "deeplabv3_resnet101": "classifier.4.weight",
    "fcn_resnet50": "classifier.4.weight",
    "fcn_resnet101": "classifier.4.weight",
    "lraspp_mobilenet_v3_large": "classifier.low_classifier.weight",
}
_VOC_CLASSES = 21
_NAMED = 3
_CHANNELS = 3


@dataclass(frozen=True)
class TorchvisionCheckpoint:
    """A builder of torchvision.models.segmentation and the weights to fill it with.

    Attributes:
        builder: such as `deeplabv3_resnet50`.
        weights: name of torchvision's weights, or the absolute path of a state dict.
        resize: shorter side of the model's input, in pixels.
        compile: whether torch.compile is to speed up the network.
    """

    builder: str
    weights: str
    resize: int
    label_map: LabelMap
    fingerprint: str
    compile: bool = False
    notes: tuple[str, ...] = ()

    @property
    def stride(self) -> int:
        """The last two stages are dilated in place of strided; of MobileNetV3 the last one."""
        return 8 if "resnet" in self.builder else 16

    @classmethod
    def open(cls, config: TorchvisionSegmentor) -> TorchvisionCheckpoint:
        """Find the weights a configuration names, downloading torchvision's own if they are not here yet.

        Raises:
            ModelError: the builder or the weights are unknown, or the file is no state dict of the builder.
        """
        if config.model not in CLASSIFIER:
            raise ModelError(f"there is no builder {config.model!r} here; known are {', '.join(CLASSIFIER)}")
        weights = _locate(config.model, config.weights)
        state = _read(config.model, weights)
        outputs = _count_outputs(config.model, weights, state)
        _require_channels(config.model, weights, state)
        names = _class_names(config.model, weights, outputs)
        identity = [config.model, sha256_of(weights).hex() if _is_file(weights) else weights, config.resize]
        identity += [*config.altering, *config.deciding]
        fingerprint = hashlib.sha256(json.dumps(["torchvision", *identity]).encode()).hexdigest()
        label_map = LabelMap.from_names(names)
        return cls(config.model, weights, config.resize, label_map, fingerprint, config.compile)

    @property
    def channels(self) -> int:
        """Torchvision says how three channels are normalised, and no others."""
        return _CHANNELS

    @property
    def pixel_range(self) -> PixelRange:
        """Of the images that all of torchvision's weights expect."""
        return self._normalisation.pixel_range

    @property
    def _normalisation(self) -> Normalisation:
        preset = get_model_weights(self.builder).DEFAULT.transforms()
        return Normalisation(tuple(preset.mean), tuple(preset.std))

    def preparer(self, as_is: bool = False) -> SizedPreparer:
        return SizedPreparer(Sizing() if as_is else Sizing(shorter=self.resize))

    def resizing(self) -> Resize:
        return self.preparer().input_hw

    def load(self, device: str, precision: str, threads: int | None = None) -> TorchvisionModel:
        """The network, in eval mode. Raises ModelError where the weights do not fit it."""
        state = _read(self.builder, self.weights)
        outputs = _count_outputs(self.builder, self.weights, state)
        with torch.device("meta"):  # all weights come from the state: initialising them would be for nothing
            network: nn.Module = get_model_builder(self.builder)(
                weights=None, weights_backbone=None, num_classes=outputs, aux_loss=False
            )
        _check_fit(network.state_dict(), state, f"{self.weights} does not fit {self.builder}")
        network.load_state_dict(state, assign=True)
        model = TorchvisionModel(network, self._normalisation, device, precision)
        speed_up(model.network, model.device, self.compile)
        return model


class TorchvisionModel(BatchedNetwork):
    """The network and all that stands between pixels and label maps."""

    def __init__(self, network: nn.Module, normalisation: Normalisation, device: str, precision: str) -> None:
        self.device, self.dtype = torch.device(device), torch_dtype(precision)
        # float: a state dict may be stored in half precision; computing in it is autocast's choice
        self.network = network.float().to(self.device).to(memory_format=torch.channels_last).eval()
        self.normalise = normalisation.on(self.device)
        self.engine: Engine = TorchEngine(_Core(self.network), self.device, self.dtype)

    def scores_of(self, levels_BHWC: Tensor, inputs: Sequence[ModelInput]) -> list[Scores]:
        return [Scores("logits", logits_CHW) for logits_CHW in self._forward(levels_BHWC)]

    def _forward(self, levels_BHWC: Tensor) -> Tensor:
        """Logits [B, C, H, W] at the size of the input, to which the network itself brings them."""
        (logits,) = self.engine(self.normalise(levels_BHWC))
        return with_background(logits) if logits.shape[1] == 1 else logits


class _Core(nn.Module):
    """The network from normalised pixels to logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor]:
        return (self.network(pixels_BCHW)["out"],)


def _is_file(weights: str) -> bool:
    return weights.endswith(FILES)


def _locate(builder: str, weights: str) -> str:
    """The absolute path of a state dict, or the full name of torchvision's weights."""
    if _is_file(weights):
        path = Path(weights).expanduser().resolve()
        if not path.is_file():
            raise ModelError(f"there is no file {weights} with the weights of {builder}")
        if hollow := hollow_file(path, weights):
            raise ModelError(hollow)
        return str(path)
    known = get_model_weights(builder)
    if weights not in known.__members__:
        raise ModelError(
            f"{builder} has no weights {weights!r}; name {', '.join(known.__members__)}, or the file of a "
            f"state dict ({', '.join(FILES)})"
        )
    return str(known[weights].name)  # DEFAULT is an alias


def _read(builder: str, weights: str) -> State:
    """The state dict, less the auxiliary classifier, which only training uses. Raises ModelError."""
    state = read_state(weights) if _is_file(weights) else _download(builder, weights)
    return {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}


def _download(builder: str, name: str) -> State:
    """Torchvision's own weights, from its cache if they are there."""
    weights = get_model_weights(builder)[name]
    try:
        return dict(
            weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as exc:
        raise ModelError(
            f"cannot download the weights {name} of {builder} from {weights.url} ({exc}); a local state dict "
            "can be named instead, as the setting `weights`"
        ) from exc


def _count_outputs(builder: str, weights: str, state: State) -> int:
    head = state.get(CLASSIFIER[builder])
    if head is None:
        raise ModelError(f"{weights} is not a state dict of {builder}: it has no {CLASSIFIER[builder]}")
    return len(head)


def _require_channels(builder: str, weights: str, state: State) -> None:
    first = state.get("backbone.conv1.weight" if "resnet" in builder else "backbone.0.0.weight")
    if first is not None and first.ndim == 4 and first.shape[1] != _CHANNELS:
        raise ModelError(
            f"{weights} reads images of {first.shape[1]} channels, and images come to a model with "
            f"{_CHANNELS}, RGB, which is all that torchvision knows to normalise; name a class of your own "
            "that does it (see configs/models/README.md)"
        )


def _class_names(builder: str, weights: str, outputs: int) -> tuple[str, ...]:
    if not _is_file(weights):
        return tuple(get_model_weights(builder)[weights].meta["categories"])
    if outputs == _VOC_CLASSES:  # what torchvision's own training script makes
        return load_label_map("voc").names
    if outputs == 1:
        return "background", "foreground"
    return tuple(f"class_{index}" for index in range(outputs))


def _check_fit(wanted: Mapping[str, Tensor], given: State, problem: str) -> None:
    """Raise ModelError, beginning with `problem`, unless names and shapes agree."""
    wrong = [f"{key} is missing" for key in wanted if key not in given]
    wrong += [f"{key} is not one of its weights" for key in given if key not in wanted]
    wrong += [
        f"{key} is {list(given[key].shape)} instead of {list(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if wrong:
        more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise ModelError(f"{problem}: {', '.join(wrong[:_NAMED])}{more}")
