"""Checks of what will be opened: by the program, torch, XSched and others; and do they agree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.discover import xsched
from xdiag.discover.names import HIP, identity
from xdiag.doctor import forecast as telling
from xdiag.doctor.check import Check
from xdiag.findings import failed, passed, skipped, warned
from xdiag.loaded import FAMILIES
from xdiag.loader import listing

if TYPE_CHECKING:
    from xdiag.discover.mentions import Mention
    from xdiag.doctor.forecast import Opening, Party
    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding

#: Below the runtime: two of them in a process are two drivers of one device.
_BELOW = "libhsa-runtime64"
_UNREAD_SHOWN = 10
_AS_ANOTHER = ("run xdiag doctor as a user who may, or with sudo",)


def _program(patient: Patient) -> Finding:
    party = telling.forecast(patient).party(telling.PROGRAM)
    if party is None:
        return skipped("there is no program to foretell for: name one with --python, or a COMMAND")
    if party.problems:
        return failed(
            "the program will not start, as far as its libraries go",
            *party.problems,
            remedy=("install what is missing, or name its directory in LD_LIBRARY_PATH",),
        )
    if party.openings:
        return passed("the program loads GPU libraries at its start", *_shown(party))
    return passed("the program by itself loads no GPU library")


def _torch(patient: Patient) -> Finding:
    party = telling.forecast(patient).party(telling.TORCH)
    if party is None:
        return skipped("torch is not installed for this Python")
    return _of(party, "torch")


def _xsched(patient: Patient) -> Finding:
    party = telling.forecast(patient).party(telling.XSCHED)
    if party is None:
        return skipped("XSched is not here (set XSCHED_ROOT to its prefix if it is in an unusual"
                       " place)")  # fmt: skip
    return _of(party, "XSched")


def _others(patient: Patient) -> Finding:
    parties = [party for party in telling.forecast(patient).parties if not party.certain]
    if patient.python is None:
        return skipped("there is no Python here")
    mentioned = [
        _mention(each)
        for each in (*patient.own_mentions.found, *patient.mentions.found)
        if each.package != telling.OURSELVES
    ]
    if not parties:
        return passed("nobody else of this Python opens a HIP runtime", *mentioned,
                      *patient.mentions.skipped)  # fmt: skip
    names = ", ".join(party.name for party in parties)
    shown = [line for party in parties for line in _shown(party)]
    return passed(f"who may open a HIP runtime besides: {names}", *shown,
                  *mentioned)  # fmt: skip


def _agreement(patient: Patient) -> Finding:
    told = telling.forecast(patient)
    if not told.parties:
        return skipped("there is no program to foretell for: name one with --python, or a COMMAND")
    sure = told.copies(HIP, certain=True)
    every = told.copies(HIP)
    evidence = [line for copy in every.values() for line in _copy(copy)]
    unclear = [problem for party in told.parties for problem in party.problems]
    if len(sure) > 1:
        return failed(
            f"this program will have {len(sure)} HIP runtimes: a stream made through one is not"
            " known to the other",
            *evidence,
            _consequence(sure),
            *unclear,
            remedy=_remedies(patient, sure),
        )
    if len(every) > 1:
        return warned(
            "this program may have two HIP runtimes, if a package opens one as its source allows",
            *evidence,
            *unclear,
            remedy=_remedies(patient, every),
        )
    if patient.root.refused:
        return warned(
            "not all can be foretold: some of it may not be read by this user",
            *evidence,
            *_unread(patient),
            *unclear,
            remedy=_AS_ANOTHER,
        )
    if patient.interpreter is None and patient.launcher:
        return warned(
            f"{patient.program} starts other programs, which are not foretold",
            *evidence,
            remedy=("name the program that it starts: xdiag doctor -- python3 ...",),
        )
    if unclear:
        return warned("what will be opened could not be followed to the end", *evidence, *unclear)
    below = told.copies(_BELOW)
    if len(below) > 1:
        lines = [line for copy in below.values() for line in _copy(copy)]
        return warned(f"this program will have two HSA runtimes. {FAMILIES[_BELOW]}", *lines)
    if not every and patient.interpreter is None:
        return passed(
            f"{patient.program} links to no HIP runtime; what it opens by name when it runs is not"
            " seen here (xdiag inspect shows it then)"
        )
    if not every:
        return passed("nothing here will open a HIP runtime")
    return passed("all who open a HIP runtime will have the same copy", *evidence)


def _consequence(copies: dict[tuple[int, int], list[Opening]]) -> str:
    majors = {opening.soname.rpartition(".so.")[2] for copy in copies.values() for opening in copy}
    if majors & {"7"}:
        return (
            "on HIP 7 most calls do not check the handle: expect no error 709 but silently"
            " unordered work, or a crash"
        )
    return 'on HIP up to 6.4: error 709, "context is destroyed", at the first call with the handle'


def _remedies(patient: Patient, copies: dict[tuple[int, int], list[Opening]]) -> tuple[str, ...]:
    """What makes one copy of them, each foretold again before it is named."""
    first, *others = copies.values()
    keep = first[0].path
    parties = {opening.party for copy in others for opening in copy}
    tried = []
    set_ = "export" if patient.root.is_this_machine else "ENV"
    if telling.XSCHED in parties:
        tried.append((f"{set_} {xsched.HIP_LIB}={keep}", {xsched.HIP_LIB: keep}))
    if any("triton" in party for party in parties):
        tried.append((f"{set_} TRITON_LIBHIP_PATH={keep}", {"TRITON_LIBHIP_PATH": keep}))
    remedies = []
    for text, change in tried:
        after = telling.forecast_with(patient, {**patient.environ, **change})
        now = len(after.copies(HIP, certain=True))
        remedies.append(f"{text}   (foretold again with it: {now} HIP runtime{'s' * (now != 1)})")
    if not remedies:
        remedies.append(f"make {' and '.join(sorted(parties))} open {keep}")
    if patient.root.is_this_machine:
        remedies.append("or start it with xdiag run -- COMMAND, which makes one runtime of them")
        remedies.append("every repair tried before and after: xdiag fix -- COMMAND")
    remedies.append("to see what comes of it: xdiag probe --pattern second-runtime")
    return tuple(remedies)


def _readable(patient: Patient) -> Finding:
    if patient.root.refused:
        return warned(
            "this user may not read all that was looked at: what is said to be absent may be there",
            *_unread(patient),
            remedy=_AS_ANOTHER,
        )
    return passed("this user may read all that was looked at")


def _unread(patient: Patient) -> list[str]:
    paths = sorted(patient.root.refused)
    more = len(paths) - _UNREAD_SHOWN
    shown = [f"{path}: permission denied" for path in paths[:_UNREAD_SHOWN]]
    return [*shown, f"and {more} more"] if more > 0 else shown


def _loader(patient: Patient) -> Finding:
    """The simulation against the machine's own loader, on the program that is foretold."""
    told = telling.forecast(patient)
    party = told.party(telling.PROGRAM)
    if party is None or party.problems:
        return skipped("there is no program to compare with")
    if not told.loader:
        return skipped("the program is statically linked: no loader is asked")
    interpreter = patient.interpreter
    program = interpreter.path if interpreter is not None else patient.program
    simulated = told.started
    listed = listing.listed(told.loader, program, patient.environ, patient.cwd)
    if listed != simulated:
        return failed(
            "the simulated loader and this machine's own do not agree: do not rely on the forecast",
            *(f"simulated: {path}" for path in simulated if path not in listed),
            *(f"real: {path}" for path in listed if path not in simulated),
            remedy=("please report this, with what xdiag doctor --json prints",),
        )
    return passed(
        f"this machine's own loader opens the same {len(listed)} files for {program}",
        f"{told.loader} --list {program}",
    )


