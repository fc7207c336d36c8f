"""What a person sees of a candidate: how it stands against the good results, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable

if TYPE_CHECKING:
    from batchseg.pipeline.promote import Promotion
    from batchseg.pipeline.trial import TrialResult
    from batchseg.results.candidate import CandidateState


def print_trial(result: TrialResult) -> None:
    """The run, the comparison, and what can be done next."""
    from batchseg.cli.show.compare import print_compare
    from batchseg.cli.show.run import print_result

    print_result(result)
    if result.compared:
        print_compare(result.compared)
    good = printable(result.good)
    click.echo(f"candidate  {mib(result.size_bytes)} beside {good}, which was not touched")
    if not result.exit_code:
        click.echo(f"           `batchseg promote {good}` puts it in place")
    click.echo(f"           `batchseg promote {good} --drop` removes it")


def print_promotion(done: Promotion) -> None:
    """One line."""
    model = printable(done.model or "a run that had not finished")
    became = "took the place of the results in" if done.promoted else "was removed from"
    size = f" ({mib(done.size_bytes)})" if done.size_bytes else ""
    click.echo(f"the candidate of {model}{size} {became} {printable(done.results)}")


def candidate_line(state: CandidateState) -> str:
    """What it is, what it costs, and whether it can be promoted."""
    model = state.model or "of a run that has not finished"
    verdict = f"cannot be promoted: {state.obstacle}" if state.obstacle else "its gates passed"
    return printable(f"{model}, {state.files:,} files, {mib(state.size_bytes)}; {verdict}")


def mib(size_bytes: int) -> str:
    """Never 0 for what there is."""
    return f"{size_bytes / 2**20:,.1f} MiB" if size_bytes >= 2**20 / 10 else f"{size_bytes / 2**10:,.1f} KiB"
