"""The log that a child shares with the supervisor: whole messages only, whatever lies in it."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from xdiag.engine import log
from xdiag.engine.messages import Begin, ChildMessage, Finished, Seen
from xdiag.model import StepRecord

MESSAGES: list[ChildMessage] = [
    Begin(step=0, actors=("main", "worker"), call="hipStreamQuery"),
    Seen(record=StepRecord(step=0, actor="main", call="hipStreamQuery", state="done", code=709)),
    Finished(),
]


def _written(*messages: ChildMessage) -> int:
    fd = log.new()
    report = log.writer(fd)
    for message in messages:
        report(message)
    return fd


def test_what_was_reported_is_read() -> None:
    fd = _written(*MESSAGES)
    assert log.read(fd) == tuple(MESSAGES)
    os.close(fd)


def test_a_message_cut_off_in_the_middle_is_not_read() -> None:
    fd = _written(*MESSAGES)
    length = os.pread(fd, log.SIZE, 0).index(b"\0")
    os.pwrite(fd, b"\0" * 3, length - 3)
    assert log.read(fd) == tuple(MESSAGES[:2])
    os.close(fd)


def test_a_long_story_fits() -> None:
    many = MESSAGES[:2] * 1000
    fd = _written(*many)
    assert log.read(fd) == tuple(many)
    os.close(fd)


@given(st.binary(max_size=200), st.integers(0, 250))
def test_whatever_a_runtime_scribbles_into_it_reading_ends(junk: bytes, at: int) -> None:
    fd = _written(*MESSAGES)
    os.pwrite(fd, junk, at)
    read = log.read(fd)
    os.close(fd)
    untouched = tuple(MESSAGES) if not junk else ()
    assert read[: len(untouched)] == untouched
    assert len(read) <= len(MESSAGES) + junk.count(b"\n") + 1
