"""Ray for one run on one machine, without the processes that such a run never asks for anything.

Each of them is a Python of its own that loads Ray while the run waits for the cores. Besides, `ray.init`
waits for the dashboard's, and `ray.shutdown` waits a second for the one that would order machines from a
cloud. Ray has no settings for this. Where a version of Ray is made otherwise, all of them start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

# without these Ray's agents, which serve Prometheus, can do less; Ray would load them here to see if it can
OF_THE_AGENTS = ("aiohttp", "aiohttp_cors", "grpc", "opencensus", "opentelemetry", "prometheus_client")
OF_STATISTICS = (
    "register_dataset_to_stats_actor",
    "update_execution_metrics",
    "update_iteration_metrics",
)


@contextmanager
def few_processes() -> Iterator[None]:
    """What `ray.init` starts inside is without them."""
    utils, node = _module("ray._private.utils"), _module("ray._private.node")
    kind = getattr(node, "Node", None)
    with ExitStack() as changes:
        # no cloud gives more machines to a cluster of one
        _replace(changes, kind, "start_monitor", _nothing)
        # it sends what workers print to the driver, which does not ask for that
        _replace(changes, kind, "start_log_monitor", _nothing)
        _replace(changes, kind, "start_api_server", _no_dashboard)
        if all(map(find_spec, OF_THE_AGENTS)):
            _replace(changes, utils, "get_dashboard_dependency_error", _nothing)
        yield


@contextmanager
def no_statistics() -> Iterator[None]:
    """Ray Data keeps none inside: an actor would for the dashboard."""
    keeper = getattr(_module("ray.data._internal.stats"), "_StatsManager", None)
    with ExitStack() as changes:
        for name in OF_STATISTICS:
            _replace(changes, keeper, name, staticmethod(_nothing))
        yield


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def _replace(changes: ExitStack, owner: Any, name: str, other: object) -> None:
    """Until the changes are taken back; nothing where there is no such name."""
    if name in getattr(owner, "__dict__", ()):
        changes.callback(setattr, owner, name, vars(owner)[name])
        setattr(owner, name, other)


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _no_dashboard(node: Any, **_: Any) -> None:
    node._webui_url = ""  # as Ray has it itself where the dashboard is off
