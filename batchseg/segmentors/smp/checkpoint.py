"""The `smp` segmentor: models of segmentation_models_pytorch, as their `save_pretrained` saves them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchseg.config.kinds import is_smp_config
from batchseg.config.segmentor import SmpSegmentor
from batchseg.errors import ModelError
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import PixelRange, Resize
from batchseg.segmentors.huggingface.files import (
    CONFIG,
    WEIGHTS,
    CheckpointPlace,
    fingerprint,
    locate_checkpoint,
    read_checkpoint_config,
)
from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.network.sizing import SizedPreparer, Sizing
from batchseg.segmentors.smp.encoders import encoder_normalisation
from batchseg.segmentors.smp.loading import PICKLED, SMP, require_smp
from batchseg.segmentors.smp.transform import TRANSFORM, SavedTransform
from batchseg.segmentors.strangers import hollow_file

if TYPE_CHECKING:
    from batchseg.segmentors.smp.model import SmpModel

FILES = (CONFIG, WEIGHTS, PICKLED, TRANSFORM)
# what turns logits into something whose highest class is the same
ACTIVATIONS = (None, "identity", "sigmoid", "softmax", "softmax2d", "logsoftmax")
_NAMES = ("class_names", "labels", "names")
_CHANNELS, _DEPTH, _STRIDE = 3, 5, 32  # the library's own defaults

Content = dict[str, Any]


@dataclass(frozen=True)
class SmpCheckpoint:
    """A folder with config.json and weights.

    Attributes:
        location: where workers find the files.
        architecture: class of the library, such as Unet.
        normalisation: of the images that its encoder expects.
        sizing: what images are brought to before they are padded.
        channels: of the images that it reads.
        stride: pixels of the input for one cell of the coarsest features.
        compile: whether torch.compile is to speed up the network.
        remarks: on how images are prepared.
    """

    location: CheckpointPlace
    architecture: str
    label_map: LabelMap
    fingerprint: str
    normalisation: Normalisation
    sizing: Sizing
    channels: int = _CHANNELS
    stride: int = _STRIDE
    compile: bool = False
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, config: SmpSegmentor) -> SmpCheckpoint:
        """Find the model a configuration names.

        Raises ModelError where it cannot be run as it was trained.
        """
        require_smp()
        location, folder = locate_checkpoint(config, FILES)
        name = location.name
        content = read_checkpoint_config(folder, name)
        if not is_smp_config(content):
            raise ModelError(f"{name} is not a model of {SMP}, by its config.json; leave the kind out")
        _require_weights(folder, name)
        _require_scores(content, name)
        channels = _whole(content, "in_channels", _CHANNELS)
        stated = _stated(config, name, channels)
        saved = SavedTransform.read(folder, name, channels, stated)
        if saved is None:
            saved = SavedTransform(stated, Sizing()) if stated else _of_encoder(content, name, channels)
        sizing = saved.sizing if config.resize is None else Sizing(shorter=config.resize)
        architecture = config.architecture or content.get("_model_class")
        if not architecture:
            raise ModelError(
                f"{name}: its config.json does not say the architecture, as older versions of {SMP} left "
                "it; set segmentor.architecture, such as Unet"
            )
        names = _class_names(config, content, name)
        facts = [fingerprint(folder, FILES), architecture, names, saved.normalisation.facts, _sides(sizing)]
        facts += [*config.altering, *config.deciding]
        return cls(
            *(location, str(architecture), LabelMap.from_names(names)),
            *(hashlib.sha256(json.dumps(["smp", *facts]).encode()).hexdigest(), saved.normalisation, sizing),
            channels=channels,
            stride=min(_whole(content, "encoder_output_stride", _STRIDE), 2 ** _depth(content)),
            compile=config.compile,
            remarks=saved.left_out,
        )

    @property
    def pixel_range(self) -> PixelRange:
        return self.normalisation.pixel_range

    def preparer(self, as_is: bool = False) -> SizedPreparer:
        return SizedPreparer(Sizing() if as_is else self.sizing)

    def resizing(self) -> Resize:
        return self.sizing.input_hw

    def load(self, device: str, precision: str, threads: int | None = None) -> SmpModel:
        """The network, in eval mode. Raises ModelError where its weights do not fit it."""
        require_smp()
        from batchseg.segmentors.smp.model import SmpModel, load_network_of

        network = load_network_of(self.location, self.architecture)
        return SmpModel(network, self.normalisation, device, precision, self.compile)


def _require_weights(folder: Path, name: str) -> None:
    file = next((file for file in (WEIGHTS, PICKLED) if (folder / file).is_file()), None)
    if file is None:
        raise ModelError(f"{name} has neither {WEIGHTS} nor {PICKLED}; save it by its save_pretrained")
    if hollow := hollow_file(folder / file, f"{name}/{file}"):
        raise ModelError(hollow)


def _require_scores(content: Content, name: str) -> None:
    if content.get("activation") not in ACTIVATIONS:
        raise ModelError(
            f"{name}: its activation is {content['activation']!r}, after which there are no scores; save it "
            "with activation=None"
        )


def _stated(config: SmpSegmentor, name: str, channels: int) -> Normalisation | None:
    try:
        stated = Normalisation.stated(config, channels)
    except ValueError as exc:
        raise ModelError(f"{name}: segmentor {exc}") from exc
    if stated is None and (config.range is not None or config.channel_order is not None):
        raise ModelError(
            f"{name}: segmentor.range and channel_order say how mean and std are meant, and these are not "
            "set; set segmentor.mean and segmentor.std, too"
        )
    return stated


def _of_encoder(content: Content, name: str, channels: int) -> SavedTransform:
    """What the encoder was trained with, which is remarked."""
    encoder, weights = str(content.get("encoder_name")), content.get("encoder_weights")
    found = encoder_normalisation(encoder, weights) if channels == _CHANNELS else None
    if found is None:
        raise ModelError(
            f"{name}: nothing says how its images are normalised: it has no {TRANSFORM}, and what the "
            f"encoder {encoder} expects of {channels} channels is not known; set segmentor.mean and "
            "segmentor.std"
        )
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (found.mean, found.std))
    remark = (
        f"{name}: it has no {TRANSFORM}, so images are normalised as the encoder {encoder} has it (mean "
        f"{mean}; std {std}); segmentor.mean and segmentor.std say otherwise"
    )
    return SavedTransform(found, Sizing(), (remark,))


def _class_names(config: SmpSegmentor, content: Content, name: str) -> tuple[str, ...]:
    """Of the settings, else of its config.json, else by number. Of one output background and the class."""
    outputs = _whole(content, "classes", 1)
    names = config.classes or _own_names(content)
    if not names:
        return ("background", "foreground") if outputs == 1 else tuple(f"class_{n}" for n in range(outputs))
    wanted = 2 if outputs == 1 else outputs
    if len(names) != wanted:
        raise ModelError(
            f"{name}: {len(names)} classes are named, and the network has {outputs} "
            f"output{'' if outputs == 1 else 's'}, so there are {wanted}"
        )
    return names


def _own_names(content: Content) -> tuple[str, ...]:
    listed = next((content[key] for key in _NAMES if isinstance(content.get(key), list)), None)
    by_id = content.get("id2label")
    if listed is None and isinstance(by_id, dict):
        listed = [by_id.get(str(index)) for index in range(len(by_id))]
    names = tuple(each for each in listed or () if isinstance(each, str) and each.strip())
    return names if len(names) == len(listed or ()) == len(set(names)) else ()


def _sides(sizing: Sizing) -> list[Any]:
    return [sizing.size, sizing.shorter, sizing.longer]


def _depth(content: Content) -> int:
    return min(_whole(content, "encoder_depth", _DEPTH), _DEPTH)


def _whole(content: Content, key: str, default: int) -> int:
    value = content.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
