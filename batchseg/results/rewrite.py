"""Parts of the tables replaced by others, all of them or none, whenever the process dies.

New files are written under temporary names. A log then says which get which name and which old files go;
writing the log is the commit. Whoever finds a log carries it out: that may be repeated.

.rewrite.json    {"move": [[temporary, final], ...], "delete": [file, ...]}, paths below the folder
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from batchseg.errors import OutputError
from batchseg.results.tables import write_table
from batchseg.schema import BESIDE
from batchseg.storage.location import Location, temporary_name

LOG = ".rewrite.json"
KINDS = ("images", *BESIDE)

Part = Mapping[str, pa.Table]  # rows of `images` and of the tables beside it, by the name of each


def replace_parts(root: Location, old: Sequence[str], new: Iterable[tuple[str, Part]]) -> None:
    """Replace the parts `old` by `new` ones, by name, with all their tables. Raises OSError."""
    moves: list[list[str]] = []
    for name, part in new:
        for kind, table in part.items():
            temporary = f"{kind}/{temporary_name()}"
            write_table(root / temporary, table)
            moves.append([temporary, f"{kind}/{name}"])
    finals = {final for _, final in moves}
    had = (f"{kind}/{name}" for name in old for kind in KINDS)
    gone = [path for path in had if path not in finals and (root / path).exists()]
    (root / LOG).write(json.dumps({"move": moves, "delete": gone}).encode())
    finish_rewrite(root)


def finish_rewrite(root: Location) -> None:
    """Carry out a log that a killed process left. Raises OSError, and OutputError where it is no log."""
    try:
        log = json.loads((root / LOG).read())
        steps = [(str(source), str(target)) for source, target in log["move"]]
        gone = [str(path) for path in log["delete"]]
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError) as exc:
        raise OutputError(f"{root / LOG}: is no log of batchseg; remove it and run verify") from exc
    if not all(_of_a_table(path) for path in (*sum(steps, ()), *gone)):
        raise OutputError(f"{root / LOG}: names files outside the tables; remove it and run verify")
    for source, target in steps:
        if (root / source).exists():
            (root / source).move(root / target)
    for path in gone:
        (root / path).delete()
    (root / LOG).delete()


def _of_a_table(path: str) -> bool:
    kind, _, name = path.partition("/")
    return kind in KINDS and name not in ("", ".", "..") and "/" not in name
