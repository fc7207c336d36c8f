"""Both graphs, the fused one for CPUs and the one whose stages stand apart for GPUs, give the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier, Event

import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.config.run import RunConfig
from batchseg.engine.graph import Stages, build
from batchseg.engine.journal import Journal
from batchseg.engine.nodes import Nodes
from batchseg.engine.placement import Placement, place
from batchseg.errors import ConfigError
from batchseg.pipeline.assembly import before, score_and_write, segmenting
from batchseg.pipeline.model import OpenedModel
from batchseg.pipeline.survey import survey
from batchseg.source.plan import Plan, write_plan
from batchseg.stages.item import Item, Stage
from batchseg.stages.write import Stamp
from batchseg.storage.location import locate

SAME = ("id", "status", "error", "height", "_pixels", "_row")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """20 images and a broken one, for `threshold`."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for index in range(20):
        image = rng.integers(0, 256, (10 + index, 20), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"{index:02d}.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"")  # a fault, too, must cross between processes
    overrides = {
        "source": str(tmp_path / "images"),
        "segmentor": "threshold",
        "output": str(tmp_path / "out"),
    }
    return batchseg.load_config(overrides=overrides)


def planned(config: RunConfig, model: OpenedModel, folder: Path, chunk_rows: int) -> Plan:
    listing = survey(config, model, locate(str(folder))).listing
    return write_plan(listing, locate(str(folder / "plan.arrow")), chunk_rows)


def stages(config: RunConfig, model: OpenedModel, results: str, placement: Placement) -> Stages:
    after = partial(score_and_write, config, model, results, None)
    return segmenting(config, model, before, after, placement)


def on_gpus(config: RunConfig) -> Placement:
    """For the graph with GPUs, on actors that ask Ray for none; `threshold` does not mind where it runs."""
    cpu = place(config.segmentor, Nodes(({"CPU": 2},)), 21)
    return replace(cpu, device="cuda", gpus_an_actor=0.0, actors=1)


@pytest.mark.usefixtures("ray_session")
def test_fused_and_apart_are_equal(config: RunConfig, tmp_path: Path) -> None:
    model = OpenedModel.open(config)
    plan = planned(config, model, tmp_path, 6)
    found = []
    for placement in (place(config.segmentor, Nodes(({"CPU": 2},)), 21), on_gpus(config)):
        masks = str(tmp_path / placement.device)
        made, stamp = stages(config, model, masks, placement), Stamp("m", "f", "s", placement.device)
        dataset = build(plan, made, placement, stamp, Journal(str(tmp_path)))
        rows = sorted(dataset.take_all(), key=lambda row: row["id"])
        found.append(
            [
                {key: row[key] for key in ("id", "status", "error", "height", "_pixels", "_row")}
                for row in rows
            ]
        )
    assert len(found[0]) == 21
    assert found[0] == found[1]
    for path in (tmp_path / "cpu" / "masks").iterdir():
        assert path.read_bytes() == (tmp_path / "cuda" / "masks" / path.name).read_bytes()


@pytest.mark.usefixtures("ray_session")
def test_a_gpu_has_its_next_images_at_hand(config: RunConfig, tmp_path: Path) -> None:
    def pairs() -> list[Stage]:
        two, met = Barrier(2), Event()  # made once an actor, or nobody would ever meet anybody

        def meet(items: Iterator[Item]) -> Iterator[Item]:
            if not met.is_set():  # of the last ones nobody may be left to meet
                two.wait(60)
                met.set()
            yield from items

        return [meet]

    model, placement = OpenedModel.open(config), on_gpus(config)
    plan = planned(config, model, tmp_path, 6)
    assert plan.chunks == 4
    usual = stages(config, model, str(tmp_path / "out"), placement)
    meeting = replace(usual, model=lambda: [*pairs(), *usual.model()])
    dataset = build(plan, meeting, placement, Stamp("m", "f", "s", "pairs"), Journal(str(tmp_path)))
    assert sorted(row["status"] for row in dataset.take_all()) == ["ok"] * 20 + ["unreadable"]


@pytest.mark.parametrize(
    ("settings", "nodes", "images", "expected"),
    [
        ([], [{"CPU": 2}], 1000, ("cpu", 2, 0.0, 1, 4)),
        # few images: one copy of the model with all cores; then one for each 32
        ([], [{"CPU": 8}], 5, ("cpu", 1, 0.0, 8, 4)),
        ([], [{"CPU": 8}], 64, ("cpu", 2, 0.0, 4, 4)),
        (["segmentor.actors=1"], [{"CPU": 8}], 1000, ("cpu", 1, 0.0, 8, 4)),
        ([], [{"CPU": 64, "GPU": 8}], 10_000, ("cuda", 8, 1.0, 1, 16)),
        (["segmentor.gpus_per_actor=0.5"], [{"CPU": 64, "GPU": 8}], 10_000, ("cuda", 16, 0.5, 1, 16)),
        (
            ["segmentor.device=cpu", "segmentor.batch_size=2"],
            [{"CPU": 4, "GPU": 1}],
            100,
            ("cpu", 4, 0.0, 1, 2),
        ),
        ([], [{"CPU": 16, "GPU": 1}], 3, ("cuda", 1, 1.0, 1, 16)),
        # a hundred nodes: an actor for each GPU, or each core
        ([], [{"CPU": 32, "GPU": 4}] * 100, 10**6, ("cuda", 400, 1.0, 1, 16)),
        ([], [{"CPU": 16}] * 100, 10**6, ("cpu", 1600, 0.0, 1, 4)),
        # no actor has threads or GPUs on two nodes
        (["segmentor.actors=2"], [{}, {"CPU": 8}, {"CPU": 8}, {"CPU": 4}], 10**6, ("cpu", 2, 0.0, 4, 4)),
        (["segmentor.gpus_per_actor=0.4"], [{"GPU": 1, "CPU": 4}] * 3, 10**6, ("cuda", 6, 0.4, 1, 16)),
        # never more copies than there are batches, whoever chose either
        (["segmentor.actors=2"], [{"CPU": 2}], 1, ("cpu", 1, 0.0, 2, 4)),
        (["segmentor.actors=8"], [{"CPU": 8}], 10, ("cpu", 3, 0.0, 2, 4)),
        (["segmentor.batch_size=64"], [{"CPU": 8}], 100, ("cpu", 2, 0.0, 4, 64)),
        (["segmentor.actors=4"], [{"CPU": 16, "GPU": 4}], 20, ("cuda", 2, 1.0, 1, 16)),
    ],
)
def test_defaults_follow_the_hardware(
    settings: list[str], nodes: list[dict[str, float]], images: int, expected: tuple[object, ...]
) -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    chosen = place(
        batchseg.load_config(settings=settings, overrides=job).segmentor, Nodes(tuple(nodes)), images
    )
    found = (chosen.device, chosen.actors, chosen.gpus_an_actor, chosen.threads, chosen.batch_size)
    assert found == expected


@pytest.mark.parametrize(
    ("settings", "nodes", "largest"),
    [
        ([], {"CPU": 8}, 4),
        ([], {"CPU": 8, "GPU": 1}, 64),
        (["segmentor.batch_size=6"], {"CPU": 8, "GPU": 1}, 6),
    ],
)
def test_batches_grow_on_a_gpu_unless_their_size_was_chosen(
    settings: list[str], nodes: dict[str, float], largest: int
) -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    segmentor = batchseg.load_config(settings=settings, overrides=job).segmentor
    assert place(segmentor, Nodes((nodes,)), 1000).largest_batch == largest


def test_actors_leave_room_for_short_tasks() -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    for cpus in (1, 2, 3, 16):
        chosen = place(batchseg.load_config(overrides=job).segmentor, Nodes(({"CPU": cpus},)), 10_000)
        assert chosen.actors * chosen.actor_cpus <= cpus / 2


@pytest.mark.parametrize(
    ("settings", "nodes", "cpus"),
    [
        ([], [{"CPU": 1, "GPU": 1}], 0.0),
        (["segmentor.gpus_per_actor=0.5"], [{"CPU": 2, "GPU": 1}], 0.0),
        ([], [{"CPU": 2, "GPU": 1}], 1.0),
    ],
)
def test_actors_with_gpus_leave_a_cpu_to_the_other_stages(
    settings: list[str], nodes: list[dict[str, float]], cpus: float
) -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    config = batchseg.load_config(settings=settings, overrides=job)
    assert place(config.segmentor, Nodes(tuple(nodes)), 1000).actor_cpus == cpus


@pytest.mark.parametrize("share", ["2", "1.5", "1e9"])
def test_more_gpus_than_one_copy_uses(share: str) -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    with pytest.raises(
        ConfigError, match=r"segmentor\.gpus_per_actor: must be at most 1: a copy of the model"
    ):
        batchseg.load_config(settings=[f"segmentor.gpus_per_actor={share}"], overrides=job)


def test_more_of_a_gpu_than_a_node_has() -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    config = batchseg.load_config(settings=["segmentor.gpus_per_actor=0.8"], overrides=job)
    with pytest.raises(ConfigError, match=r"segmentor\.gpus_per_actor is 0\.8; it must be at most 0\.5,"):
        place(config.segmentor, Nodes(({"CPU": 8, "GPU": 0.5},)), 1000)


def test_a_gpu_that_is_not_there() -> None:
    job = {"source": "photos", "segmentor": {"kind": "threshold", "device": "cuda"}, "output": "results"}
    with pytest.raises(ConfigError, match="Ray sees no GPU"):
        place(batchseg.load_config(overrides=job).segmentor, Nodes(({"CPU": 4},)), 10)


@pytest.mark.parametrize(("images", "rows"), [(1, 4), (24, 8), (26, 8), (10_000, 64)])
def test_chunks_are_of_whole_batches(images: int, rows: int) -> None:
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    chosen = place(batchseg.load_config(overrides=job).segmentor, Nodes(({"CPU": 1},)), images)
    assert (chosen.batch_size, chosen.chunk_rows(images)) == (4, rows)
