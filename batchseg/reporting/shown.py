"""Which images the page shows, and what is asked of the workers for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.reporting.overview import Overview
from batchseg.reporting.pictures import LAYERS
from batchseg.reporting.reference import Reference
from batchseg.results.folder import Results
from batchseg.results.masks import is_inside
from batchseg.results.tables import read_images
from batchseg.source.listing import truths_of
from batchseg.storage.location import Location

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """An image's mean IoU before and after; where it is unknown, the share of its area that moved."""

    before: float | None = None
    after: float | None = None
    moved: float | None = None


@dataclass
class ShownImage:
    """An image of the page.

    Attributes:
        row: its row of `images`.
        number: by which the page links to it.
        change: against the older results, if it is among what changed most.
        picture: a row of `PICTURE`, once it is drawn.
        notes: what is lacking beside what the picture says itself.
    """

    row: Row
    number: int
    change: Change | None = None
    picture: Row | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def can_be_seen(self) -> bool:
        """Whether any of it could be read."""
        return self.picture is not None and any(self.picture[layer] is not None for layer in LAYERS)


@dataclass
class ImageGroup:
    """Images that are shown for one reason; `elsewhere` are those that another group shows already."""

    kind: str
    title: str
    about: str
    shown: list[ShownImage] = field(default_factory=list)
    elsewhere: list[ShownImage] = field(default_factory=list)


def changed_ids(reference: Reference | None, most: int) -> dict[str, Change]:
    """The images that changed most, and how; by mean IoU where both sides have truth, else by area."""
    if reference is None or reference.compared is None:
        return {}
    compared = reference.compared
    if compared.changed:
        return {each.id: Change(each.old, each.new) for each in compared.changed[:most]}
    return {each.id: Change(moved=each.share) for each in compared.moved[:most]}


def image_groups(
    overview: Overview, reference: Reference | None, changed: dict[str, Change], suspects: Sequence[str]
) -> list[ImageGroup]:
    """The groups that have images; one that is in several is shown in the first."""
    against = reference.name if reference else ""
    leading = {kind: each.rows for kind, each in overview.leading.items()}
    found = (
        (ImageGroup("worst", "Worst", "The lowest mean IoU."), leading["worst"]),
        (
            ImageGroup("changed", "Most changed", f"Against {against}."),
            [overview.wanted[name] for name in changed if name in overview.wanted],
        ),
        (
            ImageGroup("suspect", "Truths that look wrong", "Where the model is sure of another class."),
            [overview.wanted[name] for name in suspects[: overview.most] if name in overview.wanted],
        ),
        (
            ImageGroup("uncertain", "Least certain", "The lowest mean confidence."),
            leading["uncertain"],
        ),
        (
            ImageGroup("chance", "At random", "A sample that follows from the ids, the same every time."),
            leading["chance"],
        ),
    )
    known: dict[str, ShownImage] = {}
    for group, rows in found:
        for row in rows:
            if (before := known.get(row["id"])) is not None:
                group.elsewhere.append(before)
                continue
            image = ShownImage(row, len(known) + 1, changed.get(row["id"]))
            known[row["id"]] = image
            group.shown.append(image)
    return [group for group, _ in found if group.shown or group.elsewhere]


def requests_for(
    images: list[ShownImage],
    results: Results,
    truths: dict[str, str | None],
    before: dict[str, str],
    *,
    of_masks: bool,
    share: int,
) -> list[Row]:
    """Rows of `REQUEST` for the images that have a mask, each of which may take `share` bytes."""
    requests = []
    for image in images:
        row = image.row
        mask = row["uri"] if of_masks else _mask_of(results.root, row["mask"])
        if mask is None or not row["height"] or not row["width"]:
            continue
        requests.append(
            {
                "id": row["id"],
                "image": None if of_masks else row["uri"],
                "mask": mask,
                "truth": truths.get(row["id"]) if row["has_truth"] else None,
                "before": before.get(row["id"]),
                "height": row["height"],
                "width": row["width"],
                "share": share,
            }
        )
    return requests


def listed_truths(images: list[ShownImage], listed: Iterable[pa.Table]) -> dict[str, str | None]:
    """Where the truth of each image lies, by a pass over the source. Raises SourceError."""
    ids = [image.row["id"] for image in images]
    table = pa.table({"id": pa.array(ids, pa.string())})
    (truths,) = truths_of([table], listed)
    return dict(zip(ids, truths, strict=True))


def masks_before(reference: Reference | None, images: list[ShownImage]) -> dict[str, str]:
    """Where the older masks lie, if the older results still have them. Raises OutputError."""
    if reference is None or reference.masks is None or not images:
        return {}
    root, found = reference.masks, dict[str, str]()
    ids = pa.array([image.row["id"] for image in images], pa.string())
    for part in Results(str(root)).images.files(".parquet"):
        rows = read_images(part, ["id", "mask"])
        for row in rows.filter(pc.is_in(rows["id"], ids)).to_pylist():
            if (place := _mask_of(root, row["mask"])) is not None:
                found[row["id"]] = place
    return found


def _mask_of(root: Location, mask: str | None) -> str | None:
    """None where there is none, or where a damaged table names a file outside of the folder."""
    below = (mask or "").removeprefix("masks/")
    return str(root / "masks" / below) if mask and is_inside(root / "masks", below) else None
