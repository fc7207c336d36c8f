"""`batchseg export`: masks of a results folder for another tool, image by image, without a model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.export import ExportConfig
from batchseg.errors import OutputError, RowFault
from batchseg.exports.chosen import ChosenImages
from batchseg.exports.formats import FORMATS, Format
from batchseg.exports.labelled import Add, ExportJob
from batchseg.exports.masks import Masks
from batchseg.results.folder import FOLDERS, WRITTEN, Results
from batchseg.results.progress import OnCounted, unwatched
from batchseg.storage.location import Location, locate, output_errors, temporary_name

LISTED_PROBLEMS = 20


@dataclass
class ExportReport:
    """What was exported.

    Attributes:
        output: the file or folder that was written.
        chosen: images that were to be exported.
        written: those that were.
        objects: their objects; pixels of one class that hang together, the background aside.
        lacking: images that were left out, because their mask cannot be read.
        abstaining: images with pixels that have no class, where the format cannot tell these from the
            background.
        problems: the first of these, as id and sentence.
        remarks: sentences on all of them.
    """

    output: str
    chosen: int = 0
    written: int = 0
    objects: int = 0
    lacking: int = 0
    abstaining: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def export(
    results: ExportConfig | Plain,
    on_exported: OnCounted = unwatched,
    *,
    to: str | None = None,
    output: Plain | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Write masks of a results folder as another tool reads them.

        batchseg.export("results/", to="coco", output="worst.json", settings={"images": 50})

    The file is written whole or not at all. An image whose mask cannot be read is left out and named.

    Args:
        results: the whole job; or the results folder, whose other settings the further arguments are.
        on_exported: called in this process after each image, with how many are done and how many there are.
        to: the format: coco, coco-panoptic, geojson, geoparquet, cvat or label-studio.
        output: the file to write, or for coco-panoptic the folder.
        settings: any other setting, nested as in a configuration file.

    Raises:
        ConfigError: a setting is wrong, `where` is no condition, or a package of the extra `export` is not
            installed.
        OutputError: there are no results, the output is there already or cannot be written, or images of
            several CRSs would come into one file.
    """
    given = {"to": to, "output": output}
    return _export(from_arguments(ExportConfig, ("results", results), given, settings, {}), on_exported)


def _export(config: ExportConfig, on_exported: OnCounted) -> ExportReport:
    found, output, kind = Results(config.results), locate(config.output), FORMATS[config.to]
    found.refuse_strangers()
    _refuse_own(output, found)
    _refuse_taken(output, kind, config)
    masks = Masks(found)
    job = ExportJob(config, masks.label_map, masks.model)
    chosen = ChosenImages(found, config)
    # looked through twice: what is wrong with `where` is said before anything is written
    report = ExportReport(str(output), chosen=sum(map(len, chosen)))
    if kind.advice:
        report.remarks.append(kind.advice(job))

    def write(path: str) -> None:
        with kind.write(path, job) as add:
            for table in chosen:
                for row in table.to_pylist():
                    _add(row, masks, add, job, report)
                    on_exported(report.written + report.lacking, report.chosen)

    with output_errors(output):
        output.parent.make_folder()
        _written(output, kind, write)
    if report.abstaining:
        report.remarks.append(
            f"{report.abstaining:,} images have pixels without a class, which {config.to} cannot tell from "
            "the background"
        )
    return report


def _add(row: dict[str, Any], masks: Masks, add: Add, job: ExportJob, report: ExportReport) -> None:
    kind = FORMATS[job.config.to]
    try:
        picture = masks.read(row, job, placed=kind.is_placed)
    except RowFault as fault:
        report.lacking += 1
        if len(report.problems) < LISTED_PROBLEMS:
            name = row["mask"] or row["uri"]
            why = str(fault).removeprefix("label file: ")
            report.problems.append((row["id"], f"its mask {name} cannot be used: {why}"))
        return
    add(picture)
    report.written += 1
    report.objects += picture.objects.count
    report.abstaining += picture.abstains and not kind.has_void


def _refuse_own(output: Location, results: Results) -> None:
    """What lies among the tables would be read as one of them."""
    if results.root.prefix == output.prefix:
        below = os.path.relpath(output.path, results.root.path).split("/")[0]
        if below in (".", *FOLDERS, *WRITTEN):
            raise OutputError(f"{output}: belongs to the results; name a place outside of their folder")


def _refuse_taken(output: Location, kind: Format, config: ExportConfig) -> None:
    if kind.is_folder and not output.is_local:
        raise OutputError(f"{output}: {config.to} is a folder of files; name one on a local disk")
    if not output.exists():
        return
    if kind.is_folder and output.is_folder():
        names = set(os.listdir(output.path))
        if names and not (config.overwrite and names <= kind.names):
            hint = "" if config.overwrite else f"; --overwrite replaces an export to {config.to} alone"
            raise OutputError(f"{output}: is not empty; name a folder for the export alone{hint}")
    elif kind.is_folder or output.is_folder():
        one, other = ("file", "folder") if kind.is_folder else ("folder", "file")
        raise OutputError(f"{output}: is a {one}, and {config.to} is a {other}; name another output")
    elif not config.overwrite:
        raise OutputError(f"{output}: is there already; name another file, or replace it with --overwrite")


def _written(output: Location, kind: Format, write: Callable[[str], None]) -> None:
    """Have it written under another name first, so that it is there whole or not at all."""
    if not kind.is_folder:
        output.write_by(write)
        return
    temporary = output.parent / temporary_name()
    try:
        os.mkdir(temporary.path)
        write(temporary.path)
        output.delete_folder()
        os.replace(temporary.path, output.path)
    except BaseException:
        shutil.rmtree(temporary.path, ignore_errors=True)
        raise
