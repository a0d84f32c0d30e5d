"""REPORT.md: a bug report on one page, in GitHub's Markdown and within its limit.

A page is made of sections, a section of blocks.  Where the page is too long, the longest sections
lose their last lines, each with a notice; what was found, at the beginning, is the last to go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xdiag.findings import Status
from xdiag.model import FAULTS, Support
from xdiag.patterns import PATTERNS
from xdiag.render import findings as finding_lines
from xdiag.render import trace, verdicts
from xdiag.render.header import STANDS_IN
from xdiag.render.labels import label
from xdiag.render.text import count, printable
from xdiag.render.text import markdown as escaped
from xdiag.verdict import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdiag.model import Report, Result
    from xdiag.report.page import Page

#: Characters of an issue at GitHub; of the page, with room for what people write above it.
GITHUB_TAKES = 65_536
MOST = 60_000
#: Characters of a table's entry and of a line.
_LONGEST_ENTRY, _LONGEST_LINE = 400, 600
#: Lines of a section at least, before it is cut further.
_FEWEST = 4
_CUT = "*[cut: {} more; see the other files]*"


@dataclass(frozen=True)
class _Block:
    """Lines between a beginning and an end that belong together: a fence, a table's head."""

    lines: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    cut: int = 0

    def text(self) -> str:
        """As Markdown."""
        notice = ("", _CUT.format(count(self.cut, "line"))) if self.cut else ()
        if not self.lines:
            return "\n".join(notice[1:])
        return "\n".join((*self.before, *self.lines, *self.after, *notice))


@dataclass(frozen=True)
class _Section:
    title: str
    blocks: tuple[_Block, ...]
    folded: bool = True
    #: Whether it is cut only when all others are.
    first: bool = False

    def text(self) -> str:
        """As Markdown; GitHub needs the empty lines within ``details``."""
        body = "\n\n".join(block.text() for block in self.blocks)
        if not self.folded:
            return f"## {escaped(self.title)}\n\n{body}" if self.title else body
        summary = escaped(self.title).replace("\\", "")
        summary = summary.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"

    def lines(self) -> int:
        """How many lines can be cut from it."""
        return sum(len(block.lines) for block in self.blocks)


def render(page: Page, most: int = MOST) -> str:
    """The page, of ``most`` characters at most, whatever it is made of."""
    sections = [section for section in _sections(page) if section.blocks]
    while len(text := _joined(sections)) > most:
        shorter = _shortened(sections)
        if shorter is None:
            # Nothing is left to cut by lines: a page of titles, or one line beyond measure.
            notice = "\n\n" + _CUT.format("the rest") + "\n"
            return text[: max(0, most - len(notice))] + notice
        sections = shorter
    return text


def _joined(sections: Iterable[_Section]) -> str:
    return "\n\n".join(section.text() for section in sections) + "\n"


def _shortened(sections: list[_Section]) -> list[_Section] | None:
    """The sections with a third of the longest one's lines less; None if all are short."""
    for of_the_first in (False, True):
        places = [
            place
            for place, section in enumerate(sections)
            if section.first is of_the_first and section.lines() > _FEWEST
        ]
        if places:
            place = max(places, key=lambda each: len(sections[each].text()))
            blocks = sections[place].blocks
            longest = max(
                (each for each in range(len(blocks)) if blocks[each].lines),
                key=lambda each: len(blocks[each].text()),
            )
            block = blocks[longest]
            kept = len(block.lines) * 2 // 3
            cut = replace(block, lines=block.lines[:kept], cut=block.cut + len(block.lines) - kept)
            changed = replace(
                sections[place], blocks=(*blocks[:longest], cut, *blocks[longest + 1 :])
            )
            return [*sections[:place], changed, *sections[place + 1 :]]
    return None


# ---- blocks ----------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> tuple[_Block, ...]:
    lines = tuple(f"| {' | '.join(_entry(each) for each in row)} |" for row in rows)
    if not lines:
        return ()
    before = (
        f"| {' | '.join(escaped(head) for head in heads)} |",
        f"|{'---|' * len(heads)}",
    )
    return (_Block(lines, before),)


def _entry(text: str) -> str:
    return escaped(_within(text, _LONGEST_ENTRY)) or " "


def _code(text: str, language: str = "") -> tuple[_Block, ...]:
    lines = tuple(_within(_visible(line), _LONGEST_LINE) for line in text.splitlines())
    if not lines:
        return ()
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return (_Block(lines, (f"{fence}{language}",), (fence,)),)


