"""The scenes, and what is asked of them: which things a prompt names, and by which words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from batchseg.scenes.things import alike_things, draw_things
from batchseg.scenes.words import LEXICON, NEW_TEMPLATES, TEMPLATES, Attribute, Vocabulary, phrase
from tests.bench.words.experiment import ABSENT, CONDITIONS, FEWEST, MOST, SIDE

ATTRIBUTES: tuple[Attribute, ...] = ("colour", "shape", "texture")
CONCEPTS = {attribute: tuple(LEXICON[attribute]) for attribute in ATTRIBUTES}
TRIPLES = np.array([*product(*(range(len(CONCEPTS[each])) for each in ATTRIBUTES))])
_TRAINING, _TEST = 1, 2  # streams of random numbers


@dataclass(frozen=True)
class Scenes:
    """Scenes in arrays.

    Attributes:
        images_NHWC: uint8 RGB.
        owners_NHW: uint8, 0 where nothing is, k where the k-th thing is.
        things_NK3: int64, colour, shape and texture of each thing; -1 where a scene has fewer.
    """

    images_NHWC: NDArray[np.uint8]
    owners_NHW: NDArray[np.uint8]
    things_NK3: NDArray[np.int64]

    @classmethod
    def drawn(cls, count: int, stream: int) -> Scenes:
        """Scene n depends on the stream and n alone."""
        scenes, things_NK3 = [], np.full((count, MOST, 3), -1)
        for number in range(count):
            rng = np.random.default_rng([stream, number])
            wanted = alike_things(rng, FEWEST + number % (MOST - FEWEST + 1))
            wanted = [replace(thing, size="small") for thing in wanted]  # so that all find room
            scenes.append(scene := draw_things(rng, wanted, SIDE))
            for place, thing in enumerate(scene.things):
                things_NK3[number, place] = [
                    CONCEPTS[each].index(getattr(thing, each)) for each in ATTRIBUTES
                ]
        return cls(
            np.stack([scene.image_HWC for scene in scenes]),
            np.stack([scene.owner_HW for scene in scenes]),
            things_NK3,
        )

    @classmethod
    def for_training(cls, count: int) -> Scenes:
        return cls.drawn(count, _TRAINING)

    @classmethod
    def for_the_test(cls, count: int) -> Scenes:
        return cls.drawn(count, _TEST)

    def masks(self, scenes_B: NDArray[np.int64], triples_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the things are that a triple of concepts names, [B, H, W]."""
        is_meant_BK = (self.things_NK3[scenes_B] == TRIPLES[triples_B][:, None]).all(-1)
        table_B = np.concatenate([np.zeros((len(scenes_B), 1), bool), is_meant_BK], 1)
        masks: NDArray[np.bool_] = table_B[np.arange(len(scenes_B))[:, None, None], self.owners_NHW[scenes_B]]
        return masks


@dataclass(frozen=True)
class Questions:
    """What is asked, [Q] each.

    Attributes:
        scenes_Q: number of the scene.
        triples_Q: number of the concepts that are named, in TRIPLES.
        texts_Q: number of the prompt in the texts that belong to it.
    """

    scenes_Q: NDArray[np.int64]
    triples_Q: NDArray[np.int64]
    texts_Q: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scenes_Q)


