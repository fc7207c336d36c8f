"""A loaded prompted model: batches of prepared images in, scores of classes or of their own prompts out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from batchseg.config.prompting import EVEN, Prompting
from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.huggingface.loading import load_network
from batchseg.segmentors.huggingface.processor import load_processor, pixel_affine
from batchseg.segmentors.network.compiled import compile_network
from batchseg.segmentors.network.levels import to_levels
from batchseg.segmentors.network.pointwise import speed_up_pointwise
from batchseg.segmentors.network.precision import autocast, torch_dtype
from batchseg.segmentors.network.upload import to_device
from batchseg.segmentors.prompted.cache import States, TensorCache
from batchseg.segmentors.prompted.clipseg import ClipSeg
from batchseg.segmentors.prompted.family import DrawnMaps, Family, load_reader
from batchseg.segmentors.prompted.groupvit import GroupVit
from batchseg.segmentors.prompted.kinds import PromptedKind
from batchseg.segmentors.prompted.llm import PromptedLLM
from batchseg.segmentors.prompted.sam3 import Sam3
from batchseg.segmentors.prompted.words import PromptList, tidy

if TYPE_CHECKING:
    from batchseg.segmentors.huggingface.files import CheckpointPlace

IMAGE_BYTES = 512 * 2**20  # of features that wait for further prompts to the same image
TEXT_BYTES = 64 * 2**20


class LoadablePrompted(Protocol):
    """What a checkpoint tells of the model to load; see `checkpoint.PromptedCheckpoint`."""

    @property
    def location(self) -> CheckpointPlace: ...
    @property
    def kind(self) -> PromptedKind: ...
    @property
    def prompts(self) -> PromptList | None: ...
    @property
    def prompting(self) -> Prompting: ...
    @property
    def compile(self) -> bool: ...


class PromptedModel:
    """Each image is seen by itself and once, each text is read once, and prompts are drawn some at a time.

    So memory does not grow with the number of prompts, and a mask does not depend on what else is in a batch.
    """

    def __init__(
        self,
        family: Family,
        affine: tuple[Tensor, Tensor],
        device: str,
        precision: str,
        *,
        kind: PromptedKind,
        prompts: PromptList | None,
        prompting: Prompting,
    ) -> None:
        self.family, self.kind, self.prompts, self.prompting = family, kind, prompts, prompting
        self.device, self.dtype = torch.device(device), torch_dtype(precision)
        self.scale_C11, self.shift_C11 = (part.to(self.device) for part in affine)
        self.images, self.texts = TensorCache(IMAGE_BYTES), TensorCache(TEXT_BYTES)
        self.listed: list[tuple[int, States]] = []

    @classmethod
    def load(cls, checkpoint: LoadablePrompted, device: str, precision: str) -> PromptedModel:
        """Raises ModelError where the weights do not fill the network."""
        folder, kind = checkpoint.location.folder(), checkpoint.kind
        family = _family(checkpoint)
        family.network.to(device).eval()
        if checkpoint.compile:
            compile_network(family.vision, torch.device(device))
        elif device == "cpu":
            speed_up_pointwise(family.network)
        processor = load_processor(folder, kind.family, checkpoint.location.trust_remote_code)
        return cls(
            family,
            pixel_affine(processor, kind.channels),
            device,
            precision,
            kind=kind,
            prompts=checkpoint.prompts,
            prompting=checkpoint.prompting,
        )

    @property
    def network(self) -> nn.Module:
        """That of transformers."""
        return self.family.network

    def forget_images(self) -> None:
        """Each is seen anew: for whoever changes the network meanwhile."""
        self.images = TensorCache(IMAGE_BYTES)

    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        return self.upload(inputs)()

    def upload(self, inputs: Sequence[ModelInput]) -> Callable[[], list[Scores]]:
        """Of inputs that show the same image one goes to the device."""
        keys = [self._key(each) for each in inputs]
        shown = {key: each for key, each in zip(keys, inputs, strict=True)}
        return partial(self._scores, to_device([*shown.values()], self.device), shown, keys, inputs)

    def _key(self, each: ModelInput) -> Hashable:
        """What tells images apart; with one list for all, the copies that a batch is filled up with."""
        if self.prompts is not None:
            return id(each)
        pixels = hashlib.blake2b(each.pixels_THWC.data, digest_size=16).digest()
        return pixels, each.pixels_THWC.shape, each.pixels_THWC.dtype.str, each.scale

    @torch.inference_mode()
    def _scores(
        self,
        pixels_BHWC: Tensor,
        shown: dict[Hashable, ModelInput],
        keys: Sequence[Hashable],
        inputs: Sequence[ModelInput],
    ) -> list[Scores]:
        found: dict[tuple[Hashable, str | None], Scores] = {}
        asked = [(key, each.prompt) for key, each in zip(keys, inputs, strict=True)]
        with autocast(self.device, self.dtype, pixels_BHWC.shape[2]):
            for place, (key, first) in enumerate(shown.items()):
                see = partial(self._see, pixels_BHWC[place : place + 1], first)
                if self.prompts is not None:
                    found[key, first.prompt] = self._of_list(see()[0], self.prompts)
                    continue
                (seen,) = self.images.get(key, see)
                for prompt in dict.fromkeys(prompt for other, prompt in asked if other == key):
                    found[key, prompt] = self._of_prompt(seen, prompt)
        return [found[each] for each in asked]

    def _see(self, pixels_1HWC: Tensor, each: ModelInput) -> list[States]:
        levels_1CHW = to_levels(pixels_1HWC, [each]).permute(0, 3, 1, 2)
        return [self.family.see(levels_1CHW * self.scale_C11 + self.shift_C11)]

    def _read(self, texts: tuple[str, ...]) -> Sequence[States]:
        return self.texts.get(texts, partial(self.family.read, texts))

    def _of_prompt(self, seen: States, prompt: str | None) -> Scores:
        """Of background and what the prompt means."""
        if prompt is None or not tidy(prompt):
            raise ValueError("the image has no prompt, and the model was given no list of classes")
        drawn = self.family.draw(seen, self._read((tidy(prompt),)))
        maps_1HW = compare_(drawn.maps_NHW, 1) if self.kind.compares else self._present(drawn)
        maps_CHW = torch.cat([torch.full_like(maps_1HW, EVEN), maps_1HW])
        return Scores("sigmoids", maps_CHW, None if drawn.presence_N is None else float(drawn.presence_N[0]))

    def _of_list(self, seen: States, prompts: PromptList) -> Scores:
        """Of all classes: of several prompts that mean the same class the highest map."""
        if not self.listed:
            self.listed = [
                (index, states)
                for index, texts in enumerate(prompts.texts)
                if texts
                for states in self.family.read(texts)
            ]
        maps_CHW: Tensor | None = None
        for start in range(0, len(self.listed), self.prompting.at_once):
            maps_CHW = self._with(maps_CHW, seen, self.listed[start : start + self.prompting.at_once])
        assert maps_CHW is not None  # a list has something to look for
        background = prompts.background
        if background is None:
            return Scores("logits" if self.kind.compares else "sigmoids", maps_CHW)
        if self.kind.compares:
            compare_(maps_CHW, len(self.listed))
        maps_CHW[background] = EVEN
        return Scores("sigmoids", maps_CHW)

    def _with(self, maps_CHW: Tensor | None, seen: States, some: Sequence[tuple[int, States]]) -> Tensor:
        """The maps of all classes with those of some prompts, which are drawn and forgotten here."""
        assert self.prompts is not None
        maps_NHW = self._present(self.family.draw(seen, [states for _, states in some]))
        if maps_CHW is None:
            lowest = -torch.inf if self.kind.compares else 0.0
            maps_CHW = maps_NHW.new_full((len(self.prompts.names), *maps_NHW.shape[1:]), lowest)
        for (index, _), map_HW in zip(some, maps_NHW, strict=True):
            torch.maximum(maps_CHW[index], map_HW, out=maps_CHW[index])
        return maps_CHW

    def _present(self, drawn: DrawnMaps) -> Tensor:
        """The maps of what is there, and nothing of what is not."""
        maps_NHW = drawn.maps_NHW
        if drawn.presence_N is not None:
            absent_N = drawn.presence_N < self.prompting.presence
            maps_NHW = maps_NHW.masked_fill(absent_N[:, None, None], 0.0)
        return maps_NHW


def compare_(logits_CHW: Tensor, prompts: int) -> Tensor:
    """In place: the softmax of so many prompts that are compared, and of one alone that against a logit of 0.

    A background among them has a logit of -inf.
    """
    if prompts == 1:
        return logits_CHW.sigmoid_()
    logits_CHW -= logits_CHW.amax(0)
    logits_CHW.exp_()
    logits_CHW /= logits_CHW.sum(0)
    return logits_CHW


def _family(checkpoint: LoadablePrompted) -> Family:
    """The network of a checkpoint, and how it is used."""
    import transformers

    location, kind = checkpoint.location, checkpoint.kind
    folder = location.folder()
    if kind.family == "llmseg":
        return PromptedLLM.load(folder, location)
    tokenizer = load_reader(folder)
    if kind.family == "clipseg":
        return ClipSeg(load_network(transformers.CLIPSegForImageSegmentation, folder, location), tokenizer)
    if kind.family == "groupvit":
        return GroupVit(load_network(transformers.GroupViTModel, folder, location), tokenizer)
    of_sam = transformers.Sam3Model if kind.family == "sam3" else transformers.Sam3LiteTextModel
    assert kind.positions is not None
    return Sam3(load_network(of_sam, folder, location), tokenizer, kind.positions)
