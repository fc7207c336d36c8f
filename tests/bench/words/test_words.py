"""The experiment's questions and its rule, and a small one from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from segmentors.llm.language_models import SIDE as TINY
from segmentors.llm.language_models import tokenizer
from transformers import BertConfig, BertModel

from batchseg.scenes.things import alike_things, draw_things
from batchseg.scenes.words import LEXICON, Vocabulary
from tests.bench.words.asked import (
    ATTRIBUTES,
    CONCEPTS,
    TRIPLES,
    Prompts,
    Scenes,
    for_the_test,
    for_training,
    is_held_out,
)
from tests.bench.words.experiment import CONDITIONS, FEWEST, FIGURES, RULED, SIDE, Budget
from tests.bench.words.learn import figures
from tests.bench.words.report import markdown, paired, verdict
from tests.bench.words.run import Place, read_runs, run_seed
from tests.bench.words.text import States

OURS, THEIRS = [0.71, 0.69, 0.74, 0.70], [0.50, 0.50, 0.51, 0.46]


def run_of(arm: str, seed: int, seen: float, words: float) -> dict[str, Any]:
    figures = {name: dict.fromkeys(FIGURES, seen) for name in CONDITIONS}
    figures["words"] |= {"giou": words, "told": words}
    return {"arm": arm, "seed": seed, "words": 2, "figures": figures}


def runs(words: dict[str, list[float]], seen: dict[str, float], ceiling: float = 0.9) -> list[dict[str, Any]]:
    return [
        *(run_of("ids", seed, ceiling, ceiling) for seed in range(4)),
        *(
            run_of(arm, seed, seen[arm], value)
            for arm, values in words.items()
            for seed, value in enumerate(values)
        ),
    ]


def test_an_interval_is_that_of_the_paired_t_test() -> None:
    middle, low, high = paired(dict(enumerate(OURS)), dict(enumerate(THEIRS)))
    expected = ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert middle == pytest.approx(np.mean(OURS) - np.mean(THEIRS))


@pytest.mark.parametrize(
    ("theirs", "seen", "ceiling", "begins"),
    [
        (THEIRS, 0.80, 0.90, "Benefit: mpnet minus bag"),
        (THEIRS, 0.75, 0.90, "No measurable benefit by the rule, for seen words differ"),
        ([each - 0.1 for each in OURS], 0.80, 0.90, "No measurable benefit by the rule, for the interval"),
        (THEIRS, 0.80, 0.84, "Void"),
    ],
)
@pytest.mark.parametrize("figure", RULED)
def test_the_rule(figure: str, theirs: list[float], seen: float, ceiling: float, begins: str) -> None:
    words = {"mpnet": OURS, "minilm": [0.1] * 4, "bag": theirs, "random": [0.0] * 4}
    known = {"mpnet": 0.81, "minilm": 0.81, "bag": seen, "random": 0.81}
    assert verdict(runs(words, known, ceiling), 2, figure).startswith(begins)


def test_training_knows_no_new_word_template_or_pair() -> None:
    vocabulary = Vocabulary.drawn(3, 2)
    prompts = Prompts(vocabulary, 3, tuple(CONDITIONS), (4, 2))
    known = {word for words in vocabulary.seen.values() for word in words}
    new = {word for words in vocabulary.new.values() for word in words}
    assert not known & new
    trained = {word for some in prompts.by_triple["train"] for text in some for word in text.split()}
    assert not trained & new
    assert {word for some in prompts.by_triple["words"] for text in some for word in text.split()} & new
    scenes = Scenes.for_training(12)
    asked = for_training(prompts, scenes, 200)
    assert not is_held_out(TRIPLES[asked.triples_Q]).any()
    pairs = for_the_test(prompts, scenes, "combinations")
    assert is_held_out(TRIPLES[pairs.triples_Q]).all()
    assert Vocabulary.drawn(3, 4).new == vocabulary.new


def test_questions_name_what_is_there_or_what_is_not() -> None:
    prompts, scenes = Prompts(Vocabulary.drawn(0, 2), 0, ("seen",), (2, 2)), Scenes.for_the_test(30)
    asked = for_the_test(prompts, scenes, "seen")
    masks = scenes.masks(asked.scenes_Q, asked.triples_Q)
    assert 0 < sum(not mask_HW.any() for mask_HW in masks) < len(masks) / 2
    for number, triple, text, mask_HW in zip(
        asked.scenes_Q, asked.triples_Q, asked.texts_Q, masks, strict=True
    ):
        rng = np.random.default_rng([2, int(number)])
        things = alike_things(rng, FEWEST + number % 2)
        scene = draw_things(rng, [replace(thing, size="small") for thing in things], SIDE)
        named = {
            attribute: CONCEPTS[attribute][index]
            for attribute, index in zip(ATTRIBUTES, TRIPLES[triple], strict=True)
        }
        np.testing.assert_array_equal(mask_HW, scene.mask(named) > 0)
        if mask_HW.any():  # each of its words tells it from something
            for attribute in ATTRIBUTES:
                others = {name: concept for name, concept in named.items() if name != attribute}
                assert scene.mask(others).sum() > mask_HW.sum()
        said = set(prompts.texts[text].split())
        for attribute, concept in named.items():
            assert said & set(LEXICON[attribute][concept])


def test_figures() -> None:
    mask, truth, both = [4, 0, 0, 2, 6], [4, 0, 3, 0, 3], [4, 0, 0, 0, 3]
    told, both_told, pointed = [8, 9, 3, 9, 3], [4, 0, 0, 0, 3], [1, 0, 0, 0, 1]
    found = figures(np.array([mask, truth, both, told, both_told, pointed]))
    expected = {"giou": (1 + 1 + 0 + 0 + 0.5) / 5, "ciou": 7 / 15, "n_acc": 0.5, "t_acc": 2 / 3}
    assert found == pytest.approx({**expected, "told": (0.5 + 0 + 1) / 3, "pointed": 2 / 3})


def test_states_are_standardised_over_the_training_prompts() -> None:
    states_TLE, is_token_TL = torch.randn(6, 3, 4) * 50 + 7, torch.ones(6, 3, dtype=torch.bool)
    is_token_TL[0, 2] = False
    found = States(states_TLE, is_token_TL).standardised(4).states_TLE[:4][is_token_TL[:4]].float()
    np.testing.assert_allclose(found.mean(0), 0, atol=2e-3)
    np.testing.assert_allclose(found.std(0), 1, atol=2e-3)


def test_a_small_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    folder = str(tmp_path / "model")
    BertModel(BertConfig(**{**TINY, "num_hidden_layers": 8}), add_pooling_layer=False).save_pretrained(folder)
    reader = tokenizer(framed=True)
    reader.pad_token = "[SEP]"
    reader.save_pretrained(folder)
    arms = ("mpnet", "bag", "ids")
    budget = Budget((0,), 2, (), (), 2, 2, train_scenes=16, test_scenes=8, texts=(1, 1), arms=arms)
    place = Place(tmp_path / "runs", {"mpnet": folder, "minilm": folder}, torch.device("cpu"))
    told: list[str] = []
    run_seed(0, budget, place, told.append)
    found = read_runs(place.output)
    assert {run["arm"] for run in found} == set(arms)
    assert verdict(found, 2, "giou").startswith("Void")
    assert all(f"| {arm} |" in markdown(found, 2) for arm in arms)
    count = len(told)
    run_seed(0, budget, place, told.append)
    assert len(told) == count
