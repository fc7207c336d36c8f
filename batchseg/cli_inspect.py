"""The commands that look and compute nothing: verify and doctor."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from batchseg.cli_options import given, options, pairing, reported_errors, reporting

if TYPE_CHECKING:
    from batchseg.analysis.doctor import DoctorReport
    from batchseg.analysis.verify import VerifyReport


@click.command()
@click.argument("results")
@click.option("--quick", is_flag=True, help="Leave out the masks' pixels.")
@click.option("--repair", is_flag=True, help="Drop what is broken, for the next run to compute again.")
@reporting
def verify(results: str, *, quick: bool, repair: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """Check that RESULTS is whole: every row has its mask, every mask its row, and all counts agree.

    Exit codes: 0 nothing is wrong (with --repair: nothing that the next run does not mend), 1 something is.
    """
    with reported_errors(debug):
        from batchseg.analysis.verify import verify as look
        from batchseg.terminal_inspect import print_verify

        report = look(results, quick, repair)
        if as_json:
            click.echo(_as_json(report))
        elif not quiet:
            print_verify(report)
    sys.exit(0 if report.ok else 1)


_looking = options(
    click.option("--truth", metavar="DIR", help="Folder with the ground truth, mirroring the images."),
    click.option("--model", help="As for run; its classes are what the truth is held against."),
    pairing,
    click.option("--mask-name", type=click.Choice(["stem", "full"]), help="As for run."),
    click.option("--limit", type=int, metavar="N", help="Stop after this many images."),
    click.option("--truths", type=int, metavar="N", help="Ground truths to read.  [32]"),
)


@click.command()
@click.argument("source")
@_looking
@reporting
def doctor(source: str, as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Look at SOURCE before anything costs time: names, headers, ground truth, and how much there is to do.

    Exit codes: 0 nothing is wrong, 1 a run would fail or record failed images, 2 wrong usage.
    """
    with reported_errors(debug):
        from batchseg.analysis.doctor import DoctorConfig
        from batchseg.analysis.doctor import doctor as look
        from batchseg.load import validate
        from batchseg.terminal_inspect import print_doctor

        of_source = {
            name: flags.pop(name) for name in ("truth", "truth_suffix", "include", "exclude", "limit")
        }
        nested = {"source": {"path": source, **of_source}, "segmentor": flags.pop("model"), **flags}
        report = look(validate(DoctorConfig, given(nested), "the command line"))
        if as_json:
            click.echo(_as_json(report))
        elif not quiet:
            print_doctor(report)
    sys.exit(0 if report.ok else 1)


def _as_json(report: VerifyReport | DoctorReport) -> str:
    return json.dumps({"ok": report.ok, **asdict(report)}, indent=2)
