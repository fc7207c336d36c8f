"""What a user's own segmentor is told apart by: its text, its options, and the files that these name."""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from batchseg.errors import ModelError
from batchseg.segmentors.custom_code import Target, make, without_exit
from batchseg.storage.hashing import sha256_of


def code_fingerprint(target: Target, made: Any, options: dict[str, Any]) -> str:
    """SHA-256, in hex, of the class's source text and options, and of the files that these name.

    A class that has a `fingerprint` says itself what stands for text and files: a string, or a function that
    takes the options (a method is asked on an instance made for the CPU).
    Raises ModelError.
    """
    facts: list[Any] = [target.name, options]
    own = inspect.getattr_static(made, "fingerprint", None)
    if own is not None:
        facts.append({"fingerprint": _own_fingerprint(target, made, own, options)})
    else:
        facts.append(target.source(made))
        if contents := {value: found for value in _strings(options) if (found := _contents(value))}:
            facts.append(contents)  # nothing is added where no option names a file: old rows stay valid
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _own_fingerprint(target: Target, made: Any, own: Any, options: dict[str, Any]) -> str:
    try:
        with without_exit():
            if isinstance(own, staticmethod | classmethod):
                return str(made.fingerprint(**_accepted(made.fingerprint, options)))
            if not (inspect.isfunction(own) or isinstance(own, property)):
                return str(own)
            value = make(target, made, "cpu", options, None).fingerprint
            return str(value() if callable(value) else value)
    except ModelError:
        raise
    except Exception as exc:  # the user's own code may fail in any way
        raise ModelError(f"{target.text}: its fingerprint failed: {type(exc).__name__}: {exc}") from exc


def _accepted(function: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options that a function has parameters for; all of them if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return options
    return {each.name: options[each.name] for each in parameters if each.name in options}


def _strings(value: Any) -> Iterator[str]:
    """The strings and paths among options, at any depth."""
    if isinstance(value, str | os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _strings(item))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (text for item in value for text in _strings(item))


def _contents(value: str) -> dict[str, str]:
    """SHA-256 of the file that an option names, or of each in its folder, by name; empty if it names none."""
    if value.startswith("file://"):
        value = unquote(value.removeprefix("file://"))
    if "\0" in value or Path(value).name in ("", "..", "~"):  # `/` and `.` are rather separators than folders
        return {}
    path = Path(os.path.expanduser(value))
    try:
        return {name: sha256_of(file).hex() for name, file in _files(path)}
    except OSError as exc:
        raise ModelError(
            f"segmentor.options name {value}, but {exc.filename} cannot be read: {exc.strerror}"
        ) from exc


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        yield "", path
        return
    seen = set()
    for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        seen.add(os.path.realpath(folder))
        # links may lead in circles, and compiled code follows from the code beside it
        folders[:] = [
            name
            for name in sorted(folders)
            if name != "__pycache__" and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():  # neither pipes nor links that lead nowhere
                yield file.relative_to(path).as_posix(), file


def _raise(exc: OSError) -> None:
    if not isinstance(exc, FileNotFoundError | NotADirectoryError) and exc.errno != errno.ENAMETOOLONG:
        raise exc
