"""The nouns: a Situation that is at fault, a Repair, the Change that it makes to a start."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec

from xdiag.discover.names import HIP
from xdiag.doctor import bindings
from xdiag.doctor import forecast as telling
from xdiag.doctor.command_line import understood
from xdiag.errors import XdiagError
from xdiag.launch.reach import audit_reach
from xdiag.model import NotApplicable, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xdiag.discover.xsched import Binding
    from xdiag.doctor.forecast import Forecast, Opening
    from xdiag.doctor.patient import Patient
    from xdiag.launch.reach import Reach

#: What can be wrong, by the hypothesis (xdiag/hypotheses.py) that a repair answers.
Cause = Literal["two-runtimes", "truncated-handle"]


class Change(Record, frozen=True):
    """What a repair changes about the environment that a command is started with."""

    #: Variables that are set.
    set: dict[str, str] = msgspec.field(default_factory=dict)
    #: Lists, separated by colons, that something is put in front of.
    in_front: dict[str, str] = msgspec.field(default_factory=dict)

    def applied(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment with the change made."""
        changed = {**environ, **self.set}
        for name, value in self.in_front.items():
            earlier = environ.get(name, "")
            # An empty entry says something (the working directory), the same entry again does not.
            others = [each for each in earlier.split(":") if each != value] if earlier else []
            changed[name] = ":".join([value, *others])
        return changed

    def __or__(self, other: Change) -> Change:
        """Both changes; of two for one list, the other one's comes first."""
        in_front = dict(self.in_front)
        for name, value in other.in_front.items():
            in_front[name] = f"{value}:{in_front[name]}" if name in in_front else value
        return Change({**self.set, **other.set}, in_front)


#: Bytes of a script that are looked through for the module's name.
_MOST_OF_SCRIPT = 1 << 20


@dataclass(eq=False)
class Situation:
    """A patient, seen as one to be repaired."""

    patient: Patient

    @cached_property
    def forecast(self) -> Forecast:
        """Which copies will be opened as things are."""
        return telling.forecast(self.patient)

    @cached_property
    def copies(self) -> tuple[Opening, ...]:
        """An opening of each copy of the runtime, the one to keep first."""
        found = [copy[0] for copy in self.forecast.copies(HIP).values()]
        return tuple(sorted(found, key=lambda each: each.path != self.frameworks_copy))

    @property
    def frameworks_copy(self) -> str:
        """Path of the copy that torch opens, where streams are made; empty where it opens none."""
        party = self.forecast.party(telling.TORCH)
        openings = party.openings if party is not None else ()
        mine = next((each.file for each in openings if each.family == HIP), None)
        copies = self.forecast.copies(HIP)
        return copies[mine][0].path if mine is not None else ""

    @property
    def keep(self) -> str:
        """Path of the copy to keep; empty where none is foretold."""
        return self.copies[0].path if self.copies else ""

    @property
    def certain_copies(self) -> int:
        """How many copies there will be for sure, as things are."""
        return len(self.forecast.copies(HIP, certain=True))

    def opens_another(self, party: str) -> bool:
        """Whether a party opens a copy that is not the one to keep."""
        return any(
            opening.path != self.keep
            for each in self.forecast.parties
            if party in each.name
            for opening in each.openings
            if opening.family == HIP
        )

    def copies_with(self, change: Change) -> int:
        """How many copies there would be, sure and possible ones, with a change made."""
        environ = change.applied(self.patient.environ)
        return len(telling.forecast_with(self.patient, environ).copies(HIP))

    @cached_property
    def reach(self) -> Reach:
        """Whether the loader's audit interface works for the program."""
        patient = self.patient
        program = patient.interpreter.path if patient.interpreter is not None else patient.program
        return audit_reach(program, patient.root, patient.environ, cwd=patient.cwd)

    def lost(self, change: Change) -> tuple[str, ...]:
        """Names of changed variables that the command takes away again (``env -i``)."""
        patient = self.patient
        if not patient.command:
            return ()
        wanted = change.applied(os.environ)
        start = understood(patient.command, patient.root, wanted, patient.cwd)
        changed = (*change.set, *change.in_front)
        return tuple(name for name in changed if start.environ.get(name) != wanted[name])

    @property
    def foreseeable(self) -> bool:
        """Whether the forecast speaks of all that the program will open."""
        problems = any(party.problems for party in self.forecast.parties)
        return self.patient.interpreter is not None and not problems

    @cached_property
    def old_binding(self) -> Binding | None:
        """XSched's binding that cuts handles to 32 bits; None where none is imported here."""
        for binding in self.patient.xsched.bindings:
            cuts = binding.call_line and not binding.full_width and not binding.problem
            if cuts and not binding.hidden_by:
                return binding
        return None

    @cached_property
    def may_import_old_binding(self) -> bool:
        """Whether the program may import that binding: its own files do, or are not known.

        A script that only names it counts: it may put the import together when it runs.
        """
        patient = self.patient
        imports = bindings.imports(patient)
        if imports is None or any(each.module == bindings.OLD for each in imports):
            return True
        with contextlib.suppress(OSError, XdiagError):
            return bindings.OLD.encode() in patient.root.read(patient.script, _MOST_OF_SCRIPT)
        return False

    @cached_property
    def causes(self) -> tuple[Cause, ...]:
        """What is, or may be, wrong here."""
        found: list[Cause] = []
        if len(self.copies) > 1:
            found.append("two-runtimes")
        if self.old_binding is not None:
            found.append("truncated-handle")
        return tuple(found)


@dataclass(frozen=True)
class Repair:
    """One way of repairing; ``change`` says what it does here, or why it can do nothing."""

    id: str
    title: str
    cause: Cause
    #: What has to be there for it.
    needs: str
    changes: str
    risks: str
    #: The fix (xdiag/fixes.py) that is this repair in an experiment.
    fix: str
    change: Callable[[Situation], Change | NotApplicable]
    #: The one package that takes notice of what it sets; empty where it reaches every program.
    reader: str = ""
