"""What sources say, on a terminal: what failed, the causes with their lines; the knowledge base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from xdiag.causes import CAUSES
from xdiag.model import SCHEMA_VERSION
from xdiag.recording import words
from xdiag.render import text
from xdiag.render.hanging import Hanging
from xdiag.render.json_document import record
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import show_pairs
from xdiag.render.text import count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from xdiag.causes import Cause
    from xdiag.explain.facts import Candidate, Explanation, Failure, Line, Note, Source, Step

#: Failures, lines of one, and notes that are told; JSON has all.
_MOST_FAILURES, _MOST_STEPS, _MOST_LINES, _MOST_NOTES = 12, 12, 8, 24
#: Characters of a line that are shown.
_LONGEST = 160
_INDENT = 6

_KINDS = {"AMD log": "the runtime's log", "message": "a message", "dmesg": "the kernel"}


def document(explanation: Explanation) -> str:
    """All of it as JSON."""
    return record(explanation)


def show(explanation: Explanation, console: Console) -> None:
    """Print what was read, what failed, what may be the cause, and what is to know besides."""
    folds, console.soft_wrap = console.soft_wrap, False
    try:
        _show(explanation, console)
    finally:
        console.soft_wrap = folds


def _show(explanation: Explanation, console: Console) -> None:
    for source in explanation.sources:
        _line(console, _source(source), style="dim")
    if explanation.handle is not None:
        _show_history(explanation, console)
    for failure in explanation.failures[:_MOST_FAILURES]:
        console.print()
        _show_failure(failure, console)
    if len(explanation.failures) > _MOST_FAILURES:
        _line(console, f"and {len(explanation.failures) - _MOST_FAILURES} failures more (--json)")
    shown = _shown(explanation.failures[:_MOST_FAILURES])
    if explanation.fault and not explanation.failures and explanation.causes:
        console.print()
        _line(console, "no call that fails is in it; what is wrong is this:")
    for candidate in explanation.causes:
        console.print()
        _show_candidate(candidate, console, shown)
    if explanation.not_excluded:
        console.print()
        _line(
            console,
            "nothing here speaks for these, and nothing excludes them:"
            f" {', '.join(explanation.not_excluded)} (xdiag explain CAUSE tells how each shows)",
        )
    if not explanation.fault:
        console.print()
        _line(console, _nothing(explanation))
    if explanation.notes:
        console.print()
    for note in explanation.notes[:_MOST_NOTES]:
        _show_note(note, console)


def _source(source: Source) -> str:
    kinds = ", ".join(source.formats) or "nothing that is known was recognised"
    packed = f" ({source.compressed})" if source.compressed else ""
    problem = f"; {source.problem}" if source.problem else ""
    return f"{source.path}{packed}: {count(source.lines, 'line')}, {kinds}{problem}"


def _nothing(explanation: Explanation) -> str:
    if any(source.problem for source in explanation.sources):
        return "nothing wrong was seen in what could be read"
    if explanation.causes:
        return "no call that fails is in it, and whether anything is wrong it does not tell"
    if any(source.formats for source in explanation.sources):
        return "nothing wrong was seen"
    return (
        "nothing in it tells of a fault: no error of HIP's or CUDA's, no second runtime, no crash"
    )


def _shown(failures: Iterable[Failure]) -> set[Line]:
    """Lines that stand below a failure, with their text: they are named afterwards."""
    shown: set[Line] = set()
    for failure in failures:
        steps = [step.line for step in failure.history[:_MOST_STEPS]]
        shown |= {line for line in steps or (failure.entry, failure.line) if line is not None}
    return shown


def _show_failure(failure: Failure, console: Console) -> None:
    head = Text("FAIL  ", style=TERMINAL["fail"])
    head.append(printable(_failed(failure)), style="bold")
    head.overflow = "fold"
    console.print(head)
    for fact in _facts(failure):
        _line(console, fact, _INDENT)
    if failure.history:
        for step in failure.history[:_MOST_STEPS]:
            _show_step(step, console)
    else:
        for line in dict.fromkeys((failure.entry, failure.line)):
            if line is not None:
                _show_evidence(line, console)
    for sentence in failure.notes:
        _line(console, sentence, _INDENT)


def _failed(failure: Failure) -> str:
    """``hipStreamGetFlags: 709 hipErrorContextIsDestroyed``."""
    if failure.signal:
        return f"{failure.call or 'a process'}: {failure.signal}"
    if failure.code == 0:
        return f"{failure.call}: {failure.name}, with a handle that is none any longer"
    if failure.code is None and not failure.name:
        return f"{failure.call}: no return line"
    code = "" if failure.code is None else str(failure.code)
    what = " ".join(part for part in (code, failure.name) if part)
    platform = "HIP" if failure.platform == "hip" else "CUDA"
    return f"{failure.call or f'a {platform} call'}: {what}"


def _facts(failure: Failure) -> Iterator[str]:
    parts = [f"told by {_KINDS.get(failure.kind, failure.kind)}"]
    if failure.pid is not None:
        parts.append(f"process {failure.pid}")
    if failure.thread:
        parts.append(f"thread {failure.thread}")
    if failure.handle is not None:
        sure = "" if failure.certain else " (not certain)"
        parts.append(f"handle {words.handle(failure.handle)}{sure}")
    if failure.count > 1:
        parts.append(f"{failure.count} times")
    yield ", ".join(parts)


def _show_step(step: Step, console: Console) -> None:
    _line(console, f"{step.line.place}  {step.what}: {_cut(step.line.text)}", _INDENT, "dim")


def _show_evidence(line: Line, console: Console) -> None:
    _line(console, f"{line.place}  {_cut(line.text)}", _INDENT, "dim")


def _show_candidate(candidate: Candidate, console: Console, shown: set[Line]) -> None:
    style = TERMINAL["fail" if candidate.likelihood == "likely" else "warn"]
    head = Text(f"{candidate.likelihood}  ", style=style)
    head.append(candidate.cause, style="bold")
    head.append(f"  {printable(candidate.statement)}")
    head.overflow = "fold"
    console.print(head)
    _line(console, f"because {candidate.because}", _INDENT)
    above = [line for line in candidate.lines if line in shown]
    if above:
        _line(console, f"lines above: {', '.join(_places(above))}", _INDENT, "dim")
    others = [line for line in candidate.lines if line not in shown]
    for line in others[:_MOST_LINES]:
        _show_evidence(line, console)
    if len(others) > _MOST_LINES:
        _line(console, f"and {len(others) - _MOST_LINES} lines more (--json)", _INDENT, "dim")
    for each in candidate.decide:
        _line(console, f"to decide: {each.command}", _INDENT)
        _line(console, f"shows: {each.tells}", _INDENT + 5, "dim")
    for remedy in candidate.remedy:
        _line(console, f"do: {remedy}", _INDENT)
    if candidate.references:
        _line(console, f"see: {', '.join(candidate.references)}", _INDENT)


def _places(lines: Iterable[Line]) -> list[str]:
    """``amd.log:24``, and of the same source the number alone behind it."""
    told: list[str] = []
    source = None
    for line in lines:
        told.append(str(line.number) if line.source == source else line.place)
        source = line.source
    return told


def _show_note(note: Note, console: Console) -> None:
    places = ", ".join(_places(note.lines[:_MOST_LINES]))
    _line(console, f"note: {note.sentence}{f' ({places})' if places else ''}", style="dim")


def _show_history(explanation: Explanation, console: Console) -> None:
    assert explanation.handle is not None
    console.print()
    console.print(Text(f"handle {words.handle(explanation.handle)}", style="bold"))
    for step in explanation.history:
        _show_step(step, console)
    if explanation.more:
        _line(console, f"and {count(explanation.more, 'line')} more", _INDENT, "dim")
    if not explanation.history:
        _line(console, "no line names it", _INDENT)


def _cut(line: str) -> str:
    stripped = " ".join(line.split())
    return stripped if len(stripped) <= _LONGEST else f"{stripped[:_LONGEST]} ..."


def _line(console: Console, said: str, indent: int = 0, style: str = "") -> None:
    shown = Hanging(Text(printable(said), style=style, overflow="fold"))
    console.print(Padding(shown, (0, 0, 0, indent), expand=False) if indent else shown)


# ---- the knowledge base ------------------------------------------------------------------------


def causes_document(causes: Iterable[Cause]) -> str:
    """Causes as JSON."""
    return record({"schema_version": SCHEMA_VERSION, "causes": list(causes)})


def show_list(console: Console) -> None:
    """Print every cause in a line, and what is blamed wrongly after them."""
    show_pairs(console, [(each.id, each.statement) for each in CAUSES if not each.blamed], "bold")
    console.print()
    _line(console, "blamed, and refuted by how the check works:")
    show_pairs(console, [(each.id, each.statement) for each in CAUSES if each.blamed], "bold")


def show_cause(cause: Cause, console: Console) -> None:
    """Print all that is known of a cause."""
    console.print(
        Text.assemble((cause.id, "bold"), f"  {printable(cause.statement)}", overflow="fold")
    )
    show_pairs(console, _known(cause))


def show_code(code: int, console: Console) -> None:
    """Print what an error number means, and for 709 what may be its cause."""
    name, meaning = _error(code)
    told = f'{name} ("{meaning}")' if name else "no error of HIP's that is known here"
    console.print(Text(f"{code} on HIP: {told}", style="bold", overflow="fold"))
    if code != 709:
        return
    _line(
        console,
        "Up to HIP 6.4, from a stream call, it says one thing: the handle is not in this loaded"
        " copy's set of live streams. The check compares pointers; it looks at no thread, no"
        " context and no current device.",
    )
    _line(
        console,
        'On CUDA the same number is cudaErrorContextIsDestroyed ("context is destroyed"), and about'
        " a context: nothing below is said of it but cuda-context.",
    )
    for cause in CAUSES:
        if not cause.blamed:
            console.print()
            show_cause(cause, console)
    console.print()
    _line(console, "blamed, and refuted by how the check works:")
    show_pairs(console, [(each.id, each.signature) for each in CAUSES if each.blamed], "bold")


def causes_page() -> str:
    """docs/causes.md: every cause of the knowledge base."""
    lines = [
        "<!-- Generated by `make docs` from xdiag/causes.py: edit that, not this. -->",
        "",
        "# Causes",
        "",
        "What `xdiag explain` names, with what shows it and what decides. `xdiag explain 709` and"
        " `xdiag explain CAUSE` print the same. [What 709 means](why-709.md) has the reasons.",
    ]
    for cause in CAUSES:
        lines += ["", f"## {cause.id}", "", f"{text.markdown(_sentence(cause.statement))}."]
        if cause.blamed:
            lines += ["", "Blamed by many, and refuted by how the check works."]
        lines += ["", *(f"- **{term}**: {text.markdown(told)}" for term, told in _facts_of(cause))]
        for each in cause.discriminators:
            lines += ["", f"{text.markdown(_sentence(each.tells))}:", "", f"    {each.command}"]
    return "\n".join(lines) + "\n"


def _known(cause: Cause) -> list[tuple[str, str]]:
    decide = [
        pair
        for each in cause.discriminators
        for pair in (("to decide", each.command), ("", f"shows: {each.tells}"))
    ]
    told = _facts_of(cause)
    return [told[0], *decide, *told[1:]]


def _facts_of(cause: Cause) -> list[tuple[str, str]]:
    rows = [("shows as", cause.signature), ("versions", cause.versions), ("do", cause.remedy)]
    rows.append(("see", ", ".join(cause.references)))
    return [(term, told) for term, told in rows if told]


def _sentence(said: str) -> str:
    # A call's name stays as it is.
    is_name = said.startswith(("hip", "cu")) and not said.split(" ", 1)[0].islower()
    return said if is_name else said[0].upper() + said[1:]


def _error(code: int) -> tuple[str, str]:
    from xdiag.native import errors

    return errors().get(code, ("", ""))
