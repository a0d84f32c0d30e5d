"""Pick the runtime of a platform that nothing stands in for: the first that finds a GPU."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.model import Target
from xdiag.runtimes import find, probe

if TYPE_CHECKING:
    from xdiag.platforms import Platform
    from xdiag.runtimes.find import Candidate, Found

#: A driver's version in the place of a path: "580" or "580.159.04".
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")


def choose(runtime: str | None, facts: Platform) -> Target:
    """The library to experiment on: the file ``runtime``, or the one that programs load.

    ``runtime`` may be a driver's version too.  Raises Usage for what is no such library, CannotRun,
    with all that was tried, where none finds a GPU.
    """
    failures = []
    for candidate in _candidates(runtime, facts):
        answer = probe.ask(candidate.real_path, platform=facts.id)
        if not answer.problem:
            return _target(candidate, answer, facts)
        failures.append(f"{candidate.real_path}: {answer.problem}")
    raise CannotRun(f"no GPU for {facts.title}: {'; '.join(failures)}{_why(facts)}")


def _candidates(runtime: str | None, facts: Platform) -> tuple[Candidate, ...]:
    if runtime is not None and (os.path.exists(runtime) or not _VERSION.fullmatch(runtime)):
        return (find.from_option(runtime, facts.id),)
    found = find.find(facts.id)
    candidates = tuple(sorted(found.usable(), key=_not_the_loaders))
    if not candidates:
        raise CannotRun(_nothing_found(found, facts))
    if runtime is None:
        return candidates
    wanted = tuple(c for c in candidates if re.match(rf"{re.escape(runtime)}(?![0-9])", c.version))
    if not wanted:
        known = ", ".join(dict.fromkeys(c.version or "one of unknown version" for c in candidates))
        raise CannotRun(f"{facts.title}'s driver {runtime} is not here (there is {known})")
    return wanted


def _not_the_loaders(candidate: Candidate) -> bool:
    """What sorts the file first that a program gets which asks for it by its SONAME."""
    for folder in filter(None, re.split("[:;]", os.environ.get("LD_LIBRARY_PATH", ""))):
        path = os.path.join(folder, candidate.soname)
        if os.path.exists(path):
            return os.path.realpath(path) != candidate.real_path
    return os.path.realpath(find.loader_finds(candidate.soname)) != candidate.real_path


def _target(candidate: Candidate, answer: probe.Answer, facts: Platform) -> Target:
    driver = f"The driver is {candidate.version}." if "." in candidate.version else ""
    return Target(
        platform=facts.id,
        runtime=candidate.real_path,
        agent="hardware",
        version=answer.version or candidate.version,
        soname=candidate.soname,
        build_id=candidate.build_id,
        devices=answer.devices,
        device_name=answer.device_name,
        source=candidate.source,
        notes=tuple(filter(None, (driver, *facts.notes))),
    )


def _nothing_found(found: Found, facts: Platform) -> str:
    problems = "".join(f"; {each.problem}" for each in found.candidates)
    return (
        f"no {facts.title} driver on this machine: {facts.library}.1 comes with the GPU's driver;"
        " name one that lies elsewhere with --runtime PATH"
        f" (looked at: {'; '.join(found.looked)}{problems})"
        f"{_why(facts)}"
    )


def _why(facts: Platform) -> str:
    """What may be the reason that no GPU is found, as an addition to a sentence."""
    reasons = [] if os.path.exists(facts.device) else [f"{facts.device} is absent"]
    told = [f"{name}={os.environ[name]!r}" for name in facts.hiding if name in os.environ]
    if told:
        reasons.append(f"{' and '.join(told)} may hide devices")
    return f"; {'; '.join(reasons)}" if reasons else ""
