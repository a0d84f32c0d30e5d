"""From what was seen of a cell's children to its outcome."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from xdiag import called, native, platforms, xsched_errors
from xdiag.engine.messages import (
    ActorDied,
    Begin,
    CannotTell,
    ChildMessage,
    Finished,
    Opened,
    Seen,
)
from xdiag.model import Cell, Outcome, OutcomeKind, StepRecord

if TYPE_CHECKING:
    from collections.abc import Sequence


#: What GCC's terminate handler puts before the exception's own text; a stack may come after it.
_THROWN = "what():"
#: What XSched says when nothing is wrong.
_CHATTER = "[XSCHED INFO"


@dataclass(frozen=True)
class Telling:
    """What was seen of one child."""

    messages: tuple[ChildMessage, ...]
    wait_status: int
    #: Why the supervisor killed it, empty if it ended by itself.
    killed: str
    output: str
    seconds: float
    leave_out: tuple[int, ...] = ()

    def in_flight(self) -> Begin | None:
        """The step that had begun and not ended, None if there is none."""
        begun: Begin | None = None
        waited_for: set[str] = set()
        for message in self.messages:
            if isinstance(message, Begin):
                begun, waited_for = message, set(message.actors)
            elif isinstance(message, Seen) and begun and message.record.step == begun.step:
                waited_for.discard(message.record.actor)
        return begun if waited_for else None

    def finished(self) -> bool:
        """True if the child came to an end of its own story."""
        return any(isinstance(m, (Finished, CannotTell)) for m in self.messages)

    def given_up(self) -> str:
        """Why the child gave up its story in the middle of a step, empty if it did not."""
        return next((m.reason for m in self.messages if isinstance(m, CannotTell)), "")

    def died(self) -> int | None:
        """Wait status of the process that ended in the middle of its story, None if none did.

        The child's own, or a forked actor's; -1 where it is not known.
        """
        for message in self.messages:
            if isinstance(message, ActorDied):
                return message.wait_status
        return None if self.finished() else self.wait_status


def stumbled_at(cell: Cell, telling: Telling) -> int | None:
    """The independent question whose asking killed the child, so that the rest can still be asked.

    None if it did not die, died elsewhere, or hung: a hang costs too long to go on.
    """
    if telling.killed or telling.died() is None:
        return None
    in_flight = telling.in_flight()
    step = in_flight.step if in_flight else None
    for message in telling.messages:
        if isinstance(message, ActorDied):
            step = message.step
    return step if step is not None and cell.steps[step].independent else None


def _trace(cell: Cell, tellings: Sequence[Telling], platform: str) -> tuple[StepRecord, ...]:
    """One record per step and actor: from the last child that did it, or that died of it."""
    records: dict[tuple[int, str], StepRecord] = {}
    for telling in tellings:
        in_flight = telling.in_flight()
        fresh: dict[tuple[int, str], StepRecord] = {}
        for message in telling.messages:
            if isinstance(message, Seen):
                fresh[message.record.step, message.record.actor] = message.record
        if in_flight is not None:
            step = cell.steps[in_flight.step]
            given_up = telling.given_up()
            for actor in step.actors:
                fresh.setdefault(
                    (in_flight.step, actor),
                    StepRecord(
                        step=in_flight.step,
                        actor=actor,
                        call=in_flight.call,
                        state="skipped" if given_up else "unfinished",
                        failed=not given_up,
                        phase=step.phase,
                        runtime=step.runtime,
                        handle=in_flight.handle,
                        error=given_up or _how_it_ended(telling),
                    ),
                )
        records.update(fresh)
    for index, step in enumerate(cell.steps):
        for actor in step.actors:
            records.setdefault(
                (index, actor),
                StepRecord(
                    step=index,
                    actor=actor,
                    call=called.shown(step, platform),
                    state="unreached",
                    phase=step.phase,
                    runtime=step.runtime,
                ),
            )
    order = {
        (i, a): n
        for n, (i, a) in enumerate((i, a) for i, s in enumerate(cell.steps) for a in s.actors)
    }
    return tuple(record for _, record in sorted(records.items(), key=lambda kv: order[kv[0]]))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _how_it_ended(telling: Telling) -> str:
    if telling.killed == "hang":
        return f"still in this call after {telling.seconds:.1f} s"
    if telling.killed:
        return telling.killed
    status = telling.died()
    if status is None:
        return ""
    if status == -1:
        return "the process ended"
    if os.WIFSIGNALED(status):
        return f"the process was killed by {_signal_name(os.WTERMSIG(status))}"
    return f"the process exited with status {os.WEXITSTATUS(status)}"


def outcome(cell: Cell, tellings: Sequence[Telling], platform: str) -> Outcome:
    """The outcome of a cell from all its children, first to last.

    The step named is the first of the use that the platform's refusal came from; if none did, the
    first that failed.
    """
    facts = platforms.get(platform)
    trace = _trace(cell, tellings, platform)
    runtimes = {
        message.runtime: message.identity
        for telling in tellings
        for message in telling.messages
        if isinstance(message, Opened) and not message.library
    }
    libraries = {
        message.runtime: message.identity
        for telling in tellings
        for message in telling.messages
        if isinstance(message, Opened) and message.library
    }
    common = Outcome(
        kind=OutcomeKind.OK,
        trace=trace,
        runtimes=runtimes,
        libraries=libraries,
        seconds=sum(telling.seconds for telling in tellings),
        processes=len(tellings),
    )
    change = msgspec.structs.replace

    for telling in tellings:
        for message in telling.messages:
            if isinstance(message, CannotTell):
                return change(common, kind=OutcomeKind.SKIPPED, reason=message.reason)

    failures = [
        record for record in trace if record.failed and not cell.steps[record.step].tolerated
    ]
    used = [record for record in failures if record.phase == "use" and (record.code or 0) > 0]
    refused = [record for record in used if record.code == facts.refusal] or [
        record for record in used if record.code in facts.refusals
    ]
    first = next(iter(refused or failures), None)
    if first is not None:
        common = change(
            common,
            step=first.step,
            call=first.call,
            code=first.code,
            name=first.name,
            message=first.error,
        )

    for telling in tellings:
        ended = _violent_end(telling)
        if ended is not None:
            return change(
                common, **{**ended, **_said_by_xsched(cell, ended["died_at"], telling, platform)}
            )

    missing = next(
        (r for r in trace if r.state == "unsupported" and not cell.steps[r.step].independent), None
    )
    if missing is not None:
        who = libraries[missing.runtime].path if missing.runtime in libraries else "this runtime"
        return change(common, kind=OutcomeKind.UNSUPPORTED, reason=f"{who} has no {missing.call}")
    if first is not None:
        return change(common, kind=OutcomeKind.ERROR)
    return common


def _said_by_xsched(
    cell: Cell, died_at: object, telling: Telling, platform: str
) -> dict[str, object]:
    """Fields of the outcome of a child that XSched has ended: it prints why, and exits."""
    # A queue's own thread may end the process in the middle of any later step.
    if not isinstance(died_at, int) or not any(map(called.is_xsched, cell.steps[: died_at + 1])):
        return {}
    told = xsched_errors.last(telling.output, platform)
    if told is None:
        return {}
    fields: dict[str, object] = {"message": told.text}
    if told.code is not None:
        names = native.errors(told.platform)
        name = names.get(told.code, (f"error {told.code}", ""))[0]
        fields |= {"code": told.code, "name": name}
    if told.call:
        fields["call"] = told.call
    return fields


def _last_words(output: str) -> str:
    """What a process said of its end: an exception that C++ ended it for, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_CHATTER)]
    thrown = [line for line in lines if line.startswith(_THROWN)]
    return thrown[-1].removeprefix(_THROWN).strip() if thrown else lines[-1] if lines else ""


def _violent_end(telling: Telling) -> dict[str, object] | None:
    """Fields of the outcome of a child that did not end by itself."""
    in_flight = telling.in_flight()
    died_at = in_flight.step if in_flight else None
    for message in telling.messages:
        if isinstance(message, ActorDied):
            died_at = message.step
    fields: dict[str, object] = {"died_at": died_at, "message": _last_words(telling.output)}
    if telling.killed == "hang":
        return {**fields, "kind": OutcomeKind.HANG, "reason": _how_it_ended(telling)}
    if telling.killed:
        return {**fields, "kind": OutcomeKind.CRASH, "reason": telling.killed, "signal": "SIGKILL"}
    status = telling.died()
    if status is None:
        return None
    if status != -1 and os.WIFSIGNALED(status):
        return {
            **fields,
            "kind": OutcomeKind.CRASH,
            "signal": _signal_name(os.WTERMSIG(status)),
        }
    return {
        **fields,
        "kind": OutcomeKind.EXIT,
        "status": os.WEXITSTATUS(status) if status != -1 else None,
    }
