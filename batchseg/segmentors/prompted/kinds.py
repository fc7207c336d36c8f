"""What the config.json of each family of prompted models says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchseg.config.train import MULTIPLE
from batchseg.segmentors.huggingface.content import CHANNELS, input_channels
from batchseg.segmentors.huggingface.families import ONE_SIZE, PROMPTED
from batchseg.segmentors.llm.names import LANGUAGE_MODEL, reads_prompts

Content = dict[str, Any]

_SAM3_POSITIONS = 32  # of its text model, and what its processor pads texts to
_CLIP_POSITIONS = 77
_SIDES = {"clipseg": 352, "groupvit": 224}
_SAM3_SIDE, _SAM3_PATCH, _PATCH = 1008, 14, 16
_OWN_SIDE = 224  # of an LLM segmentor whose processor does not say


@dataclass(frozen=True)
class PromptedKind:
    """What a driver has to know of a prompted model.

    Attributes:
        family: clipseg, sam3, sam3_lite_text, groupvit or llmseg.
        compares: its scores tell prompts from each other, and say little of one alone.
        says_presence: it says how likely a prompt is to be in the image at all.
        templated: it reads sentences; else bare noun phrases.
        positions: of its text model: the tokens that a prompt has at most; None: any number.
        channels: of the images that it reads.
        stride: pixels of its input for one cell of its features.
        own_side: of the square that its configuration was made for.
        reader: the folder in the checkpoint that has the text model and its tokenizer; empty: it is all one.
    """

    family: str
    compares: bool
    says_presence: bool
    templated: bool
    positions: int | None
    channels: int
    stride: int
    own_side: int
    reader: str = ""

    @classmethod
    def of(cls, content: Content, name: str) -> PromptedKind | None:
        """By a checkpoint's config.json; None for a model that takes no prompts. Raises ModelError."""
        if reads_prompts(content):
            positions = content.get("prompt_positions")
            return cls("llmseg", False, True, True, positions, CHANNELS, MULTIPLE, _OWN_SIDE, LANGUAGE_MODEL)
        if not is_prompted(content):
            return None
        family = str(content["model_type"]).removesuffix("_video")
        inner = _part(content, "detector_config") or content  # of a tracker, which brings the image model
        is_sam = family.startswith("sam3")
        vision, text = _part(inner, "vision_config"), _part(inner, "text_config")
        body = _part(vision, "backbone_config") if is_sam else vision
        positions = _SAM3_POSITIONS if family == "sam3" else _CLIP_POSITIONS
        return cls(
            family=family,
            compares=family == "groupvit",
            says_presence=is_sam,
            templated=not is_sam,
            positions=_whole(text.get("max_position_embeddings")) or positions,
            channels=input_channels(vision, name),
            stride=_whole(body.get("patch_size")) or (_SAM3_PATCH if is_sam else _PATCH),
            own_side=_whole(body.get("image_size")) or _SIDES.get(family, _SAM3_SIDE),
        )

    def side(self, processor: Content) -> int | None:
        """Of the square that images are brought to: these models read no other shape.

        Args:
            processor: the file of its image processor; None is returned where that leaves it to the library.
        """
        if self.family in ONE_SIZE or processor.get("do_resize") is False:
            return self.own_side
        size = processor.get("size")
        if isinstance(size, dict):
            size = size.get("height") or size.get("shortest_edge")
        return _whole(size) or None


def is_prompted(content: Content) -> bool:
    """Whether a checkpoint is told in words what to segment, by its config.json."""
    return content.get("model_type") in PROMPTED or reads_prompts(content)


def _part(content: Content, key: str) -> Content:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _whole(value: Any) -> int:
    """The value where it is a whole number above 0, else 0; of a height and a width the height."""
    if isinstance(value, list) and value:
        return _whole(value[0])
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
