"""The code of a user's own segmentor: found, imported, made, and shown where it fails."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from batchseg.errors import ModelError

_FILE = ".py"


@dataclass(frozen=True)
class Target:
    """A class by its module, or by the path of its file, and its name.

    Attributes:
        text: as it was given: `module:Class` or `path/to/file.py:Class`.
        folder: where the driver found the code; a worker on the same disk finds it there too.
    """

    text: str
    folder: str

    @classmethod
    def find(cls, text: str) -> Target:
        """What a configuration names, from the folder that the command runs in."""
        path, _, _ = text.rpartition(":")
        if not path.endswith(_FILE):
            return cls(text, os.getcwd())
        return cls(text, str(Path(path).expanduser().resolve().parent))

    @property
    def name(self) -> str:
        """The same wherever the file lies: `file.py:Class`."""
        path, _, name = self.text.rpartition(":")
        return f"{Path(path).name}:{name}" if path.endswith(_FILE) else self.text

    def load(self) -> Any:
        """The class. Raises ModelError where there is none, or where its module fails when it is imported."""
        place, _, name = self.name.rpartition(":")
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)  # as `python FILE` and `python -m` do: what it imports lies there
        try:
            with without_exit():
                module = self._run_file(place) if place.endswith(_FILE) else importlib.import_module(place)
            return getattr(module, name)
        except AttributeError as exc:
            raise ModelError(f"{self.text}: the module {place} has no class {name}") from exc
        except ModelError:
            raise
        except Exception as exc:  # the user's own module may fail in any way
            reason = f"{exc}" if isinstance(exc, ImportError) else f"{type(exc).__name__}: {exc}"
            raise ModelError(f"{self.text}: cannot import {place}: {reason}{_line_of(exc)}") from exc

    def _run_file(self, file: str) -> ModuleType:
        # on another node the file came with the job, and lies in a folder of the module path
        places = [Path(folder, file) for folder in (self.folder, *sys.path)]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise ModelError(f"{self.text}: there is no file {places[0]}")
        # a name of its own: `model.py` must neither hide nor be hidden by a module that is called so
        digest = hashlib.sha256(str(found).encode()).hexdigest()[:8]
        spec = importlib.util.spec_from_file_location(f"{found.stem}_{digest}", found)
        assert spec is not None and spec.loader is not None  # as it ends in .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    def source(self, made: Any) -> str:
        """The text of the class's module; empty where there is none to be had."""
        try:
            if self.name.partition(":")[0].endswith(_FILE):
                # of another encoding, too, every byte counts
                place = Path(self.folder, self.name.rpartition(":")[0])
                return place.read_text(encoding="utf-8", errors="surrogateescape")
            return inspect.getsource(sys.modules[made.__module__])
        except (OSError, TypeError):
            return ""

    def folder_of(self, made: Any) -> str:
        """The folder from which the class's top-level module was imported."""
        if self.name.partition(":")[0].endswith(_FILE):
            return self.folder
        file = getattr(sys.modules[made.__module__], "__file__", None)
        if file is None:
            return os.getcwd()
        return str(Path(file).resolve().parents[made.__module__.count(".")])


def make(target: Target, made: Any, device: str, options: dict[str, Any], threads: int | None) -> Any:
    """An instance; it is told its number of threads if its constructor has a parameter of that name.

    Raises ModelError.
    """
    told = {"threads": threads} if threads is not None and _names_threads(made) else {}
    try:
        with without_exit():
            return made(device=device, **{**told, **options})
    except Exception as exc:  # the user's own constructor may fail in any way
        raise ModelError(
            f"{target.text}: could not be made: {type(exc).__name__}: {exc}{_line_of(exc)}"
        ) from exc


def _names_threads(made: Any) -> bool:
    """By name alone: what takes any keyword may hand it on to something that does not."""
    try:
        return "threads" in inspect.signature(made).parameters
    except (TypeError, ValueError):  # neither has every class of C a signature
        return False


@contextmanager
def without_exit() -> Iterator[None]:
    """A user's own code may call sys.exit; it fails then, and neither ends the job nor its worker.

    Raises RuntimeError. Where Ray ends a worker, which is a SystemExit too, that passes.
    """
    try:
        yield
    except SystemExit as exc:
        if hasattr(exc, "ray_terminate_msg"):
            raise
        raise RuntimeError(f"sys.exit({exc.code!r}) was called").with_traceback(exc.__traceback__) from None


def user_frames(exc: BaseException) -> traceback.StackSummary:
    """The part of a traceback that lies in a user's own class and below; empty for all other errors."""
    frames = traceback.extract_tb(exc.__traceback__)
    calls = [index for index, frame in enumerate(frames) if frame.filename in _CALLERS]
    return traceback.StackSummary.from_list(frames[calls[-1] + 1 :] if calls else [])


_CALLERS = (__file__, str(Path(__file__).with_name("custom.py")))
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def user_line(exc: BaseException) -> str:
    """`mine.py:12`, the innermost line of the user's own code; empty for all other errors."""
    frames = user_frames(exc)
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    return "".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (own or frames)[-1:])


def _line_of(exc: BaseException) -> str:
    line = user_line(exc)
    return f" ({line})" if line and not line.startswith("<") else ""


def user_traceback(exc: BaseException) -> str | None:
    """The traceback as a person wants it, from the user's own class on; None for all other errors."""
    frames = user_frames(exc)
    if not frames:
        return None
    shown = traceback.TracebackException.from_exception(exc)
    shown.stack = frames
    return "".join(shown.format())
