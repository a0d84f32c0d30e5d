"""Who owns a handle: where the one came from that a call was given, and its whole history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.model import Record
from xdiag.recording import words
from xdiag.recording.diagnosis import Diagnosis, diagnose
from xdiag.recording.handles import (
    LAST_SPECIAL,
    MAKES_EVENT,
    MAKES_STREAM,
    TAKES_EVENT,
    TAKES_STREAM,
    Handles,
)
from xdiag.recording.history import Provenance, Step, own_made, provenance_of, step_of

if TYPE_CHECKING:
    from xdiag.recording.facts import Call
    from xdiag.recording.handles import Kind, Origin
    from xdiag.recording.read import Recording
    from xdiag.recording.rings import Row

__all__ = ["Diagnosis", "Provenance", "Step", "Story", "diagnose", "provenance", "story"]

#: Steps of one story; more are counted.
_MOST_STEPS = 200


class Story(Record, frozen=True):
    """All that a record says of one value, in all processes."""

    handle: int
    #: One sentence for each process that had to do with it.
    sentences: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    #: Steps that are left out.
    more: int = 0
    #: Handles that the value is the low half of, or that are its low half.
    related: tuple[int, ...] = ()


def provenance(recording: Recording, call: Call) -> Provenance:
    """Where the handle came from that a call was given: its stream, or else its event.

    Raises CannotRun for a call that takes neither, or that the record has no more.
    """
    handles = Handles(recording)
    rows = handles.rows()
    for row, does in rows:
        if not does & (TAKES_STREAM | TAKES_EVENT) or row[9] != call.position:
            continue
        if recording.call_of(row) == call:
            origins: list[Origin] = []
            if does & TAKES_STREAM:
                origins.append(handles.origin(row, "stream"))
            if does & TAKES_EVENT:
                origins.append(handles.origin(row, "event"))
            # An event tells more than a stream with which all is well.
            telling = [each for each in origins if each.state not in ("own", "special")]
            if not telling and handles.refused(row):
                # It may have been ended while the call was in progress.
                for _ in rows:
                    pass
                origins = [handles.ended_during(row, each) for each in origins]
                telling = [each for each in origins if each.state not in ("own", "special")]
            return provenance_of(handles, row, (telling or origins)[0])
    raise CannotRun(f"{call.name}: the record has no such call that takes a stream or an event")


def story(recording: Recording, handle: int) -> Story:
    """The whole history of a value, as stream or event, whether anything failed or not.

    Calls of one kind on one copy by one thread are one step with a count.
    """
    teller = _Teller(recording, handle)
    for row, does in teller.handles.rows():
        for flags, place, kind in _KINDS:
            if does & flags and teller.concerns(row[place]):
                teller.take(row, does, kind)
    return teller.story()


_KINDS: tuple[tuple[int, int, Kind], ...] = (
    (TAKES_STREAM | MAKES_STREAM, 2, "stream"),
    (TAKES_EVENT | MAKES_EVENT, 3, "event"),
)


class _Teller:
    def __init__(self, recording: Recording, handle: int) -> None:
        self.recording = recording
        self.handle = handle
        self.handles = Handles(recording)
        self._steps: dict[tuple[object, ...], tuple[Step, int]] = {}
        self._sentences: dict[str, None] = {}
        #: Of handles with which all was well when they were used; how they ended is known later.
        self._well: dict[tuple[int, int], tuple[str, Row, Origin]] = {}
        self._related: dict[int, None] = {}
        self._more = 0
        low = handle & 0xFFFF_FFFF
        signed = low | 0xFFFF_FFFF_0000_0000 if low & 0x8000_0000 else low
        #: What is left of the handle if its upper half is lost.
        self._halves = {low, signed} - {handle} if handle >> 32 else set()
        if low <= LAST_SPECIAL:
            self._halves.clear()

    def concerns(self, value: int) -> bool:
        """Whether a value is the handle, or what may be left of it."""
        return value == self.handle or value in self._halves

    def take(self, row: Row, does: int, kind: Kind) -> None:
        """Note one call."""
        handles, recording = self.handles, self.recording
        takes = does & (TAKES_STREAM if kind == "stream" else TAKES_EVENT)
        refused, failed = handles.refused(row), handles.failed(row)
        value = row[2] if kind == "stream" else row[3]
        origin = handles.origin(row, kind) if takes else None
        if value != self.handle and (origin is None or origin.whole != self.handle):
            return
        if origin is not None and origin.whole:
            self._related[value if value != self.handle else origin.whole] = None
        life = origin.life if origin is not None else None
        # One life of the address after the other; within each, calls that are alike are one step.
        key = (row[10], *row[6:9], bool(row[1]), life.made_at if life else row[0] * (not takes))
        if key in self._steps:
            step, number = self._steps[key]
            self._steps[key] = step, number + 1
            return
        if len(self._steps) >= _MOST_STEPS:
            self._more += 1
            return
        call = recording.call_of(row)
        self._steps[key] = step_of(recording.facts, call, refused=refused, failed=failed), 1
        if origin is not None:
            told = provenance_of(handles, row, origin)
            if len(self._sentences) + len(self._well) < _MOST_STEPS:
                if origin.state == "own" and life is not None:
                    made = own_made(handles, call, origin)
                    if refused or (life.process, life.made_at) not in self._well:
                        self._well[life.process, life.made_at] = made, row, origin
                    self._sentences[made] = None
                else:
                    self._sentences[told.sentence] = None
            for step in told.steps[:-1]:
                if step.call is None or step.what in ("reset", "may be reset"):
                    self._steps.setdefault((step.time, step.text), (step, 1))

    def story(self) -> Story:
        """What was noted, by time."""
        from msgspec.structs import replace

        endings: dict[str, list[str]] = {}
        for made, row, origin in self._well.values():
            ending = self.handles.ending(row, origin)
            endings.setdefault(made, []).append(ending or "not seen ending")
        sentences = []
        for each in self._sentences:
            each = (
                f"{each}, and {', then '.join(dict.fromkeys(endings[each]))}"
                if each in endings
                else each
            )
            sentences.append(each)
        steps = [replace(step, count=number) for step, number in self._steps.values()]
        if not steps:
            sentences.append(
                f"no call that the record has was given {words.handle(self.handle)}, or made it"
            )
        return Story(
            handle=self.handle,
            sentences=tuple(sentences),
            steps=tuple(sorted(steps, key=lambda step: step.time)),
            more=self._more,
            related=tuple(self._related),
        )
