"""xdiag compare and xdiag merge as users call them, on files that may be anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import cell, run_report

from xdiag.comparison import Comparison
from xdiag.errors import XdiagError
from xdiag.merging import Merged, read
from xdiag.render import render
from xdiag.saved import MOST_BYTES, open_saved, read_report

Call = Callable[..., subprocess.CompletedProcess[str]]

#: What a hostile file may cost: seconds and bytes.
_SECONDS, _BYTES = 2.0, 200 << 20

GOOD = run_report([cell(), cell("destroyed-stream", kind="error", code=709)])
WORSE = run_report(
    [cell(kind="error", code=709), cell("destroyed-stream", kind="crash", signal="SIGSEGV")],
    version="7.0.0",
)


@pytest.fixture
def call(home: dict[str, str]) -> Call:
    """Run xdiag."""

    def run(*arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
        stdin = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
        return subprocess.run(
            [sys.executable, "-m", "xdiag", *map(str, arguments)], env=home,
            capture_output=True, text=True, timeout=60, **stdin,
        )  # fmt: skip

    return run


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.json"
    path.write_text(render(GOOD, "json"))
    return path


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    path = tmp_path / "worse.json"
    path.write_text(render(WORSE, "json"))
    return path


# ---- compare ----


def test_regressions_are_a_fault_and_the_other_way_round_is_none(
    call: Call, good: Path, worse: Path
) -> None:
    done = call("compare", good, worse)
    assert (done.returncode, done.stderr) == (1, "")
    assert "2 cells got worse" in done.stdout
    assert "same-thread/none/driver  ok -> 709  (sound story)" in done.stdout
    assert "destroyed-stream/none/driver  709 -> SEGV" in done.stdout
    back = call("compare", worse, good)
    assert (back.returncode, back.stderr) == (0, "")
    assert "2 cells got better" in back.stdout


def test_identical_files_are_one_line(call: Call, good: Path) -> None:
    done = call("compare", good, good)
    assert (done.returncode, done.stderr, done.stdout) == (
        0, "", "both are one and the same run (2 cells)\n",
    )  # fmt: skip


def test_json_and_markdown_and_files(call: Call, good: Path, worse: Path, tmp_path: Path) -> None:
    done = call("compare", good, worse, "--json")
    read_back = msgspec.json.decode(done.stdout, type=Comparison)
    assert done.returncode == 1 and len(read_back.worse) == 2
    for name, begins in (("c.md", "## xdiag compare: 2 cells got worse"), ("c.json", "{")):
        written = call("compare", good, worse, "-o", tmp_path / name)
        assert (written.returncode, written.stdout) == (1, "")
        assert (tmp_path / name).read_text().startswith(begins)
    assert (tmp_path / "c.json").read_text() == done.stdout
    piped = call("compare", "-", worse, "--json", given=good.read_text())
    assert piped.stdout == done.stdout


# ---- merge ----


def test_a_merged_matrix_names_who_has_seen_what(call: Call, good: Path, worse: Path) -> None:
    done = call("merge", good, worse)
    assert (done.returncode, done.stderr) == (1, "")
    assert "2 runs, 2 cells: 0 agree, 2 differ" in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    place = lines.index("same-thread/none/driver")
    assert lines[place : place + 5] == [
        "same-thread/none/driver", "ok", "HIP 6.3.0, software agent",
        "709  hipStreamGetFlags", "HIP 7.0.0, software agent",
    ]  # fmt: skip
    assert call("merge", good).returncode == 0


def test_merging_again_changes_nothing(call: Call, good: Path, worse: Path, tmp_path: Path) -> None:
    merged = tmp_path / "m.json"
    assert call("merge", good, worse, "-o", merged).returncode == 1
    done = call("merge", merged, good, merged, "--json")
    assert done.stdout == merged.read_text()
    assert done.stderr == "xdiag: 2 runs given twice, counted once\n"
    assert len(msgspec.json.decode(done.stdout, type=Merged).runs) == 2
    for name, begins in (("m.html", "<!DOCTYPE html>"), ("m.csv", "pattern,"), ("m.md", "# xdiag")):
        assert call("merge", merged, "-o", tmp_path / name).returncode == 1
        assert (tmp_path / name).read_text().startswith(begins)


# ---- what is no matrix ----


def _deep() -> str:
    return '{"schema_version": 1, "results": ' + "[" * 200_000


@pytest.mark.parametrize("command", ["compare", "merge"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no matrix of xdiag's (xdiag matrix --format json writes one)"),
        ("[]", "Expected `object`"),
        ("{", "truncated"),
        ("hello\x1b[2J", "is no matrix of xdiag's"),
        ('{"schema_version": 1}', "missing required field"),
        ('{"schema_version": 99, "xdiag": "9\\u001b[2J"}', "was written by a newer xdiag"),
        ('{"schema_version": "1"}', "Expected `int`"),
        ('{"schema_version": 1, "patterns": []}', "missing required field `xdiag`"),
        (_deep(), "nested too deeply"),
        ('{"schema_version": 1, "xdiag": "\\ud800"}', "is no matrix of xdiag's"),
        ('{"schema_version":1,"xdiag":"1"}\n{"cell":', "xdiag matrix --resume JOURNAL"),
    ],
    ids=range(11),
)
def test_what_is_no_matrix_is_wrong_usage_in_one_line(
    call: Call, good: Path, tmp_path: Path, command: str, content: str, says: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    _refused(call(command, good, path), 2, says)


def _refused(done: subprocess.CompletedProcess[str], status: int, says: str) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert says in done.stderr
    line = done.stderr.removesuffix("\n")
    assert line.startswith("xdiag: ") and line.isprintable()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["compare", "GOOD"], 2, "Missing argument"),
        (["merge"], 2, "Missing argument"),
        (["compare", "GOOD", "/none/such"], 3, "/none/such: cannot be read: No such file"),
        (["merge", "/none/such"], 3, "/none/such: cannot be read: No such file"),
        (["compare", "GOOD", "/"], 3, "/: cannot be read: not a regular file"),
        (["compare", "GOOD", ""], 3, "cannot be read"),
        (["merge", "/dev/zero"], 3, "not a regular file"),
        (["compare", "-", "-"], 2, "standard input has one matrix"),
        (["merge", "-", "GOOD", "-"], 2, "standard input has one matrix"),
        (["compare", "GOOD", "-"], 2, "standard input is no matrix"),
        (["compare", "GOOD", "GOOD", "--json", "--format", "markdown"], 2, "cannot both be"),
        (["merge", "GOOD", "--json", "--format", "csv"], 2, "cannot both be"),
        (["merge", "GOOD", "-o", "/none/such"], 3, "there is no directory /none"),
        (["compare", "GOOD", "MERGED"], 2, "is a merged matrix"),
    ],
    ids=str,
)
def test_wrong_usage_in_one_line(
    call: Call, good: Path, tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    merged = tmp_path / "merged.json"
    if "MERGED" in arguments:
        call("merge", good, "-o", merged)
    paths = {"GOOD": good, "MERGED": merged}
    _refused(call(*(paths.get(each, each) for each in arguments)), status, says)


def test_a_pipe_that_nobody_writes_into_is_refused_at_once(
    call: Call, good: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    _refused(call("compare", good, tmp_path / "pipe"), 3, "not a regular file")


def test_what_nobody_could_read_is_cut_or_refused(call: Call, good: Path, tmp_path: Path) -> None:
    long = "x" * 5_000_000
    wide = tmp_path / "wide.json"
    results = run_report(GOOD.results, version=long, device_name=long, runtime=long, started=long)
    wide.write_text(render(results, "json"))
    for form in ("table", "markdown"):
        for arguments in (["compare", good, wide], ["merge", good, wide]):
            done = call(*arguments, "--format", form)
            assert (done.returncode, done.stderr) == (0, "") and len(done.stdout) < 20_000
    for form in ("csv", "html"):
        assert len(call("merge", good, wide, "--format", form).stdout) < 40_000
    wide.write_text(render(run_report([cell(long)]), "json"))
    _refused(call("compare", good, wide), 2, "a name in it has 5000000 characters")


def test_a_cell_that_is_there_twice_is_damage(call: Call, good: Path, tmp_path: Path) -> None:
    data = json.loads(good.read_text())
    data["results"].append(data["results"][0])
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps(data))
    for command in ("compare", "merge"):
        _refused(call(command, good, twice), 2, "the cell 'same-thread/none/driver' is in it twice")


# ---- hostile files cost little ----

_HEAD = '{"schema_version":1,"xdiag":"","command":"","target":%s,"host":%s,"results":['
_TARGET = '{"platform":"hip","runtime":"","agent":"software"}'
_HOST = '{"system":"","kernel":"","libc":"","python":"","cpus":1}'
_BEGIN = _HEAD % (_TARGET, _HOST)
_CELL = '{"cell":{"id":"","pattern":"%d","fix":"","consumer":""%s},"outcome":{"kind":"ok"%s}}'


def _filled(begin: str, piece: str, end: str, commas: int = 990_000) -> str:
    """As much of a piece as a file is read with."""
    times = min((MOST_BYTES - len(begin) - len(end) - 10) // (len(piece) + 1), commas)
    return begin + ",".join([piece] * times) + end


_STEPS = _CELL.partition("%s")[0].replace("%d", "") + ',"steps":[{"verb":"","actors":['
_TRACE = (_CELL % (0, "", ',"trace":[')).removesuffix("}}")
_ENDED = ']}]},"outcome":{"kind":"ok"}}]}'

HOSTILE = {
    "many short strings": lambda: _filled(_BEGIN + _STEPS, '"ab"', _ENDED),
    "many numbers": lambda: _filled(_BEGIN + _STEPS + '],"args":[', "123456789", _ENDED),
    "many lines of a trace": lambda: _filled(
        _BEGIN + _TRACE, '{"step":1,"actor":"","call":"","state":"done"}', "]}}]}", 240_000
    ),
    "many cells": lambda: _BEGIN + ",".join(_CELL % (n, "", "") for n in range(190_000)) + "]}",
    "as many cells as are read": lambda: (
        _BEGIN + ",".join(_CELL % (n, "", "") for n in range(20_000)) + "]}"
    ),
    "one wide string": lambda: f'{_BEGIN}],"started":"\U0001f600{"x" * (MOST_BYTES - 400)}"}}',
    "too many values": lambda: "[" + "1," * 2_000_000,
    "too many bytes": lambda: "[" + " " * (MOST_BYTES + 5),
}

_MEASURED = """
import sys, time
from pathlib import Path
from xdiag.errors import XdiagError
from xdiag import comparison, merging, saved
clock = time.process_time()
try:
    found = saved.open_saved(sys.argv[1])
    merging.merge([merging.read(found)])
