"""`batchseg labels`: label maps shown, and relations between them proposed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from batchseg.cli.options import from_file, given, reported_errors, reporting
from batchseg.config.labels import MapLabelsConfig
from batchseg.config.load import read_config


@click.group("labels")
def labels_group() -> None:
    """Look at label maps, and put a model's classes into those of another."""


@labels_group.command("map")
@click.option("--from", "from_labels", metavar="NAME|FILE|MODEL", help="The model's classes.")
@click.option("--to", "to_labels", metavar="NAME|FILE", help="The classes that masks shall have.")
@click.option(
    "--language-model",
    metavar="DIR",
    help="A model that compares texts, such as all-MiniLM-L6-v2; without one only names that are alike meet.",
)
@click.option("--none-below", type=float, metavar="COSINE", help="Lower cosines go to none.  [0.55]")
@click.option("--output", metavar="FILE", help="New YAML file.  [printed]")
@from_file
@reporting
def map_labels_command(
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    debug: bool,
    **flags: Any,
) -> None:
    """Propose where each class of a model goes in another label map, as YAML for a person to review.

    A run takes the reviewed file as --merge: masks then have the ids of the other label map.

    Exit codes: 0 proposed, 1 the language model cannot be read, 2 wrong usage, or no such label map.
    """
    with reported_errors(debug):
        config = read_config(MapLabelsConfig, config_path, settings, given(flags))
        from batchseg.cli.show.labels import print_proposal
        from batchseg.segmentors.llm.relate import map_labels

        found = map_labels(config)
        if as_json:
            facts = {**asdict(found), "rows": [row.model_dump() for row in found.rows]}
            click.echo(json.dumps(facts, indent=2))
        else:
            if config.output is None:
                click.echo(found.text, nl=False)
            if not quiet:
                print_proposal(found, by_text=config.language_model is not None)


@labels_group.command("show")
@click.argument("labels", metavar="[NAME|FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON on standard output.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show_labels_command(labels: str | None, as_json: bool, debug: bool) -> None:
    """Print a label map with its colours; without a name, which ones come with the program."""
    with reported_errors(debug):
        from batchseg.cli.show.labels import as_facts, built_in, print_built_in, print_label_map

        if as_json:
            click.echo(json.dumps(built_in() if labels is None else as_facts(labels), indent=2))
        elif labels is None:
            print_built_in()
        else:
            print_label_map(labels)
