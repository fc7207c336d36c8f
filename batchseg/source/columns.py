"""What a manifest's columns mean: which are ours, under which name, and how the others are carried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from batchseg.config.source import OurColumn
from batchseg.source.listing import RESERVED
from batchseg.storage.embedded import Column

CONSUMED = ("image", "image_bytes", "id", "truth", "truth_bytes", "version", "prompt")
PREFIX = "manifest_"
LIKELY = (
    "image", "image_path", "image_file", "image_uri", "image_url", "img", "img_path", "file_name", "filename",
    "file", "file_path", "filepath", "path", "uri", "url",
)  # fmt: skip
_TAKEN = frozenset(name.lower() for name in RESERVED)


@dataclass(frozen=True)
class Columns:
    """What each column is for.

    Attributes:
        ours: the names that the program gives, and the columns of these meanings.
        own: the user's other columns, by the names they have in the results.
        given: the types of all columns.
    """

    ours: dict[str, str]
    own: dict[str, str]
    given: pa.Schema

    def kind(self, name: str) -> pa.DataType:
        """The type of a column, by the name that the program gives it."""
        return self.given.field(self.ours[name]).type

    def bytes_of(self, name: str) -> Column | None:
        """Where the bytes of `image` or `truth` lie in a row, if they lie there."""
        if f"{name}_bytes" in self.ours:
            return (self.ours[f"{name}_bytes"],)
        if name in self.ours and _field(self.kind(name), "bytes", is_bytes):
            return self.ours[name], "bytes"
        return None

    def text_of(self, name: str) -> Column | None:
        """Where its path or URI stands, if it stands there."""
        if name not in self.ours:
            return None
        if not pa.types.is_struct(self.kind(name)):
            return (self.ours[name],)
        return (self.ours[name], "path") if _field(self.kind(name), "path", is_text) else None


def find_columns(
    given: pa.Schema, mapped: Mapping[OurColumn, str], has_values: Callable[[str], bool]
) -> Columns:
    """Tell the columns apart.

    Args:
        given: the manifest's columns.
        mapped: our names, and the manifest's for the same.
        has_values: whether a column holds anything but nulls and NaN.

    Raises:
        ValueError: in one sentence, what does not fit.
    """
    claimed = {*mapped.values()}  # such a column is no longer what its own name says
    ours = {name: name for name in CONSUMED if name in given.names and name not in claimed}
    ours.update({str(name): column for name, column in mapped.items()})
    # as pandas and Spark write a column that is empty so far
    empty = [
        name
        for name in ("truth", "truth_bytes", "prompt")
        if ours.get(name) in given.names
        and not _FITS[name][0](given.field(ours[name]).type)
        and not has_values(ours[name])
    ]
    consumed = {*ours.values()}
    ours = {name: column for name, column in ours.items() if name not in empty}
    for problem in _problems(ours, given):
        raise ValueError(problem)
    return Columns(ours, _own([name for name in given.names if name not in consumed]), given)


def _own(names: list[str]) -> dict[str, str]:
    """The user's columns by the names that they have in the results.

    Case counts for nothing: Spark and DuckDB fold it.
    """
    taken = set(_TAKEN)
    reserved = {name.lower() for name in names}
    own = {}
    for name in names:
        carried = name
        while carried.lower() in taken or (carried != name and carried.lower() in reserved):
            carried = PREFIX + carried
        taken.add(carried.lower())
        own[carried] = name
    return own


def _problems(ours: Mapping[str, str], given: pa.Schema) -> Iterator[str]:
    for name, column in ours.items():
        if column not in given.names:
            yield (
                f"no column `{column}`, which source.columns names for {name}; the columns are: "
                f"{', '.join(given.names)}"
            )
    if not {"image", "image_bytes"} & {*ours}:
        yield f"no column `image` or `image_bytes`; the columns are: {', '.join(given.names)}{_advice(given)}"
    for pair in (("image", "image_bytes"), ("truth", "truth_bytes")):
        if {*pair} <= {*ours}:
            yield f"the columns {' and '.join(ours[name] for name in pair)} exclude each other; drop one"
    for name, column in ours.items():
        fits, wanted = _FITS[name]
        kind = given.field(column).type
        if not fits(kind):
            yield f"column `{column}` holds {kind}; it must hold {wanted}{_other_meaning(name, column, kind)}"


def _advice(given: pa.Schema) -> str:
    """Which column it may be, and how to say so."""
    by_name = {name.lower(): name for name in reversed(given.names)}
    likely = [by_name[name] for name in LIKELY if name in by_name]
    for column in likely:
        for name in ("image", "image_bytes"):
            if _FITS[name][0](given.field(column).type):
                said = f"source.columns: {{{name}: {column}}} (--column {name}={column})"
                return f"; if {column} is it, say {said}"
    return "; source.columns says which it is, such as {image: file_name} (--column image=file_name)"


def _other_meaning(name: str, column: str, kind: pa.DataType) -> str:
    if name in ("image", "truth") and is_bytes(kind):
        return f"; for bytes say source.columns: {{{name}_bytes: {column}}}"
    return ""


def is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_simple(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind)


def _is_file(kind: pa.DataType) -> bool:
    """A path or URI, or what Hugging Face's data sets have: a struct of bytes and path."""
    if pa.types.is_struct(kind):
        return _field(kind, "bytes", is_bytes) or _field(kind, "path", is_text)
    return is_text(kind) or bool(pa.types.is_null(kind))


def _field(kind: pa.DataType, name: str, fits: Callable[[pa.DataType], bool]) -> bool:
    at = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
    return at >= 0 and fits(kind.field(at).type)


_FILE = "paths or URIs as strings, or structs of bytes and path"
_FITS: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "image": (_is_file, _FILE),
    "truth": (_is_file, _FILE),
    "image_bytes": (is_bytes, "the bytes of image files"),
    "truth_bytes": (is_bytes, "the bytes of label files"),
    "id": (_is_simple, "strings or numbers"),
    "version": (_is_simple, "strings or numbers"),
    "prompt": (is_text, "strings"),
}
