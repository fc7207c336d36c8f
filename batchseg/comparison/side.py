"""One side of a comparison: a results folder as it is now, or what is left in it of the rows of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchseg.errors import LabelMapError, OutputError
from batchseg.results.classes import class_names
from batchseg.results.folder import Results
from batchseg.results.record import parse_record
from batchseg.storage.location import Location, locate


@dataclass(frozen=True)
class Side:
    """Attributes:
    name: as it was given.
    run_id: only the rows of this run; None for all.
    record: the record of that run, or else of the folder's last one.
    """

    name: str
    results: Results
    run_id: str | None
    record: dict[str, Any] | None
    classes: tuple[str, ...]

    @property
    def model(self) -> str | None:
        """The fingerprint of the model that its record names; None where masks were scored that lay there."""
        facts = (self.record or {}).get("model", {})
        return facts.get("fingerprint") if facts.get("name") else None

    @property
    def claimed(self) -> int | None:
        """The rows which the record says its run computed; None where all rows are meant."""
        computed: dict[str, int] = (self.record or {}).get("computed", {})
        return None if self.run_id is None else sum(computed.values())


def open_side(path: str) -> Side:
    """Open a results folder, or the record of a run in one: run.json, or runs/ID.json.

    Raises OutputError where there are no results.
    """
    place = locate(path)
    is_record = place.name.endswith(".json")
    record = _read_record(place) if is_record else None
    results = Results(str(_folder_of(place))) if is_record else Results(path)
    results.refuse_strangers()
    run_id = record["run_id"] if record else None
    record = record or results.record()
    names = class_names(results, record)
    if names is None:
        raise OutputError(f"{results.root}: neither run.json nor classes.parquet names its classes")
    return Side(path, results, run_id, record, tuple(names))


def refuse_other_classes(old: Side, new: Side) -> None:
    """Raises LabelMapError where a class id does not mean the same on both sides."""
    if old.classes == new.classes or renamed_classes(old, new):
        return
    if len(old.classes) != len(new.classes):
        found = f"{len(old.classes)} in {old.name}, {len(new.classes)} in {new.name}"
    else:
        pairs = enumerate(zip(old.classes, new.classes, strict=True))
        index, (before, now) = next((index, pair) for index, pair in pairs if pair[0] != pair[1])
        found = f"class {index} is {before!r} in {old.name} and {now!r} in {new.name}"
    raise LabelMapError(f"the classes differ ({found}), so the results cannot be compared")


def renamed_classes(old: Side, new: Side) -> list[tuple[str, str]]:
    """The names of classes, old and new, that changed between two results of one model; else none.

    Its fingerprint covers neither names nor colours, so a class id means the same on both sides.
    """
    if not old.model or old.model != new.model or len(old.classes) != len(new.classes):
        return []
    return [pair for pair in zip(old.classes, new.classes, strict=True) if pair[0] != pair[1]]


def notes_on(side: Side, rows: int, fingerprints: int) -> Iterator[str]:
    """What a reader of the comparison must know of this side. Raises OutputError where nothing is left."""
    if side.claimed is not None and rows < side.claimed:
        yield (
            f"{side.name}: its run computed {side.claimed:,} images, and {rows:,} of these rows are left; "
            "later runs replaced or removed the others"
        )
    elif side.run_id is None and (status := (side.record or {}).get("status")) not in (None, "finished"):
        yield f"{side.name}: its last run was {status}, so some rows may be those of the run before"
    if fingerprints > 1:
        yield f"{side.name}: holds rows of {fingerprints} models or settings"


def refuse_nothing(side: Side, rows: int) -> None:
    """Raises OutputError where a side has no rows."""
    if rows:
        return
    if side.claimed is None:
        raise OutputError(f"{side.results.root}: holds no rows, so there is nothing to compare")
    if not side.claimed:
        raise OutputError(f"{side.name}: this run computed no images; give the results folder instead")
    raise OutputError(
        f"{side.name}: none of the {side.claimed:,} rows that this run computed is left in "
        f"{side.results.root}; later runs replaced or removed them{_kept(side)}"
    )


def _kept(side: Side) -> str:
    kept = side.results.root / "nights" / str(side.run_id)
    return f"; the tables of that night are in {kept}" if kept.exists() else ""


def _folder_of(record: Location) -> Location:
    return record.parent.parent if record.parent.name == "runs" else record.parent


def _read_record(place: Location) -> dict[str, Any]:
    try:
        return parse_record(place.read())
    except FileNotFoundError as exc:
        raise OutputError(f"{place}: no such record") from exc
    except ValueError as exc:
        raise OutputError(f"{place}: {exc}") from exc
    except OSError as exc:
        raise OutputError(f"{place}: cannot be read: {exc.strerror or exc}") from exc
