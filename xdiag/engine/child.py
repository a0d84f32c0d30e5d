"""Tells a cell's story in this process: one step at a time, each reported before and after.

Runs in a forked child that has never loaded a GPU library before.  Whatever the runtime does to
the process happens here and nowhere else.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from xdiag import called, native, platforms
from xdiag.engine import actors, libraries, props, torch_actors, torch_work
from xdiag.engine.messages import (
    ActorDied,
    Begin,
    CannotTell,
    ChildMessage,
    Finished,
    Opened,
    Paths,
    Seen,
)
from xdiag.engine.tasks import NotHere, Task
from xdiag.model import Cell, Step, StepRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

AnyTask = TypeVar("AnyTask", bound=Task)

#: hipErrorNotReady: an answer about unfinished work, not a failure.
NOT_READY = 600

_MASK = 0xFFFFFFFFFFFFFFFF


class _Stop(Exception):
    """The story ends here: a step failed that the rest depends on."""


class _CannotGoOn(Exception):
    """The story makes no sense here, or its process is gone; what there is to say is said."""


class StoryTeller:
    """Interprets the steps of one cell and reports each; see ``tell``."""

    def __init__(
        self, cell: Cell, platform: str, paths: Paths, report: Callable[[ChildMessage], None]
    ) -> None:
        self._cell = cell
        self._platform = platforms.get(platform)
        self._paths = paths
        self._report = report
        self._calls = native.every_call()
        self._values: dict[str, int] = dict(self._platform.constants)
        self._runtimes: dict[str, int] = {}
        #: The file of the runtime that was opened first.
        self._loaded = ""
        self._actors: dict[str, Any] = {"main": actors.MainThread()}
        self._numbers = 0
        self._refused: set[int] = set()
        self._libraries: dict[int, tuple[int, str]] = {}

    def tell(self, leave_out: Collection[int] = ()) -> None:
        """Carry out every step but those left out, up to the first failure that ends the story."""
        try:
            self._libraries = libraries.declare(self._cell.steps, self._platform.id, self._paths)
            for index, step in enumerate(self._cell.steps):
                if index not in leave_out:
                    self._step(index, step)
        except _CannotGoOn:
            return
        except _Stop:
            self._report(Finished())
        else:
            self._report(Finished())

    # ---- one step ----

    def _step(self, index: int, step: Step) -> None:
        if step.trusting and self._handle(step) in self._refused:
            for actor in step.actors:
                self._seen(
                    index,
                    step,
                    actor,
                    state="skipped",
                    error="this call follows any handle, and the handle was refused before",
                )
            return
        handle = self._handle(step)
        self._report(Begin(step=index, actors=step.actors, call=self._shown(step), handle=handle))
        if step.runtime:
            self._call(index, step)
        else:
            self._action(index, step)

    def _call(self, index: int, step: Step) -> None:
        call = self._calls[step.verb]
        inputs = {
            actor: tuple(self._value(argument, actor) for argument in step.args)
            for actor in step.actors
        }
        requests = {
            actor: native.Request(
                native.OP_CALL,
                runtime=self._runtimes[step.runtime],
                call=call,
                inputs=inputs[actor],
                repeat=step.repeat,
            )
            for actor in step.actors
        }
        # Posted to all before any is waited for: that is what "at the same moment" means here.
        # The main thread acts when it is waited for, so it comes first.
        for actor, request in requests.items():
            self._actors[actor].post(request)
        failed = False
        for actor, request in sorted(requests.items(), key=lambda item: item[0] != "main"):
            self._actors[actor].wait(request)
            failed |= self._answer(index, step, actor, request, inputs[actor])
        if failed and not (step.tolerated or step.independent):
            raise _Stop

    def _answer(
        self, index: int, step: Step, actor: str, request: native.Request, inputs: tuple[int, ...]
    ) -> bool:
        """Report what a request came to, keep its results; True if it failed."""
        raw, call = request.raw, request.call
        assert call is not None
        handle = None if call.stream_input is None else inputs[call.stream_input]
        if raw.status == native.DIED:
            self._died(index, step, actor, request)
        if raw.status == native.UNSUPPORTED:
            self._seen(
                index,
                step,
                actor,
                state="unsupported",
                request=request,
                handle=handle,
                error="this runtime has no such call",
            )
            return True
        if raw.status == native.FAILED:
            self._seen(
                index,
                step,
                actor,
                state="failed",
                failed=True,
                request=request,
                error=request.error,
            )
            return True

        outputs = request.outputs()
        if step.result and outputs:
            self._values[step.result] = outputs[0] & _MASK
            self._values[f"{step.result}@{actor}"] = outputs[0] & _MASK
        labels = [step.result or "", *[""] * 6]
        code = int(raw.result)
        if call.returns_status:
            failed = code not in (0, NOT_READY)
            names = native.errors(native.XSCHED if call.xsched else self._platform.id)
            name = names.get(code, (f"error {code}", ""))[0]
        else:
            failed = code < 0
            name = "not a live stream" if failed else f"device {code}"
        if failed and handle is not None and code in self._platform.refusals:
            self._refused.add(handle)
        self._seen(
            index,
            step,
            actor,
            state="done",
            request=request,
            handle=handle,
            code=code,
            name=name,
            failed=failed,
            values=() if failed else tuple(zip(labels, outputs, strict=False)),
        )
        return failed

    def _died(self, index: int, step: Step, actor: str, request: native.Request) -> None:
        self._ended(index, step, actor, int(request.raw.wait_status), request)

    def _ended(
        self,
        index: int,
        step: Step,
        actor: str,
        wait_status: int,
        request: native.Request | None = None,
    ) -> None:
        self._seen(
            index,
            step,
            actor,
            state="unfinished",
            failed=True,
            request=request,
            error="the process of this actor ended",
        )
        self._report(ActorDied(step=index, wait_status=wait_status))
        raise _CannotGoOn

    def _seen(
        self,
        index: int,
        step: Step,
        actor: str,
        *,
        request: native.Request | None = None,
        **fields: Any,
    ) -> None:
        if request is not None:
            raw = request.raw
            fields.update(pid=int(raw.pid), tid=int(raw.tid), made=int(raw.made))
            if raw.ended_ns:
                fields["nanoseconds"] = int(raw.ended_ns - raw.started_ns)
        record = StepRecord(
            step=index,
            actor=actor,
            call=self._shown(step),
            runtime=step.runtime,
            phase=step.phase,
            **fields,
        )
        self._report(Seen(record=record))

    def _shown(self, step: Step) -> str:
        return called.shown(step, self._platform.id)

    # ---- values ----

    def _value(self, argument: str | int, actor: str) -> int:
        if isinstance(argument, int):
            return argument
        # Two actors that do one step each have a result of their own by the step's name.
        return self._values.get(f"{argument}@{actor}", self._values[argument])

    def _handle(self, step: Step) -> int | None:
        """The stream that a step passes, or that its capture or event belongs to."""
        place: int | None = None
        if step.runtime:
            place = self._calls[step.verb].stream_input
        elif step.verb in called.BINDINGS or called.takes_stream(step):
            place = 0
        return None if place is None else self._value(step.args[place], step.actors[0])

    # ---- steps that are no driver calls ----

    def _action(self, index: int, step: Step) -> None:
        if step.verb in props.PROPS:
            self._prop(index, step)
        elif called.is_torch(step):
            self._by_torch(index, step)
        else:
            getattr(self, f"_do_{step.verb}")(index, step)

    def _prop(self, index: int, step: Step) -> None:
        named = step.verb in ("text", "kernel", "variable")
        values = () if named else tuple(self._value(a, step.actors[0]) for a in step.args)
        try:
            value = props.make(step.verb, [str(a) for a in step.args], values, self._runtimes)
        except props.NoSuchProp as error:
            self._cannot_tell(str(error), error)
        if step.verb == "stream_of_callback" and value in self._platform.constants.values():
            self._cannot_tell(f"the callback was given {value}, not the stream that it stands for")
        self._values[step.result] = value
        self._seen(
            index,
            step,
            step.actors[0],
            state="done",
            values=((step.result, value),),
            pid=os.getpid(),
        )

    def _ask(self, index: int, step: Step, request: native.Request) -> native.Request:
        """Have the step's actor carry out a request; end the story if that failed."""
        actor = self._actors[step.actors[0]]
        actor.post(request)
        actor.wait(request)
        if request.raw.status == native.DIED:
            self._died(index, step, step.actors[0], request)
        if request.raw.status != native.DONE:
            self._seen(
                index,
                step,
                step.actors[0],
                state="failed",
                failed=True,
                request=request,
                error=request.error,
            )
            raise _Stop
        return request

    def _do_open(self, index: int, step: Step) -> None:
        what = str(step.args[0])
        way = str(step.args[1]) if len(step.args) > 1 else "local"
        if what in ("soname", "name"):
            self._must_tell_apart(what)
        path = getattr(self._paths, what) if what != "loaded" else self._loaded or self._paths.first
        self._open(index, step, path, "loaded" if what == "loaded" else way)

    def _open(self, index: int, step: Step, path: str, way: str) -> None:
        number = len(self._runtimes)
        native.declare_runtime(number, self._platform.id, path, way)
        request = self._ask(index, step, native.Request(native.OP_OPEN, runtime=number))
        self._runtimes[step.result] = number
        self._loaded = self._loaded or path
        identity = native.identify(number)
        if identity is not None:
            self._report(Opened(runtime=step.result, identity=identity))
        self._seen(index, step, step.actors[0], state="done", request=request)

    def _do_xsched(self, index: int, step: Step) -> None:
        number, path = self._libraries[index]
        if not path:
            self._cannot_tell(libraries.missing(str(step.args[0]), self._paths))
        actor, request = (
            self._actors[step.actors[0]], native.Request(native.OP_OPEN, runtime=number),
        )  # fmt: skip
        actor.post(request)
        actor.wait(request)
        if request.raw.status == native.DIED:
            self._died(index, step, step.actors[0], request)
        if request.raw.status != native.DONE:
            # It says nothing about the stream that XSched cannot be loaded.
            self._cannot_tell(libraries.why_not(path, request.error))
        self._runtimes[step.result] = number
        identity = native.identify(number)
        if identity is not None:
            self._report(Opened(runtime=step.result, identity=identity, library=True))
        self._seen(index, step, step.actors[0], state="done", request=request)

    def _do_binding(self, index: int, step: Step) -> None:
        def call(actor: str) -> Task:
            handle = self._value(step.args[0], actor)
            return libraries.BindingCall(step.verb, handle, self._paths.xsched)

        self._in_python(index, step, "the binding", call)

    _do_old_binding = _do_binding

    def _by_torch(self, index: int, step: Step) -> None:
        def task(actor: str) -> torch_work.TorchTask:
            args = tuple(self._value(argument, actor) for argument in step.args)
            return torch_work.TorchTask(step, args, self._platform.id)

        done = self._in_python(index, step, "torch", task)
        if step.verb == "torch":
            self._open(index, step, done[0].runtime, "loaded")

    def _in_python(
        self, index: int, step: Step, what: str, task_of: Callable[[str], AnyTask]
    ) -> list[AnyTask]:
        """Have the step's actors do what is written in Python; end the story if that failed."""
        try:
            tasks = {actor: task_of(actor) for actor in step.actors}
        except NotHere as error:
            self._cannot_tell(str(error), error)
        for actor, task in tasks.items():
            if not self._actors[actor].runs_python:
                self._cannot_tell(f"{actor} is no thread of Python, and {what} is Python")
            self._actors[actor].post(task)
        failed = False
        for actor, task in sorted(tasks.items(), key=lambda item: item[0] != "main"):
            self._actors[actor].wait(task)
            if task.wait_status is not None:
                self._ended(index, step, actor, task.wait_status)
            if task.not_here:
                self._cannot_tell(task.not_here)
            values: tuple[tuple[str, int], ...] = ()
            if task.value is not None:
                self._values[step.result] = self._values[f"{step.result}@{actor}"] = task.value
                values = ((step.result, task.value),)
            self._seen(index, step, actor, handle=task.handle, values=values, **task.came)
            failed |= task.came.get("failed", False)
        if failed and not (step.tolerated or step.independent):
            raise _Stop
        return list(tasks.values())

    def _cannot_tell(self, reason: str, error: Exception | None = None) -> NoReturn:
        """End the story, which makes no sense here."""
        self._report(CannotTell(reason=reason))
        raise _CannotGoOn from error

    def _must_tell_apart(self, what: str) -> None:
        """End the story where the runtime has no name of this kind."""
        soname, name = self._paths.soname, self._paths.name
        reason = ""
        if not soname:
            reason = "this runtime has no SONAME"
        elif what == "name" and soname == name:
            reason = f"this runtime's SONAME is {name} itself, without a version"
        if reason:
            self._cannot_tell(reason)

    def _do_thread(self, index: int, step: Step) -> None:
        self._start(index, step, lambda: actors.PythonThread(step.result))

    def _do_thread_pool(self, index: int, step: Step) -> None:
        self._start(index, step, actors.PoolThread)

    def _do_process(self, index: int, step: Step) -> None:
        self._start(index, step, lambda: actors.PythonProcess(str(step.args[0])))

    def _do_torch_autograd(self, index: int, step: Step) -> None:
        self._start(index, step, torch_actors.AutogradThread)

    def _do_torch_dataloader(self, index: int, step: Step) -> None:
        self._start(index, step, torch_actors.DataLoaderWorker)

    def _start(self, index: int, step: Step, start: Callable[[], actors.Actor]) -> None:
        """Start an actor from Python, on the main thread."""
        try:
            self._actors[step.result] = start()
        except actors.CannotAct as error:
            self._cannot_tell(str(error), error)
        self._seen(
            index,
            step,
            step.actors[0],
            state="done",
            pid=os.getpid(),
            tid=threading.get_native_id(),
        )

    def _start_native(self, index: int, step: Step, op: int) -> None:
        self._numbers += 1
        request = self._ask(index, step, native.Request(op, subject=self._numbers))
        home = self._actors[step.actors[0]].home
        self._actors[step.result] = actors.NativeActor(self._numbers, home)
        self._seen(index, step, step.actors[0], state="done", request=request)

    def _do_native_thread(self, index: int, step: Step) -> None:
        self._start_native(index, step, native.OP_THREAD)

    def _do_fork(self, index: int, step: Step) -> None:
        self._start_native(index, step, native.OP_FORK)

    def _do_end(self, index: int, step: Step) -> None:
        name = step.actors[0]
        self._actors.pop(name).end()
        self._seen(index, step, name, state="done", pid=os.getpid())

    def _derive(self, index: int, step: Step, change: Callable[[int], int]) -> None:
        actor = step.actors[0]
        value = self._value(step.args[0], actor) & _MASK
        changed = change(value) & _MASK
        if step.verb != "same" and changed == value:
            self._cannot_tell(f"the handle {value:#x} fits into 32 bits here, so nothing is lost")
        self._values[step.result] = changed
        self._seen(
            index,
            step,
            actor,
            state="done",
            values=((step.result, changed),),
            pid=os.getpid(),
            tid=threading.get_native_id(),
        )

    def _do_equal(self, index: int, step: Step) -> None:
        differ = False
        for actor in step.actors:
            one, other = (self._value(each, actor) & _MASK for each in step.args)
            differ |= one != other
            self._seen(
                index,
                step,
                actor,
                state="done" if one == other else "failed",
                failed=one != other,
                error=""
                if one == other
                else f"{step.args[0]} is {one:#x}, {step.args[1]} is {other:#x}",
                pid=os.getpid(),
            )
        if differ:
            raise _Stop

    def _do_same(self, index: int, step: Step) -> None:
        self._derive(index, step, lambda value: value)

    def _do_low32(self, index: int, step: Step) -> None:
        self._derive(index, step, lambda value: value & 0xFFFFFFFF)

    def _do_low32_signed(self, index: int, step: Step) -> None:
        self._derive(index, step, lambda value: ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000)
