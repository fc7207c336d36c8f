"""A checkpoint at a URI, fetched once a node into a cache, whole or not at all.

~/.cache/batchseg/models/URI-VERSION/    or below BATCHSEG_CACHE; VERSION tells changed files at the same URI
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from filelock import FileLock

from batchseg.errors import ConfigError, ModelError
from batchseg.storage.location import Location, locate

Check = Callable[[Path], None]
TOP = PurePosixPath()


def current_version(uri: str, patterns: Sequence[str]) -> str:
    """A digest of the names, sizes and times of change of the files that match. Raises ModelError."""
    return _version(_listed(uri, patterns))


def fetch(uri: str, patterns: Sequence[str], version: str, check: Check) -> Path:
    """The folder on this machine with one version of the files; a second process waits for the first.

    `check` looks at the fetched files before they count, and raises what is wrong.
    Raises ModelError where the URI holds another version by now.
    """
    folder = cache_folder("models") / f"{hashlib.sha256(uri.encode()).hexdigest()[:12]}-{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _download(uri, patterns, version, check, folder)
    return folder


def _download(uri: str, patterns: Sequence[str], version: str, check: Check, folder: Path) -> None:
    files = _listed(uri, patterns)
    if _version(files) != version:
        raise ModelError(f"{uri}: the model has changed since the job began; start the job again")
    unfinished = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        for name, file in files.items():
            (unfinished / name).parent.mkdir(exist_ok=True)
            file.download(unfinished / name)
        check(unfinished)
        os.replace(unfinished, folder)
    except OSError as exc:
        raise ModelError(f"{uri}: the model cannot be fetched: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _listed(uri: str, patterns: Sequence[str]) -> dict[str, Location]:
    """The files that match, by their paths below the URI."""
    found: dict[str, Location] = {}
    try:
        root = locate(uri)
        for folder in dict.fromkeys(PurePosixPath(pattern).parent for pattern in patterns):
            place = root if folder == TOP else root / str(folder)
            found |= {str(folder / file.name): file for file in place.files()}
    except (OSError, ConfigError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ModelError(f"{uri}: the model cannot be fetched: {reason}") from exc
    files = {
        name: file for name, file in found.items() if any(fnmatch(name, pattern) for pattern in patterns)
    }
    if not files:
        raise ModelError(f"{uri}: there is no checkpoint at this URI; it must name the folder of its files")
    return files


def _version(files: Mapping[str, Location]) -> str:
    facts = [(name, info.size, info.mtime_ns) for name, file in files.items() for info in [file.info()]]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def cache_folder(name: str) -> Path:
    """A folder of this machine for what can be had again, which need not exist yet."""
    return Path(os.environ.get("BATCHSEG_CACHE", "~/.cache/batchseg")).expanduser() / name
