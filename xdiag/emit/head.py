"""What stands at the head of a reproducer: the question, what was seen, how to build and run it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xdiag import __version__
from xdiag.consumers import CONSUMERS
from xdiag.fixes import FIXES
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.render.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.emit.program import Program
    from xdiag.model import Cell, Result, Target


@dataclass(frozen=True)
class Words:
    """What is said besides the story: the file's name, what was seen; less where room is short."""

    name: str
    seen: str = ""
    result: Result | None = None
    #: What else ``xdiag probe`` was told, with a space after it.
    options: str = ""
    brief: bool = False
    #: The version of the C library that the runtime came with, where this machine's is too old.
    libc: str = ""


#: What each of the program's arguments is: an example, and what it has to be.
_ARGUMENTS = {
    "first": ("/opt/rocm/lib/libamdhip64.so.6", "the runtime under test"),
    "copy": ("/tmp/copy/libamdhip64.so.6", "another file with the same content: cp -L"),
    "link": ("/tmp/link/libamdhip64.so.6", "the same file under another name: ln -s"),
    "soname": ("libamdhip64.so.6", "its SONAME, a name in COPY's directory"),
    "name": ("libamdhip64.so", "its name without a version, in COPY's directory"),
}
#: Placeholders of a cell's environment, in the words of a shell.
_SHELL = {
    "first": "$FIRST",
    "first_directory": "$(dirname $FIRST)",
    "copy_directory": "$(dirname $COPY)",
    "audit": "$AUDIT",
}
_LISTS = ("LD_LIBRARY_PATH",)
#: In front of a command that another dynamic loader is to start (ld.so(8)).
_LOADER = "$LOADER --library-path "
#: Characters of a command, before it is broken.
_LONGEST = 91
_AUDIT = (
    "AUDIT is xdiag's own library for LD_AUDIT (man 7 rtld-audit): the one thing here that needs"
    " xdiag."
)


def head(
    program: Program,
    words: Words,
    *,
    language: str,
    build: Sequence[str],
    run: str,
    note: str,
    given: Literal["arguments", "environment"] = "arguments",
) -> list[str]:
    """Paragraphs; one that begins with a space is a line as it is.

    ``build`` are the commands before it can be run, ``run`` the command without its arguments;
    ``note`` says what comes of it.  Paths are given to it as arguments or in the environment.
    """
    cell = program.cell
    story = _story(cell, brief=words.brief)
    loader = _loader_variables(words) if words.libc else []
    texts = [f"{story} {words.seen}".strip()] if words.brief else [story, "", words.seen, ""]
    if given == "environment":
        commands = [*_shell_variables(program, exported=True), *loader]
        commands += _command(cell, run, loader=bool(loader))
    elif program.opened == ("first",) and not cell.environment and (words.brief or not loader):
        path, what = _ARGUMENTS["first"]
        commands = [*loader, *_command(cell, f"{run} {path}", loader=bool(loader))]
        commands[-1] += "" if loader else f"   # {what}"
    else:
        commands = [*_shell_variables(program), *loader]
        commands += _command(cell, f"{run} {_arguments(program)}", loader=bool(loader))
    texts += [f"    {line}" for line in (*build, *commands)]
    texts += [note] if words.brief else ["", note]
    if "audit" in _placeholders(cell):
        texts.append(_AUDIT)
    fix = f" -f {cell.fix}" if cell.fix != "none" else ""
    command = f"probe {words.options}-p {cell.pattern}{fix} -c {cell.consumer} --emit {language}"
    texts.append(f"Written by xdiag {__version__}: {command}")
    # One empty line is enough between two paragraphs.
    pairs = zip(["", *texts], texts, strict=False)
    return [printable(text) for before, text in pairs if before or text]


def sentence(text: str) -> str:
    """A title as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _arguments(program: Program) -> str:
    """The program's arguments, in the words of a shell."""
    return " ".join(f"${what.upper()}" for what in program.opened)


