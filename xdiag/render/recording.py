"""What a record says, on a terminal: runtimes and who asked for them, what is wrong, in numbers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from xdiag.discover.names import as_text
from xdiag.findings import Finding, Status
from xdiag.recording import words
from xdiag.recording.report import Report, report
from xdiag.recording.requests import routes
from xdiag.render import findings
from xdiag.render.hanging import Hanging
from xdiag.render.text import count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from xdiag.recording.facts import Facts, Object, Process
    from xdiag.recording.provenance import Diagnosis, Story
    from xdiag.recording.read import Recording
    from xdiag.recording.requests import Route

#: Processes told one by one, in brief and in full; requests told of one copy.
_FEW, _MOST = 4, 64
_MOST_ROUTES = 6
#: Columns by which "A  FILE, ..." goes on further in: past what is said below it.
_PAST_ROUTES = 5
#: Characters of a command line shown.
_LONGEST = 120

_NOT_REDIRECTED = {
    "other SONAME": "not redirected: another major version",
    "lacks versions": "not redirected: the copy that is loaded lacks symbol versions",
    "file replaced": "not redirected: the file of the copy that is loaded was replaced",
    "unreadable": "no library that can be read",
    "other namespace": "not redirected: asked from a namespace of its own (dlmopen)",
}


def show_report(
    recording: Recording, diagnoses: Sequence[Diagnosis], console: Console, *, brief: bool
) -> None:
    """Print what a record says; one line where one runtime was loaded and nothing is wrong.

    ``brief`` is for the end of a run: a few processes, and no more than what to do.
    """
    # Lines that are indented are folded to the width; a console that folds nothing would cut them.
    folds, console.soft_wrap = console.soft_wrap, False
    try:
        _show_report(recording, diagnoses, console, brief=brief)
    finally:
        console.soft_wrap = folds


def _show_report(
    recording: Recording, diagnoses: Sequence[Diagnosis], console: Console, *, brief: bool
) -> None:
    facts = recording.facts
    concerned = [process for process in facts.processes if process.runtimes or process.requests]
    if not diagnoses and _is_plain(concerned) and brief:
        _line(console, _nothing_wrong(facts, concerned))
        return
    if not brief:
        for line in _about(facts):
            _line(console, line)
    groups = _alike(concerned)
    most = _FEW if brief else _MOST
    for group in groups[:most]:
        _show_process(group, console, brief=brief)
    if len(groups) > most:
        _line(console, f"and {words.plural(len(groups) - most, 'process')} more, different ones")
    if not concerned:
        _line(console, _none_loaded(facts, "loaded or asked for"))
    if diagnoses:
        console.print()
        findings.show([finding(each) for each in diagnoses], console)
    else:
        _line(console, "nothing wrong was seen")
    for line in (*_numbers(facts), *facts.notes):
        _line(console, line, style="dim")


def document(
    recording: Recording, diagnoses: Sequence[Diagnosis], story: Story | None = None
) -> Report:
    """The same for ``json_document.record``; it is read back as ``Report``."""
    return report(recording, tuple(diagnoses), story)


def finding(diagnosis: Diagnosis) -> Finding:
    """A diagnosis in the dress of doctor's findings."""
    sure = diagnosis.certain or not diagnosis.fault
    return Finding(
        check=diagnosis.cause,
        status=Status.FAIL if diagnosis.fault else Status.WARN,
        summary=diagnosis.sentence if sure else f"{diagnosis.sentence} (not proved by the record)",
        evidence=diagnosis.evidence,
        remedy=diagnosis.remedy,
    )


def show_story(story: Story, console: Console) -> None:
    """Print the whole history of a handle."""
    console.print(Text(f"handle {words.handle(story.handle)}", style="bold"))
    for sentence in story.sentences:
        _line(console, sentence, 2)
    for step in story.steps:
        times = f" (x{step.count})" if step.count > 1 else ""
        _line(console, f"{words.moment(step.time)}  {step.what}: {step.text}{times}", 4, "dim")
    if story.more:
        _line(console, f"and {story.more} calls more", 4, "dim")
    for value in story.related:
        _line(console, f"related: {words.handle(value)} (low half and whole)", 2)


# ---- what was loaded -------------------------------------------------------------------------


def _is_plain(processes: Iterable[Process]) -> bool:
    """Whether at most one copy was loaded in each, and no request was kept from one."""
    return all(
        len(process.runtimes) <= 1
        and all(request.answer in ("as asked", "same file") for request in process.requests)
        for process in processes
    )


def _nothing_wrong(facts: Facts, processes: list[Process]) -> str:
    paths = {each.path for process in processes for each in process.runtimes}
    if not paths:
        return _none_loaded(facts, "loaded")
    where = f" in each of {len(processes)} processes" if len(processes) > 1 else ""
    one = as_text(min(paths)) if len(paths) == 1 else f"{len(paths)} files"
    recorded = any(each.recorded for process in processes for each in process.runtimes)
    if not recorded:
        return f"one HIP runtime{where}, {one}; calls were not recorded"
    lost = facts.lost.overwritten_by_others
    but = f", of which {lost} are lost with threads that have ended" if lost else ""
    return f"one HIP runtime{where}, {one}; nothing wrong in {count(facts.calls_seen, 'call')}{but}"


def _none_loaded(facts: Facts, what: str) -> str:
    """Said of the processes that were seen: what ran without the audit library is not known."""
    seen = facts.processes
    if not seen:
        return (
            "nothing was seen: the program ran without the audit library"
            " (something cleared LD_AUDIT?)"
        )
    named = [*dict.fromkeys(os.path.basename(as_text(each.exe)) or str(each.pid) for each in seen)]
    names = ", ".join([*named[:_FEW], *["..."] * (len(named) > _FEW)])
    were = "was" if len(seen) == 1 else "were"
    return (
        f"no HIP runtime was {what} in the {words.plural(len(seen), 'process')} that {were} seen"
        f" ({names})"
    )


