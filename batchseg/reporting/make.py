"""`batchseg report`: one page to look at of a results folder, or of a training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.compare import NightConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.report import PAGE, ReportConfig
from batchseg.errors import ConfigError, OutputError, SourceError
from batchseg.reporting.explained import shown_explanations
from batchseg.reporting.gallery import draw_pictures
from batchseg.reporting.headline import as_sentence, headline_of
from batchseg.reporting.learning_page import LearningPage, learning_page
from batchseg.reporting.overview import overview_of
from batchseg.reporting.page import ReportPage
from batchseg.reporting.pictures import Artist
from batchseg.reporting.reference import Reference, compare_with_older
from batchseg.reporting.render import render_page
from batchseg.reporting.shown import (
    changed_ids,
    image_groups,
    listed_truths,
    masks_before,
    requests_for,
)
from batchseg.results.calibrated import calibration_sums
from batchseg.results.explanations import read_explanations
from batchseg.results.folder import Results
from batchseg.results.learning import training_record
from batchseg.results.opened import OpenedResults
from batchseg.results.progress import OnCounted, unwatched
from batchseg.results.recorded import LookBack, is_evaluation, look_back
from batchseg.results.suspects import suspects_by
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.open import listed_tables, open_masks, open_source
from batchseg.stages.viewing import Sight
from batchseg.storage.location import Location, locate, output_errors, temporary_name

MOST_BYTES = 8_000_000  # of a page, so that a mail carries it
_FOR_PICTURES = 4_800_000  # bytes before base64, which makes a third more of them; the text has the rest
_A_PICTURE = (5_000, 96_000)  # bytes of one at least, or it shows nothing, and at most
_KINDS = 5
LISTED = 6  # images of each kind that are named where no pictures are wanted


@dataclass(frozen=True)
class PageReport:
    """A page that was made.

    Attributes:
        path: its file, a path or a URI.
        size_bytes: at most 8 MB.
        level: good, or look where someone should.
        verdict: the sentence at its top.
        pictures: images shown on it.
        notes: what is lacking on it, one sentence each.
    """

    path: str
    size_bytes: int
    level: str
    verdict: str
    pictures: int
    notes: tuple[str, ...]


def report(
    results: ReportConfig | Plain,
    on_picture: OnCounted = unwatched,
    *,
    against: Plain | None = None,
    output: Plain | None = None,
    images: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> PageReport:
    """Make one self-contained HTML page of a results folder, or of a training, of at most 8 MB.

    Args:
        results: the whole job; or the results folder; or the folder of a training, be it under way.
        on_picture: called in this process with the pictures that are drawn, and all.
        against: older results to compare with; None for the last good night in the folder.
        output: the file; None for report.html in the results.
        images: shown of each kind, such as the worst; 0 for none.
        settings: any other setting, nested as in a configuration file.

    Raises:
        OutputError: there are no results, or the page cannot be written.
        ConfigError: the classes of `against` are others.
    """
    given = {"against": against, "output": output, "images": images}
    config = from_arguments(ReportConfig, ("results", results), given, settings, {})
    return make_page(config, on_picture)


def make_page(
    config: ReportConfig,
    on_picture: OnCounted = unwatched,
    *,
    older: Callable[[], Reference | None] | None = None,
) -> PageReport:
    """The same, for whoever knows what it is compared with, or that it is not.

    Raises as `report` does.
    """
    results = Results(config.results)
    training = training_record(results.root)
    if training is not None:
        return _page_of_training(config, results, training)
    results.refuse_strangers()
    place = _place(config, results)
    record = results.record()
    past = look_back(results, record)
    images, notes = _affordable(config.images or LISTED)
    reference = older() if older is not None else _older(config, results, record)
    changed = changed_ids(reference, images)
    kept = OpenedResults(results).kept
    sums = calibration_sums(results.root, kept)
    suspects = suspects_by(results, kept, sums, max(LISTED, images))
    suspected = [each.id for each in suspects.images]
    explained = read_explanations(results.root)
    classes, wished = past.label_map.num_classes, {*changed, *suspected, *explained["id"].to_pylist()}
    overview = overview_of(results, kept, sums, classes, most=images, wished=wished)
    of_masks = is_evaluation(record)
    page = ReportPage(
        results=str(results.root),
        record=record,
        headline=headline_of(record, overview, reference, of_masks=of_masks),
        overview=overview,
        label_map=past.label_map,
        reference=reference,
        suspects=suspects,
        of_masks=of_masks,
        groups=image_groups(overview, reference, changed, suspected),
        notes=notes,
    )
    if config.images:
        page.explanations = shown_explanations(results.root, explained, overview.wanted)
        _draw(page, results, past, config, on_picture)
    return _written(place, page, _fitting(page))


def _page_of_training(config: ReportConfig, results: Results, record: dict[str, Any]) -> PageReport:
    if config.against is not None:
        raise ConfigError(
            f"against (--against) compares results, and {results.root} is a training; leave it out"
        )
    place = _place(config, results)
    page = learning_page(results.root, record, config.images, beside=config.output is None)
    return _written(place, page, render_page(page))


def _written(place: Location, page: ReportPage | LearningPage, data: bytes) -> PageReport:
    with output_errors(place):
        place.write(data)
    headline = page.headline
    return PageReport(str(place), len(data), headline.level, str(headline), page.pictures, tuple(page.notes))


def _place(config: ReportConfig, results: Results) -> Location:
    """Raises OutputError where no file can be written there."""
    place = locate(config.output) if config.output is not None else results.root / PAGE
    if place.is_folder():
        raise OutputError(f"{place}: is a folder; name the file of the page, such as {place / PAGE}")
    if place.is_local:  # what takes minutes should not fail at its end
        folder = place.parent
        if not folder.is_folder():
            raise OutputError(f"{place}: cannot be written: there is no folder {folder}")
        if not os.access(place.path if place.exists() else folder.path, os.W_OK):
            raise OutputError(f"{place}: cannot be written: permission denied; name another file (--output)")
    return place


def _affordable(images: int) -> tuple[int, list[str]]:
    """How many of each kind a page of 8 MB can show."""
    most = _FOR_PICTURES // _A_PICTURE[0] // _KINDS
    if images <= most:
        return images, []
    return most, [f"{most} images of each kind are shown, not {images:,}, so that the page stays below 8 MB."]


def _older(config: ReportConfig, results: Results, record: dict[str, Any] | None) -> Reference | None:
    rows = ((record or {}).get("images") or {}).get("listed") or 0
    run_id = (record or {}).get("run_id")
    return compare_with_older(results, config.against, run_id, rows, max(10, config.images))


def _draw(
    page: ReportPage, results: Results, past: LookBack, config: ReportConfig, on_picture: OnCounted
) -> None:
    """Have the pictures drawn. What is lacking is said on the page."""
    if not page.images:
        return
    page.notes += [as_sentence(remark) for remark in past.remarks]
    lowest, highest = _A_PICTURE
    room = _FOR_PICTURES - sum(len(each.webp) for each in page.explanations)
    make = partial(Artist, Sight(past.truths, past.images), past.masks, past.limits)
    with ExitStack() as stack:
        requests = requests_for(
            page.images,
            results,
            _truths(page, results, past, stack),
            masks_before(page.reference, page.images),
            of_masks=page.of_masks,
            share=max(lowest, min(highest, room // len(page.images))),
        )
        pictures = draw_pictures(requests, make, config.ray, on_picture)
    for image in page.images:
        image.picture = pictures.get(image.row["id"])


def _truths(page: ReportPage, results: Results, past: LookBack, stack: ExitStack) -> dict[str, str | None]:
    """Where the truths lie, by a pass over the source, until the stack is closed."""
    scored = [image for image in page.images if image.row["has_truth"]]
    if not scored or past.job is None or not past.knows_truths:
        return {}
    try:
        truths = listed_truths(scored, stack.enter_context(_listed(results, past.job)))
    except (SourceError, OutputError) as exc:
        page.notes.append(as_sentence(f"no truth is shown, for the source cannot be listed: {exc}"))
        return {}
    for image in scored:
        if truths[image.row["id"]] is None:
            image.notes.append("Its truth is not shown: the source does not list the image any more.")
    return truths


@contextmanager
def _listed(results: Results, job: NightConfig | EvaluateConfig) -> Iterator[Iterable[pa.Table]]:
    """The source of a run. Annotations lie in a folder of their own meanwhile, where workers read them.

    Raises SourceError, and OutputError where there can be no such folder.
    """
    if isinstance(job, EvaluateConfig):
        source: Folder | Manifest = open_masks(job)
    else:
        source = open_source(job.source, (str(results.root),))
    work = results.root / temporary_name()
    if not (isinstance(source, Folder) and source.is_annotated):
        yield listed_tables(source, work)
        return
    with output_errors(results.root):
        work.make_folder()
    try:
        yield listed_tables(source, work)
    finally:
        with output_errors(results.root):
            work.delete_folder()


def _fitting(page: ReportPage) -> bytes:
    """The page, with as many pictures as there is room for."""
    data = render_page(page)
    dropped = 0
    while len(data) > MOST_BYTES and page.images:
        for _ in range(max(1, len(page.images) // 8)):
            group = max(page.groups, key=lambda each: len(each.shown))
            group.shown.pop()
            dropped += 1
        numbers = {image.number for image in page.images}
        for group in page.groups:
            group.elsewhere = [image for image in group.elsewhere if image.number in numbers]
        page.groups = [group for group in page.groups if group.shown or group.elsewhere]
        told = f"{dropped:,} images are left out, so that the page stays below 8 MB."
        page.notes = [note for note in page.notes if "are left out, so that" not in note] + [told]
        data = render_page(page)
    if len(data) > MOST_BYTES:
        raise OutputError(f"{page.results}: a page of it has {len(data):,} bytes, which is more than 8 MB")
    return data
