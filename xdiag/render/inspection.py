"""An inspected process on a terminal: who it is, what is loaded in it, what is to be said of it."""

from __future__ import annotations

import os
import shlex
import time
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xdiag.discover.names import identity
from xdiag.process.libraries import version
from xdiag.render import findings
from xdiag.render.labels import finding_label
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import show_pairs
from xdiag.render.text import count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from xdiag.doctor.runtimes_in_process import Inspection
    from xdiag.process.facts import Copy, LoadedObject, ProcessFacts

_AGENTS = {
    "hardware": "hardware: AMD's HSA runtime is loaded",
    "software": "software: xdiag's own HSA runtime, no GPU",
}
_WITHOUT = "no HSA runtime is loaded"
#: Characters of a command line shown, and of a variable's value.
_LONGEST = 400


def show(inspection: Inspection, console: Console, *, verbose: bool = False) -> None:
    """Print one process."""
    facts = inspection.process
    console.print(Text(heading(facts), style="bold", overflow="fold"))
    show_pairs(console, [(f"  {term}", text) for term, text in _pairs(facts)])
    if facts.copies:
        console.print()
        console.print(_copies(facts.copies, core=bool(facts.core)))
    console.print()
    findings.show(inspection.findings, console, verbose=verbose)


def heading(facts: ProcessFacts) -> str:
    """The process in one line."""
    command = shlex.join(facts.command) or f"[{facts.name}]"
    if len(command) > _LONGEST:
        command = command[:_LONGEST] + " ..."
    whose = f"core file of process {facts.pid}" if facts.core else f"process {facts.pid}"
    return printable(f"{whose}: {command}")


def brief(inspection: Inspection, console: Console) -> None:
    """Print one process of many: a line, its copies, and what is wrong with it."""
    facts = inspection.process
    console.print(Text(heading(facts), style="bold", overflow="fold"))
    for copy in facts.copies:
        told = Text(printable(object_line(copy.object)), style="dim", overflow="fold")
        console.print(Padding(told, (0, 0, 0, 2), expand=False))
    wrong = [each for each in inspection.findings if finding_label(each).style in ("warn", "fail")]
    findings.show(wrong, console)


def object_line(each: LoadedObject) -> str:
    """A loaded library in one line."""
    found = version(each.soname, each.path)
    return (
        f"{each.family}{' ' * bool(found)}{found}  {each.path}"
        f"  {identity(each.device, each.inode)} at {each.address:#x}"
    )


def _pairs(facts: ProcessFacts) -> Iterable[tuple[str, str]]:
    if facts.core:
        yield "core file", facts.core + (f", made by {facts.signal}" if facts.signal else "")
    yield "program", facts.program or "not known"
    if facts.user is not None:
        name = f" ({facts.user_name})" if facts.user_name else ""
        started = f", started {_date(facts.started)}" if facts.started else ""
        state = f", state {facts.state}" if facts.state else ""
        yield "user", f"{facts.user}{name}{started}, {count(facts.threads, 'thread')}{state}"
    if facts.other_namespaces:
        inner = f"; it is process {facts.inner_pids[-1]} there" if facts.inner_pids else ""
        yield (
            "container",
            f"other namespaces than yours: {', '.join(facts.other_namespaces)}{inner}",
        )
    if facts.devices_problem:
        yield "GPU open", f"not known: {facts.devices_problem}"
    elif not facts.devices:
        yield "GPU open", "no device node"
    else:
        yield (
            "GPU open",
            ", ".join(
                f"{each.path} (descriptor {', '.join(map(str, each.numbers))})"
                for each in facts.devices
            ),
        )
    yield "agent", _AGENTS.get(facts.agent, _WITHOUT)
    for family, term in (("xsched", "XSched"), ("torch", "PyTorch")):
        paths = [each.path for each in facts.of_family(family)]
        if paths:
            names = ", ".join(os.path.basename(path) for path in paths)
            yield term, f"{names} in {os.path.dirname(paths[0])}"
    for name, value in facts.environment.items():
        yield name, value[:_LONGEST]
    if facts.environment_problem:
        yield "variables", f"not known: {facts.environment_problem}"
    yield (
        "loaded", f"{count(len(facts.objects), 'library').replace('librarys', 'libraries')},"
        f" {count(facts.mappings, 'mapping')}",
    )  # fmt: skip
    for note in facts.notes:
        yield "note", note


def _copies(copies: Sequence[Copy], *, core: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    heads = ["library", "version", "build id", "device", "inode", "file"]
    if core:
        heads = [head for head in heads if head not in ("device", "inode")]
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head != "file", header_style="dim")
    for copy in copies:
        each = copy.object
        texts = {
            "library": copy.family,
            "version": copy.version or "?",
            "build id": each.build_id[:12] or "-",
            "device": _device(each.device),
            "inode": str(each.inode),
            "file": each.path + (" (xdiag's own)" if copy.ours else ""),
        }
        several = sum(other.family == copy.family for other in copies) > 1
        style = TERMINAL["fail" if copy.family == "libamdhip64" else "warn"] if several else ""
        table.add_row(*(Text(printable(texts[head]), style=style) for head in heads))
    return table


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
