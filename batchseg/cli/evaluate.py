"""`batchseg evaluate`."""

from __future__ import annotations

from typing import Any

import click

from batchseg.cli.job import follow
from batchseg.cli.options import (
    GOES_ON,
    choosing,
    follow_links,
    from_file,
    gating,
    given,
    measuring,
    named_values,
    pairing,
    reading,
    reported_errors,
    reporting,
    truth_settings,
)
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.load import read_config


@click.command("evaluate")
@click.argument("masks", required=False)
@click.argument("truth", required=False)
@click.option("--output", metavar="DIR", help="Folder for the tables.")
@from_file
@pairing
@reading
@click.option("--mask-suffix", metavar="FROM=TO", help="Applied to a mask's stem before --truth-suffix.")
@click.option(
    "--mask-ids",
    type=click.Choice(["class", "truth"]),
    help="Masks hold class ids, or the data set's truth ids.",
)
@follow_links
@choosing
@measuring
@gating
@reporting
def evaluate_command(as_json: bool, quiet: bool, debug: bool, minimum: tuple[str, ...], **flags: Any) -> None:
    """Score existing MASKS against TRUTH, without a model: the same tables as `run`.

    A file of --config may name both, and has all other settings, such as limits and ray.
    """
    with reported_errors(debug, GOES_ON):
        path, settings = flags.pop("config_path"), flags.pop("settings")
        gates = {"max_failed": flags.pop("max_failed"), "minimum": named_values("--min", minimum)}
        read = truth_settings(flags)
        truth = {"path": flags.pop("truth"), **read.pop("truth")}
        nested = {**flags, **read, "truth": truth, "gates": gates}
        config = read_config(EvaluateConfig, path, settings, given(nested))
        from batchseg.pipeline.evaluate import evaluate

        follow(lambda on_progress: evaluate(config, on_progress), as_json, quiet, debug)
