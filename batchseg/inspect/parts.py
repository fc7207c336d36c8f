"""The parts of a results folder on trial: do its tables hold together?

A row costs 17 bytes for as long as the trial lasts; the tables themselves are read one part at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.base import METRICS
from batchseg.errors import OutputError
from batchseg.inspect.findings import Findings
from batchseg.inspect.scores import wrong_metrics
from batchseg.inspect.side_tables import (
    FROM_MASKS,
    OF_BOUNDARY,
    OF_OBJECTS,
    SIDE_TABLES,
    foreign_beside,
    look_beside,
    wrong_measures,
)
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.folder import Results
from batchseg.results.part_names import NOT_OURS
from batchseg.results.tables import as_today, is_foreign, read_part, selected
from batchseg.schema import IMAGES, PIXELS, Status
from batchseg.storage.keys import NULL, keys, repeated, superseded
from batchseg.storage.location import Location

Rows = NDArray[np.bool_]
Counts = NDArray[np.int64]
Kinds = Sequence[tuple[Location, pa.Schema, Sequence[str]]]

_WITHOUT_GAPS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

OF_IMAGES = (
    "id",
    "uri",
    "status",
    "truth_status",
    "width",
    "height",
    "mask",
    "has_truth",
    "truth_pixels",
    "model",
    "acknowledged",
    "prompt",
    "prompt_iou",
    *METRICS,
    *OF_BOUNDARY,
    *OF_OBJECTS,
)


@dataclass
class Part:
    """What is known of one part.

    Attributes:
        ids, masks: the keys of each row's id and of its mask's path, `NULL` where it has none.
        broken: the rows whose image must be computed again.
        superseded: the rows that a later part replaces, as long as the run that wrote it is not through.
        acknowledged: how many rows have a fault that is known for good.
        unscored: the rows whose mask must be scored anew, for what lies beside them cannot be right.
        strays: whether there are rows beside that belong to no image.
        lost: the part as a whole cannot be used.
        foreign: the file of that name that is no table of ours, if it is none.
    """

    name: str
    ids: Counts = field(default_factory=lambda: np.empty(0, np.int64))
    masks: Counts = field(default_factory=lambda: np.empty(0, np.int64))
    broken: Rows = field(default_factory=lambda: np.empty(0, bool))
    superseded: Rows = field(default_factory=lambda: np.empty(0, bool))
    unscored: Rows = field(default_factory=lambda: np.empty(0, bool))
    strays: bool = False
    acknowledged: int = 0
    lost: bool = False
    foreign: Location | None = None

    @property
    def named(self) -> Rows:
        """The rows that have a mask."""
        rows: Rows = self.masks != NULL
        return rows


def try_parts(
    results: Results, num_classes: int | None, cut_off: bool, findings: Findings
) -> tuple[list[Part], ConfusionMatrix | None]:
    """Every part, and the sum of their pixels where the number of classes is known. Raises OutputError.

    Where a run was `cut_off`, rows that it has replaced and not yet dropped are no fault.
    """
    total = None if num_classes is None else ConfusionMatrix.zeros(num_classes)
    parts = []
    for name, images, pixels in _tables(results, cut_off, findings):
        if isinstance(images, Location):
            parts.append(Part(name, lost=True, foreign=images))
            continue
        if images is None or pixels is None:
            parts.append(Part(name, lost=True))
            continue
        part = _try_part(name, images, pixels, num_classes, findings)
        _try_beside(results.root, part, images, findings)
        parts.append(part)
        if total is not None:
            total += _sum(pixels, total.num_classes)
    _try_ids(results, parts, cut_off, findings)
    names = {part.name for part in parts}
    foreign = foreign_beside(results.root, names, cut_off, findings)
    parts += [Part(file.name, lost=True, foreign=file) for file in foreign]
    return parts, total


def broken_rows(results: Results, part: Part, rows: Rows, *columns: str) -> Iterator[tuple[str, ...]]:
    """The values of some rows, read again: ids and paths are not kept."""
    if rows.any():
        table = read_part(results.images / part.name, list(columns)).filter(pa.array(rows))
        yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


def refuse_if_refused(exc: OutputError) -> None:
    """A disk that may not be read says nothing about what is on it: raises `exc` again."""
    if isinstance(exc.__cause__, OSError) and exc.__cause__.errno is not None:
        raise exc


def _tables(
    results: Results, cut_off: bool, findings: Findings
) -> Iterator[tuple[str, pa.Table | Location | None, pa.Table | None]]:
    """Each part's two tables, None for one that cannot be used; or the place of a file that is not ours."""
    kinds = ((results.images, IMAGES, OF_IMAGES), (results.pixels, PIXELS, PIXELS.names))
    present = [{part.name for part in folder.files(".parquet")} for folder, _, _ in kinds]
    for name in sorted(present[0] | present[1]):
        if stranger := _stranger(name, kinds, present):
            findings.add("foreign", f"{stranger.parent.name}/{name}", NOT_OURS)
            yield name, stranger, None
            continue
        if cut_off and name not in present[0]:  # the pixels of a commit that did not come to its end
            continue
        tables: list[pa.Table | None] = []
        for (folder, schema, columns), names, other in zip(kinds, present, reversed(present), strict=True):
            if name not in names:
                findings.add("part", f"{folder.name}/{name}", "is missing beside the part of the same name")
            readable = name in names and name in other
            tables.append(_read(folder / name, schema, columns, findings) if readable else None)
        yield name, tables[0], tables[1]


