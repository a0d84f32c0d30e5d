"""The noun Check: one question about a machine, with what it needs and how far it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding


@dataclass(frozen=True)
class Check:
    """One check.  ``look`` answers with a finding; the runner puts the id in."""

    #: "group.name".
    id: str
    #: What it looks at, as a short noun phrase.
    title: str
    look: Callable[[Patient], Finding]
    #: How far it goes: passive reads files, process starts a program, gpu touches the device.
    probe: Literal["passive", "process", "gpu"] = "passive"
    #: The worst it can say: fault (FAIL), risk (WARN), note (only what is so).
    severity: Literal["fault", "risk", "note"] = "note"
    #: Checks without which this one has nothing to say: if one fails, this one is skipped.
    requires: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]
