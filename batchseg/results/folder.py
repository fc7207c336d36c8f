"""The results folder: what a run writes where, and how it is held, opened and finished.

pixels/PART.parquet, then images/PART.parquet    the second is the commit; PART sorts by time
objects/, boundary/, calibration/                the same beside them, where there is anything to say
classes.parquet                                  the sum of pixels/
runs/RUN.json and run.json                       the record of a run, written last
candidate/                                       another model's results, which may take the place of these
quantised/                                       networks of 8 bits, made of the images of the first run
.parts/                                          parts of large rasters until these are joined
.work/                                           what is under way; gone when a run has finished
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.errors import OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.calibrated import fill_suspects
from batchseg.results.carry_on import carry_on
from batchseg.results.ledger import Ledger
from batchseg.results.masks import delete_unnamed, read_names
from batchseg.results.part_names import NOT_OURS
from batchseg.results.promotion import CANDIDATE, finish_promotion
from batchseg.results.promotion import LOG as PROMOTION_LOG
from batchseg.results.record import parse_record
from batchseg.results.rewrite import KINDS, finish_rewrite
from batchseg.results.tables import as_tables, classes_table, is_foreign, read_part, unique, write_table
from batchseg.schema import BESIDE
from batchseg.storage.location import TEMPORARY, Location, locate, output_errors
from batchseg.storage.lock import Lock, check, exclusive

# what a run or an evaluation writes, and a data set may have too
WRITTEN = (
    *KINDS,
    "masks",
    "overlays",
    "probabilities",
    "explanations",
    ".work",
    "classes.parquet",
    "report.html",
    "run.json",
)
FOLDERS = (
    *KINDS,
    "runs",
    "masks",
    "overlays",
    "probabilities",
    "explanations",
    "nights",
    "profiles",
    "quantised",
    CANDIDATE,
    ".parts",
    ".work",
)
OF_TRAINING = ("train.json", "history.parquet")


class Results:
    """A results folder. Only the driver writes its tables, so parts never race."""

    def __init__(self, path: str) -> None:
        self.root = locate(path)
        self.images, self.pixels, self.runs = (self.root / name for name in ("images", "pixels", "runs"))
        self.work = self.root / ".work"

    # -- looking

    def refuse_misplaced(self) -> None:
        """Raises OutputError where a file has the name of a folder of the results."""
        for name in FOLDERS:
            place = self.root / name
            if place.exists() and not place.is_folder():
                raise OutputError(f"{place}: is a file, but results have a folder of this name; remove it")
        for place in (self.root / "masks", self.root / CANDIDATE):
            if place.is_local and os.path.islink(place.path):
                raise OutputError(
                    f"{place}: is a link, and nothing here follows one; move the whole results folder instead"
                )

    @property
    def are_there(self) -> bool:
        """Whether there are results, be it that they are on their way from the candidate's folder."""
        return self.images.is_folder() or (self.root / PROMOTION_LOG).exists()

    def refuse_strangers(self) -> None:
        """Raises OutputError where there are no results to look at."""
        self.refuse_misplaced()
        if not self.are_there:
            raise OutputError(f"{self.root}: holds no results of batchseg: it has no folder images/")

    def refuse_foreign(self) -> None:
        """Raises OutputError where the folder holds what is not batchseg's and a run would replace."""
        self.refuse_misplaced()
        if self.runs.is_folder():
            return
        if any((self.root / name).exists() for name in OF_TRAINING):
            raise OutputError(
                f"{self.root}: holds a training; give the results a folder of their own, and name the model "
                f"as {self.root / 'model'}"
            )
        taken = [name for name in WRITTEN if (self.root / name).exists()]
        if taken:
            raise OutputError(
                f"{self.root}: holds {', '.join(taken)}, but no results of batchseg, and a run would replace "
                "what is there; give the results a folder of their own"
            )

    def ledger(self, renamed: Mapping[str, str] | None = None) -> Ledger:
        """What is committed, for looking at alone. Raises OutputError."""
        return Ledger(self.root, renamed)

    def record(self) -> dict[str, Any] | None:
        """The record of the last run, if there is one."""
        try:
            return parse_record((self.root / "run.json").read())
        except (FileNotFoundError, ValueError):
            return None

    def finished(self, run_id: str) -> bool:
        """Whether the record of a run says that it came to its end."""
        try:
            return bool(parse_record((self.runs / f"{run_id}.json").read())["status"] == "finished")
        except (FileNotFoundError, ValueError):
            return False

    def last_run(self) -> str:
        """What the last run called its last part or its record; empty where there was none."""
        found = (*self.images.files(".parquet"), *self.runs.files(".json"))
        return max((file.name for file in found), default="")

    # -- writing

    @contextmanager
    def held(self, renamed: Mapping[str, str] | None = None) -> Iterator[Held]:
        """Make the folder, keep other runs out of it, and mend what an unfinished one left.

        Args:
            renamed: fingerprints that are computed otherwise now, from the same things: old to new.

        Raises OutputError.
        """
        self.refuse_foreign()
        with output_errors(self.root):
            self.root.make_folder()
        with exclusive(self.root) as lock:
            yield self.open(lock, renamed)

    @contextmanager
    def looked_at(self, renamed: Mapping[str, str] | None = None) -> Iterator[Held]:
        """Hold the folder without a run: mended as by a run, and no work is left. Raises OutputError."""
        with self.held(renamed) as held:
            try:
                yield held
            finally:
                with output_errors(self.root):
                    self.work.delete_folder()

    def open(self, lock: Lock | None = None, renamed: Mapping[str, str] | None = None) -> Held:
        """Make the folders, finish or sweep away what an unfinished run left, and read the ledger."""
        # runs/ is what tells results from a data set, so it is there before what a data set may have too
        folders = (self.root, self.runs, self.images, self.pixels)
        with output_errors(self.root):
            finish_promotion(self.root, lock)  # before there is a folder where one is to come
            for folder in folders:
                folder.make_folder()
            finish_rewrite(self.root)
            committed = {part.name for part in self.images.files(".parquet")}
            counted = {part.name for part in self.pixels.files(".parquet")}
            orphans = self._orphans(committed)
            kinds = (self.root / kind for kind in KINDS)
            halves = [
                file
                for folder in (self.root, self.runs, *kinds)
                for file in folder.files()
                if file.name.startswith(TEMPORARY)
            ]
            for file in (*orphans, *halves):
                file.delete()
            ledger = Ledger(self.root, renamed, lock)
            for lacking in sorted(committed - counted):
                raise OutputError(
                    f"{self.pixels / lacking}: is missing beside the part of images/ of the same name; "
                    f"`batchseg verify {self.root} --repair` takes its images out for a run to compute"
                )
            carry_on(self.root, ledger.outdated, renamed or {})
            if self.work.is_folder():  # whoever made it did not finish
                left = [name for file in self.work.files(".arrow") for name in read_names(file)]
                delete_unnamed(self.root, left, ledger.masks())
                self.work.delete_folder()
            self.work.make_folder()
        ledger.drop_superseded()
        return Held(self, ledger, lock)

    def _orphans(self, committed: Collection[str]) -> list[Location]:
        """Files beside parts of `images` that are not there. Raises OutputError where one is not ours."""
        orphans = []
        for kind, schema in BESIDE.items():
            for file in (self.root / kind).files(".parquet"):
                if file.name not in committed:
                    if is_foreign(file, schema):
                        raise OutputError(f"{file}: {NOT_OURS}")
                    orphans.append(file)
        return orphans

    def write_record(self, record: dict[str, Any]) -> None:
        """Write run.json, last of all. Raises OutputError."""
        data = json.dumps(record, indent=2, default=str).encode()
        with output_errors(self.root):
            (self.runs / f"{record['run_id']}.json").write(data)
            (self.root / "run.json").write(data)

    def total(self, num_classes: int) -> ConfusionMatrix:
        """The sum of pixels/. Raises OutputError where a part has other classes."""
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
                    "choose a fresh --output"
                ) from exc
        return total


