"""Does a trained prompted model find what it is asked for: `python -m tests.bench.prompted prompted/model`.

Fresh scenes of another seed, whose digits no training saw, and prompts made of words that it did see, through
`batchseg run manifest.parquet`. It fails under 0.80 gIoU, which 50 scenes are to reach.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pyarrow.compute as pc
import pyarrow.parquet as pq

import batchseg
from batchseg.config.base import PROMPT_METRICS
from batchseg.scenes.data_set import SPLITS
from batchseg.scenes.phrases import NOVELTIES

LEAST = 0.80  # gIoU
SEED = 4711


@click.command(help=__doc__)
@click.argument("model")
@click.option("--scenes", default=50, show_default=True)
@click.option("--size", default=64, show_default=True, help="Width and height of a scene, pixels.")
@click.option("--novel", type=click.Choice(NOVELTIES), default="none", help="What of them is new.")
def main(model: str, scenes: int, size: int, novel: str) -> None:
    with TemporaryDirectory() as folder:
        manifest = fresh(Path(folder) / "scenes", scenes, size, novel)
        found = batchseg.run(str(manifest), model=model, output=f"{folder}/results")
    for name in PROMPT_METRICS:
        click.echo(f"{name} {found.metrics[name]:.3f}")
    sys.exit(0 if novel != "none" or found.metrics["giou"] >= LEAST else 1)


def fresh(folder: Path, scenes: int, size: int, novel: str) -> Path:
    """A manifest of so many test scenes with what is new in them."""
    count = scenes * len(SPLITS) * len(NOVELTIES)  # one scene in so many is of either kind
    config = batchseg.PhrasesConfig(output=str(folder), count=count, seed=SEED, size=size)
    table = pq.read_table(batchseg.make_phrases(config))
    wanted = pc.and_(pc.equal(table["split"], "test"), pc.equal(table["novel"], novel))
    pq.write_table(table.filter(wanted), folder / "asked.parquet")
    return folder / "asked.parquet"


if __name__ == "__main__":
    main()
