"""`batchseg doctor`: what is wrong with a source, before anything costs time."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from batchseg.cli.options import (
    bands,
    choosing,
    chosen_model,
    finding,
    from_file,
    given,
    merged_classes,
    modelling,
    options,
    orientation,
    pairing,
    reading,
    reported_errors,
    reporting,
    source_settings,
    truth_settings,
)

_looking = options(
    click.option("--truth", metavar="PATH", help="Folder with the ground truth, or a labelling tool's file."),
    modelling,
    pairing,
    reading,
    click.option("--mask-name", type=click.Choice(["stem", "full"]), help="As for run."),
    click.option("--tile", type=int, metavar="N", help="As for run."),
    click.option("--classes", metavar="A,B,...", help="As for run."),
    finding,
    choosing,
    orientation,
    bands,
    click.option("--truths", type=int, metavar="N", help="Ground truths to read.  [32]"),
)


@click.command("doctor")
@click.argument("source", required=False)
@from_file
@_looking
@reporting
def doctor_command(source: str | None, as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Look at SOURCE before anything costs time: names, headers, ground truth, and how much there is to do.

    Exit codes: 0 nothing is wrong, 1 a run would fail or record failed images, 2 wrong usage.
    """
    with reported_errors(debug):
        from batchseg.cli.show.inspect import print_doctor
        from batchseg.config.doctor import DoctorConfig
        from batchseg.config.load import read_config
        from batchseg.inspect.doctor import doctor

        path, settings = flags.pop("config_path"), flags.pop("settings")
        segmentor = {"model": chosen_model(flags.pop("model")), "classes": flags.pop("classes")}
        flags["merge"] = merged_classes(flags["merge"])
        of_source = source_settings(source, flags)
        nested = {
            "source": of_source,
            "segmentor": segmentor,
            "tiling": {"size": flags.pop("tile")},
            **truth_settings(flags),
            **flags,
        }
        report = doctor(read_config(DoctorConfig, path, settings, given(nested)))
        if as_json:
            click.echo(json.dumps({"ok": report.ok, **asdict(report)}, indent=2))
        elif not quiet:
            print_doctor(report)
    sys.exit(0 if report.ok else 1)
