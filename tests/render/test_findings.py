"""Findings as they are drawn: every status has a look, every text is safe, nothing is lost."""

from __future__ import annotations

from xdiag.findings import Finding, Status
from xdiag.render import findings
from xdiag.render.labels import STYLES, finding_label
from xdiag.render.terminal import printed

FAULT = Finding(
    "process.one-runtime",
    Status.FAIL,
    "two copies of libamdhip64 are loaded",
    evidence=("/a/libamdhip64.so.6", "/b/libamdhip64.so.6"),
    remedy=("make it open /a/libamdhip64.so.6", "or remove /b/libamdhip64.so.6"),
)
FINE = Finding("process.stub", Status.PASS, "no stub", evidence=("looked at 3 files",))


def _drawn(*shown: Finding, width: int = 100, verbose: bool = False) -> str:
    return printed(lambda console: findings.show(shown, console, verbose=verbose), width)


def test_every_status_has_a_style() -> None:
    styles = {finding_label(Finding("a", status, "")).style for status in Status}
    assert len(styles) == len(Status) and styles <= set(STYLES)


def test_a_fault_has_its_evidence_and_remedy_below_it() -> None:
    assert _drawn(FAULT) == (
        "FAIL  process.one-runtime  two copies of libamdhip64 are loaded\n"
        "      /a/libamdhip64.so.6\n"
        "      /b/libamdhip64.so.6\n"
        "      do: make it open /a/libamdhip64.so.6\n"
        "          or remove /b/libamdhip64.so.6\n"
    )


def test_what_is_fine_is_short_unless_asked_for() -> None:
    assert _drawn(FINE) == "PASS  process.stub  no stub\n"
    assert "looked at 3 files" in _drawn(FINE, verbose=True)


def test_long_lines_keep_their_indent_and_every_character() -> None:
    path = "/" + "x" * 150
    drawn = _drawn(Finding("a.b", Status.WARN, "long", evidence=(path,)), width=60)
    lines = drawn.splitlines()
    assert all(line.startswith("      ") for line in lines[1:])
    assert "".join(line.strip() for line in lines[1:]) == path


def test_what_belongs_to_a_line_stands_below_it() -> None:
    drawn = _drawn(
        Finding("a.b", Status.WARN, "two", evidence=("A: x", f"  {'y ' * 40}")), width=60
    )
    assert [len(line) - len(line.lstrip()) for line in drawn.splitlines()] == [0, 6, 8, 10]


def test_no_character_reaches_the_terminal_as_it_is() -> None:
    hostile = "\x1b[31m\u202e[bold]"
    drawn = _drawn(Finding(hostile, Status.ERR, hostile, evidence=(hostile,), remedy=(hostile,)))
    assert "\x1b" not in drawn and "\u202e" not in drawn
    assert drawn.count("[bold]") == 4


def test_a_tally_names_the_worst_first() -> None:
    assert findings.tally([FINE, FAULT, FINE]) == "1 FAIL, 2 PASS"
    assert findings.tally([]) == "nothing was looked at"
