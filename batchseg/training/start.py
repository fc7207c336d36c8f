"""The model that a training starts from, as a checkpoint that every worker loads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from torch import nn

from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.source import ImageReading
from batchseg.config.train import NewModel, TrainConfig
from batchseg.errors import ConfigError, ModelError
from batchseg.labels.label_file import load_label_map, load_wording
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint, refuse_untrainable
from batchseg.segmentors.huggingface.content import CHANNELS
from batchseg.segmentors.huggingface.families import OWN, SEMANTIC
from batchseg.segmentors.huggingface.files import CONFIG, read_checkpoint_config
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.language import positions, reason_of
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor
from batchseg.segmentors.llm.names import LANGUAGE_MODEL, check_classes, reads_prompts
from batchseg.segmentors.llm.text import TextModel
from batchseg.segmentors.llm.token_states import PromptReader, middle_layer
from batchseg.source.split import SPLIT_FILE, Split
from batchseg.storage.location import locate
from batchseg.training.backbone_weights import fill_backbone
from batchseg.training.facts import PictureBands
from batchseg.training.rows import Rows

MEANT = ("background", "foreground")  # of a prompt
MOST_NEW = (
    0.5  # a model to go on from brings at least so much of itself; SegFormer's decoder is a sixth of it
)


@dataclass(frozen=True)
class Made:
    """What a new model is made for.

    Attributes:
        names: of the classes.
        prompts: the sentences in which they are read.
    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    bands: PictureBands


def write_start(config: TrainConfig, folder: Path, made: Made | None = None) -> None:
    """Save the network, with weights as they are before the first step, and its image processor.

    Args:
        made: for a new model; None: for RGB, and the classes of the label map.

    Raises:
        ModelError: the language model or the model to go on from cannot be had.
        LabelMapError: there are no class names.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what a checkpoint has beyond its layers is no news
    if isinstance(config.model, NewModel):
        made = made or Made(*words_of(config), PictureBands(CHANNELS, ImageReading()))
        network, processor = _new(config, folder, made)
    else:
        network, processor = _known(config, str(config.model), folder)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


def seen_before(config: TrainConfig, rows: Rows) -> Iterator[str]:
    """A sentence where the model to go on from has learnt from images that are to judge it now."""
    if not isinstance(config.model, str):
        return
    file = Path(config.model).expanduser() / SPLIT_FILE
    if not file.is_file():
        return
    learnt, judges = Split.read(locate(str(file))).parts.get("train"), rows.validation
    count = int(pc.is_in(judges["uri"], learnt["uri"]).to_numpy().sum()) if learnt is not None else 0
    if count:
        yield (
            f"{count:,} of the {len(judges):,} images for validation trained {config.model}, so figures on "
            "them flatter it; the seed and the validation of that training part them as they were"
        )


def _new(config: TrainConfig, folder: Path, made: Made) -> tuple[Any, Any]:
    from transformers import SegformerImageProcessor

    model = config.model
    assert isinstance(model, NewModel)
    names, channels = made.names, made.bands.channels
    if channels != CHANNELS and model.backbone != "small":
        raise ConfigError(
            f"model.backbone {model.backbone} reads RGB, and the pictures have {channels} bands; take the "
            "small backbone, or three of the bands (source.bands)"
        )
    shape = LLMSegConfig(
        num_channels=channels,
        backbone=model.backbone,
        widths=model.widths,
        fusion=model.fusion,
        decoder=model.decoder,
        decoder_width=model.decoder_width,
        head=model.head,
        finest=model.finest_stride,
        prompts=made.prompts,
        trained=model.mode if model.mode in ("norm_only", "full") else "frozen",
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    reader = _prompt_reader(model, shape) if model.head == "prompt" else None
    torch.manual_seed(config.seed)
    if model.mode == "none":
        network = LLMSemanticSegmentor(shape)
    else:
        network = LLMSemanticSegmentor.from_language_model(
            str(model.language_model), shape, model.layers, config.seed
        )
    if reader is not None:
        reader.text.save(folder / LANGUAGE_MODEL)
    if model.head == "text":
        text = TextModel.load(str(model.language_model))
        network.read_classes(text, load_wording(str(config.labels)).phrases)
        if model.open_vocabulary:
            text.save(folder / LANGUAGE_MODEL)
    if model.backbone_weights is not None:
        fill_backbone(network.backbone, model.backbone_weights)
    side = model.size if config.tiling is None else config.tiling.size
    _try(network, side)
    size = {"height": side, "width": side}
    expected = made.bands.pixel_range if model.backbone_weights is None else None
    if expected is None:
        return network, SegformerImageProcessor(size=size)
    return network, SegformerImageProcessor(size=size, image_mean=[*expected.mean], image_std=[*expected.std])


def words_of(config: TrainConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes of a new model, and the sentences in which they are read.

    Raises ModelError, LabelMapError.
    """
    head = config.model.head if isinstance(config.model, NewModel) else "closed"
    if config.labels is None and head == "prompt":
        return MEANT, ("{}",)
    if config.labels is None:
        raise ModelError("a new model needs the names of its classes: give --labels")
    names = load_label_map(config.labels).names
    if head == "prompt" and len(names) != len(MEANT):
        raise ModelError(
            f"{config.labels} has {len(names)} classes, and of what a prompt means there are two, background "
            "and foreground: leave out --labels, or give a label map of two"
        )
    return names, load_wording(config.labels).prompts


