"""Writes a story as a Python program with ctypes and nothing else."""

from __future__ import annotations

import builtins
import keyword
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.emit.head import Words, head
from xdiag.emit.program import Argument, Line, Program, Variable, program
from xdiag.emit.writing import WIDTH, identifiers, paragraphs, render, wrapped
from xdiag.engine.child import NOT_READY
from xdiag.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.model import Cell

_TEMPLATE = "program.py.jinja"


@dataclass(frozen=True)
class _Kind:
    """How an argument of a kind is written: its type, and what is passed where nothing is told."""

    type: str
    blank: str = ""


_KINDS = {
    "STREAM": _Kind("Stream"),
    "EVENT": _Kind("c_void_p"),
    "CONTEXT": _Kind("c_void_p"),
    "GRAPH": _Kind("c_void_p"),
    "FUNCTION": _Kind("c_void_p"),
    "POINTER": _Kind("c_void_p"),
    "DEVICE": _Kind("c_int"),
    "U8": _Kind("c_uint8"),
    "I32": _Kind("c_int"),
    "U32": _Kind("c_uint"),
    "SIZE": _Kind("c_size_t"),
    "NEW_STREAM": _Kind("P(Stream)"),
    "NEW_EVENT": _Kind("P(c_void_p)"),
    "NEW_CONTEXT": _Kind("P(c_void_p)"),
    "NEW_GRAPH": _Kind("P(c_void_p)"),
    "NEW_POINTER": _Kind("P(c_void_p)"),
    "OUT_DEVICE": _Kind("P(c_int)"),
    "OUT_I32": _Kind("P(c_int)"),
    "OUT_U32": _Kind("P(c_uint)"),
    "OUT_U64": _Kind("P(c_uint64)"),
    "OUT_SIZE": _Kind("P(c_size_t)"),
    "OUT_POINTER": _Kind("P(c_void_p)"),
    # hipDeviceProp_t is 792 bytes before HIP 6 and 1472 after; there is room for more.
    "BUFFER": _Kind("c_void_p", "create_string_buffer(16384)"),
    "CALLBACK": _Kind("type(on_stream)", "on_stream"),
    "HOST_FUNCTION": _Kind("type(on_host)", "on_host"),
    "DIM3": _Kind("Dim3"),
    "NONE": _Kind("c_void_p", "None"),
    "ZERO": _Kind("c_uint", "0"),
}

_WAYS = {
    "local": "CDLL, {path}, os.RTLD_NOW | os.RTLD_LOCAL",
    "deepbind": "CDLL, {path}, os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND",
    "global": "CDLL, {path}, os.RTLD_NOW | os.RTLD_GLOBAL",
    "loaded": "CDLL, {path}, os.RTLD_NOW | os.RTLD_NOLOAD",
    "namespace": "dlmopen, {path}",
}

_CUTS = {
    "low32": "cut, {0}, {0} & 0xFFFFFFFF",
    "low32_signed": "cut, {0}, c_int({0}).value",
    "same": "int, {0}",
}

_EXIT_STATUS = (
    "Exit status: 0 no call failed, 1 one did, 2 wrong usage, 3 cannot be told here; or it crashes."
)


def write(cell: Cell, platform: str, words: Words) -> str:
    """The Python program that tells a cell's story.

    Raises Usage where the story cannot be told so: a thread that Python starts is no native thread.
    """
    reserved = [*keyword.kwlist, *dir(builtins)]
    identifier = identifiers(_TEMPLATE, reserved)
    told = program(cell, platform, identifier)
    if any(actor.how == "native_thread" for actor in told.actors):
        raise Usage("this story needs native threads, which Python cannot start: --emit c")
    _check_fork(told)
    return _Writer(told, platform, identifier).text(words)


def _check_fork(told: Program) -> None:
    """Raise Usage where the parent acts after a fork: it waits for its child."""
    children: set[str] = set()
    for line in told.lines:
        if line.step.verb == "fork" and not line.step.runtime:
            children = {line.step.result}
        elif children and not children.issuperset(line.actors):
            raise Usage("in this story a process acts after it has forked a child: --emit c")
        elif line.step.verb == "thread":
            children |= {line.step.result} if children else set()


