"""Writes a story as a C program (which is C++ as well)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.emit.head import Words, head
from xdiag.emit.program import STARTS, Argument, Line, Program, Variable, program
from xdiag.emit.writing import (
    CXX_KEYWORDS,
    WIDTH,
    identifiers,
    no_comment,
    paragraphs,
    render,
    wrapped,
)
from xdiag.engine.child import NOT_READY
from xdiag.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.model import Cell

_TEMPLATE = "program.c.jinja"


@dataclass(frozen=True)
class _Kind:
    """How an argument of a kind is written: its type, and what stands there where nothing is told.

    Of what a call fills in, ``blank`` names a variable that nobody reads; ``%`` is its number.
    """

    type: str
    blank: str = ""


#: The kinds of cffi_build/calls.h; int32_t and uint32_t are int and unsigned for readers.
_KINDS = {
    "STREAM": _Kind("void *"),
    "EVENT": _Kind("void *"),
    "CONTEXT": _Kind("void *"),
    "GRAPH": _Kind("void *"),
    "FUNCTION": _Kind("void *"),
    "POINTER": _Kind("void *"),
    "DEVICE": _Kind("int"),
    "U8": _Kind("uint8_t"),
    "I32": _Kind("int"),
    "U32": _Kind("unsigned"),
    "SIZE": _Kind("size_t"),
    "NEW_STREAM": _Kind("void **", "pointer"),
    "NEW_EVENT": _Kind("void **", "pointer"),
    "NEW_CONTEXT": _Kind("void **", "pointer"),
    "NEW_GRAPH": _Kind("void **", "pointer"),
    "NEW_POINTER": _Kind("void **", "pointer"),
    "OUT_DEVICE": _Kind("int *", "i32"),
    "OUT_I32": _Kind("int *", "i32"),
    "OUT_U32": _Kind("unsigned *", "u32"),
    "OUT_U64": _Kind("uint64_t *", "u64"),
    "OUT_SIZE": _Kind("size_t *", "size"),
    "OUT_POINTER": _Kind("void **", "pointer"),
    "BUFFER": _Kind("void *", "buffer"),
    "CALLBACK": _Kind("void (*)(void *, int, void *)", "on_stream"),
    "HOST_FUNCTION": _Kind("void (*)(void *)", "on_host"),
    "DIM3": _Kind("struct dim3"),
    "NONE": _Kind("void *", "NULL"),
    "ZERO": _Kind("unsigned", "0"),
}

#: How ``open`` opens: the function and its flags.
_WAYS = {
    "local": "dlopen({path}, RTLD_NOW | RTLD_LOCAL)",
    "deepbind": "dlopen({path}, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)",
    "global": "dlopen({path}, RTLD_NOW | RTLD_GLOBAL)",
    "namespace": "dlmopen(LM_ID_NEWLM, {path}, RTLD_NOW | RTLD_LOCAL)",
    "loaded": "dlopen({path}, RTLD_NOW | RTLD_NOLOAD)",
}

_CUTS = {
    "low32": "({type})(uintptr_t)(uint32_t)(uintptr_t){}",
    "low32_signed": "({type})(intptr_t)(int32_t)(uintptr_t){}",
    "same": "{}",
}

_WORD = 0xFFFFFFFFFFFFFFFF

_EXIT_STATUS = (
    "Exit status: 0 no call failed, 1 one did, 2 wrong usage, 3 cannot be told here; or it crashes."
)


def write(cell: Cell, platform: str, words: Words) -> str:
    """The C program that tells a cell's story.

    Raises Usage where the story cannot be told so.
    """
    identifier = identifiers(_TEMPLATE, CXX_KEYWORDS)
    return _Writer(program(cell, platform, identifier), platform, identifier).text(words)


class _Writer:
    def __init__(self, told: Program, platform: str, identifier: Callable[[str], str]) -> None:
        self._program = told
        self._platform = platforms.get(platform)
        self._who = {
            actor.name: identifier(actor.name) if actor.how else "main_thread"
            for actor in told.actors
        }
        groups = dict.fromkeys(step.actors for step in told.steps if len(step.actors) > 1)
        self._together = {
            group: identifier("both" if len(group) == 2 else "_and_".join(group))
            for group in groups
        }
        self._blanks: dict[str, str] = {}

    def text(self, words: Words) -> str:
        told = self._program
        lines = [
            text
            for line in told.lines
            for each in self._line(line)
            for text in wrapped(f"  {each}")
        ]
        texts = head(
            told,
            words,
            language="c",
            build=[f"cc {words.name} -o repro -ldl -lpthread   # hipcc does too"],
            run="./repro",
            note=_EXIT_STATUS,
        )
        own = {v.name: _value_type(v.kind) for v in told.variables if v.own}
        shared = {v.name: _value_type(v.kind) for v in told.variables if not v.own}
        values = _declarations({**dict.fromkeys(told.runtimes, "void *"), **shared})
        flags = {flag for line in told.lines if line.symbols for flag in self._how(line)}
        flags |= {"NEEDED", "DEVICE", "ASK" if told.trusting else "NEEDED"}
        flags |= {"UNTOLD"}
        return render(
            _TEMPLATE,
            flags="\n".join(wrapped(f"enum {{ {', '.join(_values(flags))} }};", "  ")),
            meanings=_meanings(flags),
            head=[no_comment(line) for line in paragraphs(texts, WIDTH - 3)],
            program=told,
            kinds=told.kinds(),
            actors=self._enumerated(),
            many=len(told.actors) > 1,
            threads=[self._who[actor.name] for actor in told.actors if "thread" in actor.how],
            lines=lines,
            loaded=any(s.verb == "open" and s.args[0] == "loaded" for s in told.steps),
            at="all->" if told.forks else "",
            values=_static(values),
            blanks=_static(_declarations({**self._blanks, **own}), own=told.at_once),
            alternatives=self._alternatives(),
            refusal=self._platform.refusal,
            not_ready=NOT_READY,
            error_name=f"{self._platform.prefix}GetErrorName",
            count=len(told.opened),
            usage=" ".join(what.upper() for what in told.opened),
        )

    # ---- one step ----

    def _line(self, line: Line) -> list[str]:
        """What stands in the story for a step."""
        step = line.step
        who = self._together.get(line.actors) or self._who[line.actors[0]]
        if line.symbols:
            return [self._call(line, who)]
        if step.verb == "open":
            what, way = str(step.args[0]), str((*step.args, "local")[1])
            if what == "loaded":
                what, way = "first", "loaded"
            path = f"args[{self._program.opened.index(what) + 1}]"
            opening = f"{line.runtime} = {_WAYS[way].format(path=path)}"
            return [f"STEP({who}, UNTOLD, {opening});"]
        if step.verb == "fork":
            return [f"FORK({who}, {self._who[step.result]});"]
        if step.verb in STARTS:
            new = self._who[step.result]
            start = f"!pthread_create(&thread_{new}, NULL, enter, (void *){new})"
            return [f"STEP({who}, NEEDED, {start});"]
        if step.verb == "end":
            ended = self._who[step.actors[0]]
            return [
                f'if (me == {ended}) {{ my_turn(0, ""); return; }}',
                f"STEP({who}, NEEDED, !pthread_join(thread_{ended}, NULL));",
            ]
        assert line.source is not None and line.target is not None
        source, target = self._input(line.source), line.target.name
        value = _CUTS[step.verb].format(source, type=_value_type(line.target.kind))
        kept = f"({target} = {value}) != {source}"
        if step.verb == "same":
            kept = f"({target} = {value}, 1)"
        return [f"STEP({who}, UNTOLD, {kept});"]

    def _call(self, line: Line, who: str) -> str:
        parts = [who, " | ".join(self._how(line))]
        types = ", ".join(_kind(a).type for a in line.arguments) or "void"
        given = ", ".join(self._argument(a) for a in line.arguments)
        parts += [f"{line.runtime}", line.symbols[-1], f"({types})", f"({given})"]
        return f"CALL({', '.join(parts)});"

    def _how(self, line: Line) -> list[str]:
        """What a failure of this call means, in the flags of the program."""
        step, trusting = line.step, self._program.trusting
        flags = ["TOLERATED" if step.tolerated else "ASK" if step.independent else "NEEDED"]
        if flags == ["ASK"] and line.stream == 0:
            # Most questions are about the one stream of the story: they are written shortly.
            flags = ["TRUST"] if step.trusting else flags
        else:
            flags = ["ASIDE"] if flags == ["ASK"] else flags
            about = trusting and line.stream is not None and flags != ["NEEDED"]
            flags += [f"STREAM_{line.stream}"] * (about or step.trusting) + [
                "UNLESS_REFUSED"
            ] * step.trusting
        flags += ["DEVICE"] * (not line.returns_status)
        return [*flags, *[f"X{step.repeat}"] * (step.repeat > 1)]

    def _enumerated(self) -> str:
        bits = {actor: 1 << n for n, actor in enumerate(self._who)}
        values = {self._who[actor]: bit for actor, bit in bits.items()}
        for group, name in self._together.items():
            values[name] = sum(bits[actor] for actor in group)
        return ", ".join(f"{name} = {value}" for name, value in values.items())

    def _argument(self, argument: Argument) -> str:
        kind = _kind(argument)
        if argument.output and isinstance(argument.value, Variable):
            return f"&{argument.value.name}"
        if argument.value is not None:
            return self._input(argument)
        if argument.kind == "BUFFER":
            # hipDeviceProp_t is 792 bytes before HIP 6 and 1472 after; there is room for more.
            self._blanks["buffer[2048]"] = "uint64_t"
        if not argument.output:
            return kind.blank
        name = kind.blank if not argument.number else f"{kind.blank}_{argument.number + 1}"
        self._blanks[name] = _value_type(argument.kind)
        return f"&{name}"

    def _input(self, argument: Argument) -> str:
        """A value as an argument of its kind."""
        wanted = _value_type(argument.kind)
        if isinstance(argument.value, Variable):
            name = argument.value.name
            given = _value_type(argument.value.kind)
            if argument.kind == "DIM3":
                return f"dim3_of((uintptr_t){name})"
            if given == wanted:
                return name
            between = "(intptr_t)" if "*" in given or "*" in wanted else ""
            return f"({wanted}){between}{name}"
        number = argument.value
        assert number is not None
        if argument.kind == "DIM3":
            return f"dim3_of({number})"
        if "*" not in wanted:
            return str(number) if abs(number) < 1 << 31 else f"({wanted}){number & _WORD:#x}u"
        return f"({wanted}){number & _WORD:#x}" if number else "NULL"

    def _alternatives(self) -> list[tuple[str, str]]:
        """Calls that newer runtimes have by another name: (the known name, the name to try)."""
        found = {
            line.symbols[-1]: line.symbols[:-1]
            for line in self._program.lines
            if len(line.symbols) > 1
        }
        return [(known, other) for known, others in found.items() for other in others]


def _values(flags: set[str]) -> list[str]:
    """The flags that a program uses, with their values in C.

    The lowest two bits go into the exit status, the third ends the story.  Of the fourth, a call
    is not made where one of its bits from the sixth on, which say which stream it is about, was
    refused.  The seventeenth begins how often it is made.
    """
    fixed = {
        "TOLERATED": "0", "ASIDE": "1", "NEEDED": "5", "UNTOLD": "7", "UNLESS_REFUSED": "8",
        "DEVICE": "16", "ASK": "33", "TRUST": "41",
    }  # fmt: skip
    known = [f"{flag} = {value}" for flag, value in fixed.items() if flag in flags]
    other = sorted(flags - set(fixed))
    known += [f"{flag} = {flag[1:]} << 16" for flag in other if flag.startswith("X")]
    return known + [f"{f} = 32 << {f.removeprefix('STREAM_')}" for f in other if f[0] == "S"]


def _meanings(flags: set[str]) -> str:
    """What the flags mean, for those who read the program."""
    asked = "ASK and ASIDE are questions" if "ASIDE" in flags else "ASK is a question"
    meanings = {
        "NEEDED": "NEEDED ends the story",
        "ASK": f"{asked} among several",
        "TOLERATED": "TOLERATED is no matter",
    }
    text = f"{', '.join(text for flag, text in meanings.items() if flag in flags)}."
    if "TRUST" in flags:
        text += " TRUST: not asked of a refused handle."
    if "GetStreamDeviceId" in flags or "DEVICE" in flags:
        text += " DEVICE: returns one, or -1."
    begin = "If a call fails: "
    return "\n   ".join(textwrap.wrap(begin + text, WIDTH - 6)).removeprefix(begin)


def _declarations(typed: dict[str, str]) -> list[str]:
    """Declarations, one for each type, of names."""
    groups: dict[str, list[str]] = {}
    for name, type in typed.items():
        groups.setdefault(type, []).append(name)
    return [
        f"{type.removesuffix('*').rstrip()} "
        + ", ".join(f"{'*' if type.endswith('*') else ''}{name}" for name in names)
        + ";"
        for type, names in groups.items()
    ]


def _static(declarations: list[str], *, own: bool = False) -> list[str]:
    """Declarations of the file's own variables, as many in a line as it takes."""
    lines: list[str] = []
    for declaration in declarations:
        text = f"static {'__thread ' if own else ''}{declaration}"
        room = (n for n, line in enumerate(lines) if len(line) + 1 + len(text) <= WIDTH)
        place = next(room, None)
        if place is None:
            lines.append(text)
        else:
            lines[place] += f" {text}"
    return lines


def _kind(argument: Argument) -> _Kind:
    if argument.kind not in _KINDS:
        raise Usage(f"xdiag cannot write an argument of the kind {argument.kind} in C")
    return _KINDS[argument.kind]


def _value_type(kind: str) -> str:
    """The type of a variable that is filled by, or passed as, an argument of a kind."""
    type = _KINDS[kind].type
    return type[:-1].rstrip() if kind.startswith(("NEW_", "OUT_")) else type
