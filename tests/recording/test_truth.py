"""Random programs of which the truth is known, in rings so small that most of it is forgotten.

What a record still has may not be enough to name a cause; it must never be enough to name a wrong
one, and a program that does no wrong is never said to.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recording.writer import Thread, Written
from xdiag.recording.provenance import Diagnosis, diagnose
from xdiag.recording.read import read

ADDRESSES = [0x7F12_8765_4320 + 0x40 * number for number in range(3)]
_FUZZ = settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
#: (what, thread, copy, address)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("make", "use", "use", "destroy", "reset")), st.integers(0, 2),
        st.integers(0, 1), st.sampled_from(ADDRESSES),
    ),
    max_size=60,
)  # fmt: skip


class Program:
    """A process with two copies and three threads, and what is true of each address."""

    def __init__(self, path: Path, life: int, recent: int, major: int = 6) -> None:
        path.unlink(missing_ok=True)
        self.written = Written(path, life_size=life, recent_size=recent, threads=16)
        self.process = self.written.process(100)
        self.copies = [self.process.runtime(f"/{name}/libamdhip64.so.{major}") for name in "ab"]
        self.threads: list[Thread] = [self.process.thread(100 + number) for number in range(3)]
        self.now = 10.0
        #: Address -> the copy that has a stream there now.
        self.live: dict[int, int] = {}
        #: Address -> why it is refused now.
        self.gone: dict[int, str] = {}
        self.made: set[tuple[int, int]] = set()

    def step(self, what: str, thread: int, copy: int, address: int) -> None:
        """Do one thing, if it is right to do it."""
        self.now += 1
        caller, runtime = self.threads[thread], self.copies[copy]
        owner = self.live.get(address)
        if what == "make" and owner is None:
            caller.make(runtime, address, self.now)
            self.live[address] = copy
            self.made.add((copy, address))
            self.gone.pop(address, None)
        elif what == "use" and owner == copy:
            caller.use(runtime, address, self.now)
        elif what == "destroy" and owner == copy:
            caller.call("StreamDestroy", runtime, self.now, stream=address)
            del self.live[address]
            self.gone[address] = "destroyed-stream"
        elif what == "hidden make" and owner is None:
            self.live[address] = copy
        elif what == "hidden destroy" and owner == copy:
            del self.live[address]
        elif what == "reset":
            caller.call("DeviceReset", runtime, self.now)
            for each in [each for each, whose in self.live.items() if whose == copy]:
                del self.live[each]
                self.gone[each] = "device-reset"

    def wrong(self, thread: int, copy: int, address: int, *, silent: bool) -> str:
        """Use an address on a copy, and say why that is wrong; empty if it is right."""
        self.now += 1
        owner = self.live.get(address)
        if owner == copy:
            return ""
        truth = "two-runtimes" if owner is not None else self.gone.get(address, "unknown-handle")
        result = 0 if silent else 709
        self.threads[thread].use(self.copies[copy], address, self.now, result=result)
        return truth

    def faults(self) -> list[Diagnosis]:
        """What is said to be wrong."""
        self.process.ended(self.now + 1)
        with read(self.written.path) as recording:
            return [each for each in diagnose(recording) if each.fault]


@_FUZZ
@given(_STEPS, st.sampled_from((1, 2, 4, 8)), st.sampled_from((1, 4, 16)))
def test_a_program_that_does_no_wrong(
    tmp_path: Path, steps: list[tuple[str, int, int, int]], life: int, recent: int
) -> None:
    program = Program(tmp_path / "record", life, recent)
    for step in steps:
        program.step(*step)
    assert program.faults() == []


@_FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ("make", "use", "use", "destroy", "hidden make", "hidden destroy", "reset")
            ),
            st.integers(0, 2), st.integers(0, 1), st.sampled_from(ADDRESSES),
        ),
        max_size=60,
    ),
    st.sampled_from((1, 4, 64)),
)  # fmt: skip
def test_a_program_that_does_no_wrong_and_is_not_seen_in_full(
    tmp_path: Path, steps: list[tuple[str, int, int, int]], life: int
) -> None:
    """Calls through addresses that the loader has not bound are not in the record."""
    program = Program(tmp_path / "record", life, 16)
    for step in steps:
        program.step(*step)
    assert program.faults() == []


@_FUZZ
@given(
    _STEPS, st.sampled_from((1, 2, 4, 64)), st.integers(0, 2), st.integers(0, 1),
    st.sampled_from(ADDRESSES), st.booleans(),
)  # fmt: skip
def test_a_cause_that_is_certain_is_the_true_one(
    tmp_path: Path, steps: list[tuple[str, int, int, int]], life: int, thread: int, copy: int,
    address: int, silent: bool,
) -> None:  # fmt: skip
    # Only HIP 7 takes a handle in silence that is not its own.
    program = Program(tmp_path / "record", life, 16, major=7 if silent else 6)
    for step in steps:
        program.step(*step)
    truth = program.wrong(thread, copy, address, silent=silent)
    found = program.faults()
    if not truth:
        assert found == []
        return
    assert len(found) <= 1
    if not silent:
        (fault,) = found
        assert fault.calls == 1
    for fault in found:
        if fault.certain:
            # On a copy that never had it, the address of a stream that is gone is the other's.
            never_here = (copy, address) not in program.made and truth not in (
                "two-runtimes",
                "unknown-handle",
            )
            assert fault.cause == ("two-runtimes" if never_here else truth)
    if life == 64 and truth != "unknown-handle":
        # Nothing is lost: then it is known.
        assert [each.cause for each in found] != ["unknown-handle"] and found
