"""The words by which prompts name things: several for each concept, all of them in WordNet 3.1.

WordNet (Fellbaum 1998) lists them as synonyms or as kinds of the concept. The first is the usual one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Attribute = Literal["colour", "shape", "texture", "size"]


def _words(**concepts: str) -> dict[str, tuple[str, ...]]:
    return {concept: tuple(words.split()) for concept, words in concepts.items()}


LEXICON: dict[Attribute, dict[str, tuple[str, ...]]] = {
    "colour": _words(
        red="red crimson scarlet ruby carmine vermilion cherry cerise cardinal",
        yellow="yellow lemon canary amber gold saffron maize straw golden",
        green="green emerald jade olive chartreuse verdant viridity sage lime",
        blue="blue azure cerulean sapphire lazuline navy ultramarine indigo cobalt",
        purple="purple violet lavender mauve lilac amethyst heliotrope magenta plum",
        brown="brown chestnut chocolate coffee hazel mocha umber sepia mahogany",
        black="black ebony sable jet inky sooty raven ebon pitch",
        white="white alabaster ivory pearl chalk bone milky snowy chalky",
    ),
    "shape": _words(
        circle="circle disk disc round dot saucer roundel puck coin",
        square="square quadrate foursquare box block tile cube quadrangle",
        triangle="triangle trigon trilateral wedge delta pyramid cuneus arrowhead",
        star="star pentacle pentagram pentangle asterisk hexagram asterism starlet",
        ring="ring halo annulus doughnut hoop circlet torus loop band",
    ),
    "texture": _words(
        striped="striped stripy barred banded streaked streaky brindled tabby lined",
        spotted="spotted dotted flecked specked speckled stippled dappled spotty freckled",
        checked="checked checkered chequered plaid tartan tessellated latticed tiled checkerboard",
        plain="plain unpatterned solid uniform unadorned bare smooth featureless unvaried",
    ),
    "size": _words(
        small="small little tiny miniature diminutive wee petite minuscule bantam",
        large="large big huge enormous gigantic giant immense massive colossal",
    ),
}
DIGITS = _words(
    zero="zero nought 0",
    one="one unity 1",
    two="two deuce 2",
    three="three trey 3",
    four="four quartet 4",
    five="five quintet 5",
    six="six sestet 6",
    seven="seven septet 7",
    eight="eight octet 8",
    nine="nine nonet 9",
)
TEMPLATES = (
    "the {adjectives} {noun}",
    "{adjectives} {noun}",
    "a {noun} that is {listed}",
    "find the {adjectives} {noun}",
)
NEW_TEMPLATES = (
    "show me every {noun} that looks {listed}",
    "anything {listed}, shaped like a {noun}",
    "where is the {adjectives} {noun}?",
)
_ORDER: tuple[Attribute, ...] = ("size", "texture", "colour")  # as adjectives stand in English


@dataclass(frozen=True)
class Vocabulary:
    """Which words of each concept a training may see, and which are new to whoever learnt from it.

    Attributes:
        seen, new: concept -> words; no word is in both.
    """

    seen: dict[str, tuple[str, ...]]
    new: dict[str, tuple[str, ...]]

    @classmethod
    def drawn(cls, seed: int, seen: int, most: int = 6) -> Vocabulary:
        """A vocabulary that knows some words of each concept.

        The words of a concept are shuffled. Of the first `most` the first `seen` are seen, and the others
        are left out; those behind them are new. So the new words are the same whatever `seen` is. Of a
        digit, which has fewer words, the last is new.
        """
        rng = np.random.default_rng([seed, most])
        concepts = {concept: words for each in LEXICON.values() for concept, words in each.items()} | DIGITS
        drawn = {concept: tuple(rng.permutation(words).tolist()) for concept, words in concepts.items()}
        known = {concept: min(most, len(words) - 1) for concept, words in drawn.items()}
        return cls(
            {concept: words[: min(seen, known[concept])] for concept, words in drawn.items()},
            {concept: words[known[concept] :] for concept, words in drawn.items()},
        )


def phrase(template: str, words: dict[Attribute, str]) -> str:
    """A prompt from a word for each attribute that it names; without a shape it asks for a thing.

    Adjectives come in the order size, texture, colour.
    """
    adjectives = [words[name] for name in _ORDER if name in words]
    noun = words.get("shape", "thing")
    listed = " and ".join(adjectives) or "there"
    return " ".join(template.format(adjectives=" ".join(adjectives), noun=noun, listed=listed).split())