def what_was_seen(result: Result, target: Target | None) -> str:
    """What one run of this cell showed, and where; nothing that it did not show."""
    outcome = result.outcome
    where = ""
    if target is not None:
        version = target.version or "of unknown version"
        build = f", build id {target.build_id}" if target.build_id else ""
        below = "xdiag's software agent (no GPU)" if target.agent == "software" else "a GPU"
        where = f" with HIP {version}{build} on {target.device_name or below}"
        if target.agent == "software":
            where = f" with HIP {version}{build} on {below}"
    code = f"{outcome.call} returned {outcome.code} {outcome.name}".rstrip()
    told = [code] if outcome.code is not None else []
    if outcome.kind is OutcomeKind.CRASH:
        told.append(f"the process was killed by {outcome.signal or 'a signal'}{_in_flight(result)}")
    elif outcome.kind is OutcomeKind.EXIT:
        told.append(f"the process exited with status {outcome.status}{_in_flight(result)}")
    elif outcome.kind is OutcomeKind.HANG:
        told.append(f"the process still ran after {outcome.seconds:.0f} s{_in_flight(result)}")
    elif outcome.kind is OutcomeKind.OK:
        told.append("no call failed")
    elif outcome.code is None:
        told.append(outcome.reason or outcome.message or f"{outcome.call} could not be done")
    return f"Seen{where}: {'; '.join(told)}."


def _in_flight(result: Result) -> str:
    at = result.outcome.died_at
    call = next((r.call for r in result.outcome.trace if r.step == at), "")
    return f" in {call}" if call else ""


def _story(cell: Cell, *, brief: bool) -> str:
    pattern = next((p for p in PATTERNS if p.id == cell.pattern), None)
    fix = next((f for f in FIXES if f.id == cell.fix and f.id != "none"), None)
    consumer = next((c for c in CONSUMERS if c.id == cell.consumer), None)
    texts = []
    if pattern is not None:
        texts += [sentence(pattern.title), pattern.question, "" if brief else pattern.note]
    if fix is not None:
        texts.append(f"With the fix: {sentence(fix.title) if brief else fix.does}")
    if consumer is not None and not brief:
        texts.append(f"How the stream is used: {consumer.title}.")
    return " ".join(filter(None, texts))


def _placeholders(cell: Cell) -> set[str]:
    return {name for value in cell.environment.values() for name in re.findall(r"{(\w+)}", value)}


def _shell_variables(program: Program, *, exported: bool = False) -> list[str]:
    needed = [what for what in program.opened if not exported or what != "first"]
    used = _placeholders(program.cell)
    if used & {"first", "first_directory"} and "first" not in needed:
        needed.insert(0, "first")
    if "copy_directory" in used and "copy" not in needed:
        needed.append("copy")
    export = "export " if exported else ""
    rows = [
        (f"{export}{what.upper()}={example}", meaning)
        for what, (example, meaning) in ((what, _ARGUMENTS[what]) for what in needed)
    ]
    if "audit" in used:
        find = "from xdiag.launch import audit_library; print(audit_library.path())"
        rows.append((f"AUDIT=$(python3 -c '{find}')", ""))
    return [f"{setting}  # {what}" if what else setting for setting, what in rows]


def _loader_variables(words: Words) -> list[str]:
    if words.brief:
        return [
            f"# LOADER: glibc {words.libc}'s ld.so; LIBRARIES: its directory, and the runtime's"
        ]
    return [
        f"LOADER=/opt/glibc/lib/ld-linux-x86-64.so.2  # of glibc {words.libc}, or of a newer",
        "LIBRARIES=/opt/glibc/lib:/opt/rocm/lib  # its directory, and those of the runtime",
    ]


def _command(cell: Cell, run: str, *, loader: bool) -> list[str]:
    """The command of a shell that runs the program, its variables on a line before it."""
    settings, libraries = [], "$LIBRARIES"
    for name, value in cell.environment.items():
        filled = re.sub(r"{(\w+)}", lambda match: _SHELL[match[1]], value)
        if loader and name == "LD_LIBRARY_PATH":
            # It is not read where --library-path is given.
            libraries = f"{filled}:{libraries}"
            continue
        settings.append(f"{name}={filled}{f':${name}' if name in _LISTS else ''}")
    if loader:
        program, _, rest = run.partition(" ")
        program = f"$(which {program})" if "/" not in program else program
        run = f"{program} {rest}".rstrip()
        start = f"{_LOADER}{libraries}"
        if len(start) + len(run) > _LONGEST:
            return [" ".join([*settings, start, "\\"]), run]
        run = f"{start} {run}"
    return [" ".join([*settings, "\\"]), run] if settings else [run]
