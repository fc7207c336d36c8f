"""A run on one machine starts the processes that it needs, and leaves Ray as it was."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from batchseg.engine.lean import few_processes, no_statistics

PROGRAM = """
from pathlib import Path
from batchseg.engine.session import ray_session

def children(parent):
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\\nPPid:\\t{parent}\\n" in status.read_text():
                yield int(status.parent.name), (status.parent / "cmdline").read_bytes().decode()
        except OSError:  # it has ended
            pass

def descendants(parent):
    for child, words in children(parent):
        yield words
        yield from descendants(child)

import os
with ray_session(None):
    import ray
    import ray.data
    numbers = ray.data.from_items([{"number": 3}]).map(lambda row: {"number": 2 * row["number"]}).take_all()
    print(numbers)
    named = ray.util.list_named_actors(all_namespaces=True)
    running = " ".join(descendants(os.getpid()))
print("is initialised:", ray.is_initialized())
print("actors:", *(each["name"] for each in named))
for name in ("gcs_server", "raylet", "agent.py", "monitor.py", "log_monitor.py", "dashboard.py"):
    print(name, name in running)
"""


@contextmanager
def loaded() -> Iterator[None]:
    """Ray, which has warnings of its own as it is loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray.data  # noqa: F401
    yield


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_session_starts_what_a_run_needs_and_no_more() -> None:
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    numbers, initialised, actors, *running = done.stdout.splitlines()
    assert numbers == "[{'number': 6}]"
    assert initialised == "is initialised: False"
    assert "stats" not in actors
    assert running == [
        "gcs_server True",
        "raylet True",
        "agent.py True",
        "monitor.py False",
        "log_monitor.py False",
        "dashboard.py False",
    ]


def test_ray_is_as_it_was_afterwards() -> None:
    with loaded():
        from ray._private import utils
        from ray._private.node import Node
        from ray.data._internal import stats
    owners = (Node, utils, stats._StatsManager)
    before = [dict(vars(owner)) for owner in owners]
    with few_processes(), no_statistics():
        assert [dict(vars(owner)) for owner in owners] != before
    assert [dict(vars(owner)) for owner in owners] == before


def test_a_version_of_ray_that_is_made_otherwise_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with loaded():
        from ray._private.node import Node
        from ray.data._internal import stats
    monkeypatch.delattr(Node, "start_monitor")
    monkeypatch.delattr(stats, "_StatsManager")
    with few_processes(), no_statistics():
        assert not hasattr(Node, "start_monitor")
    assert not hasattr(Node, "start_monitor")
