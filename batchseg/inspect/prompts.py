"""Prompts before anything costs time: does the model take them, and will it understand them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from batchseg.errors import ConfigError
from batchseg.inspect.findings import Findings
from batchseg.labels.label_map import LabelMap, is_background
from batchseg.metrics.prompted import MEANT
from batchseg.schema import Status
from batchseg.segmentors.base import Prompted, PromptMode
from batchseg.segmentors.prompted.words import is_negated
from batchseg.source.folder import Folder
from batchseg.source.listing import PROMPT
from batchseg.source.manifest import Manifest
from batchseg.source.plan import Listing

FaultOf = Callable[[str], str | None]


def refuse_other_prompts(source: Folder | Manifest, mode: PromptMode | None, model: str) -> None:
    """Raises ConfigError where the source has prompts that the model does not take, or the other way round.

    Args:
        mode: how the model is told what to segment; None: it is not.
    """
    path = source.source.path
    column = source.columns.ours.get("prompt") if isinstance(source, Manifest) else None
    if column is not None and mode is None:
        raise ConfigError(
            f"{path}: has a column `{column}` of prompts, and {model} takes none; rename the column, or "
            "choose a model that is told what to segment, such as CLIPSeg or SAM 3"
        )
    if column is not None and mode == "list":
        raise ConfigError(
            f"{path}: has a prompt for each row (column `{column}`), and {model} is given one list of "
            "classes for all; leave out the list (segmentor.classes or labels), or rename the column"
        )
    if column is None and mode == "rows":
        where = "no column `prompt`" if isinstance(source, Manifest) else "no prompts, being a folder"
        other = "say which column has them (--column prompt=NAME)"
        other = other if isinstance(source, Manifest) else "give a manifest with a column `prompt`"
        raise ConfigError(
            f"{path}: has {where}, and {model} must be told what to segment; name classes for all images "
            f"(--classes 'road, sidewalk', or a file with --labels), or {other}"
        )


def refuse_more_classes(label_map: LabelMap, mode: PromptMode | None, model: str) -> None:
    """Raises ConfigError where masks of prompts would have other classes than background and what is meant.

    That is so where a model that knows its classes decides together with one that is told row by row.
    """
    names = label_map.names
    if mode == "rows" and not (len(names) == MEANT + 1 and is_background(names[0])):
        raise ConfigError(
            f"{model}: a mask of a prompt is 0, background, or 1, what is meant, and these models together "
            f"tell {', '.join(names)} apart; leave out those that are not told what to segment, or have "
            "their classes merged into the two (segmentor.merge)"
        )


def fault_of_prompts(checkpoint: object) -> FaultOf | None:
    """One sentence on what is wrong with a prompt for a model that is told so image by image.

    None where it is not.
    """
    if isinstance(checkpoint, Prompted) and checkpoint.prompted == "rows":
        return checkpoint.prompt_fault
    return None


@dataclass(frozen=True)
class PromptFacts:
    """The prompts of a source.

    Attributes:
        rows: with a prompt.
        without: rows that have none.
        different: how many there are that are not the same.
        negations: rows whose prompt has a negation, which such models do not understand.
        example: the id and the prompt of the first of them.
    """

    rows: int
    without: int
    different: int
    negations: int
    example: tuple[str, str] | None

    @property
    def warnings(self) -> Iterator[str]:
        """What is likely not as it is meant, a sentence each."""
        if self.example is not None:
            (name, prompt), many = self.example, self.negations > 1
            yield (
                f"{self.negations:,} prompt{'s have' if many else ' has'} a negation, such as {prompt!r} of "
                f"{name}; such models find what is named, and do not leave it out: name what is to be seen"
            )


def look_at_prompts(listing: Listing, fault_of: FaultOf | None, findings: Findings) -> PromptFacts | None:
    """Of all rows; None where the source has no prompts. What a model cannot read goes to the findings.

    Args:
        fault_of: what is wrong with a prompt for the model; None: no model is known.
    """
    rows = without = negations = 0
    different: dict[str, str | None] = {}
    example: tuple[str, str] | None = None
    for table in listing.tables():
        if PROMPT.name not in table.column_names:
            return None
        told = table.filter(table[PROMPT.name].is_valid())
        rows, without = rows + len(told), without + len(table) - len(told)
        for prompt in told[PROMPT.name].unique().to_pylist():
            if prompt not in different:
                different[prompt] = fault_of(prompt) if fault_of else None
        for name, prompt in _pairs(told):
            if is_negated(prompt):
                negations, example = negations + 1, example or (name, prompt)
            if (problem := different[prompt]) is not None:
                findings.add(Status.BAD_PROMPT.kind, name, problem)
    return PromptFacts(rows, without, len(different), negations, example)


def _pairs(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table["id"].to_pylist(), table[PROMPT.name].to_pylist(), strict=True)