def is_held_out(triple_3: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether no training prompt names this colour and shape together: 8 pairs of 40."""
    return np.asarray((triple_3[..., 0] + 2 * triple_3[..., 1]) % 5 == 0)


@dataclass(frozen=True)
class Prompts:
    """The finite set of prompts of one seed and number of trained words.

    Attributes:
        counts: prompts for each colour, shape and texture together, in training and in each test.
    """

    vocabulary: Vocabulary
    seed: int
    conditions: tuple[str, ...]
    counts: tuple[int, int]

    @cached_property
    def texts(self) -> list[str]:
        """All of them, those of training first."""
        return [text for texts in self.by_triple.values() for some in texts for text in some]

    @cached_property
    def by_triple(self) -> dict[str, list[list[str]]]:
        """Use -> for each triple its prompts."""
        found = {"train": self._drawn("train", (), new_templates=False)}
        for name in self.conditions:
            new, new_templates, _ = CONDITIONS[name]
            found[name] = self._drawn(name, new, new_templates=new_templates)
        return found

    def _drawn(self, use: str, new: tuple[str, ...], *, new_templates: bool) -> list[list[str]]:
        rng = np.random.default_rng([self.seed, len(use), *use.encode()])
        templates = NEW_TEMPLATES if new_templates else TEMPLATES
        return [
            [self._text(rng, triple, new, templates) for _ in range(self.count(use))] for triple in TRIPLES
        ]

    def _text(
        self,
        rng: np.random.Generator,
        triple: NDArray[np.int64],
        new: tuple[str, ...],
        templates: tuple[str, ...],
    ) -> str:
        words: dict[Attribute, str] = {}
        for attribute, index in zip(ATTRIBUTES, triple, strict=True):
            known = self.vocabulary.new if attribute in new else self.vocabulary.seen
            words[attribute] = str(rng.choice(known[CONCEPTS[attribute][index]]))
        return phrase(str(rng.choice(templates)), words)

    def count(self, use: str) -> int:
        """Prompts for a triple."""
        return self.counts[use != "train"]

    def first_of(self, use: str) -> int:
        """Number of the first text of a use."""
        uses = [*self.by_triple]
        return len(TRIPLES) * sum(map(self.count, uses[: uses.index(use)]))


def for_training(prompts: Prompts, scenes: Scenes, count: int) -> Questions:
    """The same for every arm of a seed."""
    rng = np.random.default_rng([prompts.seed, _TRAINING])
    return _asked(rng, prompts, "train", _named(rng, scenes, count, ABSENT, held_out=False))


def for_the_test(prompts: Prompts, scenes: Scenes, condition: str) -> Questions:
    """One question about each scene that has a thing to ask for."""
    rng = np.random.default_rng(_TEST)
    named = _named(rng, scenes, None, ABSENT, held_out=CONDITIONS[condition][2])
    return _asked(rng, prompts, condition, named)


def _named(
    rng: np.random.Generator, scenes: Scenes, count: int | None, absent: float, *, held_out: bool
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Scenes, and concepts to name in them."""
    total = len(scenes.images_NHWC)
    order = rng.integers(total, size=count) if count is not None else np.arange(total)
    for number in order:
        things_K3 = scenes.things_NK3[number]
        things_K3 = things_K3[things_K3[:, 0] >= 0]
        fitting = [*things_K3[_needs_every_word(things_K3) & (is_held_out(things_K3) == held_out)]]
        if rng.random() < absent:
            is_there_T = (TRIPLES[:, None] == things_K3).all(-1).any(1)
            fitting = [*TRIPLES[(is_held_out(TRIPLES) == held_out) & ~is_there_T]]
        if fitting:
            yield int(number), fitting[rng.integers(len(fitting))]


def _needs_every_word(things_K3: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether for each of its words another thing differs in that alone, [K]: no word can be passed over."""
    differs_KK3 = things_K3[:, None] != things_K3
    alone_KK = differs_KK3.sum(-1) == 1
    return np.asarray((differs_KK3 & alone_KK[..., None]).any(1).all(-1))


def _asked(
    rng: np.random.Generator, prompts: Prompts, use: str, named: Iterator[tuple[int, NDArray[np.int64]]]
) -> Questions:
    pairs = [*named]
    sizes = [len(CONCEPTS[each]) for each in ATTRIBUTES]
    triples_Q = np.array([np.ravel_multi_index(tuple(triple), tuple(sizes)) for _, triple in pairs])
    count = prompts.count(use)
    texts_Q = prompts.first_of(use) + triples_Q * count + rng.integers(count, size=len(pairs))
    return Questions(np.array([number for number, _ in pairs]), triples_Q, texts_Q)
