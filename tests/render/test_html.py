"""The pages: what a reader with a telephone, a keyboard, a printer or a screen reader is owed.

What can be told without a browser is held always.  With chromium and axe-core (apt-get install
chromium; npm install axe-core in the checkout, or XDIAG_AXE=.../axe.min.js) the pages are also laid
out and checked by all of axe's rules, WCAG 2.1 AA among them; CI does not install the two, for
their 300 MB.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from render.readers import Page
from xdiag.merging import merge, single
from xdiag.render import merging as merged_pages
from xdiag.render import render
from xdiag.render.text import printable

# ---- the pages under test ----


def merged_page(make, *, beside: bool = False) -> str:
    """Three runs that differ, one of them with fewer cells, with strings that want out."""
    report = make.mixed()
    softer = make.mixed(target=make.target(agent="software", version="5.2", notes=()))
    results = list(softer.results)
    results[1] = make.result("ok", pattern="cross-thread")
    results[2] = make.ended("crash", signal="SIGSEGV", pattern="create-in-worker")
    hostile = make.mixed(target=make.target(runtime=make.hostile, device_name=make.hostile))
    parts = [
        report,
        msgspec.structs.replace(softer, results=tuple(results)),
        msgspec.structs.replace(hostile, results=hostile.results[:9]),
    ]
    return merged_pages.render(merge(map(single, parts)), "html", beside=beside)


@pytest.fixture(scope="session", params=["report", "merged", "beside"])
def written(request, make) -> str:
    """Each page, as text."""
    if request.param == "report":
        return render(make.mixed(), "html")
    return merged_page(make, beside=request.param == "beside")


# ---- one file ----


def test_a_page_is_one_file_without_scripts_or_resources(written):
    page = Page(written)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert all(href.startswith("#") for href in page.attributes("href"))
    assert not page.attributes("src") + page.attributes("srcset") + page.attributes("action")
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on") or a == "style"]
    style = written[written.index("<style>") : written.index("</style>")]
    assert "url(" not in style and "@import" not in style and "http" not in style


def test_links_lead_somewhere_and_places_are_there_once(written):
    page = Page(written)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.attributes("href")} <= set(ids)


def test_a_label_leads_to_its_trace_and_back(make):
    report = make.mixed()
    page = Page(render(report, "html"))
    traces = {id for id in page.attributes("id") if re.fullmatch(r"c[0-9]+", id)}
    assert len(traces) == sum(bool(r.outcome.trace) for r in report.results)
    hrefs = set(page.attributes("href"))
    assert {f"#{id}" for id in traces} <= hrefs
    assert {f"#to-{id}" for id in traces} <= hrefs
    shown = re.search(r"\.one \{ display: none;", render(report, "html"))
    assert shown and ".one:target, #traces:target .one" in render(report, "html")


def test_a_difference_is_reached_from_its_place(make):
    page = Page(merged_page(make))
    assert ("setup", "differs") in page.cells
    differing = {id for id in page.attributes("id") if re.fullmatch(r"d[0-9]+", id)}
    assert differing and {f"#{id}" for id in differing} <= set(page.attributes("href"))
    assert "SEGV" in page.text() and "HIP 5.2, software agent" in page.text()


def test_every_label_stands_in_its_style(make):
    cases = make.every_kind()
    page = Page(render(make.report([result for result, _, _ in cases]), "html"))
    for _, text, style in cases:
        assert (style, text) in page.cells


def test_there_is_a_rule_for_every_style(make):
    text = render(make.report([make.result()]), "html")
    for style in ("ok", "refused", "error", "fault", "setup", "absent"):
        assert f"\n.{style} {{" in text


def test_hostile_strings_are_text(make, written):
    assert printable(make.hostile) in Page(written).text()


def test_the_whole_matrix_keeps_to_three_megabytes(make):
    # As many steps in each cell as the longest stories have.
    steps = make.trace() * 4
    results = [
        msgspec.structs.replace(r, outcome=msgspec.structs.replace(r.outcome, trace=steps))
        for r in make.full().results
        if r.outcome.kind.value != "n/a"
        # As it is where torch is not installed.
        and not r.cell.pattern.startswith("torch-")
        and r.cell.consumer != "torch"
    ]
    size = len(render(make.report(results), "html").encode())
    assert len(results) > 300 and size < 3_000_000


# ---- what a page owes its readers, told from its text ----


class Outline(HTMLParser):
    """Headings, tables and named places of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.language = ""
        self.heads: list[dict[str, str | None]] = []
        #: Of each table, whether it has a head of some kind in each of its rows or at its top.
        self.tables: list[set[str]] = []
        self.scrolled: list[dict[str, str | None]] = []
        self.landmarks: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        elif tag == "html":
            self.language = given.get("lang") or ""
        elif tag == "table":
            self.tables.append(set())
        elif tag == "th":
            self.heads.append(given)
            self.tables[-1].add(given.get("scope") or "")
        elif tag in ("main", "header", "nav"):
            self.landmarks.append(tag)
        if "tabindex" in given:
            self.scrolled.append(given)


def test_headings_language_and_tables_are_in_order(written):
    outline = Outline(written)
    assert outline.language == "en"
    assert outline.landmarks == ["header", "nav", "main"]
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    steps = zip(outline.levels, outline.levels[1:], strict=False)
    assert all(below <= above + 1 for above, below in steps)
    assert {head.get("scope") for head in outline.heads} <= {"col", "colgroup", "row", "rowgroup"}
    assert all(scopes & {"col", "row"} for scopes in outline.tables)