def _stranger(name: str, kinds: Kinds, present: Sequence[Collection[str]]) -> Location | None:
    """The file of this name that is no table of ours, and no run gave it its name."""
    for (folder, schema, _), names in zip(kinds, present, strict=True):
        if name in names and is_foreign(folder / name, schema):
            return folder / name
    return None


def _read(place: Location, schema: pa.Schema, columns: Sequence[str], findings: Findings) -> pa.Table | None:
    try:
        table = read_part(place)  # every column must be readable
        return selected(place, as_today(table), schema, columns)
    except OutputError as exc:
        refuse_if_refused(exc)
        sentence = str(exc).removeprefix(f"{place}: ")
        findings.add("part", f"{place.parent.name}/{place.name}", sentence)
        return None


def _try_part(
    name: str, images: pa.Table, pixels: pa.Table, num_classes: int | None, findings: Findings
) -> Part:
    ids = images["id"].to_pylist()
    nothing = np.zeros(len(ids), bool)
    part = Part(name, keys(ids), keys(images["mask"].to_pylist()), nothing, nothing.copy(), nothing.copy())
    part.acknowledged = len(ids) - images["acknowledged"].null_count
    for kind, rows, sentence in (*_of_rows(images, part.named), *_of_counts(images, pixels, num_classes)):
        for index in np.flatnonzero(rows & ~part.broken):
            findings.add(kind, ids[index], sentence)
        part.broken |= rows
    strangers = int((~pc.is_in(pixels["id"], images["id"].combine_chunks()).to_numpy()).sum())
    if strangers:
        findings.add("part", f"pixels/{name}", f"counts pixels of images without a row, in {strangers} rows")
        part.lost = True
    return part


def _try_beside(root: Location, part: Part, images: pa.Table, findings: Findings) -> None:
    """What lies beside a part but for its pixels."""
    ids = images["id"]
    for kind in SIDE_TABLES:
        found = look_beside(root, kind, part.name, ids)
        where = f"{kind}/{part.name}"
        if found.problem is not None:
            findings.add("part", where, found.problem)
            part.unscored |= kind in FROM_MASKS
            part.lost |= kind not in FROM_MASKS
            continue
        if found.strays:
            findings.add("part", where, f"tells of images without a row, in {found.strays} rows")
            part.strays = True
        for name, wrong in wrong_measures(kind, images, found.table):
            for index in np.flatnonzero(wrong & ~part.broken & ~part.unscored):
                findings.add("metrics", ids[index].as_py(), f"its {name} is not what {kind}/ gives")
            part.unscored |= wrong
            if found.table is None and wrong.any():  # the file is gone, also for what has no figures
                part.unscored[:] = True


