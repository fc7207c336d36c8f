"""The results folder: what is committed in it, what counts as done, and how a run is finished.

pixels/PART.parquet, then images/PART.parquet    the second is the commit; PART sorts by time
classes.parquet                                  the sum of pixels/
runs/RUN.json and run.json                       the record of a run, written last
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.errors import OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.record import parse_record
from batchseg.results.tables import classes_table, exploded, read_part, unique, write_table
from batchseg.schema import Status
from batchseg.source.listing import PRIVATE
from batchseg.storage.keys import KeySet, keys, superseded
from batchseg.storage.location import TEMPORARY, Location, locate
from batchseg.storage.lock import exclusive

# what a run or an evaluation writes, and a data set may have too
WRITTEN = ("images", "pixels", "masks", "overlays", ".work", "classes.parquet", "run.json")


class Results:
    """A results folder. Only the driver writes its tables, so parts never race."""

    def __init__(self, path: str) -> None:
        self.root = locate(path)
        self.images, self.pixels, self.runs = (self.root / name for name in ("images", "pixels", "runs"))
        self.work = self.root / ".work"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and keep other runs out of it. Raises OutputError."""
        self.refuse_foreign()
        with self._writing():
            self.root.make_folder()
        with exclusive(self.root):
            self.open()
            yield

    def refuse_foreign(self) -> None:
        """Raises OutputError where a folder that no run has made holds what a run would replace or delete."""
        if self.runs.is_folder():
            return
        taken = [name for name in WRITTEN if (self.root / name).exists()]
        if taken:
            raise OutputError(
                f"{self.root}: holds {', '.join(taken)}, but no results of batchseg, and a run would replace "
                "what is there; give the results a folder of their own"
            )

    def open(self) -> None:
        """Make the folders and sweep away what an unfinished run left. Raises OutputError."""
        folders = (self.root, self.images, self.pixels, self.runs)
        with self._writing():
            for folder in folders:
                folder.make_folder()
            self.work.delete_folder()
            self.work.make_folder()
            committed = {part.name for part in self.images.files(".parquet")}
            orphans = [part for part in self.pixels.files(".parquet") if part.name not in committed]
            halves = [
                file for folder in folders for file in folder.files() if file.name.startswith(TEMPORARY)
            ]
            for file in (*orphans, *halves):
                file.delete()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise OutputError(f"{self.root}: cannot be written: {exc.strerror or exc}") from exc

    # -- reading

    def fingerprints(self) -> set[str]:
        """The fingerprints of the committed rows that are ok."""
        found = (table["fingerprint"].unique().to_pylist() for table in self._rows("status", "fingerprint"))
        return {fingerprint for some in found for fingerprint in some if fingerprint}

    def done(self, fingerprint: str) -> Done:
        """What need not be computed again."""
        parts = []
        for table in self._rows("id", "source_version", "has_truth", "fingerprint", "status"):
            table = table.filter(pc.equal(table["fingerprint"], fingerprint))
            columns = (table[name].to_pylist() for name in ("id", "source_version", "has_truth"))
            parts.append(keys(zip(*columns, strict=True)))
        return Done(KeySet(parts))

    def _rows(self, *columns: str) -> Iterator[pa.Table]:
        for part in self.images.files(".parquet"):
            table = read_part(part, list(columns))
            yield table.filter(pc.equal(table["status"], Status.OK.value))

    def counts(self) -> Counter[str]:
        """Committed rows by status."""
        total: Counter[str] = Counter()
        for part in self.images.files(".parquet"):
            total.update(read_part(part, ["status"])["status"].to_pylist())
        return total

    def record(self) -> dict[str, Any] | None:
        """The record of the last run, if there is one."""
        try:
            return parse_record((self.root / "run.json").read())
        except (FileNotFoundError, ValueError):
            return None

    def last_run(self) -> str:
        """What the last run called its last part or its record; empty where there was none."""
        found = (*self.images.files(".parquet"), *self.runs.files(".json"))
        return max((file.name for file in found), default="")

    def of_other_classes(self, fingerprint: str, names: list[str]) -> NDArray[np.int64]:
        """Keys of the ids whose mask is not known, from runs/, to be of these classes or this fingerprint."""
        found: dict[str, list[NDArray[np.int64]]] = {}
        for part in self.images.files(".parquet"):
            table = read_part(part, ["id", "mask", "fingerprint"])
            table = table.filter(pc.field("mask").is_valid() & (pc.field("fingerprint") != fingerprint))
            for other in table["fingerprint"].unique().to_pylist():
                ids = table.filter(pc.field("fingerprint") == other)["id"]
                found.setdefault(other, []).append(keys(ids.to_pylist()))
        known = self._classes_by_fingerprint() if found else {}
        others = [key for other, parts in found.items() if known.get(other) != names for key in parts]
        return np.unique(np.concatenate(others)) if others else np.empty(0, np.int64)

    def _classes_by_fingerprint(self) -> dict[str, list[str]]:
        known = {}
        for place in self.runs.files(".json"):
            with suppress(ValueError):  # what is no record tells nothing
                model = parse_record(place.read()).get("model", {})
                known[model.get("fingerprint")] = model.get("classes")
        return known

    # -- writing

    def commit(self, part: str, rows: pa.Table) -> None:
        """Make rows count. Raises OutputError where they cannot be written; then none of them counts."""
        rows = unique(rows)
        with self._writing():
            write_table(self.pixels / part, exploded(rows))
            write_table(self.images / part, rows.drop_columns(list(PRIVATE)))

    def finish(self, label_map: LabelMap) -> ConfusionMatrix:
        """Drop the rows that later ones replace, and sum up the classes. Raises OutputError."""
        with self._writing():
            self._drop_replaced()
            total = self._total(label_map.num_classes)
            write_table(self.root / "classes.parquet", classes_table(total, label_map))
            self.work.delete_folder()
        return total

    def prune(self, listed: KeySet) -> int:
        """Remove the rows and masks of images whose id is not in `listed`; how many. Raises OutputError."""
        gone_masks, kept_masks, removed = [], [], 0
        with self._writing():
            for part in self.images.files(".parquet"):
                table = read_part(part, ["id", "mask"])
                gone = ~listed.contains(keys(table["id"].to_pylist()))
                gone_masks += table["mask"].filter(pa.array(gone)).drop_null().to_pylist()
                kept_masks.append(keys(table["mask"].filter(pa.array(~gone)).to_pylist()))
                if gone.any():
                    self._drop(part, gone)
                removed += int(gone.sum())
            # a.jpg may be gone and a.png be there: the mask is that one's now
            needed = KeySet(kept_masks).contains(keys(gone_masks))
            for mask, needed_by_another in zip(gone_masks, needed, strict=True):
                # a damaged table may name any file
                if not needed_by_another and mask.startswith("masks/") and ".." not in mask.split("/"):
                    (self.root / mask).delete()
        return removed

    def write_record(self, record: dict[str, Any]) -> None:
        """Write run.json, last of all. Raises OutputError."""
        data = json.dumps(record, indent=2, default=str).encode()
        with self._writing():
            (self.runs / f"{record['run_id']}.json").write(data)
            (self.root / "run.json").write(data)

    def _drop_replaced(self) -> None:
        parts = self.images.files(".parquet")
        ids = (keys(read_part(part, ["id"])["id"].to_pylist()) for part in parts)
        for part, stale in zip(parts, superseded(ids), strict=True):
            if stale.any():
                self._drop(part, stale)

    def _drop(self, part: Location, stale: NDArray[np.bool_]) -> None:
        images = read_part(part)
        if stale.all():
            part.delete()
            (self.pixels / part.name).delete()
            return
        gone = images["id"].filter(pa.array(stale))
        pixels = read_part(self.pixels / part.name)
        # the counts go first: should we stop between the two, a row without counts is dropped next time
        write_table(
            self.pixels / part.name, pixels.filter(pc.invert(pc.is_in(pixels["id"], gone.combine_chunks())))
        )
        write_table(part, images.filter(pa.array(~stale)))

    def _total(self, num_classes: int) -> ConfusionMatrix:
        total = ConfusionMatrix.zeros(num_classes)
        for part in self.pixels.files(".parquet"):
            table = read_part(part, ["truth", "predicted", "pixels"])
            truth, predicted = (pc.fill_null(table[name], -1).to_numpy() for name in ("truth", "predicted"))
            try:
                total += ConfusionMatrix.from_sparse(
                    truth, predicted, table["pixels"].to_numpy(), num_classes
                )
            except ValueError as exc:
                raise OutputError(
                    f"{part}: holds classes beyond the {num_classes} of this label map ({exc}); "
                    "--prune removes the rows of images that the source no longer has"
                ) from exc
        return total


class Done:
    """The images that need no work: same id, same version of the source, and truth where there is truth."""

    def __init__(self, known: KeySet) -> None:
        self.known = known

    def __call__(self, table: pa.Table) -> NDArray[np.bool_]:
        ids, versions = table["id"].to_pylist(), table["source_version"].to_pylist()
        without_truth = np.array(table["truth"].is_null())
        scored = self.known.contains(keys(zip(ids, versions, [True] * len(ids), strict=True)))
        unscored = self.known.contains(keys(zip(ids, versions, [False] * len(ids), strict=True)))
        # an image whose truth came later is computed again; one whose truth is gone stays as it is
        known: NDArray[np.bool_] = scored | (unscored & without_truth)
        return known
