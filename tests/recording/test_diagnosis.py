"""Whose a handle is: every way in which one goes wrong, and what the record does not prove."""

from __future__ import annotations

import pytest

from recording.writer import Process, Thread, Written
from xdiag.causes import get
from xdiag.errors import CannotRun
from xdiag.recording.diagnosis import START
from xdiag.recording.provenance import Diagnosis, Provenance, diagnose, provenance, story
from xdiag.recording.read import read

B7, A7 = "/opt/rocm/lib/libamdhip64.so.7", "/torch/lib/libamdhip64.so.7"
A, B = "/torch/lib/libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so.6"
STREAM, OTHER, EVENT = 0x7F12_8765_4320, 0x7F12_1234_5670, 0x7F12_0000_EE00


def _diagnoses(written: Written) -> tuple[Diagnosis, ...]:
    with read(written.path) as recording:
        return diagnose(recording)


def _only(written: Written) -> Diagnosis:
    (found,) = _diagnoses(written)
    return found


def _what(found: Diagnosis) -> list[str]:
    assert found.provenance is not None
    return [step.what for step in found.provenance.steps]


class Scene:
    """A process with two copies and a thread."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self.process: Process = written.process(100)
        self.a = self.process.runtime(A, 1)
        self.thread: Thread = self.process.thread()

    def second(self, at: float = 1.5) -> int:
        return self.process.runtime(B, at)


@pytest.fixture
def scene(written: Written) -> Scene:
    return Scene(written)


# ---- nothing wrong ---------------------------------------------------------------------------


def test_nothing_wrong(scene: Scene) -> None:
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    for special in (0, 1, 2):
        thread.use(a, special, 12 + special)
    thread.call("EventCreateWithFlags", a, 17, event=EVENT)
    thread.call("EventRecord", a, 18, event=EVENT, stream=STREAM)
    thread.call("EventDestroy", a, 19, event=EVENT)
    thread.call("StreamQuery", a, 20, stream=STREAM, result=600)
    # Made by a call that is not on the list, and accepted.
    thread.use(a, OTHER, 21)
    thread.call("GetStreamDeviceId", a, 22, stream=STREAM, result=1)
    thread.call("StreamDestroy", a, 23, stream=STREAM)
    assert _diagnoses(scene.written) == ()


def test_two_copies_that_never_meet_are_a_note(scene: Scene) -> None:
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.make(b, OTHER, 12)
    scene.thread.use(b, OTHER, 14)
    found = _only(scene.written)
    assert (found.cause, found.fault) == ("two-runtimes-loaded", False)
    assert found.evidence == (f"A ({A}): 1 call", f"B ({B}): 2 calls")
    assert "no handle of one was seen given to the other" in found.sentence


def test_one_copy_after_the_other_is_nothing(scene: Scene) -> None:
    scene.process.closed(scene.a, 5)
    scene.second(6)
    assert _diagnoses(scene.written) == ()


# ---- two runtimes ----------------------------------------------------------------------------


def test_two_runtimes_709(scene: Scene) -> None:
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    worker = scene.process.thread(101)
    worker.use(b, STREAM, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.fault, found.certain) == ("two-runtimes", True, True)
    assert found.sentence == f"stream {STREAM:#x} was made by A ({A}) and given to B ({B})"
    assert (found.calls, found.failed, found.succeeded, found.handles) == (1, 1, 0, 1)
    assert found.call is not None and (found.call.tid, found.call.result) == (101, 709)
    assert found.provenance is not None and found.provenance.made is not None
    assert found.provenance.made.runtime == scene.a
    assert _what(found) == ["made", "refused"]
    assert found.evidence[0].startswith("+0.010000 s  made: hipStreamCreateWithFlags on A, thread")
    assert found.remedy[0].startswith(f"make every party open {A}")


def test_two_runtimes_in_silence(scene: Scene) -> None:
    """HIP 7: the other copy's stream is taken without a check."""
    b = scene.process.runtime(B7, 1.5)
    scene.thread.make(scene.a, STREAM, 10)
    for number in range(10):
        scene.thread.use(b, STREAM, 20 + number)
    found = _only(scene.written)
    assert (found.cause, found.fault, found.certain) == ("two-runtimes", True, True)
    assert (found.calls, found.failed, found.succeeded) == (10, 0, 10)
    assert any("silently unordered" in line for line in found.evidence)


