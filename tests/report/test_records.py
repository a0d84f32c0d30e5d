"""A record in a report: other texts, the same story."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording.writer import Written

from report.canaries import HOME, HOST, KNOWN, USER
from xdiag.errors import CannotRun, XdiagError
from xdiag.recording.provenance import diagnose
from xdiag.recording.read import read
from xdiag.report import records
from xdiag.report.masking import Masker
from xdiag.report.records import rewritten, texts

#: What must not be in a masked record, in any of its bytes.
PRIVATE = (USER, HOST, "qzhome", "qzargument", "qzsomeone")


def _record(path: Path) -> Written:
    """Two runtimes; a stream made by one and refused by the other; private data in every text."""
    written = Written(path)
    process = written.process(
        4711, exe=f"{HOME}/bin/python3",
        command=f"python3\0/home/qzsomeone/{USER}.py\0--password\0qzargument7\0",
    )  # fmt: skip
    first = process.runtime(f"/home/{USER}/torch/lib/libamdhip64.so.6")
    second = process.runtime(f"{HOME}/rocm/lib/libamdhip64.so.6")
    process.asked(f"{HOME}/rocm/lib/libamdhip64.so", 1.5, to=f"/home/{USER}/x", why=f"of {HOST}")
    thread = process.thread()
    thread.make(first, 0x7F0000001000, 3)
    thread.use(second, 0x7F0000001000, 4, 709)
    process.ended(9)
    return written


def _masker(path: Path) -> Masker:
    masker = Masker(KNOWN)
    for text in texts(str(path)):
        masker.learn(text)
    return masker


def test_its_texts_are_masked_and_its_story_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.xdiag"
    _record(path)
    with read(path) as recording:
        before, facts = diagnose(recording), recording.facts
        calls = list(recording.calls())
    assert all(name.encode() in path.read_bytes() for name in PRIVATE)

    masked = tmp_path / "masked.xdiag"
    masked.write_bytes(rewritten(str(path), _masker(path).text))
    assert not [name for name in PRIVATE if name.encode() in masked.read_bytes()]
    with read(masked) as recording:
        after, told = diagnose(recording), recording.facts
        assert [(c.name, c.stream, c.result, c.begun) for c in recording.calls()] == [
            (c.name, c.stream, c.result, c.begun) for c in calls
        ]
    assert [each.cause for each in after] == [each.cause for each in before] == ["two-runtimes"]
    assert after[0].certain
    assert told.lost == facts.lost and told.notes == facts.notes
    runtimes = told.processes[0].runtimes
    assert [each.path for each in runtimes] == [
        "/home/<user-2>/torch/lib/libamdhip64.so.6", "<home-1>/rocm/lib/libamdhip64.so.6",
    ]  # fmt: skip
    assert [each.build_id for each in runtimes] == ["ab" * 20] * 2
    command = told.processes[0].command
    assert len(command) == 4 and command[2:] == ("--password", "<secret-1>")


def test_room_that_was_not_used_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.xdiag"
    _record(path)
    masked = rewritten(str(path), _masker(path).text)
    assert len(masked) < path.stat().st_size / 3
    again = tmp_path / "again.xdiag"
    again.write_bytes(masked)
    assert rewritten(str(again), _masker(path).text) == masked


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.xdiag"
    _record(path)
    monkeypatch.setattr(records, "MOST_BYTES", 1000)
    with pytest.raises(CannotRun, match="more than a report takes"):
        rewritten(str(path), lambda text: text)


@settings(max_examples=150, deadline=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_damaged_records(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "run.xdiag"
    if not path.exists():
        _record(path)
        (tmp_path / "good").write_bytes(path.read_bytes())
    changed = bytearray((tmp_path / "good").read_bytes())
    places = st.integers(0, 400) | st.integers(0, len(changed) - 1)
    for place in data.draw(st.lists(places, max_size=6)):
        changed[place] = data.draw(st.integers(0, 255))
    path.write_bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))])
    try:
        masked = rewritten(str(path), Masker(KNOWN).text)
    except XdiagError:
        return
    (tmp_path / "masked").write_bytes(masked)
    read(tmp_path / "masked").close()
    assert USER.encode() not in masked