def _prompt_reader(model: NewModel, shape: LLMSegConfig) -> PromptReader:
    """What reads prompts; the configuration gets what the head has to know of it. Raises ModelError."""
    text = TextModel.load(str(model.language_model))
    facts = text.model.config
    depth, layer = facts.num_hidden_layers, model.prompt_layer or middle_layer(facts.num_hidden_layers)
    if layer > depth:
        raise ModelError(f"model.prompt_layer {layer}: {model.language_model} has {depth} layers")
    shape.prompt_layer, shape.prompt_width, shape.prompt_noise = layer, facts.hidden_size, model.prompt_noise
    shape.prompt_positions = positions(facts)
    return PromptReader(text, layer)


def _try(network: LLMSemanticSegmentor, size: int) -> None:
    """One image of the size that is trained, so that a size too large for the language model shows now."""
    try:
        with torch.inference_mode():
            network.eval()
            network.see(torch.zeros(1, network.config.num_channels, size, size))
    except ValueError as exc:
        raise ModelError(f"model.size {size}: {exc}") from exc


def _known(config: TrainConfig, name: str, folder: Path) -> tuple[Any, Any]:
    """A semantic model of transformers; its last layer is new where the classes are others.

    A text head reads the names of other classes instead, with the language model that came with it.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation

    _refuse_by_content(name)
    try:
        own = AutoConfig.from_pretrained(name)
        _refuse_other_kinds(own, name)
        names = (
            load_label_map(config.labels).names
            if config.labels
            else LabelMap.from_names(tuple(own.id2label[index] for index in range(own.num_labels))).names
        )
        by_text = getattr(own, "head", None) == "text"
        if not by_text:
            own.id2label = dict(enumerate(names))
            own.label2id = {label: index for index, label in enumerate(names)}
        torch.manual_seed(config.seed)
        network, info = AutoModelForSemanticSegmentation.from_pretrained(
            name,
            config=own,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        processor = AutoImageProcessor.from_pretrained(name)
        if config.labels:  # which says how truths are read, whatever those of the old model were like
            for flag in ("do_reduce_labels", "reduce_labels"):
                if getattr(processor, flag, False):
                    setattr(processor, flag, False)
    except (OSError, ValueError) as exc:
        raise ModelError(f"model {name}: cannot be loaded: {reason_of(name, exc)}") from exc
    _refuse_mostly_new(name, network, {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    if by_text:
        _take_names(name, network, names, folder)
    if reads_prompts(own.to_dict()):
        _refuse_changes(config, name)
        shutil.copytree(_folder_of(name) / LANGUAGE_MODEL, folder / LANGUAGE_MODEL)
    return network, processor


def _folder_of(name: str) -> Path:
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=name)).location.folder()


def _refuse_by_content(name: str) -> None:
    """What transformers itself would fail at, of a local folder. Raises ModelError."""
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        refuse_untrainable(read_checkpoint_config(folder, name), name)


def _refuse_other_kinds(own: Any, name: str) -> None:
    """Raise ModelError for a model that cannot be trained here."""
    if own.model_type not in (*SEMANTIC, *OWN):
        raise ModelError(
            f"{name} is a {own.model_type} model; those that can be trained here: "
            f"{', '.join((*SEMANTIC, *OWN))}"
        )


def _refuse_changes(config: TrainConfig, name: str) -> None:
    """Raises ModelError where a model that takes prompts would learn from images that they do not fit."""
    changes = config.augmentation
    if not {"colour", "scale"} <= changes.model_fields_set:
        raise ModelError(
            f"{name} takes prompts, which may name colours and sizes: say in augmentation.colour and "
            "augmentation.scale how much of them may change, such as 0 and [1, 1]"
        )


def _take_names(name: str, network: Any, names: Sequence[str], folder: Path) -> None:
    """The label map's classes for a text head, and its language model into the new checkpoint."""
    source = _folder_of(name)
    check_classes(network.config.to_dict(), network.head.names, names, source)
    network.take_classes(names, source)
    if (source / LANGUAGE_MODEL).is_dir():
        shutil.copytree(source / LANGUAGE_MODEL, folder / LANGUAGE_MODEL)


def _refuse_mostly_new(name: str, network: nn.Module, new: set[str]) -> None:
    sizes = {key: value.numel() for key, value in network.state_dict().items()}
    share = sum(size for key, size in sizes.items() if key in new) / max(1, sum(sizes.values()))
    if share > MOST_NEW:
        raise ModelError(
            f"model {name}: {share:.0%} of the weights of {type(network).__name__} are not in it; "
            "it is not a model of this kind, or was not saved whole"
        )
