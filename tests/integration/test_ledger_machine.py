"""Any history of a results folder: after every finished run its tables, masks and metrics are true.

Two models, images and truths that come, change, break and go, with and without truth, --recompute, --prune
and --include, runs that are interrupted at a commit, and runs whose process dies at any write.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from crashes import Killed, killed_at
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, recall_score

import batchseg
from batchseg.engine import graph
from batchseg.errors import OutputError, SourceError
from batchseg.inspect.verify import verify
from batchseg.results import commits
from batchseg.results.folder import Held

NAMES = ("a.png", "b.png", "b.jpg", "sub/c.png", "sub/d.png")
LEVELS = ((128,), (64,))
SIZE_WH = (8, 6)

names = st.sampled_from(NAMES)
seeds = st.integers(0, 3)
GLOBS = st.sampled_from([(), (), (), ("*.png",), ("sub/*",)])


def png(values: np.ndarray) -> bytes:
    """Also under a name that says JPEG: what a file is its content says."""
    file = BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def pixels(seed: int) -> np.ndarray:
    grey = np.random.default_rng(seed).integers(0, 256, (SIZE_WH[1] // 2, SIZE_WH[0] // 2), np.uint8)
    return np.kron(grey, np.ones((2, 2), np.uint8))


@dataclass(frozen=True)
class Job:
    """One run."""

    levels: tuple[int, ...]
    with_truth: bool
    recompute: bool
    prune: bool
    include: tuple[str, ...]


@contextmanager
def untouched() -> Iterator[None]:
    yield


@contextmanager
def interrupted(at: int) -> Iterator[None]:
    """Ctrl-C after some commits."""
    real, left = Held.commit, at % 4

    def commit(self: Held, part: str, rows: Any) -> None:
        nonlocal left
        real(self, part, rows)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "commit", commit)
        patch.setattr(commits, "COMMIT_ROWS", 1)
        yield


@contextmanager
def killed(at: int) -> Iterator[None]:
    """From the n-th change of the driver to files on nothing reaches the disk, as after kill -9."""
    with pytest.MonkeyPatch.context() as patch, killed_at(at):
        patch.setattr(commits, "COMMIT_ROWS", 1)
        yield


class Folder(RuleBasedStateMachine):
    """A source, its truths, and a results folder."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.clock = 1_700_000_000
        self.masks: dict[str, str] = {}  # of the last finished run; b.png and b.jpg share a short name

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    # -- the source

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        for kind in ("images", "masks"):
            (self.root / kind).mkdir()
        for index, name in enumerate(NAMES[:3:2]):
            self.put_image(name, seed + index)
            self.put_truth(name, seed)

    @rule(kind=st.sampled_from(["images", "masks"]), name=names, seed=seeds, how=st.integers(0, 5))
    def change(self, kind: str, name: str, seed: int, how: int) -> None:
        """Come, change, break or go; mostly come or change."""
        if how == 0:
            self.file(kind, name).unlink(missing_ok=True)
        elif how == 1 and kind == "images":
            self.write(kind, name, b"\x89PNG\r\n\x1a\n broken")
        elif kind == "images":
            self.put_image(name, seed)
        else:
            self.put_truth(name, seed)

    def put_image(self, name: str, seed: int) -> None:
        self.write("images", name, png(pixels(seed)))

    def put_truth(self, name: str, seed: int) -> None:
        truth = np.random.default_rng(100 + seed).integers(0, 2, pixels(0).shape, np.uint8)
        truth[0, 0] = seed // 2 * 255  # some with an ignored pixel
        self.write("masks", name, png(truth))

    def file(self, kind: str, name: str) -> Path:
        path = self.root / kind / name
        return path if kind == "images" else path.with_suffix(".png")

    def write(self, kind: str, name: str, content: bytes) -> None:
        path = self.file(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.clock += 1  # every change has a time of its own
        os.utime(path, (self.clock, self.clock))

    # -- runs

    def has_images(self) -> bool:
        return any(path.is_file() for path in (self.root / "images").rglob("*.*"))

    @precondition(has_images)
    @rule(job=st.builds(Job, st.sampled_from(LEVELS), st.booleans(), st.booleans(), st.booleans(), GLOBS))
    def run(self, job: Job) -> None:
        self.try_to_run(job, untouched())

    @precondition(has_images)
    @rule(
        first=st.builds(Job, st.sampled_from(LEVELS), st.booleans(), st.just(True), st.booleans(), GLOBS),
        then=st.builds(Job, st.sampled_from(LEVELS), st.booleans(), st.just(True), st.booleans(), GLOBS),
        end=st.sampled_from([interrupted, killed]),
        at=st.integers(0, 40),
    )
    def run_after_one_that_was_cut_off(
        self, first: Job, then: Job, end: Callable[[int], AbstractContextManager[None]], at: int
    ) -> None:
        self.try_to_run(first, end(at))
        self.try_to_run(then, untouched())

    def try_to_run(self, job: Job, how: AbstractContextManager[None]) -> None:
        source: dict[str, Any] = {"path": str(self.root / "images"), "include": job.include}
        if job.with_truth:
            source["truth"] = str(self.root / "masks")
        config = batchseg.load_config(
            overrides={
                "source": source,
                "segmentor": {"kind": "threshold", "levels": job.levels},
                "output": str(self.root / "out"),
                "recompute": job.recompute,
                "prune": job.prune,
            }
        )
        try:
            with how:
                batchseg.run(config)
        except (KeyboardInterrupt, Killed):
            self.masks = {}
            (self.root / "out" / ".lock").unlink(missing_ok=True)  # as if its process were gone
        except OutputError as exc:
            assert "another model" in str(exc), exc
        except SourceError as exc:
            assert "no image" in str(exc), exc
        else:
            self.check(job)

    def check(self, job: Job) -> None:
        out = self.root / "out"
        rows = pads.dataset(out / "images", format="parquet").to_table().to_pylist()
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids)
        listed = self.listed(job.include)
        assert set(ids) >= listed
        if job.prune:
            assert set(ids) == listed
        masked = [row for row in rows if row["mask"]]
        assert len({row["fingerprint"] for row in masked}) <= 1
        stayed = {row["id"]: row["mask"] for row in masked if row["id"] in self.masks}
        assert stayed == {name: self.masks[name] for name in stayed}
        self.masks = {row["id"]: row["mask"] for row in masked}
        files = {str(path.relative_to(out)) for path in (out / "masks").rglob("*") if path.is_file()}
        assert sorted(row["mask"] for row in masked) == sorted(files)
        for row in rows:
            if row["id"] in listed:
                self.check_listed(row, job)
        report = verify(str(out))
        assert report.ok, report.problems
        assert not (out / ".work").exists() and not (out / ".rewrite.json").exists()

    def listed(self, include: tuple[str, ...]) -> set[str]:
        found = {
            path.relative_to(self.root / "images").as_posix()
            for path in (self.root / "images").rglob("*.*")
            if path.is_file()
        }
        ends = {"*.png": lambda name: name.endswith(".png"), "sub/*": lambda name: name.startswith("sub/")}
        return {name for name in found if not include or any(ends[glob](name) for glob in include)}

    def check_listed(self, row: dict[str, Any], job: Job) -> None:
        try:
            image = np.asarray(Image.open(self.root / "images" / row["id"], formats=["PNG"]))
        except OSError:
            assert (row["status"], row["mask"], row["truth_status"]) == ("unreadable", None, None)
            return
        assert row["status"] == "ok"
        predicted = np.asarray(Image.open(self.root / "out" / row["mask"]))
        assert np.array_equal(predicted, (image >= job.levels[0]).astype(np.uint8))
        path = (self.root / "masks" / row["id"]).with_suffix(".png")
        if not job.with_truth or not path.exists():
            assert (row["truth_status"], row["has_truth"], row["mean_iou"]) == ("none", False, None)
            return
        truth = np.asarray(Image.open(path))
        counted = truth != 255
        pair = truth[counted], predicted[counted]
        assert (row["truth_status"], row["truth_pixels"]) == ("ok", counted.sum())
        macro = {"average": "macro", "zero_division": 0}
        assert row["accuracy"] == accuracy_score(*pair)
        assert row["recall_macro"] == pytest.approx(recall_score(*pair, **macro), abs=1e-15)
        assert row["f1_macro"] == pytest.approx(f1_score(*pair, **macro), abs=1e-15)
        assert row["mean_iou"] == pytest.approx(jaccard_score(*pair, **macro), abs=1e-15)


def explore(examples: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # histories are many short runs: stages in tasks save each of them the start of an actor
    monkeypatch.setattr(graph, "KEPT_IN_ACTORS", False)
    run_state_machine_as_test(
        Folder,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.usefixtures("ray_session")
def test_any_history(monkeypatch: pytest.MonkeyPatch) -> None:
    explore(20, 6, monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_many_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    explore(300, 12, monkeypatch)