except XdiagError as error:
    print(error, file=sys.stderr)
# Of this process alone: what getrusage tells is inherited from the one that started it.
status = Path("/proc/self/status").read_text()
print(time.process_time() - clock, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.json"
    path.write_text(HOSTILE[name]())
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    seconds, used = map(float, done.stdout.split())
    assert seconds < _SECONDS and used < _BYTES, done.stderr
    # What is meant to be read to its end was well formed.
    too_large = "it is too large for one" in done.stderr
    assert too_large == (name in ("many cells", "too many values", "too many bytes")), done.stderr
    assert "no matrix" not in done.stderr or too_large, done.stderr


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_to_a_file_is_one_line(tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray(render(WORSE, "json").encode())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.sampled_from([0, 1, 5, 200]))
        text[begin:end] = data.draw(
            st.sampled_from(
                [b"", b"-1", b"null", b"[", b"}", b"1e999", b'"\\ud800"', b"\xff", b"\0"]
            )
            | st.binary(max_size=4)
        )
    path = tmp_path / "damaged.json"
    path.write_bytes(text)
    began = time.monotonic()
    try:
        saved = open_saved(str(path))
        report = read_report(saved)
        read(saved)
    except XdiagError as error:
        said = str(error)
    else:
        said = render(report, "csv").replace("\n", "")
    assert said.isprintable()
    assert time.monotonic() - began < _SECONDS