class Held:
    """A results folder under its lock, with the ledger of what is committed in it."""

    def __init__(self, results: Results, ledger: Ledger, lock: Lock | None) -> None:
        self.results, self.ledger, self.lock = results, ledger, lock

    @property
    def is_ours(self) -> bool:
        """Whether no other run has taken the folder over."""
        try:
            check(self.lock)
        except OutputError:
            return False
        return True

    def commit(self, part: str, rows: pa.Table) -> None:
        """Make rows count. Raises OutputError where they cannot be written; then none of them counts."""
        tables = as_tables(unique(rows))
        with output_errors(self.results.root):
            if self.lock is None:
                self._write(part, tables)
            else:
                with self.lock.kept():
                    self._write(part, tables)
        self.ledger.add(part, tables["images"])

    def _write(self, part: str, tables: Mapping[str, pa.Table]) -> None:
        for kind in reversed([*tables]):  # `images` last, which is the commit
            place = self.results.root / kind / part
            if kind not in ("images", "pixels"):
                place.parent.make_folder()
            write_table(place, tables[kind])

    def finish(self, label_map: LabelMap) -> ConfusionMatrix:
        """Drop the rows that later ones replace, tell which truths are suspect, merge parts, and sum up the
        classes. Raises OutputError."""
        check(self.lock)  # from here on parts go, and .work, which would be the other run's
        self.ledger.drop_superseded()
        with output_errors(self.results.root):
            fill_suspects(self.results.root, [*self.ledger.parts], self.lock)
        self.ledger.merge()
        total = self.results.total(label_map.num_classes)
        check(self.lock)
        with output_errors(self.results.root):
            write_table(self.results.root / "classes.parquet", classes_table(total, label_map))
            self.results.work.delete_folder()
        return total
