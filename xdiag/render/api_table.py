"""What calls do with bad handles: an overview, and the answers by call or by kind of handle."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from xdiag import platforms
from xdiag.api.handles import BAD, CONTROL, HANDLES
from xdiag.api.measured_data import HANG, Document, Entry
from xdiag.api.questions import QUESTIONS
from xdiag.api.readings import MEANS, Reading, named, reading, readings, succeeded, worst
from xdiag.model import SCHEMA_VERSION
from xdiag.render import json_document
from xdiag.render.markdown import table as markdown_table
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import printed, show_pairs
from xdiag.render.text import count
from xdiag.render.text import markdown as escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from xdiag.api.measured_data import Measured

#: One character a reading, for the overview: what is as it should be hardly shows.
MARKS = {
    Reading.REPORTS: ".",
    Reading.ACCEPTS: "+",
    Reading.LIES: "L",
    Reading.CRASHES: "C",
    Reading.HANGS: "H",
    Reading.ABSENT: "-",
    Reading.UNASKED: "?",
}
_STYLES = {
    Reading.REPORTS: "pass",
    Reading.ACCEPTS: "pass",
    Reading.LIES: "fail",
    Reading.CRASHES: "err",
    Reading.HANGS: "err",
    Reading.ABSENT: "skip",
    Reading.UNASKED: "skip",
}
#: More kinds than these are told by what is missing of them, if that is no more than a few.
_MANY, _FEW = 4, 2
_NOTHING = Entry(unasked="this xdiag did not ask it")
#: What a kind of handle is called in the overview: its first letter is its own.
LETTERS = {handle: handle[0] for handle in BAD}
STANDS_IN = (
    "The software agent stood in for the GPU: this is the HIP runtime's own code on the host, which"
    " is what looks at a handle."
)


@dataclass(frozen=True)
class Sheet:
    """What is to be shown: versions, calls and kinds of handle, each in order."""

    measured: tuple[Measured, ...]
    calls: tuple[str, ...]
    handles: tuple[str, ...]

    def entry(self, version: int, call: str, handle: str) -> Entry:
        """What a version says of one call with one kind of handle."""
        return self.measured[version].calls.get(call, {}).get(handle, _NOTHING)

    def full_name(self, call: str) -> str:
        """The call as programs name it."""
        platform = self.measured[0].subject.platform if self.measured else "hip"
        return f"{platforms.get(platform).prefix}{call}"


def whole(measured: Sequence[Measured]) -> Sheet:
    """All that was measured."""
    return Sheet(
        measured=tuple(measured),
        calls=tuple(question.call for question in QUESTIONS),
        handles=tuple(handle.id for handle in HANDLES),
    )


# ---- words ----


def words(call: str, handle: str, entry: Entry) -> str:
    """An entry in a few words: ``709``, ``lies (0)``, ``SIGSEGV``, ``400 or SIGSEGV``."""
    if entry.absent:
        return "absent"
    if not entry.answers:
        return "not asked"
    return " or ".join(_word(call, handle, answer) for answer in entry.answers)


def _word(call: str, handle: str, answer: str) -> str:
    if answer == HANG:
        return "hangs"
    if reading(call, handle, answer) == Reading.LIES:
        return f"lies ({answer})"
    if succeeded(call, answer) and named(call, answer).startswith("device"):
        return named(call, answer)
    return answer


def _version(measured: Measured) -> str:
    return f"HIP {measured.label}"


def measured_on(measured: Sequence[Measured]) -> list[tuple[str, str]]:
    """What each column was measured on, as terms and texts."""
    return [
        (
            _version(each),
            ", ".join(
                filter(
                    None,
                    (
                        each.subject.package or each.subject.soname,
                        each.subject.version,
                        each.subject.build_id and f"build id {each.subject.build_id}",
                        "the software agent"
                        if each.subject.agent == "software"
                        else each.subject.device or "a GPU",
                        f"{each.started[:10]}, xdiag {each.xdiag}",
                        _how_often(each),
                    ),
                )
            ),
        )
        for each in measured
    ]


def _how_often(measured: Measured) -> str:
    times = f"each question {count(measured.rounds, 'time')}"
    if not measured.circumstances:
        return times
    return f"{times} in each of {count(len(measured.circumstances), 'circumstance')}"


def reasons(sheet: Sheet) -> list[tuple[str, str]]:
    """Why something was not asked: the versions, calls and kinds of handle, and the reason."""
    found: dict[str, dict[str, None]] = {}
    for version, measured in enumerate(sheet.measured):
        for (reason, handles), calls in _unasked(sheet, version).items():
            every = len(calls) == sum(
                not sheet.entry(version, call, CONTROL).absent for call in sheet.calls
            )
            named_calls = ["every call"] if every else [sheet.full_name(call) for call in calls]
            whom = f" with {', '.join(handles)}" if handles else ""
            place = f"{_version(measured)} {', '.join(named_calls)}{whom}"
            found.setdefault(reason, {})[place] = None
    return [("; ".join(places), reason) for reason, places in found.items()]


def _unasked(sheet: Sheet, version: int) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Reason and kinds of handle (none for all of them) -> calls."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for call in sheet.calls:
        by_reason: dict[str, list[str]] = {}
        for handle in sheet.handles:
            if reason := sheet.entry(version, call, handle).unasked:
                by_reason.setdefault(reason, []).append(handle)
        for reason, handles in by_reason.items():
            whole = len(handles) >= len([each for each in sheet.handles if each != CONTROL])
            found.setdefault((reason, () if whole else tuple(handles)), []).append(call)
    return found


def asked_as(call: str) -> str:
    """The call as it is asked, with its arguments; ``h`` is the handle."""
    return next(question.ways[-1].ask for question in QUESTIONS if question.call == call)


# ---- rows ----


def by_call(sheet: Sheet, call: str) -> list[tuple[str, ...]]:
    """A row per kind of handle, those that answer alike in one; a column per version."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for handle in sheet.handles:
        texts = tuple(
            words(call, handle, sheet.entry(version, call, handle))
            for version in range(len(sheet.measured))
        )
        merged.setdefault(texts, []).append(handle)
    return [(several(handles, sheet.handles), *texts) for texts, handles in merged.items()]


