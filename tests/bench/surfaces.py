"""What boundaries and objects cost an image: `python -m tests.bench.surfaces`.

Label maps of 1024 x 768 with 11 classes, in milliseconds of one CPU thread (`process_time`, so that another
program beside it counts less): digits of which some are moved, changed or missing; regions moved by 2 pixels;
the same with wrong pixels strewn over them, one in 330 and one in 20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

import click
import numpy as np
from scipy import ndimage

from batchseg.config.base import Limits
from batchseg.config.metrics import BoundarySettings, ObjectSettings
from batchseg.config.run import RunConfig
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.metrics.boundary import boundaries_of
from batchseg.metrics.measures import Measures
from batchseg.scenes.digits import CLASS_NAMES, compose, load_source_digits
from batchseg.segmentors.base import Prediction
from batchseg.stages.item import Item
from batchseg.stages.measure import measure
from tests.bench.contest import Figures

HEIGHT, WIDTH, CLASSES = 768, 1024, len(CLASS_NAMES)
LABELS = LabelMap.from_names(CLASS_NAMES)
Maps = tuple[np.ndarray, np.ndarray]


def digits(rng: np.random.Generator) -> Maps:
    """A scene, and a prediction: all moved by a pixel or two, one digit taken for another, and false ones."""
    _, truth = compose(rng, load_source_digits("test"), HEIGHT, WIDTH)
    predicted = np.roll(truth, (1, 2), (0, 1))
    labels = np.unique(truth)
    predicted[predicted == labels[-1]] = 1 + labels[-1] % (CLASSES - 1)
    for _ in range(5):
        row, column = rng.integers(0, HEIGHT - 9), rng.integers(0, WIDTH - 9)
        predicted[row : row + 9, column : column + 6] = rng.integers(CLASSES)
    return predicted, truth


def regions(rng: np.random.Generator, wrong: float = 0.0) -> Maps:
    """Some 500 regions of all classes, and a prediction that is moved by 2 pixels, with wrong ones in it."""
    fields = [ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 20) for _ in range(CLASSES)]
    truth = np.argmax(fields, axis=0).astype(np.uint8)
    predicted = np.roll(truth, (1, 2), (0, 1))
    here = rng.random(truth.shape) < wrong
    predicted[here] = rng.integers(0, CLASSES, int(here.sum()))
    return predicted, truth


SCENES: dict[str, Callable[[np.random.Generator], Maps]] = {
    "digits": digits,
    "regions": regions,
    "regions, 0.3 % wrong": lambda rng: regions(rng, 0.003),
    "regions, 5 % wrong": lambda rng: regions(rng, 0.05),
}


def of_stage(maps: Maps, metrics: tuple[str, ...]) -> Callable[[], Any]:
    """The stage as a run has it, rows of the tables included."""
    config = RunConfig.model_construct(
        metrics=metrics, boundary=BoundarySettings(), objects=ObjectSettings(), spacing=None
    )
    measures = Measures.of(config, LABELS)
    assert measures is not None
    stage = measure(measures, Reading(LABELS), Limits())

    def work() -> list[Item]:
        item = Item({"id": "a", "uri": "a.png", "mask": "a.png"}, size_hw=(HEIGHT, WIDTH))
        item.prediction, item.truth_HW = Prediction(maps[0]), maps[1]
        return list(stage(iter([item])))

    return work


def parts_of(maps: Maps) -> Iterator[tuple[str, Callable[[], Any]]]:
    tolerances = np.full(CLASSES, 2.0)
    yield "Boundary IoU alone", lambda: boundaries_of(*maps, tolerances, width=0.02, spacing=None)
    yield "boundary: with NSD and HD95", of_stage(maps, ("boundary",))
    yield "objects", of_stage(maps, ("objects",))
    yield "both", of_stage(maps, ("boundary", "objects"))


@click.command(help=__doc__)
@click.option("--images", default=5, show_default=True, help="Of each kind.")
@click.option("--rounds", default=3, show_default=True)
def main(images: int, rounds: int) -> None:
    print(f"{WIDTH} x {HEIGHT}, {CLASSES} classes, {images} images of each kind, ms an image")
    for name, make in SCENES.items():
        figures: dict[str, Figures] = {}
        for seed in range(images):
            maps = make(np.random.default_rng(seed))
            for what, work in parts_of(maps):
                work()
                for _ in range(rounds):
                    start = process_time()
                    work()
                    figures.setdefault(what, Figures()).add(1e3 * (process_time() - start))
        print(name)
        for what, values in figures.items():
            print(f"  {what:30} {values}")


if __name__ == "__main__":
    main()
