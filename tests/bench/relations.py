"""How well classes of one data set find their place in another, by MSeg's facts: a row a way of matching.

python -m tests.bench.relations [FOLDER_OF_A_LANGUAGE_MODEL ...] [--none-below COSINE]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from batchseg.config.labels import NONE_BELOW
from batchseg.labels.relation import RelationRow, is_built_in
from batchseg.segmentors.llm.language import READERS
from batchseg.segmentors.llm.relate import Worded, cosines, propose, row_by_text
from batchseg.segmentors.llm.text import TextModel
from tests.labels.mseg import PAIRS, classes_of, gold


@dataclass(frozen=True)
class Recall:
    """Counts of classes: with a place, which was found first or among three, and with none."""

    placed: int = 0
    first: int = 0
    of_three: int = 0
    none: int = 0
    right_none: int = 0
    right: int = 0

    def __add__(self, other: Recall) -> Recall:
        return Recall(
            *(one + more for one, more in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    @property
    def cells(self) -> list[str]:
        shares = (
            self.first / self.placed,
            self.of_three / self.placed,
            self.right_none / self.none,
            self.right / (self.placed + self.none),
        )
        return [f"{share:.2f}" for share in shares]


def recall(rows: Sequence[RelationRow], truth: dict[str, set[str]]) -> Recall:
    """The first place is that with the highest cosine, or what names say, whether it is proposed or not."""
    total = Recall()
    for row in rows:
        wanted = truth[row.source]
        ranked = [name for name in (row.target, *row.runner_ups) if name is not None][:3]
        right = row.target in wanted if wanted else row.target is None
        if wanted:
            total += Recall(
                1, ranked[:1] != [] and ranked[0] in wanted, bool(wanted & {*ranked}), right=right
            )
        else:
            total += Recall(none=1, right_none=right, right=right)
    return total


def worded(data_set: str) -> Worded:
    """A built-in label map with all that is said of it; of others the names."""
    return Worded.load(data_set) if is_built_in(data_set) else Worded.of_names(classes_of(data_set))


def bare(source: Worded, target: Worded, model: TextModel, none_below: float) -> list[RelationRow]:
    """By the cosines of bare names alone."""
    cosines_ST = cosines(Worded.of_names(source.names), Worded.of_names(target.names), model)
    facts = (row_by_text(each_T, target.names, None, none_below) for each_T in cosines_ST)
    return [
        RelationRow(**{"source": name, "target": None, "reviewed": False, **fact})
        for name, fact in zip(source.names, facts, strict=True)
    ]


def measured(folders: Sequence[str], none_below: float) -> Iterator[tuple[str, list[Recall]]]:
    """Each way of matching, with its figures for each pair of data sets."""
    pairs = [(worded(one), worded(other), gold(one, other)) for one, other in PAIRS]
    yield (
        "string match",
        [recall(propose(one, other, None, none_below), truth) for one, other, truth in pairs],
    )
    for folder in folders:
        model, name = TextModel.load(folder, READERS), Path(folder).resolve().name
        yield (
            f"{name}, bare names",
            [recall(bare(one, other, model, none_below), truth) for one, other, truth in pairs],
        )
        yield (
            f"{name}, as proposed",
            [recall(propose(one, other, model, none_below), truth) for one, other, truth in pairs],
        )


@click.command()
@click.argument("folders", nargs=-1)
@click.option("--none-below", type=float, default=NONE_BELOW, show_default=True, help="Lower cosines: none.")
def main(folders: tuple[str, ...], none_below: float) -> None:
    """Print the table, with the language models in FOLDERS."""
    click.echo("| | " + " | ".join([*(f"{one} to {other}" for one, other in PAIRS), "all"]) + " |")
    click.echo("|---" * (len(PAIRS) + 2) + "|")
    for at, (name, found) in enumerate(measured(folders, none_below)):
        every = (*found, sum(found, start=Recall()))
        if not at:
            counts = [f"{each.placed}, {each.none}" for each in every]
            click.echo("| classes with a place, and without | " + " | ".join(counts) + " |")
        cells = [" ".join(each.cells) for each in every]
        click.echo(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
