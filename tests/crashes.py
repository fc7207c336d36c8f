"""A process that dies at the n-th of its changes to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from batchseg.storage.location import Location, temporary_name

CHANGES = ("write", "move", "delete", "delete_folder")


class Killed(BaseException):
    """No cleaning up follows it, as none follows a kill."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Let so many changes to files happen; the next raises Killed. Yields the names of what was done."""
    done: list[str] = []

    def counted(name: str, change: Callable[..., None]) -> Callable[..., None]:
        def wrapped(self: Location, *arguments: Any) -> None:
            if len(done) == step:
                if name == "write" and self.is_local:  # then half a file lies there under a temporary name
                    with open(f"{self.parent.path}/{temporary_name()}", "wb") as file:
                        file.write(arguments[0][: len(arguments[0]) // 2])
                raise Killed(f"{name} {self}")
            done.append(name)
            change(self, *arguments)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(Location, name, counted(name, getattr(Location, name)))
        yield done


def every_kill(work: Callable[[int], Callable[[], object]], after: Callable[[int], None]) -> int:
    """Kill at the first change, then at the second, until there is none left; how many there are.

    Args:
        work: for a number, makes a scene of its own and gives what is to be killed in it.
        after: looks at the scene of that number.
    """
    for step in count():
        job = work(step)
        with killed_at(step):
            try:
                job()
            except Killed:
                died = True
            else:
                died = False
        after(step)
        if not died:
            return step
    raise AssertionError
