"""Ray for one run on one machine, without the processes that such a run never asks for anything.

Each of them is a Python of its own that loads Ray while the run waits for the cores. Besides, `ray.init`
waits for the dashboard's, and `ray.shutdown` waits a second for the one that would order machines from a
cloud. Ray has no setting for this. Where a version of Ray is made otherwise, all of them start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

UNUSED = (
    "start_monitor",  # no cloud gives more machines to a cluster of one
    "start_log_monitor",  # it sends what workers print to the driver, which does not ask for that
)


@contextmanager
def few_processes() -> Iterator[None]:
    """What `ray.init` starts inside is without them."""
    from ray._private.node import Node

    with ExitStack() as changes:
        for name in UNUSED:
            if callable(start := getattr(Node, name, None)):
                changes.callback(setattr, Node, name, start)
                setattr(Node, name, _nothing)
        if callable(start := getattr(Node, "start_api_server", None)):
            changes.callback(setattr, Node, "start_api_server", start)
            Node.start_api_server = _no_dashboard
        yield


def _nothing(node: Any) -> None:
    pass


def _no_dashboard(node: Any, **_: Any) -> None:
    node._webui_url = ""  # as Ray has it itself where the dashboard is off
