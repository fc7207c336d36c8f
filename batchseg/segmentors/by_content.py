"""A checkpoint whose config.json says what it is: of transformers, or of segmentation_models_pytorch."""

from __future__ import annotations

from batchseg.config.kinds import is_smp_config
from batchseg.config.prompting import Prompting
from batchseg.config.segmentor import HuggingFaceSegmentor, SmpSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.base import Checkpoint
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.files import find_checkpoint
from batchseg.segmentors.prompted.checkpoint import PromptedCheckpoint
from batchseg.segmentors.prompted.kinds import is_prompted


def open_by_content(config: HuggingFaceSegmentor, labels: str | None = None) -> Checkpoint:
    """Find the checkpoint in a folder, at a URI or on the hub.

    Of a URI or a name on the hub only its config.json tells the kind.

    Raises ModelError, and LabelMapError where words are to be read from a label map that is none.
    """
    found = find_checkpoint(config)
    if is_smp_config(found.content):
        from batchseg.segmentors.smp.checkpoint import SmpCheckpoint

        return SmpCheckpoint.open(_as_smp(config))
    if is_prompted(found.content):
        return PromptedCheckpoint.open(config, found, labels)
    return HuggingFaceCheckpoint.open(config, found)


def _as_smp(config: HuggingFaceSegmentor) -> SmpSegmentor:
    """The same settings for a model of the other library. Raises ModelError for those it does not have."""
    if config.prompting != Prompting():
        raise ModelError(
            f"segmentor.prompting is for models that are told in words what to segment, and {config.model} "
            "is one of segmentation_models_pytorch; leave it out"
        )
    known = {name: value for name, value in config if name in SmpSegmentor.model_fields and name != "kind"}
    return SmpSegmentor(**known)
