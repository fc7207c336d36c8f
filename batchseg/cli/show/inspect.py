"""What a person sees of verify and doctor: plain lines on standard output, problems last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from batchseg.cli.show.candidate import candidate_line
from batchseg.cli.show.console import printable
from batchseg.source.passed_over import counted

if TYPE_CHECKING:
    from batchseg.inspect.doctor import DoctorReport
    from batchseg.inspect.findings import Problem
    from batchseg.inspect.truth_sample import TruthSample
    from batchseg.inspect.verify import VerifyReport
    from batchseg.results.acknowledge import Acknowledged


def print_verify(report: VerifyReport) -> None:
    """Totals, what is wrong, and what was done about it."""
    decoded = f"{report.decoded:,} of them decoded" if report.decoded else "none of them decoded"
    _echo("results", report.results)
    _echo("tables", f"{report.rows:,} images in {report.parts:,} parts")
    _echo("masks", f"{report.masks:,}, {decoded}")
    if report.overlays:
        _echo("overlays", f"{report.overlays:,}")
    if report.acknowledged:
        _echo("known", f"{report.acknowledged:,} images that failed are acknowledged")
    if report.interrupted:
        click.echo(report.interrupted)
    if report.candidate is not None:
        _echo("candidate", candidate_line(report.candidate))
    _print_problems(report.counts, report.problems)
    if report.repaired is not None:
        done = report.repaired
        _echo("repaired", f"{done.rows:,} rows, {done.parts:,} parts and {done.masks:,} masks taken away")
        if report.counts:
            _echo("", "the same `batchseg run` as before computes what is missing")


def print_acknowledged(done: Acknowledged) -> None:
    """What was marked, and how many images are so now."""
    what = _counted(done.changed) if done.changed else "none"
    _echo("undone" if done.undo else "new", what)
    _echo("in all", f"{done.total:,} acknowledged; runs do not try them again until their files change")


def print_doctor(report: DoctorReport) -> None:
    """What there is, how much of it, what the truths hold, and what is wrong."""
    for name, text in (
        *_amounts(report),
        *_passed_over(report),
        *_prompts(report),
        *_pictures(report),
        *_pairing(report),
        *_truths(report.sample),
    ):
        _echo(name, text)
    for note in report.notes:
        _echo("note", note)
    for sentence in report.warnings:
        _echo("warning", sentence)
    _print_problems(report.counts, report.problems)


def _amounts(report: DoctorReport) -> Iterator[tuple[str, str]]:
    sizes = report.sizes
    yield "source", report.source
    yield "images", f"{report.images:,}"
    if sizes.smallest is not None and sizes.largest is not None:
        yield "formats", _counted(sizes.formats)
        yield "smallest", "{} x {}  {}".format(*sizes.smallest)
        yield "largest", "{} x {}  {}".format(*sizes.largest)
        readable = sum(sizes.formats.values())
        yield (
            "a run",
            f"{readable:,} images, {sizes.pixels / 1e6:,.1f} megapixels, {sizes.bytes:,} bytes to read",
        )


def _pictures(report: DoctorReport) -> Iterator[tuple[str, str]]:
    sizes, pictures = report.sizes, report.pictures
    if pictures.mean_rgb is not None:
        mean = ", ".join(f"{channel:.0f}" for channel in pictures.mean_rgb)
        yield "pixels", f"mean {mean} of {pictures.channels}, 0 to 255, over {pictures.files:,} images"
    if pictures.brightest is not None:
        yield "16-bit", f"{pictures.wide:,} of them; the brightest is {pictures.brightest:.0%} of white"
    if sizes.turned:
        beside = f", {sizes.turned_with_truth:,} of them beside a truth" if report.with_truth else ""
        images = "image has" if sizes.turned == 1 else "images have"
        yield "turned", f"{sizes.turned:,} {images} an EXIF orientation{beside}"
    if sizes.paged:
        yield "pages", f"{sizes.paged:,} images have more than one page or frame; the first is read"


def _passed_over(report: DoctorReport) -> Iterator[tuple[str, str]]:
    if report.passed_over:
        yield "passed over", counted(report.passed_over)


def _prompts(report: DoctorReport) -> Iterator[tuple[str, str]]:
    if report.prompts is not None:
        found = report.prompts
        yield "prompts", f"for {found.rows:,} of {report.images:,} rows, {found.different:,} different ones"


def _pairing(report: DoctorReport) -> Iterator[tuple[str, str]]:
    if report.with_truth:
        without = report.images - report.with_truth
        none = f", none for {without:,}" if without else ""
        yield "truth", f"for {report.with_truth:,} of {report.images:,} images{none}"
    if report.unmatched is not None and report.unmatched.files:
        examples = ", ".join(report.unmatched.examples)
        yield "unmatched", f"{report.unmatched.files:,} truth files have no image, such as {examples}"


def _truths(sample: TruthSample | None) -> Iterator[tuple[str, str]]:
    if sample is None:
        return
    yield "sampled", f"{sample.files:,} truths; their pixels:"
    total = sum(sample.classes.values()) + sample.ignored + sum(sample.outside.values())
    for name, pixels in sample.classes.items():
        yield "", f"{pixels / total:7.2%}  {name}"
    if sample.ignored:
        yield "", f"{sample.ignored / total:7.2%}  (ignored)"
    for name, pixels in sample.outside.items():
        yield "", f"{pixels:,} pixels of {name}, which is not in the label map"


def _print_problems(counts: Mapping[str, int], problems: Sequence[Problem]) -> None:
    _echo("problems", _counted(counts) if counts else "none")
    for kind, count in counts.items():
        shown = [problem for problem in problems if problem.kind == kind]
        for problem in shown:
            click.echo(f"  {kind}  {printable(problem.where)}: {printable(problem.sentence)}")
        if count > len(shown):
            click.echo(f"  {kind}  and {count - len(shown):,} more")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _echo(name: str, text: str) -> None:
    click.echo(f"{name:<9} {printable(text)}".rstrip())
