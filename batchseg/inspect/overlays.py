"""The overlays of a results folder on trial: where runs made them, are they all there, and are they whole?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.config.base import Limits
from batchseg.config.overlay import overlay_stem
from batchseg.errors import OutputError, RowFault
from batchseg.images.headers import decoding, open_picture, sniff
from batchseg.inspect.findings import Findings
from batchseg.inspect.parts import Part
from batchseg.results.folder import Results
from batchseg.results.masks import file_paths
from batchseg.results.record import parse_record
from batchseg.results.tables import read_part
from batchseg.storage.keys import KeyIndex, keys

PANELS = 4  # an overlay may show an image several times


def try_overlays(
    results: Results, record: dict[str, Any] | None, parts: list[Part], findings: Findings, quick: bool
) -> int:
    """Hold overlays against the rows, where the last run made some; how many files there are.

    With `quick` none is opened. Raises OutputError where one may not be read.
    """
    if not _made(record):
        return 0
    names = [path for paths in file_paths(results.root, "overlays") for path in paths]
    there, runs = KeyIndex(keys(_below(name).rpartition(".")[0] for name in names)), dict[str, bool]()
    for part in parts:
        rows = np.flatnonzero(part.named & ~part.broken & ~part.superseded) if not part.lost else ()
        if not len(rows):
            continue
        table = read_part(results.images / part.name, ["id", "mask", "width", "height", "run_id"])
        table = table.take(pa.array(rows))
        at = there.find(keys(overlay_stem(_below(mask)) for mask in table["mask"].to_pylist()))
        for index, row, place in zip(rows, table.to_pylist(), at, strict=True):
            if place >= 0:
                fault = None if quick else _fault(results, names[place], row)
            elif _wanted(results, row["run_id"], runs):
                fault = f"its overlay of {row['mask']} is not there"
            else:
                fault = None
            if fault:
                findings.add("overlay", row["id"], fault)
                part.broken[index] = True
    return len(names)


def _below(path: str | None) -> str:
    """`masks/a/b.png` -> `a/b.png`, and likewise of overlays."""
    return (path or "").partition("/")[2]


def _made(record: dict[str, Any] | None) -> bool:
    output = (record or {}).get("config", {}).get("output")  # a plain path where masks were scored
    return isinstance(output, dict) and bool(output.get("overlays"))


def _of_every_mask(record: dict[str, Any] | None) -> bool:
    """Whether a run made one of each mask; a run that scored masks made none of those."""
    if record is None or not _made(record) or record["images"]["scored"]:
        return False
    made = record["config"]["output"]["overlays"]
    return not isinstance(made, dict) or made.get("which", "all") == "all"


def _wanted(results: Results, run_id: str, known: dict[str, bool]) -> bool:
    if run_id not in known:
        try:
            known[run_id] = _of_every_mask(parse_record((results.runs / f"{run_id}.json").read()))
        except (OSError, ValueError):  # its record was forgotten
            known[run_id] = False
    return known[run_id]


def _fault(results: Results, path: str, row: dict[str, Any]) -> str | None:
    pixels = PANELS * (row["width"] or 1) * (row["height"] or 1)
    limits = Limits(max_pixels=max(Limits().max_pixels, pixels))
    try:
        data = (results.root / path).read()
        name = sniff(data, limits)
        with decoding(name):
            open_picture(name, data, limits).load()
    except OSError as exc:
        raise OutputError(f"{results.root / path}: cannot be read: {exc.strerror or exc}") from exc
    except RowFault as fault:
        return f"its overlay {path} cannot be read: {fault}"
    return None
