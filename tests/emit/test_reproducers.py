"""Reproducers over the fake runtime: what they print, how they end, what is refused.

The C programs are built as their heads say, with all warnings as errors.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from support import cells_for

from emit.programs import STRICT, arguments, build, differences, expected_end, run, seen, usage
from xdiag import emit, native
from xdiag.emit import c, hip_tests, python
from xdiag.errors import Usage
from xdiag.model import ACTIONS, Cell, Step, parse_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from emit.programs import Told
    from xdiag.engine.messages import Paths
    from xdiag.model import Result

    Tell = Callable[..., Told]

REPOSITORY = Path(__file__).parents[2]


def _cell(*lines: str, id: str = "made-up") -> Cell:
    return Cell(id, id, "none", "driver", steps=tuple(parse_step(line) for line in lines))


OPEN = ("main: A = open(first, local)", "main: A.Init(0)", "main: s = A.StreamCreateWithFlags(0)")


@pytest.fixture(params=["c", "python"])
def tell(
    request: pytest.FixtureRequest, fake_paths: Paths, tmp_path_factory: pytest.TempPathFactory
) -> Tell:
    """Write a cell down in C or Python, run it on the fake runtime, read what it told."""
    language = request.param
    folder = tmp_path_factory.mktemp(language)

    def told(cell: Cell, *, fault: str = "", paths: Paths = fake_paths, **options: float) -> Told:
        text = emit.write(cell, language)
        given = [str(getattr(paths, name.lower())) for name in usage(text)]
        if language == "c":
            command = [str(build(text, folder))]
        else:
            program = folder / "repro.py"
            program.write_text(text)
            command = [sys.executable, str(program)]
        return run([*command, *given], {**os.environ, "FAKE_FAULT": fault}, **options)

    return told


# ---- what is told ----


def test_steps_are_told_as_actor_call_and_code(tell: Tell) -> None:
    told = tell(cells_for("cross-thread/none/driver")[0])
    lines = told.text.splitlines()
    assert re.fullmatch(r" 1  main\w*: hipInit\(0\) -> 0 ?", lines[1])
    assert re.search(r"^ 8  worker: hipStreamGetFlags\(.*\) -> 0", told.text, re.MULTILINE)
    assert told.end == "status 0"


@pytest.mark.parametrize(
    "cell",
    [
        "same-thread/none/driver",
        "creator-exited/none/driver",
        "concurrent-use/primary-context-retain/driver",
        "second-runtime/recreate-stream/driver",
        "second-namespace/none/driver",
        "reopened-runtime/none/driver",
        "truncated-handle/recreate-stream/driver",
        "truncated-handle-zero/none/driver",
        "garbage-handle/none/driver",
        "null-stream/none/driver",
        "fork-before-init/none/driver",
        "fork-after-init/recreate-stream/driver",
        "event-destroyed-twice/none/driver",
        "foreign-context/none/driver",
    ],
)
def test_it_tells_what_the_cell_tells(
    tell: Tell, run_fake: Callable[..., dict[str, Result]], cell: str
) -> None:
    (planned,) = cells_for(cell)
    result = run_fake([planned])[cell]
    told = tell(planned)
    assert told.steps == seen(result)
    assert told.end == expected_end(result)


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("hipStreamQuery=segv", "SIGSEGV"),
        ("hipStreamQuery=abort", "SIGABRT"),
        ("hipStreamQuery=exit", "exit"),
        # A runtime that ends the process with 0 is a fault all the same.
        ("hipStreamQuery=exit0", "exit"),
        ("hipStreamQuery=hang", "hang"),
    ],
)
@pytest.mark.parametrize(
    "cell", ["same-thread/none/driver", "cross-thread/none/driver", "fork-before-init/none/driver"]
)
def test_a_call_that_ends_the_process_is_the_last_one_told(
    tell: Tell, fault: str, end: str, cell: str
) -> None:
    (planned,) = cells_for(cell)
    told = tell(planned, fault=fault, patience=2.0)
    asked = next(n for n, s in enumerate(planned.steps) if s.verb == "StreamQuery")
    assert (told.last, told.end) == (asked, end), told.text
    assert asked not in told.steps


def test_the_story_ends_at_a_call_that_the_rest_needs(tell: Tell) -> None:
    told = tell(
        _cell(*OPEN, "main: A.StreamDestroy(s)", "main: A.StreamQuery(s)", "main: x = same(1)")
    )
    assert told.last == 4 and told.steps[4] == {709: 1} and told.end == "status 1"


def test_a_tolerated_failure_is_none(tell: Tell) -> None:
    told = tell(_cell(*OPEN, "main: A.StreamDestroy(s)", "main: A.StreamQuery(s) ?"))
    assert told.steps[4] == {709: 1} and told.end == "status 0"


def test_a_call_that_the_runtime_lacks_ends_a_story_that_needs_it(tell: Tell) -> None:
    needed = tell(_cell(*OPEN, "main: A.StreamGetId(s)", "main: A.StreamQuery(s)"))
    assert needed.steps[3] == {"unsupported": 1}
    assert (needed.last, needed.end) == (3, "status 3")
    tolerated = tell(_cell(*OPEN, "main: A.StreamGetId(s) ?", "main: A.StreamQuery(s)"))
    assert (tolerated.last, tolerated.end) == (4, "status 3")


def test_a_call_that_trusts_is_left_out_for_that_stream_only(tell: Tell) -> None:
    steps = [
        *_cell(*OPEN, "main: t = A.StreamCreateWithFlags(0)", "main: u = same(s)").steps,
        replace(parse_step("main: A.StreamDestroy(s)"), independent=True),
        replace(parse_step("main: A.StreamQuery(s)"), independent=True),
    ]
    trusts = [
        replace(parse_step(f"main: A.StreamGetPriority({name})"), independent=True, trusting=True)
        for name in ("s", "t", "u", "NULL")
    ]
    told = tell(Cell("trust", "trust", "none", "driver", steps=(*steps, *trusts)))
    assert [list(told.steps[n]) for n in range(7, 11)] == [["skipped"], [0], ["skipped"], [0]]
    assert told.end == "status 1"


def test_a_handle_that_loses_nothing_cannot_be_told(tell: Tell) -> None:
    told = tell(_cell(*OPEN, "main: t = low32(s)", "main: u = low32(t)", "main: A.StreamQuery(u)"))
    assert (told.last, told.end) == (4, "status 3")


def test_a_second_maker_of_a_name_has_a_value_of_its_own(tell: Tell) -> None:
    # As the engine has it: who made a value sees that, others see the last one.
    cell = _cell(
        *OPEN,
        "main: worker = thread()",
        "worker: s = A.StreamCreateWithFlags(0)",
        "worker: A.StreamDestroy(s)",
        "main: A.StreamQuery(s)",
        "worker: A.StreamQuery(s) ?",
    )
    told = tell(cell)
    assert told.steps[6] == {0: 1} and told.steps[7] == {709: 1}


def test_a_file_that_is_no_library_is_named(tell: Tell, fake_paths: Paths) -> None:
    paths = replace(fake_paths, first="/nonexistent/libamdhip64.so")
    told = tell(_cell(*OPEN), paths=paths)
    assert "/nonexistent/libamdhip64.so" in told.text and told.end == "status 3"


def test_something_that_is_not_loaded_cannot_be_opened_so(tell: Tell) -> None:
    told = tell(_cell("main: A = open(loaded)", "main: A.Init(0)"))
    assert "null" not in told.text
    assert told.last == 0 and told.end == "status 3"


@pytest.mark.parametrize("language", ["c", "python"])
@pytest.mark.parametrize("cell", ["second-runtime/none/driver", "second-namespace/none/driver",
                                  "concurrent-use/none/driver"])  # fmt: skip
def test_nothing_is_said_of_a_runtime_that_cannot_be_opened_or_written_about(
    fake_paths: Paths, tmp_path: Path, language: str, cell: str
) -> None:
    text = emit.write(cells_for(cell)[0], language)
    (tmp_path / "x.py").write_text(text)
    command = (
        [sys.executable, tmp_path / "x.py"] if language == "python" else [build(text, tmp_path)]
    )
    none = ["/nonexistent/libamdhip64.so"] * len(usage(text))
    done = subprocess.run([*command, *none], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "/nonexistent/libamdhip64.so" in done.stdout
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, *arguments(text, fake_paths)], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 3 and "Traceback" not in done.stderr


@pytest.mark.parametrize("language", ["c", "python"])
def test_wrong_arguments_are_answered_with_the_usage(
    fake_paths: Paths, tmp_path: Path, language: str
) -> None:
    text = emit.write(cells_for("second-runtime/none/driver")[0], language)
    source = tmp_path / "x.py"
    source.write_text(text)
    command = [sys.executable, source] if language == "python" else [build(text, tmp_path)]
    done = subprocess.run([*command, fake_paths.first], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ") and done.stderr.endswith("FIRST COPY\n")


#: A runtime that counts: hipDeviceReset returns how often hipStreamQuery was called.
_COUNTING = """
static int calls;
int hipInit(unsigned flags) { return (int)flags; }
int hipStreamQuery(void *stream) { (void)stream; __atomic_add_fetch(&calls, 1, 5); return 0; }
int hipDeviceReset(void) { return calls; }
"""


def test_repeated_calls_are_made_by_both_actors(
    tell: Tell, tmp_path: Path, fake_paths: Paths
) -> None:
    source, library = tmp_path / "counting.c", tmp_path / "libcounting.so"
    source.write_text(_COUNTING)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    cell = _cell(
        "main: A = open(first, local)",
        "main: worker = thread()",
        "main & worker: A.StreamQuery(NULL) x200",
        "worker: A.StreamQuery(NULL) x7",
        "main: A.DeviceReset() ?",
    )
    told = tell(cell, paths=replace(fake_paths, first=str(library)))
    assert told.steps[2] == {0: 2} and told.steps[4] == {407: 1}


def test_a_program_that_tells_another_story_is_told_apart(
    run_fake: Callable[..., dict[str, Result]], fake_paths: Paths, tmp_path: Path
) -> None:
    (cell,) = cells_for("second-runtime/none/driver")
    result = run_fake([cell])[cell.id]
    text = emit.write(cell, "c")
    changes = {
        "": "",
        "dlopen(args[2]": "dlopen(args[1]",
        "TRUST, B, hipMemsetAsync": "ASK, B, hipMemsetAsync",
        "CALL(worker, ASK, B, hipStreamQuery, (void *), (s));": "",
        "NEEDED, B, hipMalloc, (void **, size_t)": "NEEDED, B, hipMallocs, (void **, size_t)",
    }
    for old, new in changes.items():
        changed = text.replace(old, new) if old else text
        assert (changed != text) == bool(old)
        program = str(build(changed, tmp_path))
        told = run([program, fake_paths.first, fake_paths.copy], os.environ)
        assert bool(differences(result, told)) == bool(old), old


# ---- what a program is ----


@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_every_program_is_short_and_narrow_and_has_no_trace_of_this_machine(language: str) -> None:
    written = 0
    for cell in cells_for():
        try:
            text = emit.write(cell, language)
        except Usage:
            continue
        written += 1
        lines = text.splitlines()
        assert len(lines) < 120, cell.id
        assert max(map(len, lines)) <= 100, max(lines, key=len)
        assert str(REPOSITORY) not in text and "\t" not in text and text.endswith("\n")
        assert not [line for line in lines if line != line.rstrip()], cell.id
        # The libraries of xdiag are named where the story is about one of them, nowhere else.
        assert ("audit" in text) == (cell.fix == "unify"), cell.id
    assert written > 150


@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_with_a_result_the_head_says_what_was_seen_and_no_more(
    run_fake: Callable[..., dict[str, Result]], language: str
) -> None:
    (cell,) = cells_for("second-runtime/none/driver")
    result = run_fake([cell])[cell.id]
    text = emit.write(cell, language, result=result)
    assert "Seen: hipStreamGetDevice returned 709 hipErrorContextIsDestroyed." in text
    assert "Seen" not in emit.write(cell, language)


@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_a_cell_that_is_not_applicable_is_refused_with_its_reason(language: str) -> None:
    (cell,) = cells_for("same-thread/bind-loaded-runtime/driver")
    with pytest.raises(Usage, match="only one runtime is opened"):
        emit.write(cell, language)


@pytest.mark.parametrize("cell", ["cross-thread/native-thread/driver", "cross-thread/none/replay"])
def test_python_starts_no_native_threads(cell: str) -> None:
    with pytest.raises(Usage, match=r"native threads.*--emit c"):
        emit.write(cells_for(cell)[0], "python")


def test_a_python_parent_does_not_act_after_it_has_forked() -> None:
    cell = _cell(*OPEN, "main: child = fork()", "child: A.StreamQuery(s)", "main: A.StreamQuery(s)")
    with pytest.raises(Usage, match="--emit c"):
        emit.write(cell, "python")


def test_in_c_it_does(fake_paths: Paths, tmp_path: Path) -> None:
    cell = _cell(
        *OPEN,
        "main: child = fork()",
        "child: A.StreamDestroy(s)",
        "main: A.StreamQuery(s)",
        "child: A.StreamQuery(s) ?",
    )
    told = run([str(build(emit.write(cell, "c"), tmp_path)), fake_paths.first], os.environ)
    assert told.steps[5] == {0: 1} and told.steps[6] == {709: 1} and told.end == "status 0"


def test_a_value_does_not_cross_processes() -> None:
    cell = _cell(
        *OPEN,
        "main: child = fork()",
        "child: t = A.StreamCreateWithFlags(0)",
        "main: A.StreamQuery(t)",
    )
    with pytest.raises(Usage, match="another process"):
        emit.write(cell, "c")


@pytest.mark.parametrize(
    "step",
    [
        Step(("main",), "StreamQuery", ('s); system("true"',), runtime="A"),
        Step(("main*/",), "StreamQuery", ("s",), runtime="A"),
        Step(("main",), "StreamQuery", ("s",), runtime="A\n"),
        Step(("main",), "StreamQuery", ("s",), runtime="A", result="int x"),
        Step(("main",), "NoSuchCall", ("s",), runtime="A"),
        Step(("main",), "use", ("A", "s")),
        Step(("main",), "open", ("anything", "local"), result="B"),
        Step(("main",), "open", ("first", "sideways"), result="B"),
        Step((), "StreamQuery", ("s",), runtime="A"),
    ],
    ids=str,
)
@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_a_step_out_of_a_file_cannot_write_program_text(step: Step, language: str) -> None:
    cell = _cell(*OPEN)
    with pytest.raises(Usage, match="step 3"):
        emit.write(replace(cell, steps=(*cell.steps, step)), language)


@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_nor_can_the_names_of_a_cell(language: str, tmp_path: Path) -> None:
    evil = '*/ """ \n int main; \\'
    cell = replace(_cell(*OPEN), pattern=evil, fix=evil, consumer=evil)
    text = emit.write(cell, language, name=f"{evil}.c")
    if language == "c":
        build(text, tmp_path)
    elif language == "python":
        compile(text, "x.py", "exec")
    if language == "hip-tests":
        assert text[text.index("*/") :].startswith("*/\n#include")