def _about(facts: Facts) -> Iterator[str]:
    yield f"record of {_cut(' '.join(facts.command)) or 'a command that is not known'}"
    if facts.started:
        yield f"  started {facts.started}, with xdiag {facts.xdiag}"
    ended = sum(process.how_ended == "exit" for process in facts.processes)
    yield (
        f"  {words.plural(len(facts.processes), 'process')},"
        f" {words.plural(len(facts.threads), 'thread')} that made calls;"
        f" {ended} ended by {'itself' if ended == 1 else 'themselves'}"
    )


def _alike(processes: Sequence[Process]) -> list[list[Process]]:
    """Processes with the same copies and requests together."""
    groups: dict[object, list[Process]] = {}
    for process in processes:
        key = (
            tuple((each.path, each.namespace) for each in process.runtimes),
            tuple((r.name, r.answer, r.requester_path) for r in process.requests),
            process.forked,
        )
        groups.setdefault(key, []).append(process)
    # What has two copies comes first.
    return sorted(groups.values(), key=lambda group: -len(group[0].runtimes))


def _show_process(group: list[Process], console: Console, *, brief: bool) -> None:
    process = group[0]
    copies = len(process.runtimes)
    more = f", and in {words.plural(len(group) - 1, 'process')} more" if len(group) > 1 else ""
    forked = f", a fork of {process.parent}" if process.forked else ""
    command = "" if brief and process.forked else _cut(" ".join(process.command))
    head = f"{words.plural(copies, 'HIP runtime')} in {words.process_named(process)}{forked}{more}"
    console.print(Text(printable(f"{head}{': ' * bool(command)}{command}"), style="bold",
                       overflow="fold"))  # fmt: skip
    told = routes(process)
    for each in process.runtimes[:_MOST]:
        _line(console, _copy_line(process, each), 2, further_in=_PAST_ROUTES)
        mine = [route for route in told if route.runtime == each.number]
        for line in _asked(mine, forked=process.forked):
            _line(console, line, 5, "dim")
    for line in [*dict.fromkeys(_route_line(route) for route in told if not route.runtime)][:_MOST]:
        _line(console, line, 2, "dim")


def _copy_line(process: Process, each: Object) -> str:
    parts = [each.soname] if each.soname else []
    if each.build_id:
        parts.append(f"build id {each.build_id[:12]}")
    if each.namespace:
        parts.append(f"in namespace {each.namespace} (dlmopen)")
    if not each.recorded:
        parts.append("its calls were not recorded")
    return f"{words.letter(process, each.number)}  {as_text(each.path)}  {', '.join(parts)}"


def _asked(told: Sequence[Route], *, forked: bool) -> Iterator[str]:
    if not told:
        yield "loaded before the fork" if forked else "who asked for it was not recorded"
    lines = dict.fromkeys(_route_line(route) for route in told)
    yield from [*lines][:_MOST_ROUTES]
    if len(lines) > _MOST_ROUTES:
        yield f"and {len(lines) - _MOST_ROUTES} requests more"


def _route_line(route: Route) -> str:
    who = os.path.basename(as_text(route.requester_path)) or "the program"
    asked = f"{who} asked for {as_text(route.name)}"
    if not route.path:
        return f"{asked}: loaded by that name already, or not found"
    found = f": {as_text(route.path)} by {route.found_by}" if route.found_by else ""
    if route.answer == "redirected":
        return f"{asked}{found}: redirected to {as_text(route.to)}"
    if route.answer == "same file" and route.path != route.name:
        return f"{asked}{found}, which is the copy that is loaded"
    why = _NOT_REDIRECTED.get(route.answer, "")
    because = f" ({route.why})" if route.why else ""
    return f"{asked}{found}{': ' * bool(why)}{why}{because}"


# ---- numbers ---------------------------------------------------------------------------------


def _numbers(facts: Facts) -> Iterator[str]:
    lost = facts.lost
    recorded = any(each.recorded for process in facts.processes for each in process.runtimes)
    if recorded or facts.calls_seen:
        failed = f", {facts.failures_seen} failed ({facts.refusals_seen} with {facts.refusal})"
        yield (
            f"{count(facts.calls_seen, 'call')} seen, {facts.calls_kept} kept"
            f"{failed if facts.failures_seen else ''}"
        )
    if lost.threads:
        yield (
            f"{words.plural(lost.threads, 'thread')} had no place in the record: none of those"
            " calls is kept"
        )
    if lost.overwritten_by_others:
        yield (
            f"{words.plural(lost.overwritten_by_others, 'call')} of threads that have ended"
            f" {'is' if lost.overwritten_by_others == 1 else 'are'} lost: their places went on to"
            " other threads"
        )
    if lost.runtimes:
        yield (
            f"the calls of {words.plural(lost.runtimes, 'copy')} of the runtime were not recorded:"
            " more at a time than can be"
        )
    if lost.events:
        yield f"{words.plural(lost.events, 'load')} or requests are missing from the record"
    if lost.torn:
        yield (
            f"{words.plural(lost.torn, 'call')} not whole: being written when the process died, or"
            " damaged since"
        )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _line(
    console: Console, text: str, indent: int = 0, style: str = "", *, further_in: int = 2
) -> None:
    shown = Hanging(Text(printable(text), style=style, overflow="fold"), further_in)
    console.print(Padding(shown, (0, 0, 0, indent), expand=False) if indent else shown)