def test_one_root_cause_is_one_diagnosis(written: Written) -> None:
    for number in range(3):
        process = written.process(100 + number, number)
        a, b = process.runtime(A, number), process.runtime(B, number)
        thread = process.thread(at=5)
        thread.make(a, STREAM + number, 10 + number)
        for turn in range(5):
            thread.use(b, STREAM + number, 20 + number + 10 * turn, result=709)
    found = _only(written)
    assert (found.cause, found.calls, found.handles, found.processes) == ("two-runtimes", 15, 3, 3)
    assert found.call is not None and found.call.pid == 100


def test_the_first_failing_call_comes_first(scene: Scene) -> None:
    b = scene.process.runtime(B7, 1.5)
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    thread.make(a, OTHER, 12)
    thread.use(b, STREAM, 20)  # silent, and earlier
    thread.call("StreamDestroy", a, 30, stream=OTHER)
    thread.use(a, OTHER, 40, result=709)
    thread.use(b, STREAM, 50, result=709)
    found = _diagnoses(scene.written)
    assert [each.cause for each in found] == ["destroyed-stream", "two-runtimes"]
    # Of the second, the call that failed is shown, not the silent one before it.
    assert found[1].call is not None and found[1].call.result == 709
    assert (found[1].failed, found[1].succeeded) == (1, 1)


def test_an_event_of_another_copy(scene: Scene) -> None:
    b = scene.second()
    scene.thread.call("EventCreate", scene.a, 10, event=EVENT)
    scene.thread.make(b, STREAM, 12)
    scene.thread.call("EventRecord", b, 20, event=EVENT, stream=STREAM, result=400)
    found = _only(scene.written)
    assert found.cause == "two-runtimes" and found.provenance is not None
    assert found.provenance.kind == "event"
    assert found.sentence.startswith(f"event {EVENT:#x} was made by A")


def test_a_stream_that_is_well_and_an_event_that_is_not(scene: Scene) -> None:
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    thread.call("EventCreate", a, 11, event=EVENT)
    thread.call("EventDestroy", a, 12, event=EVENT)
    thread.call("EventRecord", a, 20, event=EVENT, stream=STREAM, result=709)
    thread.call("StreamWaitEvent", a, 21, event=EVENT, stream=OTHER, result=400)
    found = _only(scene.written)
    assert (found.cause, found.calls) == ("destroyed-event", 2)


def test_versions_that_cannot_stand_in_for_each_other(scene: Scene) -> None:
    b = scene.process.runtime("/old/libamdhip64.so.5")
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(b, STREAM, 20, result=709)
    assert (
        "different versions (libamdhip64.so.6, libamdhip64.so.5)" in _only(scene.written).remedy[0]
    )


@pytest.mark.parametrize("by_path", [True, False])
def test_the_frameworks_copy_is_the_one_to_keep(written: Written, by_path: bool) -> None:
    """It is the framework that cannot be told to open another one, whoever made the handle."""
    process = written.process(100)
    hip = process.opened("/x/libtorch_hip.so")
    b = process.runtime(B, 2)
    theirs = "/site-packages/torch/lib/libamdhip64.so.6" if by_path else "/rocm/libamdhip64.so.6"
    process.asked(theirs, 3, hip)
    a = process.runtime(theirs, 3.1)
    thread = process.thread(at=5)
    thread.make(b, STREAM, 10)
    thread.use(a, STREAM, 20, result=709)
    assert _only(written).remedy[0].startswith(f"make every party open {theirs} ")


