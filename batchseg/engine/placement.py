"""How a job is laid on the hardware: devices, copies of the model, threads and batch sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from batchseg.config import SegmentorConfig
from batchseg.errors import ConfigError

MAX_CHUNK = 256  # images a task fetches at once: enough to hide a task's overhead of some milliseconds
CHUNKS_AN_ACTOR = 4  # so that no actor works on alone for long at the end
BATCH = {"cpu": 4, "cuda": 16}


@dataclass(frozen=True)
class Placement:
    """The hardware a run uses.

    Attributes:
        threads: CPU threads of each actor.
        actor_cpus: Ray's book-keeping for an actor; below 1 so that short tasks always find a place.
    """

    device: str
    actors: int
    gpus_an_actor: float
    actor_cpus: float
    threads: int
    batch_size: int

    def chunk_rows(self, images: int) -> int:
        """Images in one chunk: a few chunks for each actor, none smaller than a batch if it can be helped."""
        share = math.ceil(images / (self.actors * CHUNKS_AN_ACTOR))
        return max(1, min(MAX_CHUNK, max(share, self.batch_size)))


def place(config: SegmentorConfig, resources: dict[str, Any], images: int) -> Placement:
    """Fill in what the configuration leaves open from what the cluster has.

    Raises ConfigError where the configuration asks for GPUs and there are none.
    """
    cpus, gpus = max(1, int(resources.get("CPU", 1))), float(resources.get("GPU", 0))
    device = config.device if config.device != "auto" else ("cuda" if gpus else "cpu")
    if device == "cuda" and not gpus:
        raise ConfigError("segmentor.device is cuda, but Ray sees no GPU; use --device cpu or auto")
    batch_size = config.batch_size or BATCH[device]
    useful = max(1, math.ceil(images / batch_size))
    if device == "cuda":
        share = config.gpus_per_actor or 1.0
        actors = config.actors or min(useful, max(1, int(gpus / share)))
        return Placement(device, actors, share, 1.0, 1, batch_size)
    actors = config.actors or min(useful, cpus)
    threads = max(1, cpus // actors)
    return Placement(device, actors, 0.0, min(1.0, 0.5 * cpus / actors), threads, batch_size)
