"""The circumstances in which every question is asked.

A call that follows a bad handle reads whatever lies there, and answers accordingly.  That differs
from program to program; so each question is asked in several circumstances that change it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.api.measured_data import Circumstance

if TYPE_CHECKING:
    from xdiag.model import Target

_DEVICES = "XDIAG_AGENT_DEVICES"
_TUNABLES = "GLIBC_TUNABLES"
#: glibc fills memory that is freed with this byte, and new memory with its complement (mallopt(3),
#: M_PERTURB).  255 makes new memory zeros; 85 leaves no pointer and no zero anywhere.
_ZEROS, _PATTERN = 255, 85

#: Events made after the handle: they lie behind it, or where the stream was that is gone.
_LATER = tuple(f"main: r{n} = {{R}}.EventCreateWithFlags(0)" for n in range(6))

#: How many streams and events were there before: each number leaves other memory to the next.
_PASTS = (1, 8)

_MEMORY = (
    Circumstance(id="fresh", title="a fresh process"),
    *(
        Circumstance(
            id=f"past-{past}",
            title=f"made and destroyed before: {past} of streams and of events each",
            past=past,
        )
        for past in _PASTS
    ),
    Circumstance(id="later", title="events were made after the handle", later=True),
    Circumstance(
        id="filled",
        title=f"freed memory is filled (glibc.malloc.perturb={_PATTERN})",
        fill=_PATTERN,
    ),
    Circumstance(
        id="zeroed", title=f"new memory is zeros (glibc.malloc.perturb={_ZEROS})", fill=_ZEROS
    ),
)


def circumstances(target: Target) -> tuple[Circumstance, ...]:
    """Those that can be had on a target: the software agent shows one device or two."""
    if target.agent != "software":
        return _MEMORY
    return tuple(
        replace(each, id=f"{each.id}-{devices}", title=f"{each.title}, {number}", devices=devices)
        for each in _MEMORY
        for devices, number in ((2, "two devices"), (1, "one device"))
    )


def environment(circumstance: Circumstance, target: Target) -> dict[str, str]:
    """The variables that make it so, beside those of the target."""
    variables = {}
    if circumstance.devices:
        variables[_DEVICES] = str(circumstance.devices)
    if circumstance.fill:
        # Without what the target needs there itself, its library would not load.
        there = target.environment.get(_TUNABLES) or os.environ.get(_TUNABLES, "")
        wanted = f"glibc.malloc.perturb={circumstance.fill}"
        variables[_TUNABLES] = f"{there}:{wanted}".lstrip(":")
    return variables


def before(circumstance: Circumstance) -> tuple[str, ...]:
    """The steps that come before the handle is made; ``{R}`` is the runtime that is asked."""
    numbers = range(circumstance.past)
    return (
        *(f"main: p{n} = {{R}}.StreamCreateWithFlags(0)" for n in numbers),
        *(f"main: q{n} = {{R}}.EventCreateWithFlags(0)" for n in numbers),
        *(f"main: {{R}}.EventDestroy(q{n})" for n in numbers),
        *(f"main: {{R}}.StreamDestroy(p{n})" for n in numbers),
    )


def after(circumstance: Circumstance) -> tuple[str, ...]:
    """The steps that come directly after the handle is what it is to be."""
    return _LATER if circumstance.later else ()