# ---- the call list ----


def _everything() -> list[Cell]:
    """Cells that make every call of the list that HIP has, a few calls each."""
    cells = []
    told = {name: call for name, call in native.calls().items() if call.hip}
    for number, (name, call) in enumerate(told.items()):
        given = ["s" if call.kinds[n] == "STREAM" else 7 for n in call.inputs()]
        step = Step(("main",), name, tuple(given), runtime="A", result="int" if number % 2 else "")
        cells.append(Cell(name, name, "none", "driver", steps=(*_cell(*OPEN).steps, step)))
    return cells


def test_every_call_of_the_list_can_be_written_down_in_c(tmp_path: Path) -> None:
    steps = tuple(cell.steps[-1] for cell in _everything())
    opening = _cell(*OPEN).steps
    for start in range(0, len(steps), 20):
        cell = Cell("all", "all", "none", "driver", steps=(*opening, *steps[start : start + 20]))
        text = emit.write(cell, "c")
        build(text, tmp_path)
        source = tmp_path / "all.c"
        source.write_text(text)
        subprocess.run(["g++", "-x", "c++", *STRICT, "-fsyntax-only", source], check=True)
    assert len(steps) > 70


def test_every_call_of_the_list_can_be_written_down_in_python_and_for_hip_tests() -> None:
    for cell in _everything():
        compile(emit.write(cell, "python"), cell.id, "exec")
        assert f"hip{cell.id}(" in emit.write(cell, "hip-tests")


