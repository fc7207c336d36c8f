"""What every contestant is given, and what it leaves: masks/*.png and a table of metrics."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Job:
    """One folder of images, their truth, a model, and where the results go."""

    images: Path
    truth: Path
    model: Path
    output: Path
    precision: str

    @property
    def files(self) -> list[Path]:
        return sorted(self.images.iterdir())

    def read_truth(self, image: Path) -> NDArray[np.uint8]:
        return np.asarray(Image.open(self.truth / f"{image.stem}.png"))

    def write_mask(self, image: Path, labels_HW: NDArray[np.uint8]) -> None:
        Image.fromarray(labels_HW).save(self.output / "masks" / f"{image.stem}.png", compress_level=1)

    def write_table(self, rows: list[dict[str, object]]) -> None:
        pq.write_table(pa.Table.from_pylist(rows), self.output / "metrics.parquet")


def parse(description: str | None) -> Job:
    parser = argparse.ArgumentParser(description=description)
    for name in ("images", "truth", "model", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    job = Job(**vars(parser.parse_args()))
    (job.output / "masks").mkdir(parents=True, exist_ok=True)
    return job
