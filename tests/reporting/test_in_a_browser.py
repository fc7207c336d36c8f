"""Pages in Chromium: nothing is blocked, sliders move, tables sort, and it fits, with keyboard and eyes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import batchseg
from tests.report_pages import write_rich
from tests.written_results import NAMES, write_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian's package chromium)"),
    # Playwright's own: it starts a subprocess whose pipes it leaves to the end of the process
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

EVIL = "<script>document.title='evil'</script>\"'.png"
# the lowest contrast (WCAG 2.2) among the texts of each selector, against all that lies behind them
CONTRASTS = """
(selectors) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
  const contrast = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
    }
    const behind = layers.reverse().reduce((below, colour) => over(colour, below), [255, 255, 255]);
    const [a, b] = [light(over(parse(getComputedStyle(element).color), behind)), light(behind)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  return selectors.map((each) => Math.min(...[...document.querySelectorAll(each)].map(contrast)));
}
"""
# what lacks what a screen reader needs, by what it is
LACKING = {
    "alternative text": "[...document.images].filter((e) => !e.alt)",
    "captions": "[...document.querySelectorAll('table')].filter((e) => !e.caption)",
    "scopes": "[...document.querySelectorAll('th')].filter((e) => !e.scope)",
    "names of pictures": "[...document.querySelectorAll('svg')].filter((e) => !e.ariaLabel && !e.ariaHidden)",
    "labels": "[...document.querySelectorAll('input')].filter((e) => !e.labels.length && !e.ariaLabel)",
    "ids of their own": "[...document.querySelectorAll('[id]')].map((e) => e.id)"
    ".filter((id, at, all) => all.indexOf(id) !== at)",
}
TEXTS = (
    *("h1", ".verdict", ".lede", ".contents a", ".tile dt", "summary", ".sort", "td data", ".note"),
    *(".matrix td.right", ".matrix td.wrong", ".aside", ".worse", ".card dt", "footer p", "code", ".tag"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> dict[str, Path]:
    """Everything there is to say, two runs of which one is worse, and nothing but ids."""
    folder = tmp_path_factory.mktemp("pages")
    rich = write_rich(folder / "rich")
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (60, 90), dtype=np.uint8)
        for name, pixels in (("images", image), ("truth", (image >= 100).astype(np.uint8))):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
    for name, level in (("old", 100), ("new", 150)):
        segmentor = {"model": "threshold", "levels": [level], "actors": 1}
        settings = {"segmentor": segmentor, "source": {"truth": str(folder / "truth")}}
        batchseg.run(folder / "images", output=folder / name, settings=settings)
    evil = write_results(folder / "evil", {EVIL: (np.zeros((3, 3), np.uint8), None)}, names=NAMES)
    made = {
        "rich": batchseg.report(rich, images=0),
        "worse": batchseg.report(folder / "new", against=folder / "old"),
        "evil": batchseg.report(evil),
    }
    return {name: Path(page.path) for name, page in made.items()}


class Watched:
    """A page of the browser, and all it complained of."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("name", ["rich", "worse", "evil"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_complains_of_nothing_loads_nothing_and_fits(
    browser: Any, pages: dict[str, Path], name: str, scheme: str
) -> None:
    with Watched(browser, pages[name], 320, color_scheme=scheme) as watched:
        for width in (320, 768, 1280):
            watched.page.set_viewport_size({"width": width, "height": 900})
            assert watched.page.evaluate("document.scrollingElement.scrollWidth") <= width
        assert watched.complaints == []
        assert [url for url in watched.requests if not url.startswith("data:")] == [pages[name].as_uri()]


def test_its_own_styles_and_script_are_in_force(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["worse"]) as watched:
        assert watched.page.evaluate("document.documentElement.classList.contains('script')")
        assert (
            watched.page.evaluate("getComputedStyle(document.querySelector('.stage')).position") == "relative"
        )


def test_what_is_not_its_own_does_not_run(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["evil"]) as watched:
        assert "evil" not in watched.page.title().partition(":")[0]
        assert watched.page.get_by_text(EVIL).count() >= 1
        assert watched.complaints == []
        watched.page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; "
            "document.body.append(s); }"
        )
        assert watched.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in each for each in watched.complaints)


