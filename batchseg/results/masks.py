"""The files below masks/: found without following a link, and deleted only where no row names them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.explain import explanation_names
from batchseg.config.overlay import overlay_names
from batchseg.config.run import Kept
from batchseg.images.probability_file import probability_name, probability_names
from batchseg.storage.keys import KeySet, keys
from batchseg.storage.location import TEMPORARY, Location
from batchseg.storage.tree import files_below

FOLDERS = ("masks", "overlays", "probabilities", "explanations")
FILES_A_STEP = 8192
SUFFIXES = (".png", ".tif", ".tiff")  # of masks


def file_paths(root: Location, folder: str) -> Iterator[list[str]]:
    """The files below masks/ or overlays/, by their paths relative to the results folder, some thousand at a
    time.

    A link is a name like any other file's: what it leads to is somebody else's.
    """
    found = (f"{folder}/{path}" for path, _ in files_below(root / folder))
    while some := list(islice(found, FILES_A_STEP)):
        yield some


def below_masks(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths of masks as the tables name them, below masks/; null stays null."""
    return pc.utf8_slice_codeunits(paths, len("masks/"))


def write_names(place: Location, masks: list[str]) -> None:
    """Write down masks, by their paths below masks/, that may be left without a row. Raises OSError."""
    table = pa.table({"mask": pa.array(masks, pa.string())})
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    place.write(buffer.getvalue())


def read_names(place: Location) -> list[str]:
    """The masks in such a file, or in the plan of a run; none where it was cut off or is neither."""
    try:
        with place.filesystem.open_input_file(place.path) as file, pa.ipc.open_file(file) as reader:
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
            return [
                name
                for batch in batches
                for name in batch.column("mask").to_pylist()
                if isinstance(name, str)
            ]
    except (OSError, pa.ArrowException, KeyError):
        return []


def may_be_mask(root: Location, path: str) -> bool:
    """Whether a file below masks/ may be a mask, or one that is being written; others are somebody else's.

    A link may be deleted, too: what it leads to stays.
    """
    linked = root.is_local and os.path.islink((root / path).path)
    return path.lower().endswith(SUFFIXES) or is_unfinished(path) or linked


def is_unfinished(path: str) -> bool:
    """Whether a file carries the name of one that is being written, or that a killed run left."""
    return path.rpartition("/")[2].startswith(TEMPORARY)


def delete_unnamed(root: Location, masks: Iterable[str], named: KeySet) -> int:
    """Delete those masks that no row names, with what is beside them; how many. All are paths
    below masks/.

    Raises OSError.
    """
    wanted = sorted({mask for mask in masks if mask})
    unnamed = [wanted[index] for index in np.flatnonzero(~named.contains(keys(wanted)))]
    deletable = [mask for mask in unnamed if all(is_inside(root / folder, mask) for folder in FOLDERS)]
    beside = {
        "overlays": overlay_names,
        "probabilities": probability_names,
        "explanations": explanation_names,
    }
    there = [folder for folder in beside if deletable and (root / folder).is_folder()]
    for mask in deletable:
        (root / "masks" / mask).delete()
        for folder in there:
            for name in beside[folder](mask):
                (root / folder / name).delete()
    return len(deletable)


def with_probabilities(root: Location, kept: Kept) -> KeySet:
    """The masks, by their paths below masks/, that have a file of probabilities of a kind. Raises OSError."""
    suffix = probability_name("", kept)
    paths = (path for path, _ in files_below(root / "probabilities"))
    return KeySet([keys(path.removesuffix(suffix) for path in paths if path.endswith(suffix))])


def is_inside(folder: Location, below: str) -> bool:
    """Whether a path that a row names stays below the folder: a damaged table may name any file, and a
    folder on the way may be a link to somewhere else."""
    if any(part in ("", ".", "..") for part in below.split("/")):
        return False
    if not folder.is_local:
        return True
    # the results folder itself may be reached through a link; nothing below it may
    real = os.path.join(os.path.realpath(folder.parent.path), folder.name)
    return f"{os.path.realpath(os.path.dirname((folder / below).path))}/".startswith(f"{real}/")
