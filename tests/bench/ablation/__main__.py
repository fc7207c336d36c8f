"""Train and test several configurations over several seeds, and compare them.

    python -m tests.bench.ablation tests/bench/ablation/configs/*.yaml \\
        --source scenes/manifest.parquet --output ablation/

The first configuration is what the others are compared with. What is finished is not done again.
"""

from __future__ import annotations

from pathlib import Path

import click

from batchseg.cli.options import reported_errors


@click.command()
@click.argument("configs", nargs=-1, required=True)
@click.option("--source", required=True, help="Manifest with a column split: train, validation, test.")
@click.option("--output", required=True, metavar="DIR", help="Folder for the runs and the tables.")
@click.option("--language-model", metavar="NAME", help="In place of the one in the configurations.")
@click.option("--seeds", default="0,1,2", metavar="S,S,...", show_default=True)
@click.option("--fractions", default="1,0.05", metavar="F,F,...", show_default=True, help="Of the labels.")
@click.option("--address", metavar="RAY", help="Address of a running Ray cluster.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(configs: tuple[str, ...], seeds: str, fractions: str, debug: bool, **options: str | None) -> None:
    """Compare CONFIGS, files for `batchseg train`; those called random or shuffled are controls."""
    with reported_errors(debug):
        from tests.bench.ablation.ablation import ablation, read_arms

        arms = read_arms(configs, options["source"], options["language_model"], options["address"])
        numbers = [int(seed) for seed in seeds.split(",")], [float(share) for share in fractions.split(",")]
        report = ablation(arms, str(options["output"]), *numbers, on_run=click.echo)
        click.echo(Path(report).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