def _mention(mention: Mention) -> str:
    line = f", line {mention.line}" if mention.line else ""
    how = f" in {mention.expression}" if mention.expression else ""
    verb = "needs" if mention.kind == "needs" else "names"
    return f"{mention.path}{line} {verb} {mention.name}{how}"


def _of(party: Party, name: str) -> Finding:
    runtimes = [opening for opening in party.openings if opening.family == HIP]
    if runtimes:
        problems = party.problems
        report = warned if problems else passed
        return report(f"{name} will use {runtimes[-1].path}", *_shown(party), *problems)
    if party.problems:
        return warned(f"what {name} will open cannot be told", *_shown(party), *party.problems)
    return passed(f"{name} will open no HIP runtime", *_shown(party))


def _shown(party: Party) -> list[str]:
    return [_line(opening) for opening in party.openings]


def _copy(openings: list[Opening]) -> list[str]:
    first = openings[0]
    lines = [f"{first.path} ({identity(first.device, first.inode)})"]
    for opening in openings:
        other = f" as {opening.path}" if opening.path != first.path else ""
        lines.append(f"  for {opening.party}: {_asks(opening)}{other} ({opening.rule})")
    return lines


def _line(opening: Opening) -> str:
    return f"{_asks(opening)}: {opening.path} ({opening.rule})"


def _asks(opening: Opening) -> str:
    requester = os.path.basename(opening.requester) or "the loader, by LD_PRELOAD,"
    return f"{requester} asks for {opening.name}"


CHECKS = (
    Check("forecast.program", "what the program loads at its start", _program, severity="fault"),
    Check("forecast.torch", "the runtime that torch will use", _torch, severity="risk",
          requires=("python.interpreter", "forecast.program")),
    Check("forecast.xsched", "the runtime that XSched will open", _xsched, severity="risk",
          requires=("forecast.program",)),
    Check("forecast.others", "other packages that open a runtime", _others, severity="risk",
          requires=("python.interpreter", "forecast.program")),
    Check("forecast.agreement", "whether all of them have the same copy", _agreement,
          severity="fault", requires=("forecast.program",)),
    Check("forecast.readable", "whether this user may read all of it", _readable,
          severity="risk"),
    Check("forecast.loader", "the simulated loader against this machine's own", _loader,
          probe="process", severity="fault", requires=("forecast.program",)),
)  # fmt: skip
