"""What the results are compared with: what was asked for, or else the last good night in the folder."""

from __future__ import annotations

from dataclasses import dataclass

from batchseg.comparison.compare import CompareReport, compare
from batchseg.config.compare import CompareConfig
from batchseg.errors import BatchsegError
from batchseg.results.folder import Results
from batchseg.results.nights import Nights
from batchseg.storage.location import Location, locate

# of more images fewer resamplings are enough for an interval, and a page should not take minutes
_MANY, _TIMES, _TIMES_OF_MANY = 5000, 1000, 200


@dataclass(frozen=True)
class Reference:
    """Older results, and what became of them.

    Attributes:
        name: for a sentence: the path as it was given, or a night.
        compared: None where the two cannot be compared; then `problem` says why.
        masks: the folder in which the older masks lie, where they were kept.
    """

    name: str
    compared: CompareReport | None
    problem: str | None = None
    masks: Location | None = None


def compare_with_older(
    results: Results, against: str | None, run_id: str | None, images: int, listed: int
) -> Reference | None:
    """None where there is nothing to compare with.

    Args:
        against: what was asked for; None for the last good night.
        run_id: of the last run, with which a night is not compared that it made itself.
        images: how many there are.
        listed: images named of each kind.

    Raises BatchsegError where what was asked for cannot be compared.
    """
    night = Nights(results).last_before(run_id) if against is None else None
    if against is None and night is None:
        return None
    old = against if against is not None else str(night)
    times = _TIMES if images <= _MANY else _TIMES_OF_MANY
    config = CompareConfig(old=old, new=str(results.root), bootstrap=times, listed=listed)
    name = old if night is None else f"the good night {night.name}"
    try:
        return Reference(name, compare(config), masks=_masks(results, old))
    except BatchsegError as exc:
        if against is not None:
            raise
        return Reference(name, None, str(exc))


def _masks(results: Results, old: str) -> Location | None:
    """A record stands for rows of a folder whose masks may be newer; a night keeps none."""
    place = locate(old)
    others = not old.endswith(".json") and str(place) != str(results.root)
    return place if others and (place / "masks").is_folder() else None
