"""The table `calibration` read part by part: sums over a data set, and in which pixels a truth is suspect.

A pixel is suspect where its most probable class is not its truth, and is at least as probable there as on
average where it is true. This is confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning:
Estimating Uncertainty in Dataset Labels"), but for two things: of the classes only the most probable one is
looked at, and the pixels of an image with the same classes and bin count by their mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.errors import OutputError
from batchseg.metrics.calibration import BINS, CalibrationSums
from batchseg.results.rewrite import replace_parts
from batchseg.results.tables import read_images, read_part, selected
from batchseg.schema import CALIBRATION, IMAGES
from batchseg.storage.location import Location
from batchseg.storage.lock import Lock, check

Rows = NDArray[np.bool_]
Part = tuple[str, Rows | None]  # its name, and which of its images count; None: all
OF_PROBED = ("probed_pixels", "brier", "nll")
_MEANS = OF_PROBED[1:]
_FILLED = "suspect_fraction"
_MOST = {"truth": 2**16 - 1, "predicted": 2**16 - 1, "bin": BINS - 1}


@dataclass(frozen=True, eq=False)
class ProbedGroups:
    """Probed pixels of some images, a group for each image, pair of classes and bin of the probability.

    Attributes:
        image_G: which of the images each belongs to.
        columns: those of the table, but for the id, [G] each.
    """

    image_G: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def some(self, which_G: Rows) -> ProbedGroups:
        """Some of the groups."""
        return ProbedGroups(
            self.image_G[which_G], {name: each[which_G] for name, each in self.columns.items()}
        )

    def suspect(self, sums: CalibrationSums) -> ProbedGroups:
        """Those whose pixels are suspect, by the thresholds of a data set."""
        predicted_G = self["predicted"]
        threshold_G = sums.thresholds(int(predicted_G.max(initial=0)) + 1)[predicted_G]
        is_sure_G = self["top_sum"] >= threshold_G * self["pixels"]
        return self.some((self["truth"] != predicted_G) & is_sure_G)

    def pixels(self, images: int) -> NDArray[Any]:
        """How many each of the images has."""
        return np.bincount(self.image_G, self["pixels"], images)


def read_groups(root: Location, name: str, ids: pa.ChunkedArray) -> ProbedGroups | None:
    """Those of some images of a part; None where there are none in it. Raises OutputError."""
    table = _read(root, name, CALIBRATION.names)
    if table is None:
        return None
    at = pc.fill_null(pc.index_in(table["id"], ids.combine_chunks()), -1).to_numpy().astype(np.int64)
    return ProbedGroups(at, _arrays(table)).some(at >= 0)


def _read(root: Location, name: str, columns: Sequence[str]) -> pa.Table | None:
    place = root / "calibration" / name
    if not place.exists():
        return None
    table = selected(place, read_part(place, columns), CALIBRATION, columns)
    for column, most in _MOST.items():
        ends = pc.min_max(table[column]).as_py()
        if len(table) and not 0 <= ends["min"] <= ends["max"] <= most:
            raise OutputError(
                f"{place}: is no table of batchseg: {column} reaches from {ends['min']} to {ends['max']}"
            )
    return table


def _arrays(table: pa.Table) -> dict[str, NDArray[Any]]:
    return {name: table[name].to_numpy() for name in CALIBRATION.names[1:]}


def calibrated(
    root: Location, parts: Iterable[Part], columns: Sequence[str]
) -> Iterator[tuple[pa.Table, ProbedGroups]]:
    """Some columns of the images of each part that has probed pixels, and these. Raises OutputError."""
    for name, rows in parts:
        images = read_images(root / "images" / name, [*dict.fromkeys(["id", *columns])])
        if rows is not None:
            images = images.filter(pa.array(rows))
        groups = read_groups(root, name, images["id"])
        if groups is not None:
            yield images, groups


def calibration_sums(root: Location, parts: Iterable[Part]) -> CalibrationSums:
    """Over all images. Raises OutputError."""
    total = CalibrationSums.zeros()
    for part in parts:
        if part[1] is None or part[1].all():
            table = _read(root, part[0], CALIBRATION.names[1:])  # ids are most of a table's bytes
            total += CalibrationSums.of(_arrays(table)) if table is not None else CalibrationSums.zeros()
        else:
            found = (CalibrationSums.of(groups.columns) for _, groups in calibrated(root, [part], ()))
            total = sum(found, start=total)
    return total


@dataclass
class ProbedTotals:
    """Probed images of a data set, added up part by part.

    Attributes:
        images: how many have probed pixels.
        totals: of Brier score and NLL each the sum over the pixels of the images that have it, and how many
            pixels these are.
    """

    images: int = 0
    totals: dict[str, NDArray[Any]] = field(default_factory=lambda: {name: np.zeros(2) for name in _MEANS})

    def add(self, images: pa.Table) -> None:
        """Those of a part, with the columns OF_PROBED at least."""
        self.images += pc.sum(pc.greater(images["probed_pixels"], 0)).as_py() or 0
        for name, total in self.totals.items():
            known = images.filter(images[name].is_valid())
            pixels = known["probed_pixels"].to_numpy()
            total += (known[name].to_numpy() @ pixels, pixels.sum())

    @property
    def means(self) -> dict[str, float | None]:
        """None where no image has one."""
        return {
            name: float(total / pixels) if pixels else None for name, (total, pixels) in self.totals.items()
        }

    def facts(self, root: Location, names: Sequence[str]) -> dict[str, float | int | None] | None:
        """The figures of all probed pixels, and of how many images they are; None without any.

        NLL is that of the images that have one. Raises OutputError.
        """
        parts = [(name, None) for name in names if self.images]
        sums = calibration_sums(root, parts)
        if not sums.pixels:
            return None
        return {"images": self.images, "pixels": sums.pixels, "ece": sums.ece, **self.means}


def fill_suspects(root: Location, names: Sequence[str], lock: Lock | None = None) -> None:
    """Fill `suspect_fraction` where an image was probed and lacks it, by the thresholds of all images.

    Parts without such images stay as they are. A process that dies on the way leaves some of them unfilled,
    which the next call finds. Raises OSError, and OutputError where a part cannot be read.
    """
    lacking = [name for name in names if _lacks(read_images(root / "images" / name, ["ece", _FILLED])).any()]
    if not lacking:
        return
    sums = calibration_sums(root, [(name, None) for name in names])
    for name in lacking:
        images = read_images(root / "images" / name)
        groups = read_groups(root, name, images["id"])
        suspect_I = groups.suspect(sums).pixels(len(images)) if groups else np.zeros(len(images))
        fractions = pc.divide(pa.array(suspect_I), images["probed_pixels"].cast(pa.float64()))
        column = pc.if_else(pa.array(_lacks(images)), fractions, images[_FILLED])
        place = images.column_names.index(_FILLED)
        check(lock)
        filled = images.set_column(place, IMAGES.field(_FILLED), column)
        replace_parts(root, [], [(name, {"images": filled})])


def _lacks(images: pa.Table) -> Rows:
    lacks: Rows = pc.and_(images["ece"].is_valid(), images[_FILLED].is_null()).to_numpy()
    return lacks
