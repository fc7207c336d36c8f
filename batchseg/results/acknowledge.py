"""Files that are broken for good: their rows say so, and no run tries them again until they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchseg.errors import ConfigError
from batchseg.results.folder import Held, Results
from batchseg.results.rewrite import Part, replace_parts
from batchseg.results.tables import read_beside, read_images
from batchseg.results.tally import kinds
from batchseg.results.verdict import Rows
from batchseg.schema import IMAGES, TRUTH_FAULTS, Status, TruthStatus
from batchseg.storage.keys import KeySet, keys
from batchseg.storage.location import output_errors
from batchseg.storage.lock import check

NAMED = 5
FAULTS = (
    *(status.kind for status in Status if status != Status.OK),
    *(TruthStatus(status).kind for status in TRUTH_FAULTS),
)


@dataclass(frozen=True)
class Acknowledged:
    """What was acknowledged, or with `undo` was not any longer.

    Attributes:
        changed: images by what is wrong with them; those that were so before are not among them.
        total: images of the whole folder that are acknowledged now.
    """

    results: str
    undo: bool
    changed: dict[str, int]
    total: int


def acknowledge(
    results: str, ids: Sequence[str] = (), status: Sequence[str] = (), undo: bool = False
) -> Acknowledged:
    """Accept that some images, or their ground truths, are broken for good.

    Their rows stay. Runs do not try them again and do not count them as failed, until the file has another
    version than the row says.

    Args:
        results: the folder that `run` or `evaluate` wrote.
        ids: of images that failed.
        status: all images that failed in these ways, such as `unreadable` or `truth_unreadable`.
        undo: take it back; the next run tries these images again.

    Raises:
        ConfigError: neither ids nor a status is given, a status is unknown, or an id has no row that failed.
        OutputError: there are no results, they cannot be written, or a run is at work on them.
    """
    ids, statuses = _as_list(ids), _as_list(status)
    _refuse_unknown(statuses)
    if not ids and not statuses:
        raise ConfigError("name the images by their ids, or all that failed in one way: --status unreadable")
    folder = Results(results)
    folder.refuse_strangers()
    with folder.looked_at() as held:
        _refuse_others(held, ids, undo)
        changed = _rewrite(held, KeySet([keys(ids)]), statuses, undo)
        return Acknowledged(str(folder.root), undo, dict(sorted(changed.items())), held.ledger.acknowledged)


def _as_list(given: Sequence[str]) -> list[str]:
    """One name alone is meant as it stands, not letter by letter."""
    return [given] if isinstance(given, str) else list(given)


def _refuse_unknown(statuses: Sequence[str]) -> None:
    for status in statuses:
        if status not in FAULTS:
            close = get_close_matches(status, FAULTS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"--status {status}: {hint}What fails has one of: {', '.join(FAULTS)}")


def _refuse_others(held: Held, ids: Sequence[str], undo: bool) -> None:
    """Raises ConfigError for ids without a row, or of images that nothing is wrong with."""
    places = held.ledger.find(ids)
    unknown = [name for name, place in zip(ids, places, strict=True) if place < 0]
    if unknown:
        raise ConfigError(
            f"{held.results.root}: has no row of {_listed(unknown)}; an id is an image's path below the "
            "source, as in the column id"
        )
    if not ids or undo:
        return
    rows = held.ledger.values(places, ("status", "truth_status"))
    well = [name for name, kind in zip(ids, kinds(rows), strict=True) if kind == Status.OK]
    if well:
        raise ConfigError(
            f"{held.results.root}: nothing is wrong with {_listed(well)}; only a fault is acknowledged"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _rewrite(held: Held, ids: KeySet, statuses: Sequence[str], undo: bool) -> Counter[str]:
    """Mark the rows in every part, all parts or none."""
    root, changed = held.results.root, Counter[str]()
    marked: dict[str, Rows] = {}
    for part in held.ledger.parts:
        images = read_images(root / "images" / part, ("id", "status", "truth_status", "acknowledged"))
        found = np.array(kinds(images), object)
        rows = ids.contains(keys(images["id"])) | np.isin(found, statuses)
        rows &= (found != Status.OK.value) & (images["acknowledged"].is_valid().to_numpy() == undo)
        if rows.any():
            marked[part] = rows
            changed.update(found[rows].tolist())
    if marked:
        check(held.lock)
        since = None if undo else datetime.now(timezone.utc)
        with output_errors(root):
            replace_parts(root, list(marked), _marked(held, marked, since))
        held.ledger.acknowledge(marked, not undo)
    return changed


def _marked(held: Held, marked: dict[str, Rows], since: datetime | None) -> Iterator[tuple[str, Part]]:
    """The parts with another value in some rows, one part in memory at a time."""
    field = IMAGES.field("acknowledged")
    root = held.results.root
    for part, rows in marked.items():
        images = read_images(root / "images" / part)
        column = pc.if_else(pa.array(rows), pa.scalar(since, field.type), images[field.name])
        images = images.set_column(images.column_names.index(field.name), field, column)
        yield part, {"images": images, **read_beside(root, part)}
