"""The segmentor of a run: one model of some kind, or several together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WrapSerializer,
    WrapValidator,
    field_validator,
    model_validator,
)

from batchseg.config.any_kind import of_any_kind, written
from batchseg.config.base import CLASS_RULE
from batchseg.config.class_names import ClassNames, split_names
from batchseg.config.foreign import OnnxDescription, SmpDescription
from batchseg.config.kinds import infer_segmentor
from batchseg.config.network import EngineConfig, NetworkConfig, ScoringConfig, SegmentorConfig
from batchseg.config.places import Place, refuse_credentials
from batchseg.config.prompting import Prompting


class HuggingFaceSegmentor(NetworkConfig):
    """Any semantic or universal segmentation model of transformers."""

    kind: Literal["huggingface"] = "huggingface"
    model: Place = Field(description="Local folder, URI of a folder, or hub name.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(False, description="Run Python code that comes with the model.")
    classes: Annotated[ClassNames | None, BeforeValidator(split_names)] = Field(
        None,
        description="Classes by name, for a model that reads them: prompted, or with a text head. Null: its "
        "own, the label map's, or the manifest's prompts.",
    )
    prompting: Prompting = Field(
        default_factory=Prompting, description="How a prompted model decides; for no other."
    )


class TorchvisionSegmentor(NetworkConfig):
    """A model of torchvision.models.segmentation."""

    kind: Literal["torchvision"] = "torchvision"
    model: Place = Field(description="Builder name, such as deeplabv3_resnet50 or lraspp_mobilenet_v3_large.")
    weights: Place = Field(
        "DEFAULT", description="Name of torchvision weights, or a local state dict (.pt, .pth, .safetensors)."
    )
    resize: int = Field(520, ge=16, description="Shorter side of the model's input, in pixels.")


class SmpSegmentor(SmpDescription, NetworkConfig):
    """A model of segmentation_models_pytorch, as its `save_pretrained` saves it."""

    kind: Literal["smp"] = "smp"
    model: Place = Field(description="Local folder, URI of a folder, or hub name.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")


class OnnxSegmentor(OnnxDescription, EngineConfig):
    """An ONNX network, computed in the number format that it was saved in."""

    kind: Literal["onnx"] = "onnx"
    model: Place = Field(description="Local file or URI, NAME.onnx; NAME.yaml beside it may describe it.")
    engine: Literal["auto", "onnxruntime", "openvino"] = Field(
        "auto",
        description="What computes the forward pass. auto: on a CPU OpenVINO, where it is installed "
        "(batchseg[openvino]) and gives the scores that ONNX Runtime gives, else that.",
    )

    @property
    def mask_precision(self) -> str:
        return "auto"


class ThresholdSegmentor(SegmentorConfig):
    """Brightness against fixed levels: deterministic, without torch; for dry runs and tests."""

    kind: Literal["threshold"] = "threshold"
    levels: tuple[int, ...] = Field(
        (128,), min_length=1, description="Rising grey levels, 1 to 255; class = levels reached."
    )

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if list(levels) != sorted(set(levels)) or not all(1 <= level <= 255 for level in levels):
            raise ValueError("must rise and lie in 1 .. 255")
        return levels


class CustomSegmentor(ScoringConfig):
    """A class of your own, named `module:Class` or `path/to/file.py:Class`."""

    kind: Literal["custom"] = "custom"
    model: str = Field(
        pattern=CLASS_RULE, description="module:Class, importable on every worker, or path/to/file.py:Class."
    )
    options: Annotated[dict[str, Any], AfterValidator(refuse_credentials)] = Field(
        default_factory=dict, description="Keyword arguments of the class."
    )


_Member = (
    HuggingFaceSegmentor
    | TorchvisionSegmentor
    | SmpSegmentor
    | OnnxSegmentor
    | ThresholdSegmentor
    | CustomSegmentor
)


_Validated = WrapValidator(partial(of_any_kind, base=SegmentorConfig))
_Written = WrapSerializer(written)
AnyMember = Annotated[_Member, Field(discriminator="kind"), _Validated, _Written]
Merge = dict[str, Annotated[tuple[str, ...], BeforeValidator(split_names)]]
MergeOrRelation = Annotated[
    Annotated[Merge, Tag("groups")] | Annotated[Place, Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "groups"),
]


_MOST_MEMBERS = 16


def _infer_member(value: Any) -> Any:
    data = infer_segmentor(value)
    if isinstance(data, Mapping) and data.get("kind") == "ensemble":
        raise ValueError("is an ensemble itself; name its members in its place")
    return data


class EnsembleSegmentor(ScoringConfig):
    """Several models that decide together: their class probabilities are averaged.

    Classes of one name are one. Where a model lacks a class, its probability is 0 in it.
    """

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[Annotated[AnyMember, BeforeValidator(_infer_member)], ...] = Field(
        description="The models, 2 to 16, each by its name or in full."
    )
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="How much each model counts, in their order. Null: all alike."
    )
    merge: Merge = Field(
        default_factory=dict,
        description="NAME: classes of the models that are one, such as those that differ in name alone.",
    )

    @model_validator(mode="after")
    def _a_weight_each(self) -> EnsembleSegmentor:
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(
                f"has {len(self.members)} members and {len(self.weights)} weights; give one for each, or none"
            )
        return self

    @field_validator("members")
    @classmethod
    def _settings_of_the_whole(cls, members: tuple[AnyMember, ...]) -> tuple[AnyMember, ...]:
        if not 2 <= len(members) <= _MOST_MEMBERS:
            raise ValueError(f"an ensemble has 2 to {_MOST_MEMBERS} members, and here are {len(members)}")
        for place, member in enumerate(members):
            for name in ScoringConfig.model_fields:
                field = type(member).model_fields.get(name)
                if field is not None and getattr(member, name) != field.default:
                    raise ValueError(
                        f"member {place} ({member.name}) sets {name}, which is one for all members; set "
                        f"segmentor.{name} in its place"
                    )
            if isinstance(member, HuggingFaceSegmentor) and member.prompting.has_thresholds:
                raise ValueError(
                    f"member {place} ({member.name}) sets a threshold in prompting, and the mean of all "
                    "members is what decides; leave it out"
                )
            if isinstance(member, NetworkConfig) and member.scaled_decode:
                raise ValueError(
                    f"member {place} ({member.name}) sets scaled_decode, and all members see one decoded "
                    "image; leave it out"
                )
        return members

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    @property
    def models(self) -> tuple[SegmentorConfig, ...]:
        return self.members


AnySegmentor = Annotated[_Member | EnsembleSegmentor, Field(discriminator="kind"), _Validated, _Written]