class _Writer:
    def __init__(self, told: Program, platform: str, identifier: Callable[[str], str]) -> None:
        self._program = told
        self._platform = platforms.get(platform)
        self._who = {actor.name: identifier(actor.name) for actor in told.actors}
        groups = dict.fromkeys(step.actors for step in told.steps if len(step.actors) > 1)
        self._together = {
            group: identifier("both" if len(group) == 2 else "_and_".join(group))
            for group in groups
        }

    def text(self, words: Words) -> str:
        told = self._program
        lines = [text for line in told.lines for text in wrapped(self._line(line), "     ")]
        for group, name in self._together.items():
            # Known once all of them are there.
            after = max(n for n, line in enumerate(told.lines) if line.step.result in group)
            begin = next(n for n, text in enumerate(lines) if f"call({name}," in text)
            assert begin > after
            actors = ", ".join(self._who[actor] for actor in group)
            lines.insert(begin, f'names[{name} := ({actors})] = "{name}"')
        texts = head(
            told,
            words,
            language="python",
            build=[],
            run=f"python3 {words.name}",
            note=_EXIT_STATUS,
        )
        return render(
            _TEMPLATE,
            head=[_no_quotes(line) for line in paragraphs(texts, WIDTH)],
            program=told,
            kinds=told.kinds(),
            verbs=told.verbs(),
            owned=any(variable.own for variable in told.variables),
            cuts=bool(told.verbs() & {"low32", "low32_signed"}),
            namespaces=any("namespace" in step.args for step in told.steps),
            alternatives=any(len(line.symbols) > 1 for line in told.lines),
            lines=[*self._declared(), *lines],
            refusal=self._platform.refusal,
            not_ready=NOT_READY,
            error_name=f"{self._platform.prefix}GetErrorName",
            count=len(told.opened),
            usage=" ".join(what.upper() for what in told.opened),
        )

    # ---- one step ----

    def _line(self, line: Line) -> str:
        step = line.step
        who = self._together.get(line.actors) or self._who[line.actors[0]]
        if line.symbols:
            return self._call(line, who)
        if step.verb == "open":
            what, way = str(step.args[0]), str((*step.args, "local")[1])
            if what == "loaded":
                what, way = "first", "loaded"
            opening = _WAYS[way].format(path=f"sys.argv[{self._program.opened.index(what) + 1}]")
            return f'{line.runtime} = act({who}, "opens {line.runtime}", {opening})'
        if step.verb in ("thread", "fork"):
            new, start = step.result, "start" if step.verb == "thread" else "fork"
            return f'{self._who[new]} = act({who}, "{start}s {new}", {start}, "{new}")'
        if step.verb == "end":
            ended = step.actors[0]
            return f'act({who}, "ends {ended}", {self._who[ended]}.shutdown)'
        assert line.source is not None and line.target is not None
        target, source = line.target.name, line.source.value
        given = f"{source.name}.value" if isinstance(source, Variable) else str(source)
        return (
            f'{target}.value = act({who}, "{target} = {step.verb}({_shown(step.args[0])})",'
            f" {_CUTS[step.verb].format(given)})"
        )

    def _call(self, line: Line, who: str) -> str:
        step = line.step
        how = ["tolerated" if step.tolerated else "asked" if step.independent else "needed"]
        how += ["if known"] * step.trusting + ["for device"] * (not line.returns_status)
        types = ", ".join(_kind(argument).type for argument in line.arguments)
        name = "|".join(line.symbols) + (f" x{step.repeat}" if step.repeat > 1 else "")
        parts = [who, f'"{" ".join(how)}"', line.runtime, f'"{name}"', f"[{types}]"]
        return f"call({', '.join([*parts, *map(self._argument, line.arguments)])})"

    def _argument(self, argument: Argument) -> str:
        value = argument.value
        if value is None:
            return "OUT" if argument.output else _kind(argument).blank
        if isinstance(value, int):
            if argument.kind == "DIM3":
                return f"Dim3({value % 2**32}, {value % 2**64 >> 32}, 1)"
            return hex(value) if value > 0xFFFF else str(value)
        if argument.kind == "DIM3":
            return f"Dim3({value.name}.value % 2**32, {value.name}.value >> 32, 1)"
        # Where a pointer is asked for, ctypes passes a reference; else an object of just this type.
        given, wanted = _value_type(value.kind), _value_type(argument.kind)
        return value.name if given == wanted or value.own else f"{value.name}.value"

    def _declared(self) -> list[str]:
        """Lines that make the actors that are there from the beginning, and all variables."""
        lines = [f"{self._who['main']} = None"]
        made: dict[str, list[str]] = {}
        for variable in self._program.variables:
            kind = _value_type(variable.kind)
            made.setdefault(f"defaultdict({kind})" if variable.own else f"{kind}()", []).append(
                variable.name
            )
        for maker, names in made.items():
            several = f"({maker} for _ in range({len(names)}))"
            lines.append(f"{', '.join(names)} = {maker if len(names) == 1 else several}")
        return lines


def _shown(value: str | int) -> str:
    return hex(value) if isinstance(value, int) else value


def _no_quotes(line: str) -> str:
    """A line that does not end the string that it stands in."""
    return line.replace("\\", "\\\\").replace('"""', "'''")


def _kind(argument: Argument) -> _Kind:
    if argument.kind not in _KINDS:
        raise Usage(f"xdiag cannot write an argument of the kind {argument.kind} in Python")
    return _KINDS[argument.kind]


def _value_type(kind: str) -> str:
    """The type of a variable that is filled by, or passed as, an argument of a kind."""
    return _KINDS[kind].type.removeprefix("P(").removesuffix(")")
