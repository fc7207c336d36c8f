"""What all tests share: one Ray for the whole session, and the sample data."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("batchseg", deadline=None, derandomize=True)  # machines differ, results must not
settings.load_profile("batchseg")

ROOT = Path(__file__).parent.parent
if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side: threads of torch would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if "BATCHSEG_CACHE" not in os.environ:  # nothing is left in the home of whoever runs them
    os.environ["BATCHSEG_CACHE"] = tempfile.mkdtemp(prefix="batchseg-cache-")
    atexit.register(shutil.rmtree, os.environ["BATCHSEG_CACHE"], ignore_errors=True)
os.environ.pop("COLUMNS", None)  # what is printed to no terminal is wide, however the tests are started


@pytest.fixture(scope="session")
def sample_data() -> Path:
    return ROOT / "sample_data"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray with two cores, whatever the machine; `batchseg.run` uses a session that is already there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
        )
        yield
        ray.shutdown()


@pytest.fixture
def in_tasks(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's workers serve run after run: for tests of many short runs, each of which would start an actor."""
    from batchseg.engine import graph

    monkeypatch.setattr(graph, "KEPT_IN_ACTORS", False)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without Ray: for tests of very many short runs, none of which is about Ray."""
    from without_ray import stay_in_process

    stay_in_process(monkeypatch)


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Shells have jobs in the background ignore Ctrl-C, and whatever these start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
