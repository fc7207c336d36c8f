"""What a person sees of verify and doctor: plain lines on standard output, problems last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable

if TYPE_CHECKING:
    from batchseg.inspect.doctor import DoctorReport
    from batchseg.inspect.findings import Problem
    from batchseg.inspect.truth_sample import TruthSample
    from batchseg.inspect.verify import VerifyReport


def print_verify(report: VerifyReport) -> None:
    """Totals, what is wrong, and what was done about it."""
    decoded = f"{report.decoded:,} of them decoded" if report.decoded else "none of them decoded"
    _echo("results", report.results)
    _echo("tables", f"{report.rows:,} images in {report.parts:,} parts")
    _echo("masks", f"{report.masks:,}, {decoded}")
    _print_problems(report.counts, report.problems)
    if report.repaired is not None:
        done = report.repaired
        _echo("repaired", f"{done.rows:,} rows, {done.parts:,} parts and {done.masks:,} masks taken away")
        if report.counts:
            _echo("", "the same `batchseg run` as before computes what is missing")


def print_doctor(report: DoctorReport) -> None:
    """What there is, how much of it, what the truths hold, and what is wrong."""
    for name, text in (*_amounts(report), *_pairing(report), *_truths(report.sample)):
        _echo(name, text)
    for note in report.notes:
        _echo("note", note)
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
    click.echo(f"{name:<10}{printable(text)}".rstrip())
