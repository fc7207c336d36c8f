"""The configuration: strict, frozen models. `RunConfig` is a whole job; load.py reads one from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

SUFFIX_RULE = r"^[^=]*=[^=]*$"
FAILED_RULE = r"^(\d+|\d+(\.\d+)?%)$"
CLASS_RULE = r"^[\w.]+:\w+$"
JOB_NAME_RULE = r"^[\w.-]+$"
_PARQUET = re.compile(r"\.(parquet|pq)/?($|\?.*=)")  # a URI may end in options of its file system
METRICS = (
    "accuracy",
    "recall_weighted",
    "f1_weighted",
    "recall_macro",
    "f1_macro",
    "precision_macro",
    "mean_iou",
)


class Model(BaseModel):
    """Unknown keys and infinite numbers are refused, values are fixed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FolderSource(Model):
    """Images in a folder, local or on anything `pyarrow.fs` opens."""

    kind: Literal["folder"] = "folder"
    path: str = Field(
        min_length=1, description="Folder with the images: a path or a URI (s3://, gs://, hdfs://)."
    )
    include: tuple[str, ...] = Field((), description="Globs on the id; an image must match one. Empty: all.")
    exclude: tuple[str, ...] = Field(
        (), description="Globs on the id; an image that matches one is left out."
    )
    truth: str | None = Field(
        None, min_length=1, description="Folder with the ground truth, mirroring the image folder."
    )
    truth_suffix: str | None = Field(
        None,
        pattern=SUFFIX_RULE,
        description="FROM=TO: how the end of an image's stem changes to its truth's.",
    )
    limit: int | None = Field(None, ge=1, description="Stop after this many images.")


class ManifestSource(Model):
    """Images listed in Parquet: one file, several (a glob or a folder), or a partitioned folder."""

    kind: Literal["manifest"] = "manifest"
    path: str = Field(min_length=1, description="The Parquet file, or a folder of them.")
    root: str | None = Field(
        None,
        min_length=1,
        description="What relative URIs are relative to. Default: the manifest's folder.",
    )
    limit: int | None = Field(None, ge=1, description="Stop after this many images.")


Source = Annotated[FolderSource | ManifestSource, Field(discriminator="kind")]


class SegmentorConfig(Model):
    """What every kind of segmentor has: how it is placed on the hardware. Null: chosen from the hardware."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware computes it natively, else fp32."
    )
    batch_size: int | None = Field(None, ge=1, le=65_536, description="Images per model call.")
    actors: int | None = Field(None, ge=1, le=10_000, description="Copies of the model.")
    gpus_per_actor: float | None = Field(None, gt=0, description="GPUs for each copy; 0.5 puts two on one.")


class NetworkConfig(SegmentorConfig):
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


def _split_names(value: Any) -> Any:
    """One string of names between commas."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _tell_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(name.strip() for name in names) or not names:
        raise ValueError("must be names between commas, none of them empty")
    folded = [name.casefold() for name in names]
    repeated = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if repeated is not None:
        raise ValueError(f"names {repeated!r} twice")
    if len(names) == 1:
        raise ValueError("a class alone would take every pixel; name what it is told from, too")
    return names


ClassNames = Annotated[tuple[str, ...], AfterValidator(_tell_apart)]


