"""The configuration of a training: `batchseg train`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from batchseg.config.augmentation import KEEPING, Augmentation
from batchseg.config.auxiliary import Auxiliary
from batchseg.config.base import Limits, Model, RayConfig
from batchseg.config.log_to import LogSetting
from batchseg.config.looks import TilingSetting
from batchseg.config.places import Place
from batchseg.config.source import Source, infer_source
from batchseg.config.truth import Accepted, TruthReading, TruthSettings

LEAST_SIDE = 32  # of an input, pixels
MULTIPLE = 16  # the deepest features have one cell for so many pixels

Channels = Annotated[int, Field(ge=1)]


class NewModel(Model):
    """A new LLM segmentor: convolutional features, read by a language model, decoded to pixels."""

    language_model: Place | None = Field(
        None,
        description="Folder or hub name of a BERT, GPT-2, Llama, Qwen or T5 checkpoint. It also reads the "
        "names of the classes, or the prompts, where the head has such.",
    )
    layers: tuple[int, int] | None = Field(
        None, description="First and last layer that is taken, from 0. Null: all."
    )
    mode: Literal["frozen", "norm_only", "lora", "full", "none"] = Field(
        "frozen",
        description="What of the language model learns. none: there is none between features and decoder, "
        "which makes the model smaller and faster.",
    )
    lora_rank: int = Field(8, ge=1, description="Rank of the adapters of mode lora.")
    backbone: Literal["small", "resnet50"] = Field("small", description="The convolutional features.")
    backbone_weights: Place | None = Field(
        None, description="Of resnet50: a state dict (.pt, .pth, .safetensors), or torchvision's DEFAULT."
    )
    widths: tuple[Channels, Channels, Channels, Channels] = Field(
        (32, 64, 128, 256), description="Channels of the four stages of the small backbone."
    )
    fusion: Literal["residual", "replace"] = Field(
        "residual", description="What the language model says is added to the features, or replaces them."
    )
    decoder: Literal["fpn", "mlp", "queries"] = Field("fpn", description="From features to pixels.")
    decoder_width: int = Field(128, ge=8, description="Channels of the decoder.")
    finest_stride: Literal[4, 2] = Field(
        4,
        description="Pixels of the input for one cell of the decoder's map. 2: of the small backbone, for "
        "small images and thin things.",
    )
    head: Literal["closed", "text", "prompt"] = Field(
        "closed",
        description="text: each pixel has the class whose name, read by the language model, is most like it. "
        "Names, synonyms and prompts are those of the label map. prompt: each row of the manifest says in "
        "its column `prompt` what its truth shows.",
    )
    prompt_layer: int | None = Field(
        None,
        ge=1,
        description="Of a prompt head: after which layer of the language model the words are taken, from 1. "
        "Null: at two thirds of its depth, which serves better than the last.",
    )
    prompt_noise: float = Field(
        0.0,
        ge=0,
        description="Of a prompt head: standard deviations of noise on the words while it learns. 1 helps "
        "with words that were never trained on, and takes longer on those that were.",
    )
    open_vocabulary: bool = Field(
        False,
        description="Of a text head: the model keeps the whole language model, to read other names later.",
    )
    size: int = Field(
        224,
        ge=LEAST_SIDE,
        multiple_of=MULTIPLE,
        description="Images are squashed to this width and height, pixels.",
    )

    @model_validator(mode="after")
    def _language_model_or_none(self) -> NewModel:
        if self.head == "prompt" and self.language_model is None:
            raise ValueError(
                "head prompt needs a language_model that reads the prompts, in mode none as well"
            )
        if (self.mode == "none") != (self.language_model is None) and self.head != "prompt":
            raise ValueError("language_model is needed by every mode but none, which has no use for it")
        if self.backbone_weights and self.backbone != "resnet50":
            raise ValueError("backbone_weights are of resnet50; the small backbone starts anew")
        if self.head == "text" and self.language_model is None:
            raise ValueError("head text needs a language_model that reads the names of the classes")
        if self.open_vocabulary and self.head != "text":
            raise ValueError("open_vocabulary needs head: text")
        return self

    @model_validator(mode="after")
    def _parts_that_fit(self) -> NewModel:
        if self.mode == "none" and self.layers is not None:
            raise ValueError("layers are those between features and decoder, and in mode none there are none")
        if self.finest_stride != 4 and self.backbone != "small":
            raise ValueError("finest_stride 2 is of the small backbone; resnet50 has 4")
        if self.head != "prompt" and (self.prompt_layer or self.prompt_noise):
            raise ValueError("prompt_layer and prompt_noise need head: prompt")
        return self


class TrainConfig(Model):
    """One training: `batchseg train`. `source` and `model` may be given as a plain string.

    Without a model one is planned from the data, and so is of `epochs`, `validate_every`, `batch_size`,
    `learning_rate` and `class_weights` what is not given.
    """

    source: Annotated[Source, BeforeValidator(infer_source)]
    output: Place = Field(description="Folder for the model, its history and what resumes it.")
    model: (
        Annotated[
            Annotated[Place, Tag("name")] | Annotated[NewModel, Tag("new")],
            Discriminator(lambda value: "name" if isinstance(value, str) else "new"),
        ]
        | None
    ) = Field(
        None,
        description="A new LLM segmentor; or a semantic model of transformers to go on from, by folder or "
        "hub name. Null: a small convolutional network, planned from the data.",
    )
    labels: Place | None = Field(
        None,
        description="ade20k, cityscapes, voc, coco-stuff, or a YAML file. Null: the model's own classes; of "
        "a new one class_0, class_1 and so on, as the ids of the ground truth are; with head prompt "
        "background and foreground.",
    )
    validation: Annotated[
        Annotated[float, Field(gt=0, lt=1), Tag("share")] | Annotated[tuple[str, ...], Tag("globs")],
        Discriminator(lambda value: "globs" if isinstance(value, list | tuple) else "share"),
    ] = Field(
        0.1,
        description="Share of the images, or globs on their ids. "
        "A manifest with a column `split` says itself: train, validation.",
    )
    train_fraction: float = Field(
        1.0, gt=0, le=1, description="Learn from this share of the training images only."
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="Column of the manifest, such as patient or site: images that share its value stay "
        "together, so that no such group is both learnt from and judged by.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=16,
        description="Cross-validation: so many trainings, each of which leaves out a part of the images and "
        "then predicts it; minutes are shared among them. Null: one training.",
    )
    tiling: TilingSetting = None
    sampling: Literal["uniform", "balanced"] = Field(
        "uniform",
        description="uniform: each image, or window, once an epoch. balanced: half of the draws go to the "
        "classes in turn, and their crops show that class, so that rare ones are seen like others.",
    )
    epochs: int = Field(50, ge=1, description="Times to go through the training images, in whole batches.")
    minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Time for all of it, from the first look at the source to the model. The learning rate "
        "falls to fit it; epochs, where not given, are as many as that allows. Null: as long as it takes.",
    )
    validate_every: int = Field(1, ge=1, description="Epochs from one validation to the next.")
    batch_size: int = Field(8, ge=1, le=4096, description="Images a worker takes at once.")
    accumulate: int = Field(1, ge=1, description="Batches whose gradients make one step.")
    crop: int | None = Field(
        None,
        ge=LEAST_SIDE,
        multiple_of=MULTIPLE,
        description="Side of the training crops, pixels. Null: the input.",
    )
    augmentation: Augmentation = Augmentation()
    learning_rate: float | None = Field(
        None, gt=0, description="At its peak. Null: 1e-3 for a new model, 6e-5 for one to go on from."
    )
    weight_decay: float = Field(0.01, ge=0, description="Of AdamW; norms and biases have none.")
    warmup_steps: int = Field(100, ge=0, description="Steps in which the learning rate rises from 0.")
    clip_norm: float = Field(1.0, gt=0, description="Longest gradient.")
    class_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="CLASS: weight of its pixels in the cross-entropy; others have 1."
    )
    auxiliary: Auxiliary = Auxiliary()
    patience: int = Field(
        10, ge=1, description="Stop after so many validations without a better mean IoU; with prompts gIoU."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Of new weights, the order of images, and augmentation.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model learns.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the hardware computes it natively, else fp32."
    )
    workers: int | None = Field(None, ge=1, description="Null: one on each GPU, or one in all on CPUs.")
    truth: TruthReading = TruthSettings()
    accept: Accepted = Field((), description="Guards to pass over, such as binary_truth.")
    limits: Limits = Limits()
    ray: RayConfig = RayConfig()
    report: bool = Field(
        False, description="Also make report.html in the end, a page to look at; see `batchseg report`."
    )
    log_to: LogSetting = None

    @model_validator(mode="before")
    @classmethod
    def _prompts_keep_their_meaning(cls, data: Any) -> Any:
        """Other colours and sizes are other things to a prompt: they change only where that is asked for."""
        if not isinstance(data, dict):
            return data
        model, given = data.get("model"), data.get("augmentation") or {}
        head = model.get("head") if isinstance(model, dict) else getattr(model, "head", None)
        if head != "prompt" or not isinstance(given, dict):
            return data
        return {**data, "augmentation": {**KEEPING, **given}}

    @model_validator(mode="after")
    def _folds_part_the_images(self) -> TrainConfig:
        if isinstance(self.validation, tuple):
            for name in ("folds", "group"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} parts the images, and so do the globs of validation: give a share there"
                    )
        return self

    @model_validator(mode="after")
    def _tasks_read_the_last_layer(self) -> TrainConfig:
        model = self.model
        if not isinstance(model, NewModel) or not self.auxiliary.is_on:
            return self
        for name, value in (("head", "text"), ("decoder", "queries")):
            if getattr(model, name) == value:
                raise ValueError(
                    f"auxiliary reads the layer that makes a map of each class; {name}: {value} has none, so "
                    "leave one of them out"
                )
        return self

    @model_validator(mode="after")
    def _windows_are_inputs(self) -> TrainConfig:
        if self.tiling is None:
            return self
        size, model = self.tiling.size, self.model
        if size % MULTIPLE or size < LEAST_SIDE:
            near = max(LEAST_SIDE, round(size / MULTIPLE) * MULTIPLE)
            raise ValueError(
                f"tiling.size (--tile) is {size}, and of windows that are learnt from it is a multiple of "
                f"{MULTIPLE}, {LEAST_SIDE} at least; take {near}"
            )
        if isinstance(model, NewModel) and "size" in model.model_fields_set and model.size != size:
            raise ValueError(
                f"tiling.size (--tile) is {size} and model.size {model.size}, and a window is the input; "
                "leave model.size out"
            )
        return self

    @model_validator(mode="after")
    def _prompts_see_whole_pictures(self) -> TrainConfig:
        if isinstance(self.model, NewModel) and self.model.head == "prompt":
            refuse_with_prompts(self)
        return self

    @property
    def peak_rate(self) -> float:
        """The learning rate after the warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 6e-5 if isinstance(self.model, str) else 1e-3


def refuse_with_prompts(config: TrainConfig) -> None:
    """Raises ValueError for what a training whose rows have prompts cannot do."""
    if config.auxiliary.is_on:
        raise ValueError(
            "auxiliary: a prompted model learns no classes, and whether things are there in any case; leave "
            "it out"
        )
    if config.sampling == "balanced":
        raise ValueError(
            "sampling: balanced evens out classes, and a prompted model learns from prompts, whose points "
            "are balanced already; leave it out"
        )
    if config.tiling is not None:
        raise ValueError(
            "tiling (--tile): a prompted model learns from whole pictures, for a window need not show what "
            "is meant; leave it out"
        )
