"""All runs of the experiment: the eyes, then a seed at a time. What is finished is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from batchseg.scenes.words import Vocabulary
from tests.bench.words.asked import Prompts, Questions, Scenes, for_the_test, for_training
from tests.bench.words.experiment import BATCH, CONDITIONS, CURVE_ARMS, CURVE_CONDITIONS, LAYERS, Budget
from tests.bench.words.eyes import Eyes, Seen, train_eyes
from tests.bench.words.learn import Network, figures, tested, train_head
from tests.bench.words.text import Frozen, Ids, Withheld, Words, read

OnRun = Callable[[str], None]
EYES_SEED = 1000


@dataclass(frozen=True)
class Place:
    """Where it runs, and where the language models lie: `mpnet` and `minilm`, folders of transformers."""

    output: Path
    folders: Mapping[str, str]
    device: torch.device


def run_eyes(budget: Budget, place: Place, on_run: OnRun) -> Eyes:
    """Train the eyes, or read them where that was done."""
    eyes, file = Eyes(), place.output / "eyes.safetensors"
    if not file.exists():
        started = perf_counter()
        training = Seen.pixels(Scenes.for_training(budget.train_scenes), place.device)
        eyes = train_eyes(training, budget.eyes_steps, EYES_SEED)
        place.output.mkdir(parents=True, exist_ok=True)
        save_file(eyes.cpu().state_dict(), file)
        on_run(f"eyes: {perf_counter() - started:.0f} s")
    eyes.load_state_dict(load_file(file))
    return eyes.to(place.device)


def run_seed(seed: int, budget: Budget, place: Place, on_run: OnRun) -> None:
    """Train every arm with the trained words of the comparison and of the curve."""
    todo = [each for each in _runs(seed, budget) if not _file(place, seed, *each).exists()]
    if not todo:
        return
    eyes = run_eyes(budget, place, on_run)
    training = Seen.pixels(Scenes.for_training(budget.train_scenes), place.device).through(eyes)
    testing = Seen.pixels(Scenes.for_the_test(budget.test_scenes), place.device).through(eyes)
    for words in dict.fromkeys(words for _, words in todo):
        conditions = tuple(CONDITIONS) if words == budget.words else CURVE_CONDITIONS
        prompts = Prompts(Vocabulary.drawn(seed, words), seed, conditions, budget.texts)
        learnt_from = for_training(prompts, training.scenes, budget.head_steps * BATCH)
        test = _Test(testing, {name: for_the_test(prompts, testing.scenes, name) for name in conditions})
        for arm in [arm for arm, each in todo if each == words]:
            began = perf_counter()
            network = train_head(
                _words(arm, seed, prompts, place), training, learnt_from, budget.head_steps, seed
            )
            found = {"figures": test.figures(network), "seconds": perf_counter() - began}
            row = {"arm": arm, "seed": seed, "words": words, **found}
            _file(place, seed, arm, words).write_text(json.dumps(row), encoding="utf-8")
            giou = {name: round(found["figures"][name]["giou"], 3) for name in conditions}
            on_run(f"seed {seed}, {words} words, {arm}: {giou}, {found['seconds']:.0f} s")


@dataclass(frozen=True)
class _Test:
    """Scenes, and what is asked of them in each condition."""

    seen: Seen
    asked: dict[str, Questions]

    def figures(self, network: Network) -> dict[str, dict[str, float]]:
        return {name: figures(tested(network, self.seen, each)) for name, each in self.asked.items()}


def _words(arm: str, seed: int, prompts: Prompts, place: Place) -> nn.Module:
    torch.manual_seed(seed)
    trained = prompts.first_of(prompts.conditions[0])
    if arm in LAYERS:
        states = read(arm, prompts.texts, place.folders, seed, place.device)
        return Frozen(states.standardised(trained).to(place.device))
    if arm == "bag":
        return Words(prompts.texts, trained)
    return Ids() if arm == "ids" else Withheld()


def _runs(seed: int, budget: Budget) -> Iterator[tuple[str, int]]:
    """Arm and trained words a concept."""
    yield from ((arm, budget.words) for arm in budget.arms)
    if seed in budget.curve_seeds:
        yield from ((arm, words) for words in budget.curve for arm in CURVE_ARMS if arm in budget.arms)


def _file(place: Place, seed: int, arm: str, words: int) -> Path:
    place.output.mkdir(parents=True, exist_ok=True)
    return place.output / f"{arm}-{words}-{seed}.json"


def work(seed: int | None, *, budget: Budget, output: str, mpnet: str, minilm: str) -> None:
    """What a process does: a seed, on one thread, or the eyes that all seeds share."""
    torch.set_num_threads(1 if seed is not None else torch.get_num_threads())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = Place(Path(output), {"mpnet": mpnet, "minilm": minilm}, device)
    if seed is None:
        run_eyes(budget, place, partial(click.echo, err=True))
    else:
        run_seed(seed, budget, place, partial(click.echo, err=True))


def read_runs(output: Path) -> list[dict[str, Any]]:
    """What is finished, in the order of the names."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(output.glob("*.json"))]