def _of_rows(images: pa.Table, named: Rows) -> Iterator[tuple[str, Rows, str]]:
    """What a row alone shows."""
    alive = _alive(images)
    masked = alive & images["model"].is_valid().to_numpy()  # `evaluate` names no model and writes no masks
    yield "row", alive & (_area(images) <= 0), "its row has no width and height"
    yield "row", masked & ~named, "its row names no mask"
    yield "row", named & ~masked, "its row names a mask although there should be none"
    scored = alive & pc.fill_null(pc.equal(images["truth_status"], "ok"), False).to_numpy()
    yield "row", images["has_truth"].to_numpy() != scored, "its truth_status and has_truth disagree"


def _of_counts(
    images: pa.Table, pixels: pa.Table, num_classes: int | None
) -> Iterator[tuple[str, Rows, str]]:
    """What a row and its pixels show."""
    odd = pc.less(pixels["pixels"], 1)
    for column in ("truth", "predicted") if num_classes is not None else ():
        unknown = pc.or_(pc.less(pixels[column], 0), pc.greater_equal(pixels[column], num_classes))
        odd = pc.or_(odd, pc.fill_null(unknown, False))
    strange = pc.is_in(images["id"], pixels["id"].filter(odd).combine_chunks()).to_numpy()
    yield "counts", strange, "its pixels have class ids or numbers that cannot be"
    area = np.where(_alive(images), _area(images), 0)
    counted = _pixels_of(images["id"], pixels)
    fewer = (counted < area) & ~may_have_gaps(images["uri"])  # pixels without data are not counted
    yield "counts", (counted > area) | fewer, "its pixels do not add up to width x height"
    has_truth = images["has_truth"].to_numpy()
    stated = np.where(has_truth, pc.fill_null(images["truth_pixels"], -1).to_numpy(), 0)
    counted = _pixels_of(images["id"], pixels.filter(pixels["truth"].is_valid()))
    yield "counts", counted != stated, "its pixels with truth do not add up to truth_pixels"
    if num_classes is not None:
        for name, wrong in wrong_metrics(images, pixels, num_classes):
            yield "metrics", wrong, f"its {name} is not what its pixels give"


def may_have_gaps(uris: pa.ChunkedArray) -> Rows:
    """Whether some pixels of an image may have no data, by the name of its file: rasters have such."""
    lower = pc.utf8_lower(pc.fill_null(uris, ""))
    whole = [pc.ends_with(lower, pattern=suffix).to_numpy() for suffix in _WITHOUT_GAPS]
    gaps: Rows = ~np.any(whole, axis=0)
    return gaps


def _alive(images: pa.Table) -> Rows:
    """The images that were segmented; a fault of the truth alone takes nothing from the mask."""
    rows: Rows = pc.equal(images["status"], Status.OK.value).to_numpy()
    return rows


def _area(images: pa.Table) -> Counts:
    width, height = (
        pc.fill_null(images[name], 0).to_numpy().astype(np.int64) for name in ("width", "height")
    )
    area: Counts = width * height
    return area


def _pixels_of(ids: pa.ChunkedArray, pixels: pa.Table) -> Counts:
    """The number of pixels that are counted for each id."""
    sums = pixels.group_by("id").aggregate([("pixels", "sum")])
    places = pc.index_in(ids, sums["id"].combine_chunks())
    counted: Counts = pc.fill_null(sums["pixels_sum"].take(places), 0).to_numpy()
    return counted


def _sum(pixels: pa.Table, num_classes: int) -> ConfusionMatrix:
    """The confusion matrix of a part, without ids that are none: those are reported by themselves."""
    truth, predicted = (pc.fill_null(pixels[name], -1).to_numpy() for name in ("truth", "predicted"))
    known = (truth >= -1) & (truth < num_classes) & (predicted >= -1) & (predicted < num_classes)
    return ConfusionMatrix.from_sparse(
        truth[known], predicted[known], pixels["pixels"].to_numpy()[known], num_classes
    )


def _try_ids(results: Results, parts: list[Part], cut_off: bool, findings: Findings) -> None:
    if cut_off:
        for part, rows in zip(parts, superseded(part.ids for part in parts), strict=True):
            part.superseded = rows
    twice = repeated(part.ids[~part.superseded] if cut_off else part.ids for part in parts)
    for part in parts:
        rows = twice.contains(part.ids) & ~part.superseded
        for (image_id,) in broken_rows(results, part, rows, "id"):
            findings.add("id", image_id, "has more than one row")
        part.broken |= rows
