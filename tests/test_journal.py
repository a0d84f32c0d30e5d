"""The journal: whole lines, torn ends, and results that must not be mixed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from xdiag.errors import CannotRun, Usage
from xdiag.journal import Header, Journal, default_path, is_default, read, still_valid
from xdiag.model import SCHEMA_VERSION, Cell, Outcome, OutcomeKind, Result, Target

TARGET = Target("hip", "/opt/rocm/lib/libamdhip64.so.5", "software", version="5.2", build_id="ab")
HEADER = Header(SCHEMA_VERSION, "0.1.0", TARGET)
RESULTS = [
    Result(Cell(f"p{i}/none/driver", f"p{i}", "none", "driver"), Outcome(OutcomeKind.OK))
    for i in range(5)
]


def _write(path: Path) -> None:
    with Journal(path, HEADER) as journal:
        for result in RESULTS:
            journal.add(result)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    _write(tmp_path / "j")
    assert read(tmp_path / "j") == (HEADER, RESULTS)


@given(cut=st.integers(1, 400))
def test_a_torn_end_loses_only_what_was_not_finished(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        _write(path)
        data = path.read_bytes()
        keep = max(len(data) - cut, data.index(b"\n") + 1)
        path.write_bytes(data[:keep])
        whole = data[:keep].count(b"\n") - 1
        assert read(path)[1] == RESULTS[:whole]
        with Journal(path, HEADER, resumed=True) as journal:
            for result in RESULTS[whole:]:
                journal.add(result)
        assert read(path) == (HEADER, RESULTS)


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"{}\n", b'{"schema_version":1}\n', b"\xff\n"]
)
def test_what_is_no_journal_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(Usage, match="not a journal") as caught:
        read(tmp_path / "j")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.booleans())
def test_whatever_the_bytes_are_reading_them_ends_in_results_or_one_line(
    junk: bytes, headed: bool
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        _write(path)
        path.write_bytes((path.read_bytes() if headed else b"") + junk)
        said, results = "", []
        try:
            results = read(path)[1]
        except Usage as error:
            said = str(error)
        assert "\n" not in said and bool(said) == (not results)
        assert not headed or results == RESULTS or b"\n" in junk


def test_a_missing_file_and_a_newer_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="cannot read"):
        read(tmp_path / "none")
    with Journal(tmp_path / "j", replace(HEADER, schema_version=SCHEMA_VERSION + 1)):
        pass
    with pytest.raises(Usage, match="newer"):
        read(tmp_path / "j")


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="cannot write the journal"):
        Journal(tmp_path / "no" / "j", HEADER)


def test_results_of_another_runtime_are_refused() -> None:
    other = replace(TARGET, build_id="cd")
    with pytest.raises(Usage, match="build_id ab, this run has cd"):
        still_valid(RESULTS, [r.cell for r in RESULTS], HEADER, other)


def test_cells_that_have_changed_are_run_again() -> None:
    cells = [r.cell for r in RESULTS]
    cells[2] = replace(cells[2], timeout=1.0)
    kept = still_valid(RESULTS, cells, HEADER, TARGET)
    assert [r.cell.id for r in kept] == [r.cell.id for i, r in enumerate(RESULTS) if i != 2]


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path().parent == tmp_path / "xdiag"
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert default_path().name.startswith("xdiag-matrix-")


def test_a_journal_that_nobody_named_is_known_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in (str(tmp_path), "/proc/nowhere"):
        monkeypatch.setenv("XDG_STATE_HOME", place)
        kept = default_path()
        assert is_default(kept)
        assert not is_default(kept.with_name("mine.jsonl"))
        assert not is_default(tmp_path / kept.name)
