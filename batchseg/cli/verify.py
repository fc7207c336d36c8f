"""`batchseg verify`: is a results folder whole?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from batchseg.cli.options import reported_errors, reporting


@click.command("verify")
@click.argument("results")
@click.option("--quick", is_flag=True, help="Leave out the masks' pixels.")
@click.option("--repair", is_flag=True, help="Drop what is broken, for the next run to compute again.")
@reporting
def verify_command(
    results: str, *, quick: bool, repair: bool, as_json: bool, quiet: bool, debug: bool
) -> None:
    """Check that RESULTS is whole: every row has its mask, every mask its row, and all counts agree.

    Exit codes: 0 nothing is wrong (with --repair: nothing that the next run does not mend), 1 something is.
    """
    with reported_errors(debug):
        from batchseg.cli.show.inspect import print_verify
        from batchseg.inspect.verify import verify

        report = verify(results, quick, repair)
        if as_json:
            click.echo(json.dumps({"ok": report.ok, **asdict(report)}, indent=2))
        elif not quiet:
            print_verify(report)
    sys.exit(0 if report.ok else 1)