def test_the_layers_are_chosen_and_the_sliders_move(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["worse"]) as watched:
        page = watched.page

        def shown() -> set[str]:
            return set(
                page.evaluate(
                    "[...document.querySelectorAll('.card:first-of-type .layer')]"
                    ".filter((e) => getComputedStyle(e).visibility === 'visible').map((e) => e.classList[1])"
                )
            )

        assert shown() == {"photo", "predicted"}
        for value, layers in {
            "truth": {"photo", "truth"},
            "both": {"photo", "truth", "predicted"},
            "difference": {"photo", "difference"},
            "before": {"photo", "before"},
            "change": {"photo", "change"},
            "photo": {"photo"},
            "predicted": {"photo", "predicted"},
        }.items():
            page.check(f"input[name=layer][value={value}]", force=True)
            assert shown() == layers
        opacity = "getComputedStyle(document.querySelector('.layer.predicted')).opacity"
        assert page.evaluate(opacity) == "0.7"
        page.focus("#opacity")
        page.keyboard.press("Home")
        assert page.evaluate(opacity) == "0"
        page.keyboard.press("End")
        assert page.evaluate(opacity) == "1"
        clip = "getComputedStyle(document.querySelector('.layer.predicted')).clipPath"
        before = page.evaluate(clip)
        page.focus(".wipe")
        for _ in range(30):
            page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.querySelector('.wipe').value") == "70"
        assert page.evaluate(clip) != before
        assert page.evaluate("document.querySelector('.stage').classList.contains('wiped')")
        assert watched.complaints == []


def test_tables_are_sorted_by_the_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["rich"]) as watched:
        page = watched.page
        head = page.locator("#class-table thead th", has_text="Support")

        def supports() -> list[int]:
            cells = page.locator("#class-table tbody tr td:nth-child(6)")
            return [int(text.replace(",", "")) for text in cells.all_inner_texts()]

        ious = page.locator("#class-table tbody tr td:nth-child(2) data").all()
        values = [float(each.get_attribute("value")) for each in ious]
        assert values == sorted(values)
        assert page.locator("#class-table th[aria-sort]").inner_text().startswith("IoU")
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert supports() == sorted(supports())
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        assert supports() == sorted(supports(), reverse=True)
        assert page.locator("#class-table th[aria-sort]").count() == 1


def test_the_keyboard_reaches_everything(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["worse"]) as watched:
        page, reached = watched.page, set[str]()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
        for _ in range(140):
            reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
            page.keyboard.press("Tab")
        assert {"sort", "wipe needs-script", "scroll", "A", "SUMMARY", "INPUT"} <= reached


def test_what_a_screen_reader_needs(browser: Any, pages: dict[str, Path]) -> None:
    for name in ("rich", "worse"):
        with Watched(browser, pages[name]) as watched:
            page = watched.page
            assert page.evaluate("document.documentElement.lang") == "en"
            assert page.get_by_role("main").count() == page.get_by_role("navigation").count() == 1
            assert page.locator("h1").count() == 1
            for lacking, found in LACKING.items():
                assert page.evaluate(f"{found}.length") == 0, lacking
            heads = "[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => +e.tagName[1])"
            assert all(after - before <= 1 for before, after in pairwise(page.evaluate(heads)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_text_stands_out(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    """At least 4.5 to 1, as WCAG's level AA asks."""
    lowest: dict[str, float] = {}
    for name in ("rich", "worse"):
        with Watched(browser, pages[name], color_scheme=scheme) as watched:
            found = watched.page.evaluate(CONTRASTS, list(TEXTS))
        for selector, contrast in zip(TEXTS, found, strict=True):
            if math.isfinite(contrast):  # else there is no such text on this page
                lowest[selector] = min(contrast, lowest.get(selector, 21))
    assert lowest.keys() == {*TEXTS}
    assert {selector: each for selector, each in lowest.items() if each < 4.5} == {}


def test_it_prints(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["worse"], color_scheme="dark") as watched:
        watched.page.emulate_media(media="print")
        shown = "getComputedStyle(document.querySelector('{}')).display"
        assert watched.page.evaluate(shown.format(".toolbar")) == "none"
        assert (
            watched.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
        )
        assert watched.page.pdf().startswith(b"%PDF")


def test_it_can_be_read_without_a_script(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["worse"], java_script_enabled=False) as watched:
        assert watched.page.locator(".wipe").first.is_hidden()
        watched.page.check("input[name=layer][value=truth]", force=True)
        assert watched.page.locator(".layer.truth").first.is_visible()
