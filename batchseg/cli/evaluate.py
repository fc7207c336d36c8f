"""`batchseg evaluate`."""

from __future__ import annotations

from typing import Any

import click

from batchseg.cli.job import follow
from batchseg.cli.options import gating, given, named_values, pairing, reported_errors, reporting
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.load import validate


@click.command("evaluate")
@click.argument("masks")
@click.argument("truth")
@click.option("--output", metavar="DIR", required=True, help="Folder for the tables.")
@pairing
@click.option("--mask-suffix", metavar="FROM=TO", help="Applied to a mask's stem before --truth-suffix.")
@click.option(
    "--mask-ids",
    type=click.Choice(["class", "truth"]),
    help="Masks hold class ids, or the data set's truth ids.",
)
@gating
@reporting
def evaluate_command(as_json: bool, quiet: bool, debug: bool, minimum: tuple[str, ...], **flags: Any) -> None:
    """Score existing MASKS against TRUTH, without a model: the same tables as `run`."""
    with reported_errors(debug):
        gates = given({"max_failed": flags.pop("max_failed"), "minimum": named_values("--min", minimum)})
        config = validate(EvaluateConfig, {**given(flags), "gates": gates}, "the command line")
        from batchseg.pipeline.evaluate import evaluate

        follow(lambda on_progress: evaluate(config, on_progress), as_json, quiet, debug, doing="scoring")
