"""What the commands share that go through pictures: a bar while they do, then their report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from batchseg.cli.show.overlay import CountProgress

Report = TypeVar("Report", bound=Any)


def under_bar(
    start: Callable[[CountProgress], Report],
    show: Callable[[Report], None],
    doing: str,
    *,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> Report:
    """Run a job under a bar, print its report, or have `show` do so, and return it."""
    from batchseg.cli.show.overlay import CountProgress
    from batchseg.engine.quiet import native_stderr

    progress = CountProgress(doing, hidden=quiet or as_json)
    with native_stderr(hidden=not debug), progress.bar:
        report = start(progress)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    elif not quiet:
        show(report)
    return report