def several(handles: Sequence[str], shown: Sequence[str]) -> str:
    """Kinds of handle in few words: ``every bad kind but truncated, null``."""
    bad = [handle for handle in shown if handle in BAD]
    missing = [handle for handle in bad if handle not in handles]
    if len(bad) - len(missing) <= _MANY or len(missing) > _FEW:
        return ", ".join(handles)
    others = [handle for handle in handles if handle not in BAD]
    but = f" but {' and '.join(missing)}" if missing else ""
    return ", ".join([f"every bad kind{but}", *others])


def by_handle(sheet: Sheet, handle: str) -> list[tuple[str, ...]]:
    """A row per call, a column per version."""
    return [
        (
            sheet.full_name(call),
            *(
                words(call, handle, sheet.entry(version, call, handle))
                for version in range(len(sheet.measured))
            ),
        )
        for call in sheet.calls
    ]


def marks(sheet: Sheet, version: int, call: str) -> list[Reading]:
    """The worst reading of each bad kind of handle, in the catalogue's order."""
    return [worst(call, handle, sheet.entry(version, call, handle)) for handle in BAD]


def varying(measured: Measured) -> dict[str, int]:
    """Kinds of handle, and how many calls answer them differently from process to process."""
    found = dict.fromkeys((handle.id for handle in HANDLES), 0)
    for row in measured.calls.values():
        for handle, entry in row.items():
            found[handle] = found.get(handle, 0) + (len(entry.answers) > 1)
    return {handle: times for handle, times in found.items() if times}


def counts(sheet: Sheet, version: int) -> dict[str, int]:
    """How many calls do what with bad handles; one that does two things counts in both."""
    every, lie, crash, hang, absent, unasked = (
        "report every bad handle", "lie", "crash", "hang", "absent", "not asked",
    )  # fmt: skip
    found = dict.fromkeys((every, lie, crash, hang, absent, unasked), 0)
    for call in sheet.calls:
        seen = {
            each
            for handle in BAD
            for each in readings(call, handle, sheet.entry(version, call, handle))
        }
        found[every] += seen - {Reading.UNASKED} == {Reading.REPORTS}
        found[lie] += Reading.LIES in seen
        found[crash] += Reading.CRASHES in seen
        found[hang] += Reading.HANGS in seen
        found[absent] += seen == {Reading.ABSENT}
        found[unasked] += seen == {Reading.UNASKED}
    return found


