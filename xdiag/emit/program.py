"""A cell's steps made ready to be written down as a program, in whatever language.

The walk over the steps decides once, for all writers, which variable each argument is and who
starts and ends whom, as ``engine.child`` decides it while it tells the story.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import called, native, platforms
from xdiag.errors import Usage
from xdiag.model import ACTIONS
from xdiag.torch_consumer import TORCH_ACTIONS
from xdiag.xsched_consumers import XSCHED_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.model import Cell, Step

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: Steps that start an actor, and those that derive a value from another.
STARTS = ("thread", "native_thread", "fork")
DERIVES = ("low32", "low32_signed", "same")
#: What ``open`` may ask for besides what is loaded: the program's arguments, in this order.
OPENABLE = ("first", "copy", "link", "soname", "name")


@dataclass(frozen=True)
class Variable:
    """Where a value is kept: filled by a call (``kind`` is that argument's kind) or derived."""

    name: str
    kind: str
    #: Each actor has its own, since several fill it in at the same moment.
    own: bool = False


@dataclass(frozen=True)
class Argument:
    """One argument of a call."""

    kind: str
    #: A number, a variable, or None for what the program supplies or nobody reads.
    value: int | Variable | None = None
    #: The call fills it in.
    output: bool = False
    #: How many like it (filled in, read by nobody, of this kind) the call has before it.
    number: int = 0


@dataclass(frozen=True)
class Line:
    """One step of the story, resolved."""

    index: int
    step: Step
    #: Who has to do it: the step's actors, but for ``end``, which is the business of the starter.
    actors: tuple[str, ...]
    #: The runtime that it is made on, or that it opens.
    runtime: str = ""
    #: Names to look a driver call up by, in order; the last is the one that people know.
    symbols: tuple[str, ...] = ()
    returns_status: bool = True
    arguments: tuple[Argument, ...] = ()
    #: Which of the story's streams the call is given, from 0; None for a call that takes none.
    stream: int | None = None
    #: Of a derived value: where it comes from and where it goes.
    source: Argument | None = None
    target: Variable | None = None


@dataclass(frozen=True)
class Actor:
    """Who makes calls; ``how`` it is started, empty for the main thread."""

    name: str
    how: str = ""
    starter: str = ""
    ends: bool = False


@dataclass(frozen=True)
class Program:
    """A story with all names resolved, and what it needs of a language."""

    cell: Cell
    lines: tuple[Line, ...]
    actors: tuple[Actor, ...]
    runtimes: tuple[str, ...]
    variables: tuple[Variable, ...]
    #: Which of ``OPENABLE`` are opened.
    opened: tuple[str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The cell's steps."""
        return self.cell.steps

    @property
    def forks(self) -> bool:
        """Whether there is a forked child."""
        return any(actor.how == "fork" for actor in self.actors)

    @property
    def threads(self) -> bool:
        """Whether there is a thread besides the main one."""
        return any("thread" in actor.how for actor in self.actors)

    @property
    def at_once(self) -> bool:
        """Whether several actors do a step at the same moment."""
        return any(len(step.actors) > 1 for step in self.steps)

    @property
    def trusting(self) -> bool:
        """Whether a call is left out where its handle was refused before."""
        return any(step.trusting for step in self.steps)

    @property
    def repeats(self) -> bool:
        """Whether a call is made more than once."""
        return any(step.repeat > 1 for step in self.steps)

    def verbs(self) -> set[str]:
        """What the steps do besides driver calls."""
        return {step.verb for step in self.steps if not step.runtime}

    def kinds(self) -> set[str]:
        """The kinds of all arguments."""
        return {argument.kind for line in self.lines for argument in line.arguments}


def program(cell: Cell, platform: str, identifier: Callable[[str], str]) -> Program:
    """Resolve a cell's steps; ``identifier`` makes a name one that the language allows.

    Raises Usage, with the reason, for a cell that is not applicable and for a story that a program
    cannot tell.
    """
    if cell.not_applicable:
        raise Usage(f"there is no such experiment to write down: {cell.not_applicable}")
    for index, step in enumerate(cell.steps):
        _check(step, index)
    return _Walk(cell, platform, identifier).program()


def _check(step: Step, index: int) -> None:
    """Raise Usage for a step that no pattern can have: a cell may come from a file.

    What is written into a program is a name or a number, and nothing else.
    """
    if called.is_xsched(step) or step.verb in XSCHED_ACTIONS:
        raise Usage(
            "a cell that calls XSched's own libraries needs them, and cannot be written down; the"
            " consumer replay makes the same calls"
        )
    if not step.runtime and step.verb in TORCH_ACTIONS:
        raise Usage(
            "a cell that torch takes part in cannot be written down as a program that needs nothing"
            " else; cross-thread and second-runtime tell the same stories with the runtime alone"
        )
    words = [*step.actors, step.result, step.runtime, step.verb]
    words += [argument for argument in step.args if isinstance(argument, str)]
    known = step.verb in (native.calls() if step.runtime else ACTIONS)
    if step.verb == "open" and not step.runtime:
        what, way = (*step.args, "local")[:2]
        known = what in (*OPENABLE, "loaded") and way in native.WAYS
    if not known or not step.actors or not all(not word or _NAME.fullmatch(word) for word in words):
        raise Usage(f"step {index} is none that can be written down: {str(step)!r}")


class _Walk:
    """One pass over the steps; see ``program``."""

    def __init__(self, cell: Cell, platform: str, identifier: Callable[[str], str]) -> None:
        self._cell = cell
        self._platform = platforms.get(platform)
        self._identifier = identifier
        self._calls = native.calls()
        self._actors = {"main": Actor("main")}
        self._runtimes: list[str] = []
        # One name may stand for values of two kinds, one after the other.
        self._variables: dict[tuple[str, str], Variable] = {}
        # Values, by a number of their own: a variable may have one after the other.
        self._values: dict[Variable, int] = {}
        self._streams: dict[tuple[str, int], int] = {}
        # As the engine keeps values: by name, and by name and the actor that it was answered to.
        self._latest: dict[str, Variable] = {}
        self._answered: dict[tuple[str, str], Variable] = {}
        self._writers = self._all_writers()
        # The process of each actor, by the name of the actor that is its main thread; where each
        # was forked; and where each variable was written last.
        self._process = {"main": "main"}
        self._forked_at: dict[str, int] = {}
        self._written_by: dict[Variable, tuple[str, int]] = {}

    def program(self) -> Program:
        lines = [self._line(index, step) for index, step in enumerate(self._cell.steps)]
        asked_for = {str(s.args[0]) for s in self._cell.steps if s.verb == "open"}
        if "loaded" in asked_for:
            asked_for.add("first")
        return Program(
            cell=self._cell,
            lines=tuple(lines),
            actors=tuple(self._actors.values()),
            runtimes=tuple(self._identifier(name) for name in self._runtimes),
            variables=tuple(self._variables.values()),
            opened=tuple(what for what in OPENABLE if what in asked_for),
        )

    # ---- steps ----

    def _line(self, index: int, step: Step) -> Line:
        if step.runtime:
            return self._call(index, step)
        actors = step.actors
        source = target = None
        if step.verb == "open":
            if step.result not in self._runtimes:
                self._runtimes.append(step.result)
        elif step.verb in STARTS:
            self._actors[step.result] = Actor(step.result, step.verb, step.actors[0])
            forks = step.verb == "fork"
            self._process[step.result] = step.result if forks else self._process[step.actors[0]]
            if forks:
                self._forked_at[step.result] = index
        elif step.verb == "end":
            ended = self._actors[actors[0]]
            if ended.how == "fork":
                raise Usage(f"{ended.name}, a forked child, ends within the story: not told")
            starter = self._actors[ended.starter]
            if starter.ends:
                raise Usage(f"{ended.name} ends after {starter.name}, which started it: not told")
            self._actors[ended.name] = Actor(ended.name, ended.how, ended.starter, ends=True)
            actors = (starter.name,)
        elif step.verb in DERIVES:
            source, target = self._derive(index, step)
        else:
            raise Usage(f"step {index} cannot be written down: {step}")
        runtime = self._identifier(step.result) if step.verb == "open" else ""
        return Line(index, step, actors, runtime, source=source, target=target)

    def _call(self, index: int, step: Step) -> Line:
        call = self._calls[step.verb]
        inputs, outputs = call.inputs(), call.outputs()
        given = iter(step.args)
        arguments: list[Argument] = []
        for place, kind in enumerate(call.kinds):
            if place in inputs:
                arguments.append(Argument(kind, self._read(next(given), step, index)))
            elif place in outputs and step.result and place == outputs[0]:
                # Filled in below: what the step reads is what was there before it.
                arguments.append(Argument(kind, output=True))
            else:
                alike = sum(a.kind == kind and a.value is None for a in arguments)
                arguments.append(Argument(kind, output=place in outputs, number=alike))
        stream = next((self._stream(a.value) for a in arguments if a.kind == "STREAM"), None)
        if step.result and outputs:
            kind = call.kinds[outputs[0]]
            variable = self._written(step, kind)
            self._values[variable] = index
            self._written_by[variable] = (self._process[step.actors[0]], index)
            arguments[outputs[0]] = Argument(kind, variable, output=True)
        return Line(
            index,
            step,
            step.actors,
            self._identifier(step.runtime),
            symbols=call.symbols(self._platform.id),
            returns_status=call.returns_status,
            arguments=tuple(arguments),
            stream=stream,
        )

    def _derive(self, index: int, step: Step) -> tuple[Argument, Variable]:
        value = self._read(step.args[0], step, index)
        # Of the kind of what it comes from; a number is of the kind that it is first passed as.
        kind = value.kind if isinstance(value, Variable) else self._kind_read(step)
        variable = self._variable(step.result, "", kind, own=False)
        self._latest[step.result] = variable
        self._written_by[variable] = (self._process[step.actors[0]], index)
        self._values[variable] = index
        if isinstance(value, Variable) and step.verb == "same":
            self._values[variable] = self._values[value]
        return Argument(kind, value), variable

    # ---- values ----

    def _read(self, argument: str | int, step: Step, index: int) -> int | Variable:
        if isinstance(argument, int):
            return argument
        found = {
            self._answered.get((argument, actor), self._latest.get(argument))
            for actor in step.actors
        }
        if len(found) > 1:
            raise Usage(f"step {index}: {argument} is another value for each actor: not told")
        variable = found.pop()
        if variable is None:
            if argument in self._platform.constants:
                return self._platform.constants[argument]
            raise Usage(f"step {index} uses {argument}, which no step before it makes")
        self._check_processes(variable, step, index)
        if variable.own and any((argument, actor) not in self._answered for actor in step.actors):
            raise Usage(f"step {index}: {argument} belongs to other actors: not told")
        return variable

    def _check_processes(self, variable: Variable, step: Step, index: int) -> None:
        """Raise Usage where a value would have to cross from one process to another.

        A forked child has what its parent had when it was forked.
        """
        writer, at = self._written_by[variable]
        for actor in step.actors:
            process = self._process[actor]
            crosses = writer != process and at > self._forked_at.get(process, -1)
            if crosses or (writer != process and writer != "main"):
                raise Usage(
                    f"step {index}: {variable.name} comes from another process after the fork: not"
                    " told"
                )

    def _stream(self, value: int | Variable | None) -> int:
        """The number of a stream, the same for the same value."""
        assert value is not None
        key = ("made", self._values[value]) if isinstance(value, Variable) else ("given", value)
        return self._streams.setdefault(key, len(self._streams))

    def _written(self, step: Step, kind: str) -> Variable:
        own = len(step.actors) > 1
        variable = self._variable(step.result, " & ".join(step.actors), kind, own=own)
        self._latest[step.result] = variable
        for actor in step.actors:
            self._answered[step.result, actor] = variable
        return variable

    def _variable(self, name: str, writer: str, kind: str, *, own: bool) -> Variable:
        """The variable that a writer gives a value; one of its own where others use the name."""
        if len(self._writers[name]) > 1 and writer:
            name = f"{name}_{writer.replace(' & ', '_')}"
        known = self._variables.get((name, kind))
        if known is None:
            same_name = sum(other == name for other, _ in self._variables)
            written = self._identifier(f"{name}_{same_name + 1}" if same_name else name)
            known = self._variables[name, kind] = Variable(written, kind, own)
        return known

    def _all_writers(self) -> dict[str, set[str]]:
        writers: dict[str, set[str]] = {}
        for step in self._cell.steps:
            if step.result:
                who = "" if step.verb in DERIVES else " & ".join(step.actors)
                writers.setdefault(step.result, set()).add(who)
        return writers

    def _kind_read(self, made: Step) -> str:
        """The kind that a value is first passed as."""
        for step in self._cell.steps:
            if step.runtime and made.result in step.args:
                call = self._calls[step.verb]
                return call.kinds[call.inputs()[step.args.index(made.result)]]
        return "POINTER"
