"""batchseg beside what people use today: `python -m tests.bench.throughput --images 200 --rounds 3`.

The forward passes alone, `pipeline()`, a careful loop, Ray Data's recipe and batchseg with each engine take
turns on the same photographs with the same model, and all but the first write masks and metrics. A rate is
that of the steady state, from the times of the masks; the wall time is that of the whole program. "Of the
best" is the share of the fastest forward pass of that precision, whoever computes it. The spread of the
forward passes from round to round is how noisy the machine was.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench import workload
from tests.bench.contest import Figures, agreement, emptied, finish, noise, steady_rate
from tests.bench.rivals.forward import ENGINES

PRECISIONS = ("fp32", "bf16")
RIVALS = {
    "pipeline": ("fp32",),
    "loop": PRECISIONS,
    "ray_recipe": ("fp32",),
    "batchseg torch": PRECISIONS,
    "batchseg openvino": PRECISIONS,
    "batchseg onnxruntime": ("fp32",),
    "batchseg int8": ("bf16",),
}
OF_SEGFORMER = ("pipeline", "loop", "ray_recipe", "batchseg onnxruntime")  # they are written for it
LAYOUTS = ((2, 1), (1, 2))  # processes, threads each
LIMIT_BATCHES = 12
OTHER = "batchseg there"
ROOT = Path(__file__).parents[2]


def limit(model: str, precision: str, engine: str) -> float:
    """Images a second of the forward passes alone, in the better of two layouts."""
    program = [sys.executable, "-m", "tests.bench.rivals.forward", "--model", model, "--engine", engine]
    rates = []
    for processes, threads in LAYOUTS:
        layout = ["--processes", processes, "--threads", threads, "--batches", LIMIT_BATCHES // processes]
        _, out = finish([*program, "--precision", precision, *map(str, layout)])
        rates.append(float(out))
    return max(rates)


@dataclass
class Entry:
    """A contestant in one precision, and how it did."""

    name: str
    precision: str
    words: list[str]
    folder: Path = ROOT
    rate: Figures = field(default_factory=Figures)
    wall_s: Figures = field(default_factory=Figures)

    def run(self, photographs: Path, output: Path) -> None:
        given = [photographs / "images", "--truth", photographs / "masks", "--output", emptied(output)]
        if self.words[0] != "batchseg":
            given = ["--images", *given]
        words = [sys.executable, "-m", *self.words, *given, "--precision", self.precision]
        wall_s, _ = finish(words, self.folder)
        self.rate.add(steady_rate(output / "masks"))
        self.wall_s.add(wall_s)
        print(f"  {self.name}, {self.precision}: {self.rate.last:.2f}/s, {wall_s:.1f} s", flush=True)


def words_of(name: str, convolutional: bool) -> list[str]:
    """The program, and the model that it is given."""
    model = ["--model", str(workload.checkpoint())]
    if convolutional:
        model = ["--model", "deeplabv3_mobilenet_v3_large"]
        model += ["--set", f"segmentor.weights={workload.convolutional()}", "--set", "segmentor.resize=512"]
    if not name.startswith("batchseg"):
        return [f"tests.bench.rivals.{name}", *model]
    words = ["batchseg", "run", "--quiet"]
    engine = name.removeprefix("batchseg ")
    if name == OTHER:
        return [*words, *model]
    if engine == "int8":
        return [
            *words,
            *model,
            "--set",
            "segmentor.quantise=int8",
            "--set",
            "segmentor.quantise_agreement=0.5",
        ]
    if engine == "onnxruntime":
        model = ["--model", str(workload.exported())]
    return [*words, *model, "--set", f"segmentor.engine={engine}"]


@click.command(help=__doc__)
@click.option("--images", "count", default=200, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", type=click.Choice([*RIVALS]), multiple=True, default=[*RIVALS], help="Contestants.")
@click.option("--convolutional", is_flag=True, help="A DeepLabV3-MobileNetV3 in place of the SegFormer-B0.")
@click.option("--beside", help="Folder of another checkout of batchseg, which takes part in bf16.")
def main(count: int, rounds: int, only: tuple[str, ...], convolutional: bool, beside: str | None) -> None:
    photographs = workload.photographs(count)
    model = str(workload.convolutional() if convolutional else workload.checkpoint())
    names = [name for name in RIVALS if name in only and not (convolutional and name in OF_SEGFORMER)]
    entries = [Entry(name, each, words_of(name, convolutional)) for name in names for each in RIVALS[name]]
    if beside:
        entries.append(Entry(OTHER, "bf16", words_of(OTHER, convolutional), Path(beside).resolve()))
    forward = {(precision, engine): Figures() for precision in PRECISIONS for engine in ENGINES}
    with TemporaryDirectory() as folder:
        outputs = {id(entry): Path(folder) / f"{place}" for place, entry in enumerate(entries)}
        for number in range(rounds):
            print(f"round {number + 1}: {noise()}", flush=True)
            for (precision, engine), figures in forward.items():
                figures.add(limit(model, precision, engine))
            for entry in entries:
                entry.run(photographs, outputs[id(entry)])
        print("\n| | images a second | of the best | wall time, s | pixels as the first's |")
        print("|---|---|---|---|---|")
        best = {each: max(forward[each, engine].median for engine in ENGINES) for each in PRECISIONS}
        for (precision, engine), rate in forward.items():
            share = rate.median / best[precision]
            print(f"| the forward pass alone, {engine}, {precision} | {rate} | {share:.2f} | | |")
        reference = outputs[id(entries[0])] / "masks"
        for entry in entries:
            same = f"{agreement(outputs[id(entry)] / 'masks', reference):.3%}"
            share = entry.rate.median / best[entry.precision]
            name = f"{entry.name}, {entry.precision}"
            print(f"| {name} | {entry.rate} | {share:.2f} | {entry.wall_s} | {same} |")
    print(f"\n{count} images of {workload.SIZE_WH}, {rounds} rounds, medians (least - most)")


if __name__ == "__main__":
    main()