# ---- a terminal ----


def show(sheet: Sheet, console: Console, by: str = "") -> None:
    """Print what there is: the overview, or, ``by`` "call" or "handle", the answers themselves."""
    if by == "call":
        for call in sheet.calls:
            title = f"{sheet.full_name(call)}, asked as {sheet.full_name(asked_as(call))}"
            _show_rows(console, sheet, title, "handle", by_call(sheet, call))
    elif by == "handle":
        titles = {handle.id: handle.title for handle in HANDLES}
        for handle in sheet.handles:
            title = f"{handle}: {titles[handle]}"
            _show_rows(console, sheet, title, "call", by_handle(sheet, handle))
    else:
        _show_overview(console, sheet)
    _show_foot(console, sheet, overview=not by)


def _show_rows(
    console: Console, sheet: Sheet, title: str, head: str, rows: Sequence[Sequence[str]]
) -> None:
    console.print(Text(title, style="bold"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column(head, overflow="fold")
    for measured in sheet.measured:
        table.add_column(_version(measured), overflow="fold")
    for first, *texts in rows:
        table.add_row(first, *(Text(text, style=_style(text)) for text in texts))
    console.print(table)
    console.print()


def _style(text: str) -> str:
    if "lies" in text:
        return TERMINAL[_STYLES[Reading.LIES]]
    if "SIG" in text or "hangs" in text or "exit" in text:
        return TERMINAL[_STYLES[Reading.CRASHES]]
    return TERMINAL["skip"] if text in ("absent", "not asked") else ""


def _show_overview(console: Console, sheet: Sheet) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("call", overflow="fold")
    for measured in sheet.measured:
        letters = "".join(LETTERS.values())
        table.add_column(f"{_version(measured)}\n{letters}", no_wrap=True)
    groups = {question.call: question.group for question in QUESTIONS}
    for place, call in enumerate(sheet.calls):
        last = place + 1 == len(sheet.calls) or groups[sheet.calls[place + 1]] != groups[call]
        table.add_row(
            sheet.full_name(call),
            *(_marked(marks(sheet, version, call)) for version in range(len(sheet.measured))),
            end_section=last,
        )
    console.print(table)
    console.print()
    for version, measured in enumerate(sheet.measured):
        told = ", ".join(f"{n} {what}" for what, n in counts(sheet, version).items() if n)
        console.print(Text(f"{_version(measured)}: of {len(sheet.calls)} calls {told}."))
    console.print()


def _marked(seen: Iterable[Reading]) -> Text:
    text = Text()
    for each in seen:
        text.append(MARKS[each], style=TERMINAL[_STYLES[each]])
    return text


def _show_foot(console: Console, sheet: Sheet, *, overview: bool) -> None:
    if overview:
        show_pairs(console, legend())
        console.print()
        show_pairs(console, kinds())
        console.print()
    for place, reason in reasons(sheet):
        console.print(Text(f"Not asked: {place}: {reason}."))
    show_measured_on(console, sheet.measured)
    if any(each.subject.agent == "software" for each in sheet.measured):
        console.print(Text(STANDS_IN))
    if overview:
        console.print(
            Text("--call NAME or --handle KIND shows the answers themselves, also to 0, 1 and 2.")
        )


def show_measured_on(console: Console, measured: Sequence[Measured]) -> None:
    """Print what each version was measured on."""
    show_pairs(console, [(version, f"{on}.") for version, on in measured_on(measured)])


def legend() -> list[tuple[str, str]]:
    """What the overview's marks say."""
    shown = [each for each in MARKS if each != Reading.ACCEPTS]
    return [(MARKS[each], f"{each.value}: {MEANS[each]}") for each in shown]


def kinds() -> list[tuple[str, str]]:
    """What the overview's letters stand for: kinds of handle."""
    titles = {handle.id: handle.title for handle in HANDLES}
    return [(letter, f"{id}: {titles[id]}") for id, letter in LETTERS.items()]


# ---- for documents and programs ----


def render(sheet: Sheet, form: str, by: str = "", width: int | None = None) -> str:
    """The sheet as text: ``table``, ``markdown``, ``json`` or ``csv``."""
    if form == "json":
        return json_document.record(data(sheet))
    if form == "csv":
        return _csv(sheet)
    if form == "markdown":
        return markdown(sheet, by)
    return printed(lambda console: show(sheet, console, by), width)


def data(sheet: Sheet) -> Document:
    """The measurements with only the calls and kinds of handle that are shown."""
    chosen = tuple(
        replace(
            each,
            calls={
                call: {handle: row[handle] for handle in sheet.handles if handle in row}
                for call in sheet.calls
                if (row := each.calls.get(call)) is not None
            },
        )
        for each in sheet.measured
    )
    return Document(schema_version=SCHEMA_VERSION, measured=chosen)


_CSV = ("call", "handle", "version", "reading", "answers", "reason", "build_id", "agent")


def _csv(sheet: Sheet) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_CSV)
    for call in sheet.calls:
        for handle in sheet.handles:
            for version, measured in enumerate(sheet.measured):
                entry = sheet.entry(version, call, handle)
                writer.writerow(
                    (
                        sheet.full_name(call),
                        handle,
                        measured.subject.version,
                        " ".join(each.value for each in readings(call, handle, entry)),
                        " ".join(entry.answers),
                        entry.unasked,
                        measured.subject.build_id,
                        measured.subject.agent,
                    )
                )
    return written.getvalue()


def markdown(sheet: Sheet, by: str = "") -> str:
    """The sheet in GitHub's dialect."""
    heads = [_version(measured) for measured in sheet.measured]
    parts: list[str] = []
    if by == "handle":
        titles = {handle.id: handle.title for handle in HANDLES}
        for handle in sheet.handles:
            parts += [
                f"## {handle}",
                escaped(f"{titles[handle][0].upper()}{titles[handle][1:]}."),
                markdown_table(("call", *heads), by_handle(sheet, handle)),
            ]
    elif by == "call":
        for call in sheet.calls:
            parts += [
                f"### {escaped(sheet.full_name(call))}",
                markdown_table(("handle", *heads), by_call(sheet, call)),
            ]
    else:
        parts += [overview_markdown(sheet), legend_markdown()]
    parts += foot_markdown(sheet)
    return "\n\n".join(parts) + "\n"


def overview_markdown(sheet: Sheet, link: bool = False) -> str:
    """The overview as a pipe table; with ``link`` each call leads to its heading on the page."""
    letters = "".join(LETTERS.values())
    heads = ["call", *(f"{measured.label} `{letters}`" for measured in sheet.measured)]
    rows = []
    for call in sheet.calls:
        name = escaped(sheet.full_name(call))
        if link:
            name = f"[{name}](#{sheet.full_name(call).lower()})"
        cells = [
            f"`{''.join(MARKS[each] for each in marks(sheet, version, call))}`"
            for version in range(len(sheet.measured))
        ]
        rows.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows])


def legend_markdown() -> str:
    """What the overview's marks and letters say, as two lists."""
    lists = (legend(), kinds())
    return "\n\n".join(
        "\n".join(f"- `{sign}` {escaped(said)}" for sign, said in pairs) for pairs in lists
    )


def foot_markdown(sheet: Sheet) -> list[str]:
    """What was not asked, and what it was measured on, as paragraphs."""
    parts = []
    if why := reasons(sheet):
        parts.append(
            "\n".join(f"- Not asked: {escaped(f'{place}: {reason}.')}" for place, reason in why)
        )
    parts.append("\n".join(f"- {v}: {escaped(on)}." for v, on in measured_on(sheet.measured)))
    if any(each.subject.agent == "software" for each in sheet.measured):
        parts.append(STANDS_IN)
    return parts