class HuggingFaceSegmentor(NetworkConfig):
    """Any semantic or universal segmentation model of transformers."""

    kind: Literal["huggingface"] = "huggingface"
    model: str = Field(min_length=1, description="Local folder, URI of a folder, or hub name.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(False, description="Run Python code that comes with the model.")
    classes: Annotated[ClassNames | None, BeforeValidator(_split_names)] = Field(
        None, description="Other classes by name, for an LLM segmentor with a text head. Null: its own."
    )
    none_below: float | None = Field(
        None, gt=0, lt=1, description="Pixels whose best class is less probable belong to none. Null: all do."
    )


class TorchvisionSegmentor(NetworkConfig):
    """A model of torchvision.models.segmentation."""

    kind: Literal["torchvision"] = "torchvision"
    model: str = Field(description="Builder name, such as deeplabv3_resnet50 or lraspp_mobilenet_v3_large.")
    weights: str = Field(
        "DEFAULT", description="Name of torchvision weights, or a local state dict (.pt, .pth, .safetensors)."
    )
    resize: int = Field(520, ge=16, description="Shorter side of the model's input, in pixels.")


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


class CustomSegmentor(SegmentorConfig):
    """A class of your own, named `module:Class`."""

    kind: Literal["custom"] = "custom"
    model: str = Field(pattern=CLASS_RULE, description="module:Class, importable on every worker.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the class.")


AnySegmentor = Annotated[
    HuggingFaceSegmentor | TorchvisionSegmentor | ThresholdSegmentor | CustomSegmentor,
    Field(discriminator="kind"),
]


class Limits(Model):
    """What an image may ask of this machine; its size is checked from its header, before decoding."""

    max_pixels: int = Field(
        178_956_970, ge=1, description="Width x height; the default is where Pillow refuses."
    )
    max_bytes: int = Field(2**30, ge=1, description="Size of the encoded file.")
    segment_timeout_s: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Seconds one model call may take before its images count as failed; 10 min more where a "
        "network is compiled in it. Null: any.",
    )


class Output(Model):
    """The results folder."""

    path: str = Field(min_length=1, description="Folder for the results: a path or a URI.")
    mask_name: Literal["stem", "full"] = Field(
        "stem",
        description="stem: a.jpg -> a.png; full: a.jpg -> a.jpg.png, where names differ only in extension.",
    )
    overlays: bool = Field(False, description="Also write overlays/: the image with its mask in colour.")


