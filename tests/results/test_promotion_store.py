"""Candidates and palettes in an object store, where nothing can be renamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from crashes import every_kill
from object_store import KEYS, Store, object_store
from result_rows import LABELS, table, whole

from batchseg.images.encode import encode_png
from batchseg.inspect.verify import verify
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.promote import drop_candidate, promote
from batchseg.results.candidate import candidate_of
from batchseg.results.folder import Results
from batchseg.results.palettes import repaint
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.storage import lock

pytestmark = [pytest.mark.slow]

OLD, NEW = ("a", "sub/gone"), ("a", "sub/new")
PIXELS_HW = np.zeros((2, 3), np.uint8)
RED = LabelMap(LABELS.names, ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    with object_store() as store:
        yield store


def fill(results: Results, run_id: str, names: tuple[str, ...], **facts: Any) -> None:
    with results.held() as held:
        rows = [whole(name, model=run_id, run_id=run_id, fingerprint=run_id) for name in names]
        held.commit(f"{run_id}.parquet", table(*rows))
        for name in names:
            place = results.root / f"masks/{name}.png"
            place.write(encode_png(PIXELS_HW, LABELS.colours, 255))
        held.finish(LABELS)
        model = {"name": run_id, "fingerprint": run_id, "classes": LABELS.names}
        record = {"run_id": run_id, "status": "finished", "model": model, "images": {"listed": len(names)}}
        results.write_record({**record, "exit_code": 0, **facts})


def scene(store: Store, name: str) -> Results:
    results = Results(store.uri(name))
    fill(results, "old", OLD)
    (results.root / "overlays/a.png").write(b"an overlay of the old model")
    fill(candidate_of(results), "new", NEW, candidate={})
    return results


def files(store: Store, name: str) -> list[str]:
    return sorted(key.removeprefix(f"{name}/") for key in store.keys(f"{name}/") if not key.endswith("/"))


PROMOTED = [
    "classes.parquet",
    "images/new.parquet",
    "masks/a.png",
    "masks/sub/new.png",
    "pixels/new.parquet",
    "run.json",
    "runs/new.json",
    "runs/old.json",
]


def test_a_candidate_takes_the_place_of_the_results(store: Store) -> None:
    results = scene(store, "one")
    record = candidate_of(results).record() or {}
    with pytest.raises(Exception, match="1 images that have masks are not in the candidate"):
        promote(store.uri("one"))
    candidate_of(results).write_record({**record, "config": {"prune": True}})
    assert promote(store.uri("one")).promoted
    assert files(store, "one") == PROMOTED
    assert verify(store.uri("one")).ok


def test_a_candidate_is_dropped(store: Store) -> None:
    scene(store, "two")
    before = [name for name in files(store, "two") if not name.startswith("candidate/")]
    drop_candidate(store.uri("two"))
    assert files(store, "two") == before


def test_killed_at_any_step_the_next_command_finishes_it(store: Store) -> None:
    def work(step: int) -> Any:
        candidate = candidate_of(scene(store, f"killed{step}"))
        candidate.write_record({**(candidate.record() or {}), "config": {"prune": True}})
        return lambda: promote(store.uri(f"killed{step}"))

    def after(step: int) -> None:
        name = f"killed{step}"
        results = Results(store.uri(name))
        candidate = candidate_of(results)
        for place in (results.root, candidate.root):
            (place / ".lock").delete()  # as if its process were gone
        if candidate.runs.is_folder() or (results.root / ".promote.json").exists():
            assert promote(store.uri(name)).promoted
        assert files(store, name) == PROMOTED, step

    assert every_kill(work, after) > 15


def test_palettes_are_rewritten(store: Store) -> None:
    results = scene(store, "painted")
    with results.held() as held:
        assert repaint(held, RED) == len(OLD)
        assert repaint(held, RED) == 0
    for name in OLD:
        assert store.get(f"painted/masks/{name}.png") == encode_png(PIXELS_HW, RED.colours, 255)


def test_palettes_of_tiffs_are_rewritten(store: Store) -> None:
    results = Results(store.uri("tiffs"))
    with results.held() as held:
        for name, label_map in (("old", LABELS), ("red", RED)):
            bands, hw = iter([PIXELS_HW]), (PIXELS_HW.shape[0], PIXELS_HW.shape[1])
            write_raster_mask(results.root / "masks", f"{name}.tif", bands, hw, label_map=label_map)
        rows = [whole(name, mask=f"masks/{name}.tif") for name in ("old", "red")]
        held.commit("one.parquet", table(*rows))
        assert repaint(held, RED) == 1
        assert repaint(held, RED) == 0
    assert store.get("tiffs/masks/old.tif") == store.get("tiffs/masks/red.tif")
