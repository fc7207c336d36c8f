"""A prompted model on the driver: what it is asked for, and what is wrong with that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchseg.config.prompting import Prompting
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ConfigError
from batchseg.labels.label_file import load_label_map, load_wording
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import PixelRange, PromptMode, Resize
from batchseg.segmentors.huggingface.files import (
    CheckpointPlace,
    FoundCheckpoint,
    expected_range,
    read_processor,
    require_files,
)
from batchseg.segmentors.huggingface.input_size import InputSize
from batchseg.segmentors.prompted.kinds import PromptedKind
from batchseg.segmentors.prompted.tokens import read_tokens, require_tokenizer
from batchseg.segmentors.prompted.words import PromptList, negation_note, shown, tidy

if TYPE_CHECKING:
    from batchseg.segmentors.huggingface.processor import HuggingFacePreparer
    from batchseg.segmentors.prompted.model import PromptedModel

ROWS = ("background", "foreground")  # what a mask of a prompt of its own says of a pixel


@dataclass(frozen=True)
class PromptedCheckpoint:
    """A checkpoint that is told in words what to segment, in a folder, at a URI or on the hub.

    Attributes:
        location: where workers find the files.
        prompts: one list for all images; None: each has a prompt of its own.
        prompting: how it decides.
        compile: whether torch.compile is to speed up what sees the images.
        side: of the square that images are brought to; None: as its image processor has it.
        pixel_range: of the images that it expects; None where its processor does not say.
    """

    location: CheckpointPlace
    kind: PromptedKind
    label_map: LabelMap
    fingerprint: str
    prompts: PromptList | None
    prompting: Prompting
    compile: bool
    side: int | None
    notes: tuple[str, ...] = ()
    pixel_range: PixelRange | None = None

    @classmethod
    def open(
        cls, config: HuggingFaceSegmentor, found: FoundCheckpoint, labels: str | None = None
    ) -> PromptedCheckpoint:
        """Read what a checkpoint that was found needs, and check the words.

        Args:
            labels: a label map, built-in or a file, whose words count where the configuration has no classes.

        Raises:
            ModelError: the files are not whole.
            ConfigError: the words are none that it could read, or thresholds are of other classes.
            LabelMapError: the label map cannot be read.
        """
        kind = PromptedKind.of(found.content, found.name)
        assert kind is not None
        require_files(found.folder, found.name)
        require_tokenizer(found.folder / kind.reader, found.name)
        processor = read_processor(found.folder, found.name)
        prompts = _prompts(config, labels, kind)
        label_map = LabelMap.from_names(ROWS if prompts is None else prompts.names)
        _refuse_thresholds(config.prompting, label_map, 0 if prompts is None else prompts.background)
        opened = cls(
            location=found.location,
            kind=kind,
            label_map=label_map,
            fingerprint=_fingerprint(found.files, config, prompts),
            prompts=prompts,
            prompting=config.prompting,
            compile=config.compile,
            side=kind.side(processor),
            notes=tuple(_notes(kind, prompts, config.prompting, found.name)),
            pixel_range=expected_range(processor, found.name, kind.channels),
        )
        for name, text in () if prompts is None else opened._texts(prompts):
            if fault := opened.prompt_fault(text):
                raise ConfigError(f"class {shown(name)!r}: {fault}")
        return opened

    @property
    def prompted(self) -> PromptMode:
        return "rows" if self.prompts is None else "list"

    @property
    def channels(self) -> int:
        return self.kind.channels

    @property
    def stride(self) -> int:
        return self.kind.stride

    def prompt_fault(self, prompt: str) -> str | None:
        """Raises ModelError where its tokenizer cannot be loaded."""
        text = tidy(prompt)
        if not text:
            return "the prompt is empty; say what is to be segmented"
        tokens, most = read_tokens(self.location.folder() / self.kind.reader, text), self.kind.positions
        said = f"the prompt {shown(text)!r} has"
        if not tokens.known:
            return f"{said} no word that the model's tokenizer knows; say it in other words"
        if most is None or tokens.total <= most:
            return None
        return (
            f"{said} {tokens.total} tokens, and the model reads {most}, the beginning and the end among "
            "them; say it in fewer words"
        )

    @staticmethod
    def _texts(prompts: PromptList) -> Iterator[tuple[str, str]]:
        for name, texts in zip(prompts.names, prompts.texts, strict=True):
            yield from ((name, text) for text in texts)

    def preparer(self, as_is: bool = False) -> HuggingFacePreparer:
        from batchseg.segmentors.huggingface.processor import HuggingFacePreparer

        return HuggingFacePreparer(self.location, self.kind.family, as_is, self.side)

    def resizing(self) -> Resize:
        # the processor itself takes seconds to import
        return InputSize(self.side, self.side).input_hw if self.side else self.preparer().input_hw

    def load(self, device: str, precision: str, threads: int | None = None) -> PromptedModel:
        """The network, in eval mode. Raises ModelError where a weight is missing."""
        from batchseg.segmentors.prompted.model import PromptedModel

        return PromptedModel.load(self, device, precision)


def _prompts(config: HuggingFaceSegmentor, labels: str | None, kind: PromptedKind) -> PromptList | None:
    """The list, from the configuration or else from a label map; None where there is neither."""
    if config.classes is not None:
        return PromptList.of(config.classes, None, kind.templated)
    if labels is None:
        return None
    return PromptList.of(load_label_map(labels).names, load_wording(labels), kind.templated)


def _refuse_thresholds(prompting: Prompting, label_map: LabelMap, background: int | None) -> None:
    for name in prompting.thresholds:
        if name not in label_map.names:
            raise ConfigError(
                f"segmentor.prompting.thresholds names {name!r}, which is none of the classes "
                f"({', '.join(label_map.names)})"
            )
        if background is not None and name == label_map.names[background]:
            raise ConfigError(
                f"segmentor.prompting.thresholds names {name!r}, which is what the other classes leave over; "
                "give those a threshold"
            )


def _notes(kind: PromptedKind, prompts: PromptList | None, asked_of: Prompting, name: str) -> Iterator[str]:
    texts = () if prompts is None else tuple(text for some in prompts.texts for text in some)
    if note := negation_note(texts, name):
        yield note
    if "presence" in asked_of.model_fields_set and not kind.says_presence:
        yield (
            f"segmentor.prompting.presence has no effect: {name} does not say whether what a prompt names is "
            "there at all"
        )
    asked = 1 if prompts is None else sum(map(bool, prompts.texts))
    if kind.compares and asked == 1:
        yield (
            f"{name} tells prompts from each other, and holds one alone against a similarity of 0, which "
            "most of an image exceeds; list what else there is to see"
        )


def _fingerprint(files: str, config: HuggingFaceSegmentor, prompts: PromptList | None) -> str:
    """Of the files, the words, and every setting that changes what is decided."""
    asked = config.prompting
    facts: list[Any] = [
        "prompted",
        files,
        None if prompts is None else [prompts.names, prompts.texts],
        [asked.threshold, sorted(asked.thresholds.items()), asked.presence],
        config.none_below,
        config.altering,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
