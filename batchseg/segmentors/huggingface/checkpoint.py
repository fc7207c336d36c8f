"""The `huggingface` segmentor: every semantic and universal segmentation model of transformers.

HuggingFaceCheckpoint   on the driver: reads JSON and hashes files; neither torch nor transformers
.preparer()             huggingface_processor.py: the geometry of the checkpoint's own image processor
.load()                 huggingface_model.py: the network, its scores and their label maps
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchseg.config.kinds import is_smp_config
from batchseg.config.prompting import Prompting
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ModelError
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import PixelRange, Resize
from batchseg.segmentors.huggingface.content import (
    CHANNELS,
    input_channels,
    own_labels,
    read_stride,
    read_temperature,
    reduced_note,
    require_segmentation,
    with_reduced_truth,
)
from batchseg.segmentors.huggingface.families import KNOWN, PROMPTED
from batchseg.segmentors.huggingface.files import (
    CheckpointPlace,
    FoundCheckpoint,
    expected_range,
    find_checkpoint,
    read_processor,
    reduces_labels,
    require_files,
)
from batchseg.segmentors.huggingface.input_size import InputSize
from batchseg.segmentors.llm.names import check_classes

if TYPE_CHECKING:
    from batchseg.segmentors.huggingface.model import HuggingFaceModel
    from batchseg.segmentors.huggingface.processor import HuggingFacePreparer


@dataclass(frozen=True)
class HuggingFaceCheckpoint:
    """A checkpoint of transformers, in a folder or on the hub.

    Attributes:
        location: where workers find the files; on the hub, at one commit.
        model_type: the family, such as `segformer`.
        classes: other classes than its own, for a text head; None for its own.
        compile: whether torch.compile is to speed up the network.
        notes: how its own label map reads truths, where that is not as one would expect.
        pixel_range: of the images that it expects; None where its processor does not say.
        stride: pixels of the input for one cell of its coarsest features, as its configuration says.
        channels: of the images that the network reads.
        temperature: what its logits are divided by before they become probabilities.
        input_size: what its processor brings images to; None where that is to be asked itself.
    """

    location: CheckpointPlace
    model_type: str
    label_map: LabelMap
    fingerprint: str
    classes: tuple[str, ...] | None = None
    compile: bool = False
    notes: tuple[str, ...] = ()
    pixel_range: PixelRange | None = None
    stride: int = 1
    channels: int = CHANNELS
    input_size: InputSize | None = None
    temperature: float = 1.0

    @classmethod
    def open(
        cls, config: HuggingFaceSegmentor, found: FoundCheckpoint | None = None
    ) -> HuggingFaceCheckpoint:
        """Find the checkpoint a configuration names, downloading what is on the hub and not here yet.

        Args:
            found: where that was done already.

        Raises:
            ModelError: there is none, or it is not one that can be loaded and trusted.
        """
        found = found or find_checkpoint(config)
        location, folder, content = found.location, found.folder, found.content
        model_type = _known_type(content, location)
        if config.prompting != Prompting():
            raise ModelError(
                f"segmentor.prompting is for models that are told in words what to segment, and "
                f"{location.name} is a {model_type} model; leave it out"
            )
        require_segmentation(content, location.name)
        require_files(folder, location.name)
        processor, channels = read_processor(folder, location.name), input_channels(content, location.name)
        label_map = own_labels(content, location.name)
        notes: tuple[str, ...] = ()
        if config.classes is not None:
            check_classes(content, label_map.names, config.classes, folder)
            label_map = LabelMap.from_names(config.classes)
        elif reduces_labels(processor):
            label_map = with_reduced_truth(label_map)
            notes = (reduced_note(label_map, location.name),)
        identity = _fingerprint(found.files, config)
        return cls(
            *(location, model_type, label_map, identity, config.classes),
            compile=config.compile,
            notes=notes,
            pixel_range=expected_range(processor, location.name, channels),
            stride=read_stride(content),
            channels=channels,
            input_size=InputSize.stated(processor),
            temperature=read_temperature(content, location.name),
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        if self.temperature == 1:
            return ()
        return (
            f"{self.location.name}: logits are divided by {self.temperature:.2f} before they become "
            "probabilities, as its training fitted",
        )

    def preparer(self, as_is: bool = False) -> HuggingFacePreparer:
        from batchseg.segmentors.huggingface.processor import HuggingFacePreparer

        return HuggingFacePreparer(self.location, self.model_type, as_is)

    def resizing(self) -> Resize:
        # the processor itself takes seconds to import
        return (self.input_size or self.preparer()).input_hw

    def load(self, device: str, precision: str, threads: int | None = None) -> HuggingFaceModel:
        """The network, in eval mode. Raises ModelError where a weight is missing."""
        from batchseg.segmentors.huggingface.model import HuggingFaceModel

        return HuggingFaceModel.load(self, device, precision)


def _fingerprint(files: str, config: HuggingFaceSegmentor) -> str:
    """Of the files alone where no setting changes their masks: what was computed before stays valid."""
    facts: list[Any] = [files, config.classes, config.none_below, *config.altering]
    if config.threshold is not None:
        facts += config.deciding
    if facts == [files, None, None]:
        return files
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def refuse_untrainable(content: dict[str, Any], name: str) -> None:
    """Raises ModelError for models that have other segmentors than this one."""
    if is_smp_config(content):
        raise ModelError(
            f"{name} is a model of segmentation_models_pytorch: batchseg runs such models, and neither "
            "trains them nor starts a training from one"
        )
    model_type = str(content.get("model_type"))
    if model_type in PROMPTED:
        raise ModelError(
            f"{name} is a {model_type} model, which is told in words what to segment: batchseg runs such "
            "models, and neither trains them nor starts a training from one"
        )


def _known_type(content: dict[str, Any], location: CheckpointPlace) -> str:
    """The family, unless it is unknown and the checkpoint may not bring its own code."""
    refuse_untrainable(content, location.name)
    model_type = str(content.get("model_type"))
    if model_type not in KNOWN and not (location.trust_remote_code and "auto_map" in content):
        raise ModelError(
            f"{location.name}: its model_type {model_type!r} is not a segmentation model known here; "
            f"known are {', '.join(sorted((*KNOWN, *PROMPTED)))}"
        )
    return model_type