@pytest.mark.parametrize("writer", [c, python, hip_tests])
def test_every_kind_of_argument_has_its_spelling(writer: object) -> None:
    header = (REPOSITORY / "cffi_build" / "calls.h").read_text()
    kinds = re.findall(r"^    KIND\((\w+), ([^,]+), (IN|OUT|FIXED)\)", header, re.MULTILINE)
    spelt = writer._KINDS  # type: ignore[attr-defined]
    assert set(spelt) == {kind for kind, _, _ in kinds}
    for kind, type, direction in kinds:
        pointer = "P(" if writer is python else "*"
        assert direction != "OUT" or pointer in spelt[kind].type, kind
        if writer is c and kind not in ("CALLBACK", "HOST_FUNCTION", "DIM3"):
            plain = type.replace("uint32_t", "unsigned").replace("int32_t", "int")
            assert spelt[kind].type == plain, kind


def test_every_action_of_a_step_is_known_to_the_writers() -> None:
    from xdiag.emit.program import DERIVES, STARTS

    # "equal" is of XSched's CUDA queue, of which no program is written.
    assert {"open", "end", "use", "equal", *STARTS, *DERIVES} == set(ACTIONS)


def test_c_programs_are_c_plus_plus_as_well(tmp_path: Path) -> None:
    # hipcc takes a .c file for C++: a story of each kind.
    patterns = ("same-thread", "concurrent-use", "second-namespace", "truncated-handle",
                "fork-after-init", "creator-exited", "garbage-handle")  # fmt: skip
    ids = (f"{p}/none/{consumer}" for p in patterns for consumer in ("driver", "replay"))
    for cell in cells_for(*ids):
        source = tmp_path / "x.c"
        source.write_text(emit.write(cell, "c"))
        command = ["g++", "-x", "c++", *STRICT, "-fsyntax-only", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
