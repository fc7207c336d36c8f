"""The page as HTML: one file, nothing loaded from elsewhere, and nothing in it runs but its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from batchseg.reporting.definitions import DEFINITIONS
from batchseg.reporting.learning_page import LearningPage
from batchseg.reporting.page import ReportPage

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("page.css", "tables.css", "gallery.css", "print.css")
SCRIPT = "page.js"
_TEXT = 400  # characters of an error or a name; a page is no log


class Section(NamedTuple):
    """A part of the page: its template is `key`.html, and its anchor `key`."""

    key: str
    title: str


def render_page(page: ReportPage | LearningPage) -> bytes:
    """The whole file, UTF-8."""
    environment = _environment()
    style = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES)
    script = (TEMPLATES / SCRIPT).read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = environment.get_template("page.html").render(
        page=page,
        sections=list(learning_sections(page) if isinstance(page, LearningPage) else sections_of(page)),
        definitions=DEFINITIONS,
        style=style,
        script=script,
        policy=policy,
        data_uri=data_uri,
        data_uri_of=data_uri_of,
    )
    return text.encode("utf-8", "replace")


def sections_of(page: ReportPage) -> Iterator[Section]:
    """Those that have something to say, in their order."""
    overview, compared = page.overview, page.reference and page.reference.compared
    has_truth = bool(page.metrics)
    for there, key, title in (
        (True, "totals", "Totals"),
        (compared, "comparison", "Compared with before"),
        (page.groups, "images", "Images"),
        (page.explanations, "explanations", "What decisions rest on"),
        (page.classes, "classes", "Classes" if has_truth else "Areas"),
        (page.confusion, "confusion", "Confusions"),
        (page.suspects.images, "suspects", "Truths that look wrong"),
        (overview.failures, "failures", "Failures"),
        (page.slices, "slices", "Groups of images"),
        (any(each.images for each in overview.histograms.values()), "distributions", "Distributions"),
        (overview.reliability.pixels, "reliability", "Calibration"),
        (overview.objects.buckets, "sizes", "Object size"),
        (page.timing, "timing", "Time"),
        (page.facts, "run", "What ran"),
        (page.queries, "sql", "From the tables"),
    ):
        if there:
            yield Section(key, title)


def learning_sections(page: LearningPage) -> Iterator[Section]:
    """The same of the page of a training."""
    for there, key, title in (
        (page.curves, "curves", "Learning"),
        (page.folds, "folds", "Folds"),
        (page.groups, "images", "Images"),
        (page.classes, "learnt", "Classes"),
        (page.epochs, "epochs", "Epochs"),
        (page.plan, "plan", "What was planned"),
        (page.facts, "run", "What ran"),
    ):
        if there:
            yield Section(key, title)


def data_uri(picture: dict[str, Any], layer: str) -> str:
    """A layer as a browser takes it from within the page."""
    return data_uri_of(picture[layer], "webp" if layer == "photo" else "png")


def data_uri_of(data: bytes, kind: str) -> str:
    """A picture likewise."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # names of files, columns and classes are anybody's
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "share": _share,
        "percent": _percent,
        "count": lambda value: f"{value:,}",
        "general": lambda value: f"{value:.3g}",
        "signed": lambda value: f"{value:+.3f}".replace("-", "\N{MINUS SIGN}"),
        "clipped": _clipped,
        "plainly": _plainly,
    }
    environment.filters |= filters
    return environment


def _digest(text: str) -> str:
    """As a Content-Security-Policy names what stands in the page (CSP level 3, 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def _plainly(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _clipped(text: str | None) -> str:
    text = " ".join((text or "").split())
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
