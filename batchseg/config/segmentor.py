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
from batchseg.config.base import CLASS_RULE, Model
from batchseg.config.class_names import ClassNames, split_names
from batchseg.config.foreign import OnnxDescription, SmpDescription
from batchseg.config.kinds import infer_segmentor
from batchseg.config.places import Place, refuse_credentials
from batchseg.config.prompting import Prompting


class SegmentorConfig(Model):
    """What every kind of segmentor has: how it is placed on the hardware. Null: chosen from the hardware."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware computes it natively, else fp32."
    )
    batch_size: int | None = Field(None, ge=1, le=65_536, description="Images per model call.")
    actors: int | None = Field(None, ge=1, le=10_000, description="Copies of the model.")
    gpus_per_actor: float | None = Field(
        None, gt=0, description="GPUs for each copy, at most 1; 0.5 puts two on one."
    )

    @field_validator("gpus_per_actor")
    @classmethod
    def _one_device(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1:
            raise ValueError(
                "must be at most 1: a copy of the model uses one GPU, and others would idle; "
                "segmentor.actors says how many copies there are"
            )
        return gpus

    @property
    def name(self) -> str:
        """Of the model, for a person."""
        return str(getattr(self, "model", getattr(self, "kind", "")))

    @property
    def mask_precision(self) -> str:
        """The precision that was asked for, as far as masks depend on it."""
        return self.precision

    @property
    def models(self) -> tuple[SegmentorConfig, ...]:
        """What is loaded: itself, or the members of an ensemble."""
        return (self,)


class ScoringConfig(SegmentorConfig):
    """What models have that give scores, from which a class is decided."""

    none_below: float | None = Field(
        None, gt=0, lt=1, description="Pixels whose best class is less probable belong to none. Null: all do."
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Of two classes: foreground is where its probability is above this. Foreground is the "
        "second class, or the first where the model calls the second background. Null: 0.5.",
    )

    @property
    def deciding(self) -> list[str]:
        """The settings in use that change what is decided: nothing is added to a fingerprint without any."""
        none = [] if self.none_below is None else [f"none_below={self.none_below!r}"]
        return none + ([] if self.threshold in (None, 0.5) else [f"threshold={self.threshold!r}"])


class NetworkConfig(ScoringConfig):
    """What neural networks have besides. Both settings change masks a little, and so the fingerprint."""

    compile: bool = Field(
        False,
        description="Compile the network (torch.compile): each actor and input shape once, 1 min or so.",
    )
    scaled_decode: bool = Field(
        False,
        description="Decode JPEGs at 1/2, 1/4 or 1/8 where that is still no smaller than the model's input.",
    )

    @property
    def altering(self) -> list[str]:
        """The settings in use that change masks: nothing is added to a fingerprint where there are none."""
        return [name for name in ("compile", "scaled_decode") if getattr(self, name)]


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


class OnnxSegmentor(OnnxDescription, ScoringConfig):
    """An ONNX network, computed by ONNX Runtime in the number format that it was saved in."""

    kind: Literal["onnx"] = "onnx"
    model: Place = Field(description="Local file or URI, NAME.onnx; NAME.yaml beside it may describe it.")

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