def _visible(line: str) -> str:
    return printable(line.replace("\t", "    "))


def _list(lines: Iterable[str]) -> tuple[_Block, ...]:
    made = tuple(f"- {escaped(_within(line, _LONGEST_LINE))}" for line in lines)
    return (_Block(made),) if made else ()


def _paragraph(text: str) -> tuple[_Block, ...]:
    return (_Block((escaped(_within(text, 2 * _LONGEST_LINE)),)),) if text else ()


def _within(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."


# ---- sections --------------------------------------------------------------------------------


def _sections(page: Page) -> Iterator[_Section]:
    yield _Section("", (_Block(("# xdiag report",)), *_summary(page)), folded=False, first=True)
    yield _Section("What was found", _found(page), folded=False, first=True)
    if page.report is not None and page.report.verdicts:
        yield _Section("What the cells say of each explanation", _verdicts(page.report))
    if page.report is not None:
        yield _Section("The cells", _cells(page.report))
        if (fault := _telling(page)) is not None:
            told = trace.markdown(fault, page.report.target).splitlines()
            yield _Section("A fault, step by step", (_Block(tuple(told)),))
    if page.trials is not None:
        yield _Section("Repairs, each on the failing cells", _repairs(page))
    for each in page.explained:
        yield _Section(f"xdiag explain: {each.title}", _code(each.text))
    yield _Section("Findings of xdiag doctor", _findings(page))
    yield _Section("Runtimes on disk", _runtimes(page))
    yield _Section("Versions", _versions(page))
    yield _Section("Environment", _environment(page))
    if page.reproducer:
        title = f"A program that shows it, without xdiag ({page.reproduces})"
        yield _Section(title, _code(page.reproducer, "c"))
    if not page.alone:
        rows = [(each.name, each.what, str(each.size)) for each in page.files]
        yield _Section("Files of this report", _table(("file", "what it is", "bytes"), rows))
    missing = [(each.part, each.because) for each in page.missing]
    yield _Section("What is missing, and why", _table(("part", "why"), missing))


def _summary(page: Page) -> tuple[_Block, ...]:
    target, versions = page.target, page.versions
    host = page.examination.host if page.examination is not None else None
    masked = (
        "masked: names, homes, addresses and secrets are replaced, equal ones alike"
        if page.masked
        else "NOT masked: it was asked for with --no-mask"
    )
    rows = [
        ("in short", "a fault was found" if page.fault else "nothing wrong was found"),
        ("xdiag", f"{page.xdiag}, {page.made}"),
        ("command", page.command),
        ("private data", masked),
    ]
    if target is not None:
        rows.append(("runtime", f"HIP {target.version or '?'}: {target.runtime}"))
        rows.append(("build id", target.build_id))
        software = f"software. {STANDS_IN}"
        rows.append(("agent", software if target.agent == "software" else target.device_name))
    if host is not None:
        container = f", in a container ({host.container})" if host.container else ""
        rows.append(("system", f"{host.system}, {host.kernel}, {host.libc}{container}"))
    if versions is not None:
        built = versions.torch_hip and f" for HIP {versions.torch_hip}"
        built = built or (versions.torch_cuda and f" for CUDA {versions.torch_cuda}")
        rows.append(("Python", versions.examined_python or "none"))
        rows.append(("PyTorch", f"{versions.torch}{built}" if versions.torch else "none"))
        gpus = ", ".join(versions.gpus) or "none that the kernel shows"
        driver = f" (driver {versions.driver})" if versions.driver else ""
        rows.append(("GPUs", f"{gpus}{driver}"))
    return _table(("", ""), [row for row in rows if row[1]])


def _found(page: Page) -> tuple[_Block, ...]:
    lines = []
    if page.examination is not None:
        bad = (Status.FAIL, Status.ERR)
        for finding in page.examination.findings:
            if finding.status in bad:
                lines.append(f"{finding.status.value} {finding.check}: {finding.summary}")
                lines += [f"do: {each}" for each in finding.remedy[:3]]
    for each in page.explained:
        lines += [f"{each.title}: {sentence}" for sentence in each.findings[:8]]
    if page.report is not None:
        sound = {pattern.id for pattern in PATTERNS if pattern.sound}
        lines += [
            f"the story {result.cell.pattern}, which uses the library soundly, fails:"
            f" {describe(result)}"
            for result in page.report.results
            if result.outcome.kind in FAULTS
            and result.cell.fix == "none"
            and result.cell.pattern in sound
        ]
    if page.trials is not None and page.trials.chosen:
        chosen = " and ".join(page.trials.chosen)
        lines.append(f"the repair to take: {chosen} ({page.trials.because})")
    return _list(lines or ["nothing wrong, as far as the parts below go"])


def _verdicts(report: Report) -> tuple[_Block, ...]:
    rows = [
        (
            each.mark.value,
            each.statement,
            each.because,
            verdicts.remedy(each) if each.mark is Support.SUPPORTED else "",
        )
        for each in verdicts.ordered(report)
    ]
    return (
        *_paragraph(f"{verdicts.EXPLANATION} From {count(len(report.results), 'cell')}."),
        *_table(("", "explanation", "because", "remedy"), rows),
    )


def _cells(report: Report) -> tuple[_Block, ...]:
    shown = [result for result in report.results if not result.cell.not_applicable]
    rows = [
        (result.cell.pattern, result.cell.fix, result.cell.consumer, label(result).text,
         describe(result))
        for result in shown
    ]  # fmt: skip
    return _table(("pattern", "fix", "consumer", "", "what was seen"), rows)


def _telling(page: Page) -> Result | None:
    """The cell that the reproducer tells; else a fault that a supported verdict rests on."""
    report = page.report
    if report is None:
        return None
    faults = {each.cell.id: each for each in report.results if each.outcome.kind in FAULTS}
    supported = [each for each in verdicts.ordered(report) if each.mark is Support.SUPPORTED]
    deciding = [one.cell for each in supported for one in verdicts.deciding(each)]
    return next((faults[id] for id in (page.reproduces, *deciding) if id in faults), None)


def _repairs(page: Page) -> tuple[_Block, ...]:
    trials = page.trials
    if trials is None:
        return ()
    rows = []
    for trial in trials.trials:
        tried = f"repaired {trial.repaired} of the {trial.failed} that fail without it"
        rows.append((trial.repair, trial.title, f"skipped: {trial.skipped}" if trial.skipped
                     else tried, trial.changes))  # fmt: skip
    chosen = " and ".join(trials.chosen) or "none"
    return (
        *_table(("repair", "what it does", "came of it", "changes"), rows),
        *_paragraph(f"To take: {chosen} ({trials.because})"),
    )


def _findings(page: Page) -> tuple[_Block, ...]:
    if page.examination is None:
        return ()
    order = tuple(reversed(finding_lines.WORST_LAST))
    found = sorted(page.examination.findings, key=lambda each: order.index(each.status))
    blocks = _table(
        ("", "check", "what is so"),
        [(each.status.value, each.check, each.summary) for each in found],
    )
    for each in found:
        if each.status in (Status.FAIL, Status.WARN, Status.ERR) and each.evidence:
            told = [*each.evidence, *(f"do: {line}" for line in each.remedy)]
            blocks = (*blocks, *_paragraph(each.check), *_code("\n".join(told)))
    return blocks


def _runtimes(page: Page) -> tuple[_Block, ...]:
    if page.found is None:
        return ()
    rows = [
        (
            "used" if page.target is not None and each.real_path == page.target.runtime else "",
            each.version or "?",
            each.source,
            each.soname,
            each.build_id,
            f"{each.path}{f' ({each.problem})' if each.problem else ''}",
        )
        for each in page.found.candidates
    ]
    heads = ("", "version", "from", "SONAME", "build id", "file")
    return (*_table(heads, rows), *_list(f"looked at: {each}" for each in page.found.looked))


def _versions(page: Page) -> tuple[_Block, ...]:
    told = page.versions
    if told is None:
        return ()
    rows = [
        ("xdiag", told.xdiag),
        ("Python of xdiag", told.python),
        ("Python examined", told.examined_python),
        ("libc", told.libc),
        ("kernel", told.kernel),
        ("PyTorch", told.torch),
        ("its HIP", told.torch_hip),
        ("its CUDA", told.torch_cuda),
        ("its runtime", told.torch_runtime),
        ("driver", told.driver),
        *(("GPU", gpu) for gpu in told.gpus),
        *(("XSched", each) for each in told.xsched),
    ]
    return _table(("", ""), [row for row in rows if row[1]])


def _environment(page: Page) -> tuple[_Block, ...]:
    if page.variables is None:
        return ()
    lines = [f"{name}={value}" for name, value in page.variables.values.items()]
    others = f"Others, by name: {' '.join(page.variables.names)}" if page.variables.names else ""
    return (*_code("\n".join(map(_visible, lines))), *_paragraph(others))
