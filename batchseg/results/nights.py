"""Good nights: the tables as a run left them, kept until the next nights were held against them.

nights/RUN/images/, pixels/, classes.parquet    copies: a results folder without masks
nights/RUN/run.json                             written last; a night without one is unfinished and swept away
"""

from __future__ import annotations

import json
from typing import Any

from pyarrow import fs

from batchseg.errors import OutputError
from batchseg.results.folder import Results
from batchseg.storage.location import Location


class Nights:
    """The good nights of a results folder. Whoever keeps one holds the folder's lock."""

    def __init__(self, results: Results) -> None:
        self.results, self.root = results, results.root / "nights"

    def last(self) -> Location | None:
        """The last night that was kept."""
        return self.last_before(None)

    def last_before(self, run_id: str | None) -> Location | None:
        """The last one kept that is not that run itself; any for None."""
        kept = sorted((night for night in self._kept() if night.name != run_id), key=lambda night: night.name)
        return kept[-1] if kept else None

    def keep(self, record: dict[str, Any], nights: int) -> Location:
        """Copy the tables, and forget all but so many nights. Raises OutputError."""
        night = self.root / str(record["run_id"])
        try:
            for table in (self.results.images, self.results.pixels):
                _copy(table, night / table.name)
            _copy_file(self.results.root / "classes.parquet", night)
            (night / "run.json").write(json.dumps(record, indent=2, default=str).encode())
            kept = sorted(each.path for each in self._kept())[-nights:]
            for each in self._folders():
                if each.path not in kept:
                    each.filesystem.delete_dir(each.path)
        except OSError as exc:
            raise OutputError(f"{night}: cannot be written: {exc.strerror or exc}") from exc
        return night

    def forget_records(self, kept: int) -> None:
        """Remove the oldest records from runs/. Raises OutputError."""
        try:
            for record in self.results.runs.files(".json")[:-kept]:
                record.delete()
        except OSError as exc:
            raise OutputError(f"{self.results.root}: cannot be written: {exc.strerror or exc}") from exc

    def _kept(self) -> list[Location]:
        return [night for night in self._folders() if (night / "run.json").exists()]

    def _folders(self) -> list[Location]:
        selector = fs.FileSelector(self.root.path, allow_not_found=True)
        found = self.root.filesystem.get_file_info(selector)
        return [self.root / item.base_name for item in found if item.type == fs.FileType.Directory]


def _copy(table: Location, to: Location) -> None:
    to.make_folder()
    for part in table.files(".parquet"):
        _copy_file(part, to)


def _copy_file(file: Location, folder: Location) -> None:
    file.filesystem.copy_file(file.path, (folder / file.name).path)
