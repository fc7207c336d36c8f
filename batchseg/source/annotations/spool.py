"""Annotations of a listing as a Parquet file beside it, one row an image, from which workers read them.

The file says besides what is known of all of them, so that whoever has an address in it has that, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.source.plan import Listing
from batchseg.storage.embedded import address, is_embedded, place_of
from batchseg.storage.location import Location, locate

SPOOL_FILE = "annotations.parquet"
_COLUMN = "truth_bytes"
_KEY = b"batchseg.annotations"
_SCHEMA = pa.schema([pa.field(_COLUMN, pa.binary())])
_ROWS, _BYTES = 128, 2**22  # of a row group, which is read from its beginning


@dataclass(frozen=True)
class AnnotationFacts:
    """What is known of all annotations of a listing.

    Attributes:
        path: the file that they come from.
        classes: the names of the classes that are annotated on the images.
        notes: a sentence each on what could not be used.
        unmatched: annotated images that are not among those of the source; None where that says nothing.
        examples: some of them.
    """

    path: str
    classes: Sequence[str]
    notes: Sequence[str] = ()
    unmatched: int | None = None
    examples: Sequence[str] = ()


class Spool:
    """Writes annotations, and says where each of them is."""

    def __init__(self, place: Location) -> None:
        self.place = place
        self._stream = place.filesystem.open_output_stream(place.path)
        self._writer = pq.ParquetWriter(self._stream, _SCHEMA)
        self._waiting: list[bytes] = []
        self._bytes = self._groups = 0

    def add(self, data: bytes) -> str:
        """The address that `storage.reader.Reader` reads them by, once the spool is closed."""
        if len(self._waiting) >= _ROWS or (self._waiting and self._bytes + len(data) > _BYTES):
            self._flush()
        self._waiting.append(data)
        self._bytes += len(data)
        return address(place_of(str(self.place), self._groups), len(self._waiting) - 1, (_COLUMN,), _COLUMN)

    def close(self, facts: AnnotationFacts | None = None) -> None:
        """Without facts, because the listing broke off, nothing reads it."""
        if self._waiting:
            self._flush()
        if facts is not None:
            self._writer.add_key_value_metadata({_KEY: json.dumps(asdict(facts)).encode()})
        self._writer.close()
        self._stream.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.table([pa.array(self._waiting, pa.binary())], schema=_SCHEMA))
        self._waiting, self._bytes = [], 0
        self._groups += 1


def annotation_facts(listing: Listing) -> AnnotationFacts | None:
    """What is known of the annotations that are the truths of a listing; None where they are none."""
    for table in listing.tables() if listing.with_truth else ():
        truths = table["truth"].drop_null()
        if len(truths):
            return _facts_at(truths[0].as_py())
    return None


def notes_of(listing: Listing) -> tuple[str, ...]:
    """What should be known of them; nothing of truths that are no annotations."""
    facts = annotation_facts(listing)
    return tuple(facts.notes) if facts else ()


def _facts_at(uri: str) -> AnnotationFacts | None:
    file = uri.rpartition("#")[0]
    if not is_embedded(uri) or not file.partition("?")[0].endswith(f"/{SPOOL_FILE}"):
        return None
    place = locate(file)
    with suppress(OSError, pa.ArrowException), place.filesystem.open_input_file(place.path) as source:
        found = (pq.read_metadata(source).metadata or {}).get(_KEY)
        if found is not None:
            return AnnotationFacts(**json.loads(found))
    return None