class Gates(Model):
    """When a finished run still exits with an error."""

    max_failed: str = Field(
        "0", pattern=FAILED_RULE, description="Failed images allowed: a number, or a percentage."
    )
    minimum: dict[str, float] = Field(
        default_factory=dict, description="METRIC: lowest value over the data set."
    )

    @field_validator("max_failed", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("minimum")
    @classmethod
    def _known(cls, minimum: dict[str, float]) -> dict[str, float]:
        for name, value in minimum.items():
            if name not in METRICS:
                raise ValueError(f"unknown metric {name!r}; available: {', '.join(METRICS)}")
            if not 0 <= value <= 1:
                raise ValueError(f"{name} lies in 0 .. 1, so {value:g} decides nothing")
        return minimum

    def allows(self, failed: int, total: int) -> bool:
        """Whether so many failed images are acceptable."""
        if self.max_failed.endswith("%"):
            return failed * 100 <= total * Fraction(self.max_failed[:-1])
        return failed <= int(self.max_failed)


class JobConfig(Model):
    """How `batchseg submit` starts the job on the cluster."""

    name: str | None = Field(
        None,
        pattern=JOB_NAME_RULE,
        description="What the job's ids begin with. Null: a name made from that of the results folder.",
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of the job and its workers. The cluster shows them to its users.",
    )
    entrypoint_cpus: float = Field(
        0, ge=0, description="CPUs reserved for the driver; more than 0 may place it on any node."
    )


class RayConfig(Model):
    """The Ray cluster."""

    address: str | None = Field(
        None,
        description="Address of a running cluster, host:port, or http://host:8265 for `batchseg submit`; "
        "null starts Ray in this process.",
    )
    exclude_head: bool = Field(False, description="Run nothing but the driver on the head node.")
    job: JobConfig = JobConfig()


def infer_source(value: Any) -> Any:
    """A plain path, or a mapping without `kind`: Parquet files make a manifest, all else is a folder."""
    data = {"path": value} if isinstance(value, str) else value
    if not isinstance(data, Mapping) or "kind" in data:
        return data
    path = data.get("path")
    is_manifest = isinstance(path, str) and _looks_like_manifest(path)
    return {"kind": "manifest" if is_manifest else "folder", **data}


def _looks_like_manifest(path: str) -> bool:
    if _PARQUET.search(path):
        return True
    folder = Path(path).expanduser()
    if "://" in path or not folder.is_dir():
        return False
    # partitions are told by their names, so that no large folder of images is searched to its depths
    return any(any(folder.glob(glob)) for glob in ("*.parquet", "*.pq", "*=*/**/*.parquet"))


def infer_segmentor(value: Any) -> Any:
    """A plain model name, or a mapping without `kind`: the name tells the kind."""
    data = {"model": value} if isinstance(value, str) else value
    if not isinstance(data, Mapping):
        return data
    if data.get("model") == "threshold" and data.get("kind", "threshold") == "threshold":
        return {**{key: item for key, item in data.items() if key != "model"}, "kind": "threshold"}
    if "kind" in data:
        return data
    return {"kind": _kind_of(str(data.get("model"))), **data}


def _kind_of(model: str) -> str:
    if re.search(CLASS_RULE, model):
        return "custom"
    return "torchvision" if re.fullmatch(r"(deeplabv3|fcn|lraspp)_\w+", model) else "huggingface"


def infer_output(value: Any) -> Any:
    """A plain path."""
    return {"path": value} if isinstance(value, str) else value


class RunConfig(Model):
    """One job: `batchseg run`. `source`, `segmentor` and `output` may be given as a plain string."""

    source: Annotated[Source, BeforeValidator(infer_source)]
    segmentor: Annotated[AnySegmentor, BeforeValidator(infer_segmentor)]
    output: Annotated[Output, BeforeValidator(infer_output)]
    labels: str | None = Field(
        None,
        description="ade20k, cityscapes, voc, coco-stuff, or a YAML file. Null: the model's own classes.",
    )
    limits: Limits = Limits()
    gates: Gates = Gates()
    ray: RayConfig = RayConfig()
    recompute: bool = Field(False, description="Compute again what another model or setting computed.")
    prune: bool = Field(False, description="Remove rows and masks of images that the source no longer has.")
    profile: bool = Field(
        False, description="Write a trace of some images in one actor to profiles/ in the results."
    )

    @model_validator(mode="after")
    def _prune_needs_the_whole_source(self) -> RunConfig:
        if self.prune and self.source.limit is not None:
            raise ValueError("prune would remove every image beyond source.limit; leave one of them out")
        return self


class DigitsConfig(Model):
    """Scenes of handwritten digits with exact ground truth: `batchseg digits`."""

    output: str = Field(min_length=1, description="New folder for images/, masks/ and manifest.parquet.")
    count: int = Field(1000, ge=1, description="Scenes.")
    seed: int = Field(0, ge=0, description="The same seed gives the same scenes.")
    size: int = Field(224, ge=150, le=10_000, description="Width and height of a scene, in pixels.")
    source: Literal["sklearn", "mnist"] = Field("sklearn", description="Where the digits come from.")
    mnist: str = Field(
        "~/.cache/batchseg", description="Folder with MNIST's files; they are downloaded if not there."
    )


class EvaluateConfig(Model):
    """Existing masks against ground truth, without a model: `batchseg evaluate`."""

    masks: str = Field(min_length=1, description="Folder with the masks to judge.")
    truth: str = Field(min_length=1, description="Folder with the ground truth, mirroring the masks.")
    output: str = Field(min_length=1, description="Folder for the tables.")
    labels: str = Field(description="ade20k, cityscapes, voc, coco-stuff, or a YAML file.")
    mask_ids: Literal["class", "truth"] = Field(
        "class",
        description="What pixel values of the masks mean: class ids, or the data set's own truth ids.",
    )
    mask_suffix: str | None = Field(
        None, pattern=SUFFIX_RULE, description="FROM=TO on a mask's stem, applied before truth_suffix."
    )
    truth_suffix: str | None = Field(
        None, pattern=SUFFIX_RULE, description="FROM=TO: a mask's stem to its truth's."
    )
    include: tuple[str, ...] = Field(
        (), description="Globs on the mask's path; it must match one. Empty: all."
    )
    exclude: tuple[str, ...] = Field((), description="Globs; a mask that matches one is left out.")
    limits: Limits = Limits()
    gates: Gates = Gates()
    ray: RayConfig = RayConfig()
