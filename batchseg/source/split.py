"""Which images a model learnt from, and which judged it: `split.parquet`, as a training leaves it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.errors import SourceError
from batchseg.source.plan import Listing, write_chosen
from batchseg.storage.keys import KeySet, keys
from batchseg.storage.location import Location

SPLIT_FILE = "split.parquet"
UNKNOWN = "unknown"  # of images that the file does not name


@dataclass(frozen=True)
class Split:
    """The parts that the images of a training were in.

    Attributes:
        parts: by name (`train`, `validation`, `left_out`) the columns `id` and `uri`.
    """

    place: Location
    parts: dict[str, pa.Table] = field(repr=False)

    @classmethod
    def read(cls, place: Location) -> Split:
        """Raises SourceError where it cannot be read, or has other columns."""
        try:
            table = pq.read_table(io.BytesIO(place.read()))
        except FileNotFoundError as exc:
            raise SourceError(f"{place}: no such file") from exc
        except (OSError, pa.ArrowException) as exc:
            raise SourceError(f"{place}: cannot be read: {exc}") from exc
        if missing := [name for name in ("id", "uri", "split") if name not in table.column_names]:
            raise SourceError(f"{place}: has no column {missing[0]}; it is not the split of a training")
        names = table["split"].unique().to_pylist()
        return cls(place, {name: table.filter(pc.equal(table["split"], name)) for name in names if name})

    @classmethod
    def joined(cls, splits: Sequence[Split]) -> Split:
        """Of models that decide together: what trained one of them counts as training, whatever it was to the
        others, and of the rest what judged one counts as validation."""
        names = [*dict.fromkeys(("train", "validation", *(name for each in splits for name in each.parts)))]
        parts: dict[str, pa.Table] = {}
        for name in names:
            tables = [each.parts[name].select(["id", "uri"]) for each in splits if name in each.parts]
            if not tables:
                continue
            table = pa.concat_tables(tables)
            for before in parts.values():
                table = table.filter(pc.invert(pc.is_in(table["uri"], value_set=before["uri"])))
            parts[name] = table
        return cls(splits[0].place, parts)

    def column(self, listing: Listing) -> str | None:
        """What tells its images in this source: `uri` where one of them lies where it lay, else `id`.

        None where it names none of them.
        """
        for column in ("uri", "id"):
            known = KeySet(keys(part[column]) for part in self.parts.values())
            if any(known.contains(keys(table[column])).any() for table in listing.tables()):
                return column
        return None

    def count(self, listing: Listing, column: str) -> dict[str, int]:
        """The images of the source by the part they were in, `unknown` for those that the file lacks."""
        known = self._keys(column)
        counts: Counter[str] = Counter({UNKNOWN: listing.images})
        for table in listing.tables():
            ours = keys(table[column])
            for name, part in known.items():
                counts[name] += int(part.contains(ours).sum())
        counts[UNKNOWN] -= sum(counts[name] for name in known)
        return {name: number for name, number in sorted(counts.items()) if number}

    def choose(self, listing: Listing, name: str, path: Location) -> Listing:
        """The images of one part, as a listing of their own.

        Raises SourceError where the source has none of them.
        """
        column = self.column(listing)
        part = self._keys(column).get(name) if column else None
        chosen = write_chosen(_filtered(listing, column, part) if column and part else (), path)
        if not chosen.images:
            raise SourceError(
                f"{self.place}: none of its images for {name} is in this source, which holds "
                f"{', '.join(listing.examples)}; it names {', '.join(self._examples(name)) or 'none'}"
            )
        chosen.shared_masks = listing.shared_masks  # a mask's name does not depend on what is chosen
        return chosen

    def _keys(self, column: str) -> dict[str, KeySet]:
        return {name: KeySet([keys(part[column])]) for name, part in self.parts.items()}

    def _examples(self, name: str) -> list[str]:
        ids: list[str] = self.parts[name]["id"].slice(0, 3).to_pylist() if name in self.parts else []
        return ids


def _filtered(listing: Listing, column: str, part: KeySet) -> Iterator[pa.Table]:
    for table in listing.tables():
        ours = part.contains(keys(table[column]))
        if ours.any():
            yield table.filter(pa.array(np.asarray(ours)))
