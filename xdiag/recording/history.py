"""The history of one handle up to one call, from what ``Handles`` knows at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from xdiag.model import Record
from xdiag.recording import words
from xdiag.recording.facts import Call  # noqa: TC001 - msgspec reads the annotations
from xdiag.recording.handles import State, earlier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.recording.facts import Facts, Process
    from xdiag.recording.handles import Handles, Life, Origin
    from xdiag.recording.rings import Row

What = Literal[
    "made", "used", "refused", "failed", "destroyed", "reset", "may be reset", "unloaded", "forked",
    "not returned",
]  # fmt: skip


#: What a call that succeeds does, by a part of its name.
_WHATS: tuple[tuple[str, What], ...] = (
    ("Destroy", "destroyed"),
    ("Reset", "reset"),
    ("StreamCreate", "made"),
    ("EventCreate", "made"),
)


class Step(Record, frozen=True):
    """One moment in the history of a handle."""

    #: Seconds since the run began.
    time: float
    what: What
    text: str
    call: Call | None = None
    #: For how many like it, this one included, it stands.
    count: int = 1


class Provenance(Record, frozen=True):
    """Where the handle came from that a call was given."""

    handle: int
    kind: Literal["stream", "event"]
    state: State
    #: One sentence: whose it is.
    sentence: str
    #: By time; the call itself is the last.
    steps: tuple[Step, ...] = ()
    #: Whether the record has everything that this rests on.
    certain: bool = True
    #: The whole handle, of one that lost its upper half.
    whole: int = 0
    #: The call that made it, and the one that ended it.
    made: Call | None = None
    ended: Call | None = None


def provenance_of(handles: Handles, row: Row, origin: Origin) -> Provenance:
    """The history of a handle, for the call that is looked at."""
    recording = handles.recording
    facts = recording.facts
    call = recording.call_of(row)
    life = origin.life
    steps: list[Step] = []
    if life is not None:
        for each in [*earlier(life)][::-1]:
            steps += _steps_of(handles, each)
        steps += _steps_of(handles, life)
        if life.inherited or origin.state == "inherited":
            steps += _forks(facts, facts.processes[call.process], life.process)
        if origin.reset_by is not None and origin.reset_by is not life.ended_by:
            reset = recording.call_of(origin.reset_by)
            steps.append(step_of(facts, reset, certain=origin.certain))
        if origin.state == "unloaded":
            steps += _unloading(facts.processes[call.process], life)
    ended_by = origin.reset_by or (life.ended_by if life is not None else None)
    steps.sort(key=lambda step: step.time)
    refused, failed = handles.refused(row), handles.failed(row)
    steps.append(step_of(facts, call, refused=refused, failed=failed))
    return Provenance(
        handle=origin.value,
        kind=origin.kind,
        state=origin.state,
        sentence=_sentence(handles, call, origin),
        steps=tuple(steps),
        certain=origin.certain,
        whole=origin.whole,
        made=recording.call_of(life.made_by) if life is not None else None,
        ended=recording.call_of(ended_by) if ended_by is not None else None,
    )


def step_of(
    facts: Facts,
    call: Call,
    *,
    refused: bool = False,
    failed: bool = False,
    certain: bool = True,
) -> Step:
    """A call as a step; ``certain`` is whether a reset surely was one."""
    text = f"{words.on(facts, call)} {words.outcome(call)}, {words.by(call)}"
    what: What = "used"
    if call.ended is None:
        what = "not returned"
    elif refused or failed:
        what = "refused" if refused else "failed"
    else:
        for part, meant in _WHATS:
            if part in call.name:
                what = meant
                text = f"{words.on(facts, call)}, {words.by(call)}"
                break
    if what == "reset" and not certain:
        what = "may be reset"
    return Step(call.begun, what, text, call)


def _steps_of(handles: Handles, life: Life) -> Iterator[Step]:
    recording = handles.recording
    yield step_of(recording.facts, recording.call_of(life.made_by))
    if life.ended_by is not None:
        yield step_of(recording.facts, recording.call_of(life.ended_by))


def _forks(facts: Facts, child: Process, maker: int) -> Iterator[Step]:
    """The forks between the process that made a handle and the one that has it."""
    while child.forked and child.parent_index is not None and child.index != maker:
        text = f"process {child.pid} is a fork of {child.parent} (first heard of here)"
        yield Step(child.begun or 0.0, "forked", text)
        child = facts.processes[child.parent_index]


def _unloading(process: Process, life: Life) -> Iterator[Step]:
    gone = process.object(life.runtime)
    if gone is not None and gone.closed is not None:
        yield Step(
            gone.closed, "unloaded", f"{words.letter(process, gone.number)} was closed (dlclose)"
        )


# ---- in a sentence ---------------------------------------------------------------------------


def _sentence(handles: Handles, call: Call, origin: Origin) -> str:
    facts = handles.recording.facts
    process, life, noun = facts.processes[call.process], origin.life, origin.kind
    what = f"{noun} {words.handle(origin.value)}"
    if life is None or origin.state == "elsewhere":
        return _of_a_stranger(handles, call, origin, what)
    maker = words.named(process, life.runtime)
    called = words.named(process, call.runtime)
    match origin.state:
        case "foreign":
            text = f"{what} was made by {maker} and given to {called}"
            if not origin.certain and any(e.runtime == call.runtime for e in earlier(life)):
                return text + ", which had made one of that address before, ended since"
            return text
        case "unloaded":
            return f"{what} was made by {maker}, closed since, and given to {called}"
        case "destroyed":
            return f"{what} was destroyed before {call.name} was given it"
        case "reset":
            reset = handles.recording.call_of(origin.reset_by) if origin.reset_by else None
            name = reset.name if reset is not None else "a reset"
            verb = "was ended" if origin.certain else "may have been ended"
            return f"{what} {verb} by {name}, before {call.name} was given it"
        case "inherited":
            parent = facts.processes[life.process]
            return (
                f"{what} was made in {words.process_named(parent)}, and used in process"
                f" {process.pid}, a fork of it"
            )
        case "truncated":
            extended = "sign-extended" if origin.value >> 32 else "zero-extended"
            other = f", and was given to {called} besides" if life.runtime != call.runtime else ""
            return (
                f"{hex(origin.value)} is the low half ({extended}) of {hex(origin.whole)}, a"
                f" {life.kind} made by {maker}: its upper 32 bits were lost on the way{other}"
            )
        case _:
            return f"{what} was made by {maker}, the copy that was called, and not seen ending"


def _of_a_stranger(handles: Handles, call: Call, origin: Origin, what: str) -> str:
    if origin.state == "special":
        return f"{what} is known to every copy without being made"
    if origin.state == "elsewhere":
        other = handles.recording.facts.processes[origin.process]
        return (
            f"{what} was not made in process {call.pid}; {words.process_named(other)} has made one"
            " of that value, which means nothing here"
        )
    if handles.lost_in(call.process, origin.kind):
        return f"no call that the record has still made {what}; calls that may have are missing"
    return (
        f"no recorded call made {what}: another call did (not on the list, or bound before it could"
        " be recorded), or it is no handle at all"
    )
