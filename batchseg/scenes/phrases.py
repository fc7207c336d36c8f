"""What is asked of a scene of things: prompts in words, some of them new to whoever learnt from the others.

Train and validation know some words of each concept, some templates, and most combinations of colour and
shape. A scene for the test is new in one of these ways, or in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from batchseg.scenes.digits import SourceDigits, Split
from batchseg.scenes.things import Thing, ThingScene, alike_things, any_thing, draw_things, with_digits
from batchseg.scenes.words import DIGITS, LEXICON, NEW_TEMPLATES, TEMPLATES, Attribute, Vocabulary, phrase

Novelty = Literal["none", "word", "template", "combination"]
Combination = tuple[str, str]  # colour and shape

NOVELTIES: tuple[Novelty, ...] = get_args(Novelty)
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
THINGS = (3, 6)  # in a scene
ABSENT = 0.25  # share of the prompts that name something that is not there
NAMED = {1: 0.2, 2: 0.4, 3: 0.4}  # how many attributes a prompt names, and how often
_SEED = 0  # of words and combinations: the same in all data sets, so that a fresh one asks in known words
_TRIES = 20


@dataclass(frozen=True)
class Question:
    """One prompt.

    Attributes:
        named: concept of each attribute that the prompt names; what matches all of them is meant.
    """

    prompt: str
    named: dict[Attribute, str]


@dataclass(frozen=True)
class PhraseMaker:
    """Makes scenes and prompts of one kind.

    Attributes:
        words: how many words of a concept are known.
        digit_share: of the scenes that show digits.
        digits: for each split those that may be shown; empty where none are.
    """

    words: int
    digit_share: float
    digits: dict[Split, SourceDigits]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.drawn(_SEED, self.words)

    def scene(self, rng: np.random.Generator, split: Split, novelty: Novelty, side: int) -> ThingScene:
        """A scene. Combinations that are held out are in those alone that are new by them."""
        things: Sequence[Thing] = alike_things(rng, int(rng.integers(*THINGS, endpoint=True)))
        if rng.random() < self.digit_share:
            things = with_digits(rng, things)
        held = novelty == "combination"
        kept = [self._fitting(rng, thing, held and place == 0) for place, thing in enumerate(things)]
        while True:  # one that finds no room is left out
            scene = draw_things(rng, kept, side, self.digits.get(split))
            if not held or any(map(is_held_out, scene.things)):
                return scene

    def ask(self, rng: np.random.Generator, scene: ThingScene, novelty: Novelty) -> Question:
        """A prompt for one of the things, or for something that differs from it in one attribute."""
        thing = scene.things[rng.integers(len(scene.things))]
        count = int(rng.choice([*NAMED], p=[*NAMED.values()]))
        attributes = list(rng.permutation(ATTRIBUTES)[:count])
        if novelty == "combination":
            thing = next(each for each in scene.things if is_held_out(each))
            attributes = list(dict.fromkeys(["colour", "shape", *attributes]))[: max(2, count)]
        named: dict[Attribute, str] = {name: getattr(thing, name) for name in attributes}
        if rng.random() < ABSENT:
            named = self._absent(rng, scene, thing, named, novelty)
        new_words, new_template = novelty == "word", novelty == "template"
        known = self.vocabulary.new if new_words else self.vocabulary.seen
        words: dict[Attribute, str] = {name: str(rng.choice(known[each])) for name, each in named.items()}
        return Question(phrase(str(rng.choice(NEW_TEMPLATES if new_template else TEMPLATES)), words), named)

    def _fitting(self, rng: np.random.Generator, thing: Thing, held: bool) -> Thing:
        """The thing in another colour until its combination is held out, or is not."""
        while is_held_out(thing) != held:
            thing = replace(thing, colour=any_thing(rng).colour)
        return thing

    def _absent(
        self,
        rng: np.random.Generator,
        scene: ThingScene,
        thing: Thing,
        named: dict[Attribute, str],
        novelty: Novelty,
    ) -> dict[Attribute, str]:
        """The same but for one attribute, so that nothing matches; as it was where that cannot be."""
        for _ in range(_TRIES):
            other = thing.changed(rng, [*named][rng.integers(len(named))])
            asked = {name: getattr(other, name) for name in named}
            is_new = {"colour", "shape"} <= {*named} and is_held_out(other)
            if is_new == (novelty == "combination") and not scene.mask(asked).any():
                return asked
        return named


def is_held_out(thing: Thing) -> bool:
    """Whether no training scene shows or names its combination of colour and shape."""
    return (thing.colour, thing.shape) in _HELD_OUT


def _held_out() -> frozenset[Combination]:
    """Of each colour a shape and a digit."""
    rng = np.random.default_rng([_SEED, 1])
    kinds = [rng.permutation([*concepts]).tolist() for concepts in (LEXICON["shape"], DIGITS)]
    return frozenset(
        (colour, shapes[place % len(shapes)])
        for place, colour in enumerate(LEXICON["colour"])
        for shapes in kinds
    )


_HELD_OUT = _held_out()
