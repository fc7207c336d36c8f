"""The command line: each command parses, calls one library function, and prints."""

from __future__ import annotations

import click

from batchseg import __version__
from batchseg.cli.acknowledge import acknowledge_command
from batchseg.cli.compare import compare_command
from batchseg.cli.config import config_group
from batchseg.cli.decide import decide_command
from batchseg.cli.doctor import doctor_command
from batchseg.cli.evaluate import evaluate_command
from batchseg.cli.explain import explain_command
from batchseg.cli.export import export_command
from batchseg.cli.labels import labels_group
from batchseg.cli.night import night_command
from batchseg.cli.overlay import overlay_command
from batchseg.cli.promote import promote_command
from batchseg.cli.report import report_command
from batchseg.cli.run import run_command
from batchseg.cli.scenes import digits_command, scenes_group
from batchseg.cli.submit import submit_command
from batchseg.cli.suspects import suspects_command
from batchseg.cli.train import train_command
from batchseg.cli.verify import verify_command

COMMANDS = (
    run_command,
    evaluate_command,
    doctor_command,
    verify_command,
    acknowledge_command,
    overlay_command,
    explain_command,
    report_command,
    export_command,
    decide_command,
    compare_command,
    suspects_command,
    night_command,
    promote_command,
    train_command,
    scenes_group,
    labels_group,
    submit_command,
    config_group,
)
OLD_NAMES: dict[str, click.Command] = {"digits": digits_command}


class _WithOldNames(click.Group):
    """Commands go on to answer to names that they had before, which nothing lists."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or OLD_NAMES.get(cmd_name)


@click.group(cls=_WithOldNames, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="batchseg", prog_name="batchseg")
def cli() -> None:
    """Segment a folder of images, tonight and every night: masks, and numbers you can trust."""


for _command in COMMANDS:
    cli.add_command(_command)
