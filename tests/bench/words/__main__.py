"""Does a pretrained language model help with words that no training image was named by?

    python -m tests.bench.words --mpnet DIR --minilm DIR --output words/

experiment.py says what is compared, for how long, and by which rule. What is finished is not done again.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click


@click.command()
@click.option("--mpnet", required=True, metavar="DIR", help="Folder of all-mpnet-base-v2.")
@click.option("--minilm", required=True, metavar="DIR", help="Folder of all-MiniLM-L6-v2.")
@click.option("--output", required=True, metavar="DIR", help="Folder for the runs.")
@click.option("--seeds", default="0,1,2,3,4", metavar="S,S,...", show_default=True)
@click.option("--processes", default=2, show_default=True, help="Seeds at once, a thread each.")
def main(mpnet: str, minilm: str, output: str, seeds: str, processes: int) -> None:
    """Run what is missing in the output, and print the tables and the verdict."""
    from tests.bench.words.experiment import Budget
    from tests.bench.words.report import markdown
    from tests.bench.words.run import read_runs, work

    budget = replace(Budget(), seeds=tuple(int(seed) for seed in seeds.split(",")))
    todo = partial(work, budget=budget, output=output, mpnet=mpnet, minilm=minilm)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        pool.submit(todo, None).result()
        for future in as_completed([pool.submit(todo, seed) for seed in budget.seeds]):
            future.result()
    click.echo(markdown(read_runs(Path(output)), budget.words))


if __name__ == "__main__":
    main()
