"""`batchseg decide`."""

from __future__ import annotations

from typing import Any

import click

from batchseg.cli.job import follow
from batchseg.cli.options import (
    GOES_ON,
    from_file,
    gating,
    given,
    merged_classes,
    named_values,
    reported_errors,
    reporting,
)
from batchseg.config.decide import DecideConfig
from batchseg.config.load import read_config


@click.command("decide")
@click.argument("results", required=False)
@click.option("--output", metavar="DIR", help="Folder for the new masks and tables.")
@from_file
@click.option(
    "--none-below",
    type=float,
    metavar="P",
    help="Pixels whose best class is less probable have none; 0: all have one.",
)
@click.option(
    "--threshold", type=float, metavar="P", help="Of two classes: foreground is more probable than this."
)
@click.option(
    "--merge",
    multiple=True,
    metavar="NAME=A,B,...|FILE",
    help="Classes that are one: probabilities add; or a reviewed relation.",
)
@click.option("--labels", metavar="NAME|FILE", help="Another label map of the same classes.")
@click.option("--truth", metavar="DIR", help="Another folder with the ground truth.")
@click.option("--recompute", is_flag=True, default=None, help="Decide again what was decided otherwise.")
@gating
@click.option("--address", metavar="RAY", help="Address of a running Ray cluster.")
@reporting
def decide_command(as_json: bool, quiet: bool, debug: bool, minimum: tuple[str, ...], **flags: Any) -> None:
    """Decide the masks of RESULTS anew, from the probabilities beside them and without the model.

    RESULTS come from `run --probabilities`. What is not given is as it was there. The same command again
    decides what is new.
    """
    with reported_errors(debug, GOES_ON):
        path, settings = flags.pop("config_path"), flags.pop("settings")
        gates = {"max_failed": flags.pop("max_failed"), "minimum": named_values("--min", minimum)}
        merge, ray = merged_classes(flags.pop("merge")), {"address": flags.pop("address")}
        nested = given({**flags, "merge": merge, "gates": gates, "ray": ray})
        config = read_config(DecideConfig, path, settings, nested)
        from batchseg.pipeline.decide import decide

        follow(lambda on_progress: decide(config, on_progress), as_json, quiet, debug)
