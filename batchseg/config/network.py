"""What all kinds of segmentors have, what those with scores have, and what networks have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from batchseg.config.base import Model


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


class EngineConfig(ScoringConfig):
    """How the forward pass of a network is computed. All of it changes masks a little, and the fingerprint.

    That holds the engine as it is asked for, and `run.json` says what was used.
    """

    engine: str = "auto"
    quantise: Literal["int8"] | None = Field(
        None,
        description="int8: with weights and activations of 8 bits, by OpenVINO on a CPU. Their scales are "
        "chosen on up to 300 images of the source before the run. The network lies in the results folder.",
    )
    quantise_agreement: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Refuse the quantised network where fewer pixels of 32 images have the class that they "
        "have without.",
    )

    @property
    def of_openvino(self) -> str | None:
        """The setting that only OpenVINO can do, as it is written; None where another engine will do."""
        if self.quantise is not None:
            return f"quantise: {self.quantise}"
        return "engine: openvino" if self.engine == "openvino" else None

    @property
    def altering(self) -> list[str]:
        """The settings in use that change masks: nothing is added to a fingerprint where there are none."""
        named = [] if self.engine == "auto" else [f"engine={self.engine}"]
        return named + ([] if self.quantise is None else [f"quantise={self.quantise}"])

    @model_validator(mode="after")
    def _is_for_cpus(self) -> EngineConfig:
        wanted = self.of_openvino
        if wanted is None:
            return self
        if self.device == "cuda":
            raise ValueError(f"{wanted} is for CPUs; leave it out, or say device: cpu")
        if self.precision == "fp16":
            raise ValueError(f"{wanted} computes in fp32 or bf16; say which as precision, or leave that out")
        if self.quantise and self.engine not in ("auto", "openvino"):
            raise ValueError(f"quantise is done by OpenVINO, and engine is {self.engine}; leave one out")
        return self


class NetworkConfig(EngineConfig):
    """What networks of torch have besides."""

    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="What computes the forward pass. auto: on a CPU OpenVINO, where it is installed "
        "(batchseg[openvino]) and gives the scores that torch gives, else torch.",
    )
    compile: bool = Field(
        False,
        description="Compile the network (torch.compile): each actor and input shape once, 1 min or so. Then "
        "the engine is torch.",
    )
    scaled_decode: bool = Field(
        False,
        description="Decode JPEGs at 1/2, 1/4 or 1/8 where that is still no smaller than the model's input.",
    )

    @property
    def altering(self) -> list[str]:
        """As above."""
        return [name for name in ("compile", "scaled_decode") if getattr(self, name)] + super().altering

    @model_validator(mode="after")
    def _compiled_by_one(self) -> NetworkConfig:
        if self.compile and self.of_openvino:
            raise ValueError(
                f"compile is for torch, and {self.of_openvino} for OpenVINO; leave one of them out"
            )
        return self
