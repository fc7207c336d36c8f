"""`batchseg scenes phrases`: what is asked, what is meant, and what is new to whoever learnt from it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.scenes.digits import load_source_digits
from batchseg.scenes.phrases import NOVELTIES, PhraseMaker
from batchseg.scenes.things import Thing, draw_things
from batchseg.scenes.words import DIGITS, LEXICON, NEW_TEMPLATES, TEMPLATES, Vocabulary, phrase

SEED, SIDE, COUNT = 3, 64, 120
ATTRIBUTES = ("colour", "shape", "texture", "size")
CONCEPT_OF = {word: concept for each in LEXICON.values() for concept, words in each.items() for word in words}
CONCEPT_OF |= {word: concept for concept, words in DIGITS.items() for word in words}


def phrases(*words: object) -> Result:
    return CliRunner().invoke(cli, ["scenes", "phrases", *(str(word) for word in words)])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "manifest.parquet").to_pylist()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    done = phrases(folder, "--count", COUNT, "--seed", SEED, "--size", SIDE)
    assert done.exit_code == 0, done.output
    assert f"{COUNT} scenes and {3 * COUNT} prompts" in " ".join(done.output.split())
    return folder


def named(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in ATTRIBUTES if row[name] is not None}


def mask(folder: Path, row: dict[str, Any]) -> np.ndarray:
    with Image.open(folder / row["truth"]) as file:
        return np.asarray(file)


def test_a_mask_shows_all_things_that_have_what_is_named(data: Path) -> None:
    splits = ("train", "validation", "test")
    maker = PhraseMaker(6, 0.2, {split: load_source_digits(split) for split in splits})
    rows, shown = rows_of(data), 0
    for number in range(0, COUNT, 3):
        mine = rows[3 * number : 3 * number + 3]
        rng = np.random.default_rng([SEED, number])
        scene = maker.scene(rng, mine[0]["split"], mine[0]["novel"], SIDE)
        with Image.open(data / mine[0]["image"]) as file:
            assert np.array_equal(np.asarray(file), scene.image_HWC)
        for row in mine:
            wanted = np.zeros((SIDE, SIDE), np.uint8)
            for place, thing in enumerate(scene.things, 1):
                if all(getattr(thing, name) == concept for name, concept in named(row).items()):
                    wanted[scene.owner_HW == place] = 1
            assert np.array_equal(mask(data, row), wanted)
            assert row["present"] == bool(wanted.any())
            shown += row["present"]
    assert shown > 50


def test_a_prompt_says_what_its_columns_say(data: Path) -> None:
    counts = Counter()
    for row in rows_of(data):
        words = row["prompt"].replace(",", "").replace("?", "").split()
        said = {CONCEPT_OF[word] for word in words if word in CONCEPT_OF}
        assert said == set(named(row).values()), row
        counts[len(said)] += 1
    assert set(counts) == {1, 2, 3} and counts[1] < counts[2] + counts[3]


def test_the_share_of_what_is_absent_and_of_each_part(data: Path) -> None:
    rows = rows_of(data)
    assert Counter(row["split"] for row in rows) == {"train": 288, "validation": 36, "test": 36}
    assert Counter(row["novel"] for row in rows if row["split"] == "test") == dict.fromkeys(NOVELTIES, 9)
    assert {row["novel"] for row in rows if row["split"] != "test"} == {"none"}
    assert 0.15 < np.mean([not row["present"] for row in rows]) < 0.3
    assert len({row["id"] for row in rows}) == len(rows)
    values = {value for row in rows[:40] for value in np.unique(mask(data, row)).tolist()}
    assert values == {0, 1}


def test_what_is_new_was_never_trained_on(data: Path) -> None:
    rows = rows_of(data)
    known = [row for row in rows if row["split"] != "test"]
    words = {word for row in known for word in row["prompt"].split()}
    pairs = {(row["colour"], row["shape"]) for row in known if row["colour"] and row["shape"]}
    for row in rows:
        said = {
            word for word in row["prompt"].replace(",", "").replace("?", "").split() if word in CONCEPT_OF
        }
        if row["novel"] == "word":
            assert not said & words
        if row["novel"] == "combination":
            assert row["colour"] and row["shape"] and (row["colour"], row["shape"]) not in pairs
        new_template = row["prompt"].startswith(("show me every", "anything", "where is"))
        assert new_template == (row["novel"] == "template")


def test_held_out_combinations_are_in_no_other_scene() -> None:
    maker = PhraseMaker(6, 0.5, {"train": load_source_digits("train")})
    shown: dict[str, set[tuple[str, str]]] = {"none": set(), "combination": set()}
    for novelty, pairs in shown.items():
        for number in range(150):
            scene = maker.scene(np.random.default_rng([9, number]), "train", novelty, 48)
            pairs |= {(thing.colour, thing.shape) for thing in scene.things}
    only = shown["combination"] - shown["none"]
    assert {colour for colour, _ in only} == set(LEXICON["colour"])
    assert len([pair for pair in only if pair[1] in LEXICON["shape"]]) == 8
    # each colour and each shape is known in other combinations
    assert {shape for _, shape in shown["none"]} >= set(LEXICON["shape"])


def test_a_seed_gives_its_scenes_whatever_their_number(tmp_path: Path) -> None:
    for name, count, seed in (("few", 2, 5), ("more", 5, 5), ("other", 2, 6)):
        config = batchseg.PhrasesConfig(output=str(tmp_path / name), count=count, seed=seed, size=48)
        assert batchseg.make_phrases(config) == tmp_path / name / "manifest.parquet"
    few, more, other = (rows_of(tmp_path / name) for name in ("few", "more", "other"))
    assert few == more[: len(few)] and few != other
    for row in few:
        for file in (row["image"], row["truth"]):
            assert (tmp_path / "few" / file).read_bytes() == (tmp_path / "more" / file).read_bytes()


def test_other_seeds_ask_in_the_same_words(tmp_path: Path) -> None:
    seen = {word for words in Vocabulary.drawn(0, 2).seen.values() for word in words}
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        assert phrases(folder, "--count", 8, "--seed", seed, "--words", 2, "--quiet").exit_code == 0
        for row in rows_of(folder):
            assert {word for word in row["prompt"].split() if word in CONCEPT_OF} <= seen


def test_new_words_do_not_depend_on_how_many_are_known() -> None:
    few, many = Vocabulary.drawn(0, 1), Vocabulary.drawn(0, 6)
    assert few.new == many.new
    for concept, words in many.seen.items():
        assert words[:1] == few.seen[concept]
        assert not set(words) & set(many.new[concept]) and many.new[concept]


def test_no_template_of_the_test_is_trained_on() -> None:
    assert not set(TEMPLATES) & set(NEW_TEMPLATES)
    words = {"size": "tiny", "colour": "red", "shape": "ring"}
    assert phrase("find the {adjectives} {noun}", words) == "find the tiny red ring"
    assert phrase("a {noun} that is {listed}", {"colour": "red"}) == "a thing that is red"


def test_a_digit_is_written_in_the_ink_that_is_given() -> None:
    one = load_source_digits("test")[:1]
    value = [*DIGITS][int(one.values_N[0])]
    scene = draw_things(np.random.default_rng(1), [Thing(value, "red", "plain", "large")], 96, one)
    inked = scene.mask({"shape": value})
    assert 0.02 < inked.mean() < 0.2
    assert scene.image_HWC[inked == 1].mean(axis=0)[0] > 2 * scene.image_HWC[inked == 1].mean(axis=0)[1]


def test_without_digits_nothing_else_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert phrases(tmp_path / "plain", "--count", 2, "--digits", 0, "--size", 48).exit_code == 0
    refused = phrases(tmp_path / "digits", "--count", 2, "--size", 48)
    assert refused.exit_code == 2 and "scikit-learn" in refused.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--size", 20], "size: Input should be greater than or equal to 48"),
        (["--words", 9], "words: Input should be less than or equal to 6"),
        (["--digits", 2], "digits: Input should be less than or equal to 1"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, words: list[Any], sentence: str) -> None:
    done = phrases(tmp_path / "out", *words)
    assert (done.exit_code, sentence in done.output) == (2, True), done.output
    assert not (tmp_path / "out").exists()


def test_the_old_name_of_the_digit_scenes(tmp_path: Path) -> None:
    for name, words in (("old", ["digits"]), ("new", ["scenes", "digits"])):
        done = CliRunner().invoke(cli, [*words, str(tmp_path / name), "--count", "1", "--size", "150"])
        assert done.exit_code == 0, done.output
    (row,) = rows_of(tmp_path / "old")
    assert (row,) == tuple(rows_of(tmp_path / "new"))
    assert (tmp_path / "old" / row["image"]).read_bytes() == (tmp_path / "new" / row["image"]).read_bytes()
    assert "\n  digits" not in CliRunner().invoke(cli, ["--help"]).output
