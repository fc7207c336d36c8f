"""The ledger: every question about what is committed in a results folder, answered here.

    mask key   = image version x model fingerprint
    score key  = mask key x truth version x fingerprint of the label map's truth side

It is read once, under the folder's lock, and knows of each row what the keys need: about 60 bytes an image.
What a run will replace it drops before work begins, rows first and then the masks that no row names any
more. So rows and masks of different keys never lie together, wherever a run is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.results.masks import below_masks, delete_unnamed, write_names
from batchseg.results.merge import merge_parts, mergeable
from batchseg.results.rewrite import replace_parts
from batchseg.results.row_keys import READ, ROW, TRUTHS, encode_rows, place_keys
from batchseg.results.tables import look_at_images, read_beside, read_images, with_fingerprints
from batchseg.results.verdict import MEASURED, Key, Places, Rows, Verdict
from batchseg.schema import IMAGES, TRUTH_FAULTS
from batchseg.source.names import possible_masks
from batchseg.storage.keys import NULL, KeyIndex, Keys, KeySet, keys, superseded
from batchseg.storage.location import Location, output_errors
from batchseg.storage.lock import Lock, check

_FAULTY = [TRUTHS.index(status) for status in TRUTH_FAULTS]
_BY_READING = [TRUTHS.index(status) for status in ("out_of_range", "unreadable")]
GOING = "going.arrow"  # masks whose rows are being dropped


class Ledger:
    """The committed rows of a results folder, in the order of its parts; of an image the last one counts.

    Attributes:
        parts: the name of each part, and how many rows it has.
        rows: what the keys need of each row; see ROW.
        names: the fingerprints that the rows number.
        outdated: the parts of an earlier batchseg, without today's columns or fingerprints.
    """

    def __init__(
        self, root: Location, renamed: Mapping[str, str] | None = None, lock: Lock | None = None
    ) -> None:
        """Read every part of `images` once; `renamed` are fingerprints, old to new. Raises OutputError."""
        self.root, self.lock = root, lock
        self.parts: dict[str, int] = {}
        self.rows = np.empty(0, ROW)
        self.names: dict[str | None, int] = {None: 0}
        self.outdated: list[str] = []
        found = []
        for part in (root / "images").files(".parquet"):
            images, of_today = look_at_images(part, READ)
            found.append(encode_rows(with_fingerprints(images, renamed or {}), self.names))
            self.parts[part.name] = len(images)
            renaming = {old for old, new in (renamed or {}).items() if old != new}
            named = set(images["fingerprint"].unique().to_pylist())
            self.outdated += [] if of_today and not named & renaming else [part.name]
        self._set(np.concatenate([self.rows, *found]))

    def __len__(self) -> int:
        return len(self.rows)

    def extents(self) -> Iterator[tuple[str, int, int]]:
        """Each part with the places of its rows."""
        start = 0
        for part, length in self.parts.items():
            yield part, start, start + length
            start += length

    # -- questions

    def fingerprints(self) -> set[str]:
        """The models that made the masks."""
        used = set(np.unique(self.rows["model"][self.rows["ok"]]).tolist())
        return {name or "" for name, code in self.names.items() if code in used}

    def of_other_models(self, fingerprint: str) -> Rows:
        """The rows whose mask another model made."""
        others: Rows = self.rows["ok"] & (self.rows["model"] != self.names.get(fingerprint, -1))
        return others

    def scored_otherwise(self, score: str) -> Rows:
        """The rows whose truth was read by another label map, or scored by other metrics."""
        scored = self.rows["ok"] & (self.rows["truth"] == TRUTHS.index("ok"))
        others: Rows = scored & (self.rows["score"] != self.names.get(score, -1))
        return others

    @property
    def acknowledged(self) -> int:
        """How many images failed and are not tried again."""
        return int(np.count_nonzero(self.rows["acknowledged"]))

    def find(self, ids: Iterable[str]) -> Places:
        """The row of each id, or -1."""
        return self._by_id.find(keys(ids))

    def unlisted(self, ids: KeySet) -> Rows:
        """The rows whose image is not among these."""
        return ~ids.contains(self.rows["id"])

    def judge(self, table: pa.Table, key: Key) -> Verdict:
        """Hold listed images against what is committed of them."""
        at = self._by_id.find(keys(table["id"]))
        nothing = np.zeros(len(table), bool)
        if not len(self):
            return Verdict(at, nothing, nothing, nothing, nothing)
        rows = self.rows[np.where(at >= 0, at, 0)]
        # a file of an unknown version may be any other by now
        versions, truths = keys(table["source_version"]), keys(table["truth_version"])
        unchanged = (at >= 0) & (rows["version"] == versions) & (rows["place"] == place_keys(table))
        of_model = rows["model"] == self.names.get(key.mask, -1)
        segmented = unchanged & rows["ok"] & (versions != NULL) & of_model
        if key.has_files:
            segmented &= rows["mask"] != NULL
        same_truth = rows["truth_version"] == truths
        of_labels = rows["score"] == self.names.get(key.score, -1)
        same = (rows["truth"] == TRUTHS.index("ok")) & same_truth & (truths != NULL) & of_labels
        meant = table["truth"].is_valid().to_numpy()
        without = (rows["truth"] == TRUTHS.index("none")) & self._measured_alike(rows, key)
        scored = segmented & np.where(meant, same, without)
        # a missing file has no version, and is the same as long as it has none; what the model or the way
        # truths are read had to do with it is tried again with another one
        known_image = unchanged & ~rows["ok"] & (of_model | ~rows["by_model"])
        by_labels = np.isin(rows["truth"], _BY_READING)
        faulty = np.isin(rows["truth"], _FAULTY)
        known_truth = segmented & meant & faulty & same_truth & (of_labels | ~by_labels)
        acknowledged = rows["acknowledged"] & (known_image | known_truth)
        return Verdict(at, segmented, scored, (at >= 0) & ~rows["ok"], acknowledged)

    def _measured_alike(self, rows: NDArray[np.void], key: Key) -> Rows:
        """Whether of rows without a truth the same is measured as the key means, be it nothing."""
        if key.without_truth is not None:
            alike: Rows = rows["score"] == self.names.get(key.without_truth, -1)
            return alike
        others = [code for name, code in self.names.items() if (name or "").startswith(MEASURED)]
        return ~np.isin(rows["score"], others)

    def owners(self, masks: Keys) -> list[str | None]:
        """The id of the image that each mask belongs to, or None; by the keys of paths below masks/."""
        at = np.where(masks == NULL, -1, self._by_mask.find(masks))
        owned = np.flatnonzero(at >= 0)
        found: list[str | None] = [None] * len(masks)
        names = self.values(at[owned], ["id"])["id"].to_pylist() if len(owned) else []
        for place, name in zip(owned.tolist(), names, strict=True):
            found[place] = name
        return found

    def mask_keys(self, at: Places) -> Keys:
        """The names of the masks of some rows, as keys of paths below masks/; NULL for -1 and for none."""
        names = np.append(self.rows["mask"], NULL)
        found: Keys = names[at]
        return found

    def masks(self) -> KeySet:
        """The masks that a row names, by their paths below masks/."""
        return KeySet([self.rows["mask"]])

    def mask_names(self) -> Iterator[str]:
        """The same as paths below masks/, read again part by part."""
        for part in self.parts:
            masks = below_masks(read_images(self.root / "images" / part, ["mask"])["mask"])
            yield from masks.drop_null().to_pylist()

    def values(self, places: Places, columns: Iterable[str]) -> pa.Table:
        """Some columns of some rows, in the order of `places`, read again: the ledger keeps no text."""
        order = np.argsort(places, kind="stable")
        wanted, tables = places[order], []
        for part, start, stop in self.extents():
            first, last = np.searchsorted(wanted, [start, stop])
            if last > first:
                table = read_images(self.root / "images" / part, list(columns))
                tables.append(table.take(pa.array(wanted[first:last] - start)))
        back = np.empty(len(places), np.int64)
        back[order] = np.arange(len(places))
        if not tables:
            return pa.schema([IMAGES.field(name) for name in columns]).empty_table()
        return pa.concat_tables(tables).take(pa.array(back))

    # -- changes, under the folder's lock: OutputError where another run has taken it over

    def drop(self, rows: Rows) -> int:
        """Take rows away, then the masks that no row names any more; how many rows. Raises OutputError."""
        if not rows.any():
            return 0
        check(self.lock)
        gone = self._mask_names(rows)
        failed = self._failed(rows)
        with output_errors(self.root):
            # for whoever goes on, should we die in between
            write_names(self.root / ".work" / GOING, [*gone, *possible_masks(failed)])
            for part, start, stop in self.extents():
                if rows[start:stop].any():
                    self._rewrite(part, ~rows[start:stop])
            self._forget(rows)
            left = [name for name, at in zip(failed, self._by_id.find(keys(failed)), strict=True) if at < 0]
            delete_unnamed(self.root, [*gone, *possible_masks(left)], self.masks())
        return int(rows.sum())

    def drop_superseded(self) -> int:
        """Of an image that has several rows leave the last one."""
        (again,) = superseded([self.rows["id"]])
        return self.drop(again)

    def add(self, part: str, images: pa.Table) -> None:
        """Know of a part that was committed just now; interrupted, it may be told of again."""
        before = sum(length for name, length in self.parts.items() if name != part)
        self._set(np.concatenate([self.rows[:before], encode_rows(images, self.names)]))
        self.parts[part] = len(images)

    def acknowledge(self, marked: Mapping[str, Rows], known: bool) -> None:
        """Know of faults that were acknowledged just now, or are no longer; rows by part."""
        for part, start, stop in self.extents():
            if part in marked:
                self.rows["acknowledged"][start:stop][marked[part]] = known

    def merge(self) -> None:
        """Make one part of small ones that lie side by side. Raises OutputError."""
        with output_errors(self.root):
            for old in mergeable(self.root, self.parts):
                check(self.lock)
                if merge_parts(self.root, old):
                    lengths = [self.parts[part] for part in old]
                    merged = {part: length for part, length in self.parts.items() if part not in old[:-1]}
                    self.parts = {**merged, old[-1]: sum(lengths)}

    # -- within

    def _mask_names(self, rows: Rows) -> list[str]:
        places = np.flatnonzero(rows & (self.rows["mask"] != NULL))
        if not len(places):
            return []
        names: list[str] = below_masks(self.values(places, ["mask"])["mask"]).to_pylist()
        return names

    def _failed(self, rows: Rows) -> list[str]:
        """The ids of images without a mask, which may have an overlay all the same."""
        places = np.flatnonzero(rows & ~self.rows["ok"])
        if not len(places) or not (self.root / "overlays").is_folder():
            return []
        ids: list[str] = self.values(places, ["id"])["id"].to_pylist()
        return ids

    def _rewrite(self, part: str, kept: Rows) -> None:
        if not kept.any():
            replace_parts(self.root, [part], [])
            return
        images = read_images(self.root / "images" / part).filter(pa.array(kept))
        beside = read_beside(self.root, part, images["id"])
        replace_parts(self.root, [part], [(part, {"images": images, **beside})])

    def _forget(self, rows: Rows) -> None:
        left = {part: int((~rows[start:stop]).sum()) for part, start, stop in self.extents()}
        self.parts = {part: length for part, length in left.items() if length}
        self._set(self.rows[~rows])

    def _set(self, rows: NDArray[np.void]) -> None:
        self.rows = rows
        for name in ("_by_id", "_by_mask"):
            self.__dict__.pop(name, None)

    @cached_property
    def _by_id(self) -> KeyIndex:
        return KeyIndex(self.rows["id"])

    @cached_property
    def _by_mask(self) -> KeyIndex:
        return KeyIndex(self.rows["mask"])
