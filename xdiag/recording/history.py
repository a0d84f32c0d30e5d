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
        steps += _steps_of(handles, life, until=row[1])
        if life.inherited or origin.state == "inherited":
            steps += _forks(facts, facts.processes[call.process], life.process)
        if origin.reset_by is not None and origin.reset_by is not life.ended_by:
            reset = recording.call_of(origin.reset_by)
            steps.append(step_of(facts, reset, certain=origin.certain))
        if origin.state == "unloaded":
            steps += _unloading(facts.processes[call.process], life)
    ended_by = origin.reset_by or (life.ended_by if life is not None and life.end else None)
    if ended_by is not None and 0 < row[1] <= ended_by[0]:
        ended_by = None  # it came after the call
    steps.sort(key=lambda step: step.time)
    refused, failed = handles.refused(row), handles.failed(row)
    # Success with such a handle may mean that it was made again, by a call not seen; of a refusal
    # in a forked child, another reason may be the true one.
    doubtful = origin.state in ("destroyed", "reset") and not failed
    doubtful |= origin.state in ("wrong-kind", "truncated") and bool(row[1]) and not failed
    doubtful |= origin.state == "inherited" and refused
    steps.append(step_of(facts, call, refused=refused, failed=failed))
    return Provenance(
        handle=origin.value,
        kind=origin.kind,
        state=origin.state,
        sentence=_sentence(handles, call, origin),
        steps=tuple(steps),
        certain=origin.certain and not doubtful,
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


def _steps_of(handles: Handles, life: Life, until: int = 0) -> Iterator[Step]:
    recording = handles.recording
    yield step_of(recording.facts, recording.call_of(life.made_by))
    if life.ended_by is not None and not 0 < until <= life.ended_by[0]:
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
            if _ended_during(handles, origin, call):
                return f"{what} was destroyed during the call of {call.name} that was given it"
            return f"{what} was destroyed before {call.name} was given it"
        case "remade":
            return (
                f"{what} was ended by {_ender(handles, origin)}, and is one again: a call that was"
                " not seen has made another stream there"
            )
        case "wrong-kind":
            return (
                f"the {noun} that {call.name} was given, {words.handle(origin.value)}, is"
                f" {_a(life.kind)} made by {maker}"
            )
        case "reset":
            reset = handles.recording.call_of(origin.reset_by) if origin.reset_by else None
            name = reset.name if reset is not None else "a reset"
            verb = "was ended" if origin.certain else "may have been ended"
            if _ended_during(handles, origin, call):
                return f"{what} {verb} by {name}, during the call of {call.name} that was given it"
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
                f"{hex(origin.value)} is the low half ({extended}) of {hex(origin.whole)}, "
                f"{_a(life.kind)} made by {maker}{_or_of(origin)}: its upper 32 bits were lost on"
                f" the way{other}"
            )
        case _:
            return f"{own_made(handles, call, origin)}, and not seen ending"


def own_made(handles: Handles, call: Call, origin: Origin) -> str:
    """Who made a handle with which all was well when it was used."""
    process, life = handles.recording.facts.processes[call.process], origin.life
    maker = words.named(process, life.runtime if life is not None else call.runtime)
    what = f"{origin.kind} {words.handle(origin.value)}"
    return f"{what} was made by {maker}, the copy that was called"


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "event" else f"a {kind}"


def _or_of(origin: Origin) -> str:
    """Other handles with the same low half."""
    return f", or of {' or '.join(map(hex, origin.others))}" if origin.others else ""


def _ended_during(handles: Handles, origin: Origin, call: Call) -> bool:
    """Whether a handle was whole still when the call that was given it began."""
    life = origin.life
    ender = origin.reset_by or (life.ended_by if life is not None else None)
    return ender is not None and handles.recording.clock.seconds(ender[1]) > call.begun


def _ender(handles: Handles, origin: Origin) -> str:
    ender = origin.reset_by or (origin.life.ended_by if origin.life is not None else None)
    return handles.recording.call_of(ender).name if ender is not None else "a call"


def _of_a_stranger(handles: Handles, call: Call, origin: Origin, what: str) -> str:
    if origin.state == "special":
        return f"{what} is known to every copy without being made"
    if origin.state == "elsewhere":
        other = handles.recording.facts.processes[origin.process]
        if other.pid == call.pid and other.how_ended == "exec":
            return (
                f"{what} was made before process {call.pid} executed another program, by"
                f" {words.process_named(other)}: it means nothing here"
            )
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
