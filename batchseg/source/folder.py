"""Images in a folder, in the order of their ids, one directory in memory at a time."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import fs

from batchseg.config.source import IMAGE_SUFFIXES, FolderSource
from batchseg.errors import SourceError
from batchseg.source.annotations.found import KINDS
from batchseg.source.annotations.truths import AnnotatedTruths
from batchseg.source.directory import ROWS_A_TABLE, Note, read_directory, readable, unnoted
from batchseg.source.globs import matches
from batchseg.source.listing import LISTING
from batchseg.source.passed_over import LINKS, TWICE, PassedOver
from batchseg.source.sample import sampled
from batchseg.source.truths import NO_TRUTH, Truth, Truths
from batchseg.source.visits import Visits
from batchseg.storage.location import Location, locate, plain_errors
from batchseg.storage.versions import version


class Folder:
    """The images below a folder. Hidden names are passed over, and so are the folders `without`.

    Args:
        source: where, which, and where the truth lies.
        suffixes: endings, in lower case, of the files that count.
        without: folders that hold no images although they may lie below the source, such as the results.

    Attributes:
        passed_over: what the last listing met and left out, though no glob says so.

    Raises:
        SourceError: the folder cannot be listed, or one of `without` is the folder itself.
    """

    def __init__(
        self,
        source: FolderSource,
        without: tuple[str, ...] = (),
        suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
        stem: Callable[[str], str] | None = None,
    ) -> None:
        self.source = source
        self.suffixes = suffixes
        self.root = existing_folder(source.path)
        self.without = {seen_from(self.root, path) for path in without}
        if self.root.path in self.without:
            raise SourceError(f"{source.path}: results would lie among the images; give them another folder")
        if source.truth:
            self.without.add(seen_from(self.root, source.truth))
        self.whole = tuple(glob for glob in source.exclude if glob.endswith("*"))
        self.passed_over = PassedOver()
        self.visits = Visits(self.root, {os.path.realpath(path) for path in self.without})
        self.truths = self._open_truths(source, stem)

    def _open_truths(
        self, source: FolderSource, stem: Callable[[str], str] | None
    ) -> Truths | AnnotatedTruths | None:
        if source.truth is None:
            return None
        place = locate(source.truth)
        kind = _kind(place, source.truth)
        rule = stem or stem_rule(source.truth_suffix)
        if kind == fs.FileType.Directory:
            return Truths(place, self.root, rule, partial(_list_truths, source))
        if kind == fs.FileType.NotFound:
            raise SourceError(f"{source.truth}: no such folder or file")
        if kind != fs.FileType.File:
            raise SourceError(f"{source.truth}: not a folder; annotations come in a file: {KINDS}")
        if source.truth_suffix is not None:
            raise SourceError(
                f"{source.truth}: is a file of annotations, which names its images itself; leave "
                "truth_suffix (--truth-suffix) out"
            )
        is_partial = bool(source.include or source.exclude or source.is_partial)
        return AnnotatedTruths(place, self.root, rule, is_partial=is_partial)

    @property
    def is_annotated(self) -> bool:
        """Whether its truths are annotations in a file."""
        return isinstance(self.truths, AnnotatedTruths)

    def tables(self, work: Location | None = None) -> Iterator[pa.Table]:
        """The listing, in tables of bounded size. Raises SourceError.

        Args:
            work: the folder that annotations are put into; only a source that has none does without.
        """
        count = self.source.sample
        tables = self._tables(work)
        return tables if count is None else sampled(tables, count, self.source.seed)

    def _tables(self, work: Location | None) -> Iterator[pa.Table]:
        if isinstance(self.truths, AnnotatedTruths):
            assert work is not None
            names = ((below, [file["name"] for file in files]) for below, files in self._images())
            with self.truths.opened(names, work):
                yield from self._listed()
        else:
            yield from self._listed()

    def _images(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """All that count, folder by folder."""
        self.passed_over = PassedOver()
        self.visits.begin()
        for below, files in self._walk(""):
            yield below, self._wanted(below, files)

    def _listed(self) -> Iterator[pa.Table]:
        left = self.source.limit
        for below, files in self._images():
            rows = self._rows(below, files)
            if left is not None:
                rows = rows[:left]
                left -= len(rows)
            if rows:
                yield pa.Table.from_pylist(rows, schema=LISTING)
            if left == 0:
                return

    def truth_examples(self, count: int) -> list[str]:
        """Some paths below the truth folder, to show beside images that match none of them."""
        found: list[str] = []
        if isinstance(self.truths, Truths):
            for below, files in Folder(FolderSource(path=str(self.truths.root)))._walk(""):
                found += [below + name for name in files["name"].slice(0, count).to_pylist()]
                if len(found) >= count:
                    break
        return found[:count]

    def _walk(self, below: str) -> Iterator[tuple[str, pa.Table]]:
        place = self.root / below.rstrip("/") if below else self.root
        files, folders = _list(place, self.root, self.source.follow_links, partial(self._note, below))
        start = 0
        for name in folders:
            # the ids in a folder begin with its name and a slash: `a.jpg` comes before them, `a0.jpg` after
            end = bisect_left(files["name"], f"{name}/", lo=start, key=lambda scalar: str(scalar.as_py()))
            yield from _slices(below, files.slice(start, end - start))
            start = end
            if self._goes_into(place / name, below, name):
                yield from self._walk(f"{below}{name}/")
        yield from _slices(below, files.slice(start))

    def _goes_into(self, folder: Location, below: str, name: str) -> bool:
        """A glob that matches a folder and ends in `*` leaves out all that lies in it."""
        if folder.path in self.without or matches(f"{below}{name}/", self.whole):
            return False
        if not self.source.follow_links or not folder.is_local:
            return True
        if self.visits.is_barred(folder.path):
            return False
        if self.visits.is_new(folder.path):
            return True
        self._note(below, readable(name), TWICE)
        return False

    def _note(self, below: str, name: str, kind: str) -> None:
        if kind == LINKS and self.visits.is_barred(f"{self.root.path}/{below}{name}"):
            return
        path = readable(below) + name
        if not matches(path, self.source.exclude) and not matches(f"{path}/", self.whole):
            self.passed_over.add(path, kind)

    def _is_chosen(self, path: str) -> bool:
        include, exclude = self.source.include, self.source.exclude
        return (not include or matches(path, include)) and not matches(path, exclude)

    def _wanted(self, below: str, files: pa.Table) -> list[dict[str, Any]]:
        wanted = []
        for file in files.to_pylist():
            if self._is_chosen(below + file["name"]):
                if file["name"].lower().endswith(self.suffixes):
                    wanted.append(file)
                elif f"{self.root.path}/{below}{file['name']}" not in self.without:  # such as the truth
                    self.passed_over.add_file(below + file["name"])
        return wanted

    def _rows(self, below: str, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        truths = [NO_TRUTH] * len(files)
        if self.truths is not None:
            truths = self.truths.of(below, [file["name"] for file in files])
        return [self._row(below, file, truth) for file, truth in zip(files, truths, strict=True)]

    def _row(self, below: str, file: dict[str, Any], truth: Truth) -> dict[str, Any]:
        path = below + file["name"]
        usable = file["status"] is None
        return {
            "id": path,
            "uri": self.root.uri_below(path),
            "truth": truth[0],
            "truth_version": truth[1],
            "source_version": version(file["size"], file["modified_ns"]) if usable else None,
            "size": file["size"],
            "status": file["status"],
            "error": file["error"],
        }


def stem_rule(rule: str | None) -> Callable[[str], str]:
    """FROM=TO as a function on stems; a stem that does not end in FROM stays as it is."""
    if rule is None:
        return lambda stem: stem
    before, _, after = rule.partition("=")
    return lambda stem: stem.removesuffix(before) + after if stem.endswith(before) else stem


def existing_folder(path: str) -> Location:
    """Raises SourceError unless there is a folder at `path`."""
    place = locate(path)
    kind = _kind(place, path)
    if kind == fs.FileType.NotFound:
        raise SourceError(f"{path}: no such folder")
    if kind != fs.FileType.Directory:
        raise SourceError(f"{path}: not a folder; a manifest's name ends in .parquet")
    return place


def _kind(place: Location, path: str) -> fs.FileType:
    try:
        return place.info().type
    except OSError as exc:
        raise SourceError(f"{path}: cannot be looked at: {exc.strerror or exc}") from exc


def seen_from(root: Location, path: str) -> str:
    """The path of a folder as a walk from `root` meets it, whatever links lead to either of them."""
    place = locate(path)
    if not (root.is_local and place.is_local):
        return place.path
    below = os.path.relpath(os.path.realpath(place.path), os.path.realpath(root.path))
    return os.path.normpath(os.path.join(root.path, below))


def _list(
    place: Location, root: Location, follow_links: bool = False, note: Note = unnoted
) -> tuple[pa.Table, list[str]]:
    try:
        with plain_errors():
            return read_directory(place, root, follow_links, note)
    except PermissionError as exc:
        raise SourceError(
            f"{place}: this folder may not be listed; give it read permission, or exclude it"
        ) from exc
    except OSError as exc:
        raise SourceError(f"{place}: cannot be listed: {exc.strerror or exc}") from exc


def _list_truths(source: FolderSource, place: Location) -> tuple[pa.Table, list[str]]:
    return _list(place, place, source.follow_links)


def _slices(below: str, files: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for start in range(0, len(files), ROWS_A_TABLE):
        yield readable(below), files.slice(start, ROWS_A_TABLE)
