"""The colours of masks that lie there already: a palette is rewritten, and no pixel is.

.palette    the digest of the palette that every mask has which a row names

It is removed before the first mask is rewritten, and written again after the last one. Where it is missing,
nobody knows, and the head of every mask is looked at. So a run that is killed in between leaves nothing
behind that the next run, with this label map or another, does not find.
"""

from __future__ import annotations

import hashlib
import struct
from functools import partial

from batchseg.images.encode import PALETTE_SIZE, png_palette
from batchseg.images.palette import HEADER_BYTES, repainted
from batchseg.images.tiff_pages import has_other_palette, repaint_tiff
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Held
from batchseg.results.masks import is_inside
from batchseg.storage.location import Location, output_errors
from batchseg.storage.lock import Lock, check
from batchseg.storage.many import for_many

STATE = ".palette"


def repaint(held: Held, label_map: LabelMap) -> int:
    """Give every mask that a row names the label map's colours; how many had others.

    What cannot be read as a PNG or TIFF is left for `verify` to find.

    Raises:
        OutputError: a mask cannot be written, or another run has taken the folder over.
    """
    if label_map.ignore_index >= PALETTE_SIZE:
        return 0  # 16-bit grey
    root, lock = held.results.root, held.lock
    palette = png_palette(label_map.colours)
    digest = hashlib.sha256(palette).hexdigest().encode()
    with output_errors(root):
        if _state(root) == digest:
            return 0
        check(lock)
        (root / STATE).delete()
        work = partial(_repaint, root / "masks", palette, lock)
        count = sum(for_many(work, held.ledger.mask_names()))
        check(lock)
        (root / STATE).write(digest)
    return count


def _state(root: Location) -> bytes:
    try:
        return (root / STATE).read()
    except FileNotFoundError:
        return b""


def _repaint(masks: Location, palette: bytes, lock: Lock | None, mask: str) -> bool:
    if not is_inside(masks, mask):
        return False
    if lock is not None:
        lock.check_now_and_then()
    place = masks / mask
    if mask.endswith(".tif"):
        return _repaint_tiff(place, palette)
    try:
        if not _has_others(place, palette):
            return False
        png = repainted(place.read(), palette)
    except (FileNotFoundError, ValueError):
        return False
    if png is not None:
        place.write(png)
    return png is not None


def _repaint_tiff(place: Location, palette: bytes) -> bool:
    """In place on a local disk: a raster may be large, and all but the same bytes of it stay."""
    try:
        if place.is_local:
            with open(place.path, "r+b") as file:
                return repaint_tiff(file, palette)
        with place.filesystem.open_input_file(place.path) as file:
            if not has_other_palette(file, palette):
                return False
    except (FileNotFoundError, struct.error):
        return False

    def make(path: str) -> None:
        place.download(path)
        with open(path, "r+b") as file:
            repaint_tiff(file, palette)

    place.write_by(make)
    return True


def _has_others(place: Location, palette: bytes) -> bool:
    """Whether the file must be read as a whole: its head mostly tells."""
    with place.filesystem.open_input_file(place.path) as file:
        head = file.read(HEADER_BYTES)
    try:
        return repainted(head, palette) is not None
    except ValueError:
        return len(head) == HEADER_BYTES
