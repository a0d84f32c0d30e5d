"""Writes a story as a test case in the form of AMD's hip-tests (Catch2, hip_test_common.hh).

The runtime under test is the one that the test program is linked against; another one is opened
within the test case.  The form is that of https://github.com/ROCm/hip-tests, catch/unit/stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import native, platforms
from xdiag.emit.head import Words, head
from xdiag.emit.program import Argument, Line, Program, Variable, program
from xdiag.emit.writing import (
    CXX_KEYWORDS,
    WIDTH,
    identifiers,
    no_comment,
    paragraphs,
    render,
    wrapped,
)
from xdiag.errors import Usage

if TYPE_CHECKING:
    from xdiag.model import Cell, StepRecord

_TEMPLATE = "program.cc.jinja"


@dataclass(frozen=True)
class _Kind:
    """How an argument of a kind is written: its type, and what is passed where nothing is told."""

    type: str
    blank: str = "Out()"
    #: The same for a runtime that is opened in the test, where no declaration says the type.
    elsewhere: str = "room"


_KINDS = {
    "STREAM": _Kind("hipStream_t"),
    "EVENT": _Kind("hipEvent_t"),
    "CONTEXT": _Kind("hipCtx_t"),
    "GRAPH": _Kind("hipGraph_t"),
    "FUNCTION": _Kind("void*"),
    "POINTER": _Kind("void*"),
    "DEVICE": _Kind("int"),
    "U8": _Kind("unsigned char"),
    "I32": _Kind("int"),
    "U32": _Kind("unsigned int"),
    "SIZE": _Kind("size_t"),
    "NEW_STREAM": _Kind("hipStream_t*"),
    "NEW_EVENT": _Kind("hipEvent_t*"),
    "NEW_CONTEXT": _Kind("hipCtx_t*"),
    "NEW_GRAPH": _Kind("hipGraph_t*"),
    "NEW_POINTER": _Kind("void**"),
    "OUT_DEVICE": _Kind("int*"),
    "OUT_I32": _Kind("int*"),
    "OUT_U32": _Kind("unsigned int*"),
    "OUT_U64": _Kind("unsigned long long*"),
    "OUT_SIZE": _Kind("size_t*"),
    "OUT_POINTER": _Kind("void**"),
    "BUFFER": _Kind("void*"),
    "CALLBACK": _Kind(
        "void (*)(hipStream_t, hipError_t, void*)",
        "[](hipStream_t, hipError_t, void*) {}",
        "+[](hipStream_t, hipError_t, void*) {}",
    ),
    "HOST_FUNCTION": _Kind("void (*)(void*)", "[](void*) {}", "+[](void*) {}"),
    "DIM3": _Kind("dim3"),
    "NONE": _Kind("void*", "nullptr", "(void*)nullptr"),
    "ZERO": _Kind("unsigned int", "0", "0u"),
}

_WAYS = {
    "local": "dlopen({path}, RTLD_NOW | RTLD_LOCAL)",
    "deepbind": "dlopen({path}, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)",
    "global": "dlopen({path}, RTLD_NOW | RTLD_GLOBAL)",
    "namespace": "dlmopen(LM_ID_NEWLM, {path}, RTLD_NOW | RTLD_LOCAL)",
    "loaded": "dlopen({path}, RTLD_NOW | RTLD_NOLOAD)",
}


def write(cell: Cell, platform: str, words: Words) -> str:
    """The test case that tells a cell's story.

    Raises Usage where the story cannot be told so: a test program is linked to its runtime, and
    shares its process with other tests.
    """
    told = program(cell, platform, identifiers(_TEMPLATE, CXX_KEYWORDS))
    first = next((line.step for line in told.lines if line.step.verb == "open"), None)
    if first is None or first.args[0] != "first":
        raise Usage(
            "this story opens another copy before the runtime under test, which a hip-tests"
            " program is linked to: --emit c"
        )
    if "{copy_directory}" in "".join(cell.environment.values()):
        raise Usage(
            "in this story the loader is led to the copy, and so would be a test program that is"
            " linked to the runtime under test: --emit c"
        )
    if told.forks:
        raise Usage("this story forks, and a test shares its process with other tests: --emit c")
    if any(len(s.actors) > 1 and (len(s.actors) > 2 or "main" not in s.actors) for s in told.steps):
        raise Usage("in this story two threads do a step at the same moment: --emit c")
    return _Writer(told, platform, words).text()


class _Writer:
    def __init__(self, told: Program, platform: str, words: Words) -> None:
        self._program = told
        self._platform = platforms.get(platform)
        self._words = words
        self._seen = self._records()
        #: Runtimes that the test program is linked to.
        self._linked = {
            line.runtime for line in told.lines if line.step.verb == "open" and _is_linked(line)
        }
        self._streams = len({line.stream for line in told.lines if line.stream is not None})

    def text(self) -> str:
        told = self._program
        told_lines = [text for line in told.lines for text in self._line(line)]
        body = "\n".join(told_lines)
        story = [*self._declared(body), *told_lines]
        others = any(line.step.verb == "open" and not _is_linked(line) for line in told.lines)
        texts = head(
            told,
            self._words,
            language="hip-tests",
            build=["# a file of hip-tests: catch/unit/stream, named in TEST_SRC of CMakeLists.txt"],
            run=f"./StreamTest {_name(told.cell)}",
            note=self._note(),
            given="environment",
        )
        return render(
            _TEMPLATE,
            head=[no_comment(line) for line in paragraphs(texts, WIDTH - 3)],
            program=told,
            name=_name(told.cell),
            lines=[text for line in story for text in wrapped(f"  {line}")],
            others=others,
            paths="path(" in body,
            linked="linked()" in body,
            alternatives=_alternatives(told) if others else [],
            threads=any(actor.how for actor in told.actors),
            outs="Out()" in body,
            room=" room" in body,
            numbers="Number{" in body,
            cuts=[verb for verb in ("low32", "low32_signed") if verb in told.verbs()],
            asks="ASK(" in body,
            asks_device=any(line.symbols and not line.returns_status for line in told.lines),
            refusal=native.errors()[self._platform.refusal][0],
        )

    def _records(self) -> dict[int, StepRecord]:
        """What was seen of each step, where the cell was run."""
        result = self._words.result
        return {record.step: record for record in result.outcome.trace} if result else {}

    def _note(self) -> str:
        if self._seen:
            return "The test passes where the runtime answers as it did when xdiag ran it."
        return "The test fails where a call fails."

    # ---- one step ----

    def _line(self, line: Line) -> list[str]:
        step = line.step
        if self._seen and self._seen[line.index].state == "unreached":
            return []
        if line.symbols:
            return [self._call(line)]
        if step.verb == "open":
            return self._open(line)
        if step.verb in ("thread", "native_thread"):
            return [f"Actor {step.result};"]
        if step.verb == "end":
            return [f"{step.actors[0]}.end();"]
        assert line.source is not None and line.target is not None
        target, source = line.target.name, self._input(line.source)
        if step.verb == "same":
            return [f"{target} = {source};"]
        return [f"{target} = {step.verb}({source});", f"REQUIRE({target} != {source});"]

    def _open(self, line: Line) -> list[str]:
        if _is_linked(line):
            return []
        what, way = str(line.step.args[0]), str((*line.step.args, "local")[1])
        place = f'path("{what.upper()}")'
        if what == "loaded":
            place, way = "linked()", "loaded"
        opening = self._by(line, _WAYS[way].format(path=place))
        name = line.runtime
        return [f"Runtime {name}{{{opening}}};", f"REQUIRE({name}.handle != nullptr);"]

    def _call(self, line: Line) -> str:
        name = line.symbols[-1]
        record = self._seen.get(line.index)
        if record is not None and record.state in ("unsupported", "skipped"):
            why = "not in this runtime" if record.state == "unsupported" else "follows any handle"
            return f"// {name} was not called: {why}"
        linked = line.runtime in self._linked
        given = [self._argument(argument, linked=linked) for argument in line.arguments]
        call = f"{name}({', '.join(given)})"
        if not linked:
            quoted = f'"{name}"'
            call = f"{line.runtime}({', '.join([quoted, *given])})"
            call = call if line.returns_status else f"static_cast<int>({call})"
        called = self._by(line, call)
        if record is not None and record.failed and record.code is not None:
            return self._expected(line, record, called)
        return self._checked(line, called)

    def _by(self, line: Line, call: str) -> str:
        """The call, made by the step's actors and as often as the step says."""
        step = line.step
        if len(step.actors) > 1:
            other = next(actor for actor in step.actors if actor != "main")
            own = "int me" if "[me]" in call else "int"
            return f"together({other}, {step.repeat}, [&]({own}) {{ return {call}; }})"
        if step.repeat > 1:
            call = f"repeat({step.repeat}, [&] {{ return {call}; }})"
        if step.actors[0] == "main":
            return call
        return f"{step.actors[0]}([&] {{ return {call}; }})"

    def _checked(self, line: Line, called: str) -> str:
        step, device = line.step, not line.returns_status
        if step.tolerated:
            return f"(void){called};"
        if not step.independent:
            return f"REQUIRE({called} >= 0);" if device else f"HIP_CHECK({called});"
        text = f"ASK({called});"
        if not self._program.trusting or line.stream is None:
            return text
        refused = "refused" if self._streams == 1 else f"refused[{line.stream}]"
        return f"if (!{refused}) {text}" if step.trusting else f"{refused} |= {text}"

    def _expected(self, line: Line, record: StepRecord, called: str) -> str:
        """What was seen, as what the test expects."""
        if not line.returns_status:
            return f"REQUIRE({called} == {record.code});"
        code = record.code if record.code in native.errors() else None
        error = record.name if code is not None else f"static_cast<hipError_t>({record.code})"
        return f"HIP_CHECK_ERROR({called}, {error});"

    def _argument(self, argument: Argument, *, linked: bool) -> str:
        """An argument of a call; if not linked, of just the type that the function takes."""
        kind, value = _kind(argument), argument.value
        if argument.output and isinstance(value, Variable):
            # An enumeration's pointer is not an int's.
            name = f"&{_variable(value)}"
            return name if argument.kind.startswith("NEW_") else f"({kind.type}){name}"
        if value is not None:
            return self._input(argument, linked=linked)
        return kind.blank if linked else kind.elsewhere

    def _input(self, argument: Argument, *, linked: bool = True) -> str:
        value, wanted = argument.value, _value_type(argument.kind)
        if isinstance(value, Variable):
            same = _value_type(value.kind) == wanted
            return _variable(value) if same else f"({wanted})(intptr_t){_variable(value)}"
        assert value is not None
        if argument.kind == "DIM3":
            return f"dim3({value % 2**32}, {value % 2**64 >> 32}, 1)"
        if argument.kind == "I32" and linked:
            return f"Number{{{value}}}"
        if wanted.endswith(("*", "_t")) and wanted != "size_t":
            return f"({wanted}){value % 2**64:#x}" if value or not linked else "nullptr"
        return str(value) if linked or wanted == "int" else f"({wanted}){value}"

    def _declared(self, body: str) -> list[str]:
        """Declarations of what the story's lines use."""
        groups: dict[str, list[str]] = {}
        for variable in self._program.variables:
            size = "[2]" if variable.own else ""
            if not re.search(rf"\b{variable.name}\b", body):
                continue
            groups.setdefault(_value_type(variable.kind), []).append(f"{variable.name}{size}")
        lines = []
        for type, names in groups.items():
            stem, stars = type.rstrip("*"), "*" * type.count("*")
            lines.append(f"{stem} {', '.join(f'{stars}{name}{{}}' for name in names)};")
        if "refused" in body:
            several = f"[{self._streams}] = {{}}" if self._streams > 1 else " = false"
            lines.append(f"bool refused{several};")
        return lines


def _is_linked(line: Line) -> bool:
    return line.step.args[0] == "first"


def _variable(variable: Variable) -> str:
    return f"{variable.name}[me]" if variable.own else variable.name


def _name(cell: Cell) -> str:
    """The test's name, as hip-tests has them."""
    words = [cell.pattern, "" if cell.fix == "none" else cell.fix, cell.consumer]
    parts = ("".join(map(str.title, re.findall("[A-Za-z0-9]+", word))) for word in words if word)
    return f"Unit_Stream_{'_'.join(parts)}"


def _alternatives(told: Program) -> list[tuple[str, str]]:
    found = {line.symbols[-1]: line.symbols[:-1] for line in told.lines if len(line.symbols) > 1}
    return [(known, other) for known, others in found.items() for other in others]


def _kind(argument: Argument) -> _Kind:
    if argument.kind not in _KINDS:
        raise Usage(f"xdiag cannot write an argument of the kind {argument.kind} for hip-tests")
    return _KINDS[argument.kind]


def _value_type(kind: str) -> str:
    type = _KINDS[kind].type
    return type[:-1] if kind.startswith(("NEW_", "OUT_")) else type
