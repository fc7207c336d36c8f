"""Ground truths that look wrong: the model is sure of another class.

Images are ordered by the worst pair of a true and another class in each: by the share in which the model is
sure that the truth is wrong, of the pixels of the true class in the image or of those that look like the
other one, whichever are fewer. So an object of the wrong class, one that the truth lacks, and one too many
are suspect all over, however small they are, and one with a coarse outline is so at its edge alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.suspects import SuspectsConfig
from batchseg.errors import OutputError
from batchseg.metrics.calibration import CalibrationSums
from batchseg.results.calibrated import Part, ProbedGroups, calibrated, calibration_sums
from batchseg.results.classes import class_names
from batchseg.results.folder import Results
from batchseg.results.opened import OpenedResults

_FEW = 8  # probed pixels, among which a share says little
_COLUMNS = ("id", "uri", "probed_pixels", "truth_probability_p05")


@dataclass(frozen=True)
class Suspect:
    """An image whose ground truth looks wrong.

    Attributes:
        truth, suspected: the classes of its worst pair: what the truth says, and what the model is sure of.
        pixels: probed pixels of this pair in which the model is sure.
        share: of all probed pixels of the image.
        suspect_fraction: of the probed pixels, those that are suspect, whatever the pair; by today's
            thresholds.
        truth_probability_p05: as in the table `images`.
        score: what the images are ordered by, 0 to 1.
    """

    id: str
    uri: str
    truth: str
    suspected: str
    pixels: int
    share: float
    suspect_fraction: float
    truth_probability_p05: float
    score: float


@dataclass(frozen=True)
class Suspects:
    """What is suspect in a results folder.

    Attributes:
        images: the worst, worst first.
        suspicious: how many images have a suspect pixel.
        probed: how many images were probed.
        thresholds: of each class, how probable it is on average where it is true: where it is more probable
            than that, the model is sure of it. None for a class that is true nowhere.
    """

    results: str
    images: tuple[Suspect, ...]
    suspicious: int
    probed: int
    thresholds: dict[str, float | None]


def suspects(results: SuspectsConfig | Plain, *, listed: int | None = None) -> Suspects:
    """Find the ground truths of a results folder that look wrong, worst first.

    Args:
        results: the folder, or the whole configuration.
        listed: how many images are named at most.

    Raises:
        ConfigError: `listed` is not a whole number from 0 on.
        OutputError: there are no results, they cannot be read, or no image was probed.
    """
    config = from_arguments(SuspectsConfig, ("results", results), {"listed": listed}, None, {})
    folder = Results(config.results)
    folder.refuse_strangers()
    found = suspects_of(folder, config.listed)
    if not found.probed:
        raise OutputError(
            f"{folder.root}: no image has both probabilities and a ground truth; probabilities are held "
            "against the truth when an image is segmented (run --truth), by models that have them"
        )
    return found


def suspects_of(results: Results, most: int) -> Suspects:
    """The same, also where no image was probed. Memory is that of one part. Raises OutputError."""
    kept = OpenedResults(results).kept
    return suspects_by(results, kept, calibration_sums(results.root, kept), most)


def suspects_by(results: Results, kept: Sequence[Part], sums: CalibrationSums, most: int) -> Suspects:
    """The same, by the sums over all parts, for whoever has them already. Raises OutputError."""
    names = _Names(class_names(results, results.record()) or [])
    worst: list[Suspect] = []
    suspicious = probed = 0
    for images, groups in calibrated(results.root, kept, _COLUMNS):
        probed += len(np.unique(groups.image_G))
        suspect = groups.suspect(sums)
        suspicious += len(np.unique(suspect.image_G))
        pairs = _worst_pairs(groups, suspect)
        best = pairs[np.lexsort([pairs["image"], -pairs["score"]])][:most]
        found = _as_suspects(images, suspect, best, names)
        worst = heapq.nsmallest(most, [*worst, *found], key=lambda each: (-each.score, each.id))
    return Suspects(str(results.root), tuple(worst), suspicious, probed, _thresholds(sums, names))


class _Names(list[str]):
    """Of the classes; the number of one that has none."""

    def of(self, class_id: int) -> str:
        return self[class_id] if class_id < len(self) else str(class_id)


_PAIR = np.dtype([("image", "i8"), ("truth", "i8"), ("suspected", "i8"), ("pixels", "i8"), ("score", "f8")])


def _worst_pairs(groups: ProbedGroups, suspect: ProbedGroups) -> NDArray[np.void]:
    """Of each image with suspect pixels the worst pair, an array of _PAIR."""
    most = 2**16  # classes; a part has far fewer than 2**31 images
    keys_G = (suspect.image_G * most + suspect["truth"]) * most + suspect["predicted"]
    key_P, pair_G = np.unique(keys_G, return_inverse=True)
    (image_P, truth_P), suspected_P = np.divmod(key_P // most, most), key_P % most
    pixels_P = np.bincount(pair_G, suspect["pixels"], len(image_P))
    # a pixel counts by how much more probable the other class is
    sure_P = np.bincount(pair_G, suspect["top_sum"] - suspect["truth_sum"], len(image_P))
    smaller_P = np.minimum(
        _looked_up(groups, "truth", image_P, truth_P), _looked_up(groups, "predicted", image_P, suspected_P)
    )
    score_P = sure_P / (smaller_P + _FEW)
    _, start_I, pairs_I = np.unique(image_P, return_index=True, return_counts=True)
    best_I = np.maximum.reduceat(score_P, start_I) if len(start_I) else score_P
    place_Q = np.flatnonzero(score_P == best_I.repeat(pairs_I))  # several of an image where they are level
    place_I = place_Q[np.unique(image_P[place_Q], return_index=True)[1]]
    found = np.empty(len(place_I), _PAIR)
    columns = (image_P, truth_P, suspected_P, pixels_P, score_P)
    for name, column in zip(_PAIR.names or (), columns, strict=True):
        found[name] = column[place_I]
    return found


def _looked_up(
    groups: ProbedGroups, side: str, image_P: NDArray[np.int64], class_P: NDArray[np.int64]
) -> NDArray[Any]:
    """How many probed pixels of an image have a class, true or predicted."""
    most = 1 + int(max(groups[side].max(initial=0), class_P.max(initial=0)))
    keys, group_G = np.unique(groups.image_G * most + groups[side], return_inverse=True)
    pixels = np.bincount(group_G, groups["pixels"], len(keys))
    found: NDArray[Any] = pixels[np.searchsorted(keys, image_P * most + class_P)]
    return found


def _as_suspects(
    images: pa.Table, suspect: ProbedGroups, pairs: NDArray[np.void], names: _Names
) -> Iterator[Suspect]:
    fractions = suspect.pixels(len(images))[pairs["image"]]
    rows = images.select(_COLUMNS).take(pa.array(pairs["image"])).to_pylist()
    for row, pair, pixels in zip(rows, pairs.tolist(), fractions.tolist(), strict=True):
        _, truth, suspected, count, score = pair
        yield Suspect(
            row["id"],
            row["uri"],
            names.of(truth),
            names.of(suspected),
            count,
            count / row["probed_pixels"],
            pixels / row["probed_pixels"],
            row["truth_probability_p05"],
            score,
        )


def _thresholds(sums: CalibrationSums, names: _Names) -> dict[str, float | None]:
    values = sums.thresholds(len(names)).tolist()
    return {names.of(index): value if np.isfinite(value) else None for index, value in enumerate(values)}
