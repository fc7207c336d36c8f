"""The gates of a run: the lowest values of a metric, or of a figure of one class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from batchseg.config.base import PROMPT_METRICS, Gates, gated_class
from batchseg.errors import ConfigError

NAMED = 20


def refuse_unknown_classes(gates: Mapping[str, float], names: Sequence[str], setting: str) -> None:
    """Raises ConfigError where a gate is for a class that the label map does not have.

    Args:
        gates: METRIC or FIGURE.CLASS, and the value of each.
        names: of the classes.
        setting: what the gates are called in a file.
    """
    for gate in gates:
        _, name = gated_class(gate)
        if name is None or name in names:
            continue
        folded = {each.casefold(): each for each in names}
        close = get_close_matches(name.casefold(), folded, 1)
        hint = f"did you mean {folded[close[0]]!r}? " if close else ""
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise ConfigError(
            f"{setting}: {gate}: there is no class {name!r}; {hint}The classes are: "
            f"{', '.join(names[:NAMED])}{more}"
        )


def unmet(
    gates: Gates, metrics: Mapping[str, float | None], classes: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """One sentence for each minimum that is not reached; one that cannot be judged is not reached.

    Args:
        classes: the rows of the table `classes`.
    """
    of_class = {row["class_name"]: row for row in classes}
    for gate, lowest in gates.minimum.items():
        figure, name = gated_class(gate)
        row = of_class.get(name, {}) if name is not None else {}
        value = metrics.get(gate) if name is None else row.get(figure)
        if gate in PROMPT_METRICS and gate not in metrics:
            yield f"{gate} is unknown, for no image has a prompt of its own; its minimum is {lowest}"
        elif gate == "no_target_accuracy" and value is None:
            yield f"{gate} is unknown: in every truth is what its prompt names; its minimum is {lowest}"
        elif name is not None and not row.get("support"):
            # what is predicted of such a class would count as 0, which says nothing of the class
            yield f"{gate} is unknown: no ground truth has a pixel of {name}; its minimum is {lowest}"
        elif value is None:
            why = "without ground truth" if name is None else f"because {name} was never predicted"
            yield f"{gate} is unknown {why}; its minimum is {lowest}"
        elif value < lowest:
            yield f"{gate} is {value:.4f}; its minimum is {lowest}"