def test_a_copy_that_was_closed(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.process.closed(scene.a, 15)
    again = scene.process.runtime(A, 16)
    scene.thread.use(again, STREAM, 20, result=709)
    found = _only(scene.written)
    assert found.cause == "unloaded-runtime" and _what(found) == ["made", "unloaded", "refused"]


# ---- destroyed, reset, made again ------------------------------------------------------------


def test_destroyed(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("StreamDestroy", scene.a, 20, stream=STREAM)
    scene.thread.use(scene.a, STREAM, 30, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("destroyed-stream", True)
    assert _what(found) == ["made", "destroyed", "refused"]
    assert found.provenance is not None and found.provenance.ended is not None
    assert found.provenance.ended.name == "hipStreamDestroy"


def test_destroyed_and_used_in_silence(written: Written) -> None:
    """HIP 7 checks nothing: freed memory was read, or it is a stream that was not seen made."""
    process = written.process(100)
    a, main = process.runtime(A7), process.thread()
    main.make(a, STREAM, 10)
    main.call("StreamDestroy", a, 20, stream=STREAM, took=5)
    other = process.thread(101)
    other.use(a, STREAM, 22)  # while it is being destroyed: a race, won
    assert _diagnoses(written) == ()
    other.use(a, STREAM, 30)
    found = _only(written)
    assert (found.cause, found.certain) == ("destroyed-stream", False)


@pytest.mark.parametrize("code", [0, 600])
def test_success_says_that_a_destroyed_stream_was_made_again(scene: Scene, code: int) -> None:
    """Up to HIP 6 a call that checks succeeds with a live stream only; its maker was not seen."""
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    thread.call("StreamDestroy", a, 20, stream=STREAM)
    thread.call("StreamQuery", a, 30, stream=STREAM, result=code)
    thread.call("MemsetAsync", a, 31, stream=STREAM)
    assert _diagnoses(scene.written) == ()
    # What became of that one was not seen either.
    thread.use(a, STREAM, 40, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("unknown-handle", False)
    assert "was ended by hipStreamDestroy, and is one again" in found.sentence


def test_a_stream_made_again_unseen_and_destroyed_in_sight(scene: Scene) -> None:
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    thread.call("StreamDestroy", a, 20, stream=STREAM)
    thread.use(a, STREAM, 30)
    thread.call("StreamDestroy", a, 40, stream=STREAM)
    thread.use(a, STREAM, 50, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain, found.calls) == ("destroyed-stream", True, 1)
    assert found.provenance is not None and found.provenance.ended is not None
    assert found.provenance.ended.begun == pytest.approx(0.040)


def test_what_hip_7_checks_still_is_a_proof(written: Written) -> None:
    process = written.process(100)
    a, thread = process.runtime(A7), process.thread()
    thread.make(a, STREAM, 10)
    thread.call("StreamDestroy", a, 20, stream=STREAM)
    thread.call("StreamGetDevice", a, 30, stream=STREAM)
    thread.use(a, STREAM, 40)
    assert _diagnoses(written) == ()


def test_a_foreign_stream_that_a_check_accepts_is_its_own(scene: Scene) -> None:
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(b, STREAM, 20)
    found = _only(scene.written)
    assert (found.cause, found.fault) == ("two-runtimes-loaded", False)
    assert "was accepted by the other, which has made a stream there" in found.sentence
    scene.thread.use(b, STREAM, 30, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain, found.calls) == ("two-runtimes", False, 1)


def test_a_success_after_a_reset(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("DeviceReset", scene.a, 20)
    scene.thread.use(scene.a, STREAM, 30)
    assert _diagnoses(scene.written) == ()
    scene.thread.use(scene.a, STREAM, 40, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("unknown-handle", False)
    assert "was ended by hipDeviceReset, and is one again" in found.sentence


def test_not_ready_is_not_called_success(written: Written) -> None:
    process = written.process(100)
    a, b, thread = process.runtime(A7), process.runtime(B7), process.thread()
    thread.make(a, STREAM, 10)
    thread.call("StreamQuery", b, 20, stream=STREAM, result=600)
    thread.use(b, STREAM, 30)
    found = _only(written)
    assert (found.calls, found.succeeded, found.not_ready) == (2, 1, 1)
    assert any("1 returned success, 1 answered 600 hipErrorNotReady" in e for e in found.evidence)


def test_destroyed_during_the_call(scene: Scene) -> None:
    """The call began first, and found the stream gone when it looked."""
    scene.thread.make(scene.a, STREAM, 10)
    other = scene.process.thread(101)
    other.call("StreamQuery", scene.a, 20, stream=STREAM, result=709, took=10)
    scene.thread.call("StreamDestroy", scene.a, 22, stream=STREAM)
    found = _only(scene.written)
    assert (found.cause, found.certain, found.calls) == ("destroyed-stream", True, 1)
    assert "destroyed during the call of hipStreamQuery" in found.sentence
    assert _what(found) == ["made", "destroyed", "refused"]
    with read(scene.written.path) as recording:
        query = recording.facts.failures[0]
        assert provenance(recording, query).state == "destroyed"
        (said,) = story(recording, STREAM).sentences
    assert said.endswith("and destroyed by hipStreamDestroy, during hipStreamQuery")


def test_an_event_destroyed_during_the_call(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("EventCreate", scene.a, 11, event=EVENT)
    other = scene.process.thread(101)
    other.call("EventRecord", scene.a, 20, stream=STREAM, event=EVENT, result=709, took=10)
    scene.thread.call("EventDestroy", scene.a, 22, event=EVENT)
    found = _only(scene.written)
    assert (found.cause, found.calls) == ("destroyed-event", 1)
    assert "destroyed during the call of hipEventRecord" in found.sentence


def test_destroyed_after_the_call_that_was_refused(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(scene.a, STREAM, 20, result=709)
    scene.thread.call("StreamDestroy", scene.a, 40, stream=STREAM)
    found = _only(scene.written)
    assert found.cause == "unexplained" and _what(found) == ["made", "refused"]
    assert found.provenance is not None and found.provenance.ended is None


def test_reset_during_the_call(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    other = scene.process.thread(101)
    other.call("StreamQuery", scene.a, 20, stream=STREAM, result=709, took=10)
    scene.thread.call("DeviceReset", scene.a, 22)
    found = _only(scene.written)
    assert found.cause == "device-reset" and "during the call" in found.sentence


def test_a_destruction_that_failed_ends_nothing(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("StreamDestroy", scene.a, 20, stream=STREAM, result=400)
    scene.thread.use(scene.a, STREAM, 30)
    found = _only(scene.written)
    assert (found.cause, found.fault) == ("other-error", False)


def test_an_event_destroyed_twice(scene: Scene) -> None:
    scene.thread.call("EventCreate", scene.a, 10, event=EVENT)
    scene.thread.call("EventDestroy", scene.a, 20, event=EVENT)
    scene.thread.call("EventDestroy", scene.a, 30, event=EVENT, result=709)
    found = _only(scene.written)
    assert found.cause == "destroyed-event" and _what(found) == ["made", "destroyed", "refused"]


def test_reset(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.process.thread(101).call("DeviceReset", scene.a, 20)
    scene.thread.use(scene.a, STREAM, 30, result=709)
    scene.thread.make(scene.a, OTHER, 40)
    scene.thread.use(scene.a, OTHER, 50)
    found = _only(scene.written)
    assert (found.cause, found.certain, found.calls) == ("device-reset", True, 1)
    assert _what(found) == ["made", "reset", "refused"]


def test_another_device_was_reset(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    other = scene.process.thread(101)
    other.call("SetDevice", scene.a, 15, extra=1)
    other.call("DeviceReset", scene.a, 20)
    scene.thread.use(scene.a, STREAM, 30)
    assert _diagnoses(scene.written) == ()
    scene.thread.use(scene.a, STREAM, 40, result=709)
    assert _only(scene.written).cause == "unexplained"


def test_a_reset_of_a_device_that_is_not_known(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    other = scene.process.thread(101)
    for number in range(20):  # the ring of 16 has forgotten the first of them
        other.call("SetDevice" if number == 0 else "GetDeviceCount", scene.a, 12 + number / 10)
    other.call("DeviceReset", scene.a, 20)
    scene.thread.call("MemsetAsync", scene.a, 30, stream=STREAM)
    assert _diagnoses(scene.written) == ()
    scene.thread.use(scene.a, STREAM, 40, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("device-reset", False)
    assert "may have been ended by hipDeviceReset" in found.sentence


def test_a_reset_that_resets_nothing(scene: Scene) -> None:
    """hipDevicePrimaryCtxReset leaves streams as they are, as measured on HIP 5.2.3."""
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("DevicePrimaryCtxReset", scene.a, 20)
    scene.thread.call("MemsetAsync", scene.a, 30, stream=STREAM)
    assert _diagnoses(scene.written) == ()
    scene.thread.use(scene.a, STREAM, 40, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain, _what(found)[1]) == ("device-reset", False, "may be reset")


def test_what_was_accepted_after_a_reset_was_not_ended_by_it(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("DevicePrimaryCtxReset", scene.a, 20)
    scene.thread.use(scene.a, STREAM, 30)
    scene.thread.use(scene.a, STREAM, 40, result=709)
    assert _only(scene.written).cause == "unexplained"


def test_an_address_made_again_is_another_stream(scene: Scene) -> None:
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    thread.call("StreamDestroy", a, 20, stream=STREAM)
    thread.make(a, STREAM, 30)
    thread.use(a, STREAM, 40)
    assert _diagnoses(scene.written) == ()
    thread.call("StreamDestroy", a, 50, stream=STREAM)
    thread.use(a, STREAM, 60, result=709)
    assert _what(_only(scene.written)) == ["made", "destroyed", "made", "destroyed", "refused"]


def test_an_address_that_the_other_copy_made_again(scene: Scene) -> None:
    """The stale handle of B, or A's new stream: the value cannot say which was meant."""
    b = scene.second()
    thread = scene.thread
    thread.make(b, STREAM, 10)
    thread.call("StreamDestroy", b, 20, stream=STREAM)
    thread.make(scene.a, STREAM, 30)
    thread.use(b, STREAM, 40, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("two-runtimes", False)
    assert "which had made one of that address before, ended since" in found.sentence


def test_a_maker_that_returns_after_the_destroyer_has_begun(scene: Scene) -> None:
    """The address was given back inside the destruction and taken at once by another thread."""
    thread, other = scene.thread, scene.process.thread(101)
    thread.make(scene.a, STREAM, 10)
    other.make(scene.a, STREAM, 18, took=10)  # begins before the destruction
    thread.call("StreamDestroy", scene.a, 20, stream=STREAM, took=6)
    other.use(scene.a, STREAM, 30)
    assert _diagnoses(scene.written) == ()


# ---- truncated, special, unknown -------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "half", "how"),
    [
        (0x7F12_0765_4320, 0x0765_4320, "zero-extended"),
        (0x7F12_8765_4320, 0x8765_4320, "zero-extended"),
        (0x7F12_8765_4320, 0xFFFF_FFFF_8765_4320, "sign-extended"),
    ],
)
def test_truncated(scene: Scene, whole: int, half: int, how: str) -> None:
    scene.thread.make(scene.a, whole, 10)
    scene.thread.use(scene.a, half, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("truncated-handle", True)
    assert found.provenance is not None and found.provenance.whole == whole
    assert f"{half:#x} is the low half ({how}) of {whole:#x}" in found.sentence
    assert "argtypes" in found.remedy[0]


def test_two_handles_with_one_low_half(scene: Scene) -> None:
    """Each could be meant: the called copy's own is the likelier, and neither is proved."""
    b = scene.second()
    own, foreign = 0x7F11_8765_4320, STREAM
    scene.thread.make(b, own, 10)
    scene.thread.make(scene.a, foreign, 11)
    scene.thread.use(b, STREAM & 0xFFFF_FFFF, 20, result=709)
    cut = _diagnoses(scene.written)[0]
    assert (cut.cause, cut.certain) == ("truncated-handle", False)
    assert f"of {own:#x}, a stream made by B ({B}), or of {foreign:#x}:" in cut.sentence
    # One that was destroyed is not meant.
    scene.thread.call("StreamDestroy", scene.a, 15, stream=foreign)
    cut = _diagnoses(scene.written)[0]
    assert cut.certain and f"of {own:#x}, a stream made by B ({B}): its" in cut.sentence


@pytest.mark.parametrize("small", [3, 0x1000, 0xFFFF])
def test_a_small_number_may_be_anything(scene: Scene, small: int) -> None:
    scene.thread.make(scene.a, 0x7F12_0000_0000 + small, 10)
    scene.thread.use(scene.a, small, 20, result=709)
    assert (_only(scene.written).cause, _only(scene.written).certain) == ("truncated-handle", False)


def test_the_low_half_of_an_event_given_as_a_stream(scene: Scene) -> None:
    event = 0x7F12_8765_EE00
    scene.thread.call("EventCreate", scene.a, 10, event=event)
    scene.thread.use(scene.a, event & 0xFFFF_FFFF, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("truncated-handle", False)
    assert f"of {event:#x}, an event made by A" in found.sentence
    # A stream with that low half is what a call that takes a stream was meant to get.
    scene.thread.make(scene.a, STREAM & ~0xFFFF_FFFF | 0x8765_EE00 | 0x1_0000_0000, 11)
    assert "a stream made by A" in _only(scene.written).sentence


def test_a_cut_handle_is_not_certain_where_calls_are_lost(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(scene.a, STREAM & 0xFFFF_FFFF, 20, result=709)
    assert _only(scene.written).certain
    scene.written.set(calls_overwritten=5)
    assert not _only(scene.written).certain


def test_a_cut_handle_of_another_copy(scene: Scene) -> None:
    """Neither finding says what the other denies."""
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(b, STREAM & 0xFFFF_FFFF, 20, result=709)
    cut, loaded = _diagnoses(scene.written)
    assert cut.cause == "truncated-handle" and f"given to B ({B}) besides" in cut.sentence
    assert loaded.cause == "two-runtimes-loaded"
    assert "the low half of a handle of one was given to the other" in loaded.sentence
    # Both are repaired, in the order in which the handle meets them.
    assert cut.remedy[0] == "two causes, each enough for this by itself: repair both"
    assert cut.remedy[1].startswith("1. the handle is cut: declare the binding's argument types")
    assert cut.remedy[2].startswith("2. whole, it is another copy's still: make every party open")
    assert A in cut.remedy[2] and cut.remedy[3] == START
    assert loaded.remedy == ("see who asks for the second: xdiag doctor -- COMMAND",)


def test_a_cut_handle_of_another_copy_behind_one_of_its_own(scene: Scene) -> None:
    """What is told is the first refusal; the second cause is named with the second copy."""
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(scene.a, STREAM & 0xFFFF_FFFF, 20, result=709)
    scene.thread.use(b, STREAM & 0xFFFF_FFFF, 30, result=709)
    cut, loaded = _diagnoses(scene.written)
    assert cut.remedy == (get("truncated-handle").remedy,)
    assert loaded.remedy[0].startswith(f"make every party open {A} ")
    assert "a whole handle of one is not known to the other either" in loaded.remedy[0]


def test_an_event_passed_as_a_stream(scene: Scene) -> None:
    scene.thread.call("EventCreate", scene.a, 10, event=EVENT)
    scene.thread.use(scene.a, EVENT, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("wrong-kind", True)
    assert found.sentence == (
        f"the stream that hipStreamGetFlags was given, {EVENT:#x}, is an event made by A ({A})"
    )
    assert "pass a stream where a stream is asked for" in found.remedy[0]
    # Once destroyed, the address may be anything's.
    scene.process.thread(101).call("EventDestroy", scene.a, 15, event=EVENT)
    assert _only(scene.written).cause == "unknown-handle"


def test_a_stream_passed_as_an_event_and_the_process_died(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("EventSynchronize", scene.a, 20, event=STREAM, returned=False)
    found = _only(scene.written)
    assert (found.cause, found.unfinished, found.certain) == ("wrong-kind", 1, True)
    assert "given, 0x7f1287654320, is a stream made by A" in found.sentence
    assert any("died in it" in line for line in found.evidence)


def test_a_low_address_is_not_truncated(scene: Scene) -> None:
    """A program that is not position-independent has its heap below 4 GiB."""
    scene.thread.make(scene.a, 0x0123_4560, 10)
    scene.thread.use(scene.a, 0x0123_4560, 20)
    assert _diagnoses(scene.written) == ()


def test_legacy(scene: Scene) -> None:
    scene.thread.use(scene.a, 1, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.remedy[0][:9]) == ("legacy-stream", "pass NULL")


def test_never_seen_being_made(scene: Scene) -> None:
    scene.thread.use(scene.a, OTHER, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.fault, found.certain) == ("unknown-handle", True, False)
    assert "no recorded call made stream" in found.sentence and found.remedy == ()


def test_never_seen_but_the_maker_may_be_lost(scene: Scene) -> None:
    for number in range(20):
        scene.thread.make(scene.a, STREAM + 16 * number, 10 + number)
    scene.thread.use(scene.a, STREAM, 50, result=709)
    found = _only(scene.written)
    assert found.cause == "unknown-handle"
    assert "calls that may have are missing" in found.sentence


def test_refused_though_all_seems_well(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(scene.a, STREAM, 20, result=709)
    found = _only(scene.written)
    assert (found.cause, found.fault, found.certain) == ("unexplained", True, False)


def test_minus_one_is_a_refusal(scene: Scene) -> None:
    scene.thread.call("GetStreamDeviceId", scene.a, 20, stream=OTHER, result=-1)
    assert _only(scene.written).cause == "unknown-handle"


def test_an_error_that_is_repeated_is_not_counted_twice(scene: Scene) -> None:
    scene.thread.use(scene.a, OTHER, 20, result=709)
    scene.thread.call("GetLastError", scene.a, 21, result=709, failure=False)
    (found,) = _diagnoses(scene.written)
    assert found.calls == 1


# ---- what may be lost ------------------------------------------------------------------------


def test_what_was_lost_since_makes_it_uncertain(scene: Scene) -> None:
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(b, STREAM, 90, result=709)
    assert _only(scene.written).certain
    # Another thread's ring has forgotten calls that it made after this stream was made.
    other = scene.process.thread(101)
    for number in range(20):
        other.make(b, OTHER + 16 * number, 20 + number)
    found = _only(scene.written)
    assert (found.cause, found.certain) == ("two-runtimes", False)


def test_success_after_destruction_is_no_proof_if_calls_are_lost(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("StreamDestroy", scene.a, 12, stream=STREAM)
    other = scene.process.thread(101)
    for number in range(20):
        other.make(scene.a, OTHER + 16 * number, 20 + number)
    other.use(scene.a, STREAM, 50)
    assert _diagnoses(scene.written) == ()
    scene.written.set(threads_without_block=1)
    assert _diagnoses(scene.written) == ()


# ---- processes -------------------------------------------------------------------------------


def test_a_fork_uses_its_parents_stream(written: Written) -> None:
    parent = written.process(100)
    a = parent.runtime(A)
    main = parent.thread()
    main.make(a, STREAM, 10)
    child = parent.fork(200, 20)
    main.call("StreamDestroy", a, 25, stream=STREAM)  # no matter to the child
    worker = child.thread(200, 30)
    worker.use(a, STREAM, 40)
    worker.call("StreamSynchronize", a, 50, stream=STREAM, returned=False)
    fork = _only(written)
    assert fork.cause == "fork" and "process 200 (python3) died in it" in fork.evidence[-2]
    assert (fork.calls, fork.succeeded, fork.unfinished) == (2, 1, 1)
    assert _what(fork) == ["made", "forked", "used"]
    assert "spawn" in fork.remedy[0]


def test_a_fork_that_is_refused(written: Written) -> None:
    parent = written.process(100)
    a = parent.runtime(A)
    parent.thread().make(a, STREAM, 10)
    parent.fork(200, 20).thread(200, 30).use(a, STREAM, 40, result=709)
    fork = _only(written)
    assert (fork.cause, fork.certain) == ("fork", False)
    told = " ".join(fork.evidence)
    assert "refused in the child" in told and "accepted" not in told and "hangs" not in told


def test_a_stream_from_before_another_program_was_executed(written: Written) -> None:
    before = written.process(100)
    before.thread().make(before.runtime(A), STREAM, 10)
    after = written.process(100, 20)
    after.thread(at=21).use(after.runtime(A, 21), STREAM, 30, result=709)
    found = _only(written)
    assert (found.cause, found.certain) == ("other-process", False)
    assert "was made before process 100 executed another program" in found.sentence
    assert "not made in process" not in found.sentence


def test_a_fork_with_two_copies(written: Written) -> None:
    parent = written.process(100)
    a, b = parent.runtime(A), parent.runtime(B)
    parent.thread().make(a, STREAM, 10)
    worker = parent.fork(200, 20).fork(300, 25).thread(300, 30)
    worker.use(b, STREAM, 40, result=709)
    found = _only(written)
    assert (found.cause, found.processes) == ("two-runtimes", 1)
    assert _what(found) == ["made", "forked", "forked", "refused"]


def test_a_fork_that_makes_its_own(written: Written) -> None:
    parent = written.process(100)
    a = parent.runtime(A)
    parent.thread().make(a, STREAM, 10)
    worker = parent.fork(200, 20).thread(200, 30)
    worker.make(a, STREAM, 35)
    worker.use(a, STREAM, 40)
    assert _diagnoses(written) == ()


def test_what_the_parent_makes_after_the_fork_is_not_the_childs(written: Written) -> None:
    parent = written.process(100)
    a = parent.runtime(A)
    main = parent.thread()
    worker = parent.fork(200, 20).thread(200, 21)
    main.make(a, STREAM, 30)
    worker.use(a, STREAM, 40, result=709)
    found = _only(written)
    assert (found.cause, found.certain) == ("other-process", False)


def test_a_handle_from_another_process(written: Written) -> None:
    maker, user = written.process(100), written.process(200, 1)
    a, b = maker.runtime(A), user.runtime(A, 2)
    maker.thread(at=3).make(a, STREAM, 10)
    user.thread(at=4).use(b, STREAM, 20, result=709)
    found = _only(written)
    assert (found.cause, found.fault, found.certain) == ("other-process", True, False)
    assert "was not made in process 200; process 100 (python3) has made one" in found.sentence


def test_the_process_died_in_a_call(scene: Scene) -> None:
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    waits = scene.process.thread(101)
    waits.call("StreamSynchronize", scene.a, 12, stream=STREAM, returned=False)
    scene.thread.use(b, STREAM, 20, returned=False)
    crossed = _only(scene.written)
    assert (crossed.cause, crossed.unfinished, crossed.failed) == ("two-runtimes", 1, 0)
    assert _what(crossed) == ["made", "not returned"]
    assert "process 100 (python3) died in it, or was running still" in crossed.evidence
    # One that ended by itself did not die in it.
    scene.process.ended(30)
    assert "died" not in " ".join(_only(scene.written).evidence)


def test_the_process_died_in_a_call_with_which_all_is_well(scene: Scene) -> None:
    scene.thread.make(scene.a, STREAM, 10)
    waits = scene.process.thread(101)
    waits.call("StreamSynchronize", scene.a, 12, stream=STREAM, returned=False)
    scene.thread.call("StreamQuery", scene.a, 20, stream=STREAM, returned=False)
    died = _only(scene.written)
    assert (died.cause, died.fault, died.certain) == ("unfinished-call", False, False)
    # Of two calls in flight the one that began last is the likelier.
    assert died.call is not None and died.call.name == "hipStreamQuery"
    scene.process.ended(30)
    assert _diagnoses(scene.written) == ()


# ---- asking for one handle -------------------------------------------------------------------


def test_provenance_of_any_call(scene: Scene) -> None:
    b = scene.second()
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.use(scene.a, STREAM, 20)
    scene.thread.use(b, STREAM, 30)
    with read(scene.written.path) as recording:
        made, own, foreign = recording.calls()
        told = [provenance(recording, call) for call in (own, foreign)]
        assert isinstance(told[0], Provenance)
        assert [each.state for each in told] == ["own", "foreign"]
        assert told[1].made == made and told[1].steps[-1].call == foreign
        with pytest.raises(CannotRun, match="no such call"):
            provenance(recording, made)


def test_the_story_of_a_handle(scene: Scene) -> None:
    b = scene.second()
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    for number in range(3):
        thread.use(a, STREAM, 20 + number)
    thread.use(b, STREAM, 30, result=709)
    thread.use(a, STREAM & 0xFFFF_FFFF, 35, result=709)
    thread.call("StreamDestroy", a, 40, stream=STREAM)
    thread.make(b, STREAM, 50)
    thread.use(b, OTHER, 60)
    with read(scene.written.path) as recording:
        told = story(recording, STREAM)
        assert [(step.what, step.count) for step in told.steps] == [
            ("made", 1), ("used", 3), ("refused", 1), ("refused", 1), ("destroyed", 1), ("made", 1),
        ]  # fmt: skip
        assert told.related == (STREAM & 0xFFFF_FFFF,)
        half = story(recording, STREAM & 0xFFFF_FFFF)
        assert half.related == (STREAM,) and [step.what for step in half.steps][-1] == "refused"
        nothing = story(recording, 0xDEAD_BEEF_0000)
        assert nothing.steps == () and "no call that the record has" in nothing.sentences[0]


def test_the_story_says_how_it_ended(scene: Scene) -> None:
    thread, a = scene.thread, scene.a
    thread.make(a, STREAM, 10)
    thread.use(a, STREAM, 20)
    with read(scene.written.path) as recording:
        made = f"stream {STREAM:#x} was made by A ({A}), the copy that was called"
        assert story(recording, STREAM).sentences == (f"{made}, and not seen ending",)
    thread.call("StreamDestroy", a, 30, stream=STREAM)
    with read(scene.written.path) as recording:
        assert story(recording, STREAM).sentences == (
            f"{made}, and destroyed later by hipStreamDestroy",
        )
    thread.call("StreamQuery", a, 40, stream=STREAM, result=600)
    with read(scene.written.path) as recording:
        told = story(recording, STREAM)
        assert "not seen ending" not in " ".join(told.sentences)
        assert "is one again" in told.sentences[1]


def test_a_call_with_a_bad_handle_that_did_not_return(scene: Scene) -> None:
    """A cut handle is one by its value; of a destroyed one, another may be at its address."""
    scene.thread.make(scene.a, STREAM, 10)
    scene.thread.call("MemsetAsync", scene.a, 20, stream=STREAM & 0xFFFF_FFFF, returned=False)
    assert (_only(scene.written).cause, _only(scene.written).certain) == ("truncated-handle", True)
    scene.thread.call("StreamDestroy", scene.a, 15, stream=STREAM)
    other = scene.process.thread(101)
    other.call("MemsetAsync", scene.a, 30, stream=STREAM, returned=False)
    destroyed = [each for each in _diagnoses(scene.written) if each.cause == "destroyed-stream"]
    assert [each.certain for each in destroyed] == [False]