def test_what_can_be_scrolled_is_reached_by_keyboard_and_has_a_name(written):
    outline = Outline(written)
    assert written.count('class="scroll"') == len(outline.scrolled) > 0
    names = [place.get("aria-label") for place in outline.scrolled]
    assert all(names) and len(set(names)) == len(names)
    assert all(place["role"] == "group" and place["tabindex"] == "0" for place in outline.scrolled)


def test_nothing_is_told_by_colour_alone(written):
    page = Page(written)
    styles = {"ok", "refused", "error", "fault", "setup"}
    assert all(text.strip() for style, text in page.cells if style in styles)
    assert not re.search(r'<span class="mark [a-z]+">\s*</span>', written)


def test_a_page_fits_a_telephone_and_a_sheet_of_paper(written):
    assert 'content="width=device-width, initial-scale=1"' in written
    assert "@media screen and (max-width: 44rem)" in written
    paper = written[written.index("@media print") : written.index("</style>")]
    assert "@page" in paper and "break-inside: avoid" in paper and "overflow: visible" in paper


def _luminance(colour: str) -> float:
    # WCAG 2.1, relative luminance.
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_on_its_paper(make, scheme):
    text = render(make.report([make.result()]), "html")
    variables = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", variables[scheme == "dark"]))
    pairs = [(style, f"{style}-paper") for style in ("ok", "refused", "error", "fault", "setup")]
    pairs += [(ink, on) for ink in ("ink", "faint", "link") for on in ("paper", "panel")]
    assert len(colours) == 16
    for ink, paper in pairs:
        light, dark = sorted((_luminance(colours[ink]), _luminance(colours[paper])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


# ---- laid out by a browser ----

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ROOT = Path(__file__).parents[2]


def _axe() -> Path:
    named = os.environ.get("XDIAG_AXE")
    return Path(named) if named else _ROOT / "node_modules/axe-core/axe.min.js"


in_a_browser = pytest.mark.skipif(
    not (_CHROMIUM and _axe().is_file()),
    reason="needs chromium, and axe-core: npm install axe-core, or XDIAG_AXE=.../axe.min.js",
)

#: Runs in the page, and sends what it has found to where the page came from.
_LOOK = """
const shown = () => [...document.querySelectorAll('.one')]
  .filter(e => e.offsetHeight).map(e => e.id);
addEventListener('load', async () => {
  const found = {closed: shown(), width: document.documentElement.scrollWidth,
    room: document.documentElement.clientWidth,
    matrices: [...document.querySelectorAll('.matrix')].map(e =>
      [e.getBoundingClientRect().right, document.body.getBoundingClientRect().right])};
  const link = document.querySelector('.matrix td a');
  if (link) {
    link.click();
    await new Promise(done => setTimeout(done, 50));
    found.opened = [link.hash, shown()];
  }
  location.hash = '#traces';
  document.querySelectorAll('details').forEach(e => e.open = true);
  await new Promise(done => setTimeout(done, 50));
  found.all = shown().length;
  const axe_found = await axe.run(document, {resultTypes: ['violations']});
  found.passes = axe_found.passes.length;
  found.violations = axe_found.violations.map(v => [v.id, v.nodes.map(n => n.html).slice(0, 3)]);
  await fetch('/found', {method: 'POST', body: JSON.stringify(found)});
});
"""


class _Server(ThreadingHTTPServer):
    """Serves a page in a frame, and keeps what the page has found."""

    def __init__(self, frame: str, page: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = {"/": frame, "/page": page}
        self.found: queue.Queue[str] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        known = self.path in self.server.pages
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.server.pages.get(self.path, "").encode())

    def do_POST(self) -> None:
        self.server.found.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


def look(page: str, folder: Path, width: int) -> dict:
    """Lay a page out, ``width`` CSS pixels wide, and look at it; what ``_LOOK`` has found."""
    scripts = f"<script>{_axe().read_text()}</script><script>{_LOOK}</script></head>"
    # A window cannot be made as narrow as a telephone; a frame can.
    frame = f'<!DOCTYPE html><iframe src="/page" width="{width}" height="900" style="border:0">'
    with _Server(frame, page.replace("</head>", scripts, 1)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [str(_CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder / 'profile'}", "--window-size=1600,1000",
             "--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return json.loads(server.found.get(timeout=100))
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()


@in_a_browser
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_finds_nothing_to_complain_about(written, tmp_path, scheme, width):
    page = written
    if scheme == "dark":
        page = page.replace("@media screen and (prefers-color-scheme: dark)", "@media screen")
    found = look(page, tmp_path, width)
    assert found["violations"] == [] and found["passes"] > 20
    assert found["width"] <= found["room"] == width
    traces = written.count('class="one"')
    assert found["closed"] == [] and found["all"] == traces
    if traces:
        to, opened = found["opened"]
        assert opened == [to.removeprefix("#")]


def widest(make) -> str:
    """The whole catalogue, every label a long one."""
    worst = make.ended("crash", signal="SIGSEGV", step=4, code=709, name="n").outcome
    worst = msgspec.structs.replace(worst, trace=())
    results = [msgspec.structs.replace(r, outcome=worst) for r in make.full().results]
    return render(make.report(results), "html")


@in_a_browser
def test_the_whole_matrix_scrolls_in_its_place_on_a_telephone(make, tmp_path):
    found = look(widest(make), tmp_path, 320)
    assert found["width"] == found["room"] == 320
    assert all(right > room for right, room in found["matrices"])


@in_a_browser
def test_a_printed_matrix_is_not_cut(make, tmp_path):
    text = widest(make).replace("@media print", "@media all")
    # A4, landscape, within its margins.
    found = look(text, tmp_path, int(275 / 25.4 * 96))
    assert len(found["matrices"]) > 1
    assert all(right <= room + 1 for right, room in found["matrices"])
