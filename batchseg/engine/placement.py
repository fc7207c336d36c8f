"""How a job is laid on the hardware: devices, copies of the model, threads and batch sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchseg.config.network import SegmentorConfig
from batchseg.engine.nodes import Nodes, anywhere_but
from batchseg.errors import ConfigError

# images a task fetches at once: enough to hide its overhead of some milliseconds. On a CPU a chunk comes out
# whole, on a GPU in groups.
MAX_CHUNK = {"cpu": 64, "cuda": 256}
CHUNKS_AN_ACTOR = 4  # so that no actor works on alone for long at the end
BATCH = {"cpu": 4, "cuda": 16}
LARGEST_BATCH = {"cpu": 4, "cuda": 64}  # as many as reach a GPU's actor together
IMAGES_AN_ACTOR = 32  # at least, for a copy takes seconds of a core to load; a single one has more threads


@dataclass(frozen=True)
class Placement:
    """The hardware a run uses.

    Attributes:
        threads: CPU threads of each actor.
        actor_cpus: Ray's book-keeping for an actor; below 1 so that short tasks always find a place.
        largest_batch: how far batches may grow where that is faster.
        without_node: id of a node that runs nothing of the job.
    """

    device: str
    actors: int
    gpus_an_actor: float
    actor_cpus: float
    threads: int
    batch_size: int
    largest_batch: int
    without_node: str | None = None

    @property
    def selector(self) -> dict[str, str] | None:
        """Where Ray may place the job."""
        return anywhere_but(self.without_node)

    def chunk_rows(self, images: int) -> int:
        """Images in one chunk: a few chunks for each actor, each of whole batches if it can be helped."""
        share = math.ceil(images / (self.actors * CHUNKS_AN_ACTOR))
        whole = math.ceil(share / self.batch_size) * self.batch_size
        return max(1, min(self.most_rows, whole))

    @property
    def fixed_batches(self) -> bool:
        """Whether batches keep their size, which they else find out from how fast they are."""
        return self.largest_batch == self.batch_size

    @property
    def most_rows(self) -> int:
        """Images in the largest chunk."""
        return MAX_CHUNK[self.device]


def place(config: SegmentorConfig, nodes: Nodes, images: int, at_most: int | None = None) -> Placement:
    """Fill in what the configuration leaves open from what the nodes have.

    Args:
        images: inputs of the model, by which it is found how many copies pay.
        at_most: copies that can be busy at once; None: as many as there are images.

    Raises ConfigError where the configuration asks for GPUs and there are none.
    """
    cpus, gpus = max(1, int(nodes.total("CPU"))), nodes.total("GPU")
    device = config.device if config.device != "auto" else ("cuda" if gpus else "cpu")
    if device == "cuda" and not gpus:
        raise ConfigError("segmentor.device is cuda, but Ray sees no GPU; use --device cpu or auto")
    batch_size = config.batch_size or BATCH[device]
    largest = config.batch_size or LARGEST_BATCH[device]
    useful = max(1, math.ceil(images / batch_size))  # a copy more would be loaded for nothing
    useful = useful if at_most is None else min(useful, at_most)
    if device == "cuda":
        share = config.gpus_per_actor or 1.0
        most = max(node.get("GPU", 0.0) for node in nodes.resources)
        if share > most:
            raise ConfigError(
                f"segmentor.gpus_per_actor is {share:g}; it must be at most {most:g}, as no node has more"
            )
        # an actor's GPUs are all on one node
        fit = sum(int(node.get("GPU", 0) / share) for node in nodes.resources)
        actors = min(useful, config.actors or max(1, fit))
        # the stages around the model need CPUs, too: with few, actors that took them would wait for ever
        core = 1.0 if cpus >= 2 * actors else 0.0
        return Placement(device, actors, share, core, 1, batch_size, largest, nodes.without)
    actors = min(useful, config.actors or min(max(1, math.ceil(images / IMAGES_AN_ACTOR)), cpus))
    # as threads of one process do not reach beyond its node
    threads = max(1, min(cpus // actors, int(nodes.smallest("CPU"))))
    share = min(1.0, 0.5 * cpus / actors)
    return Placement(device, actors, 0.0, share, threads, batch_size, largest, nodes.without)
