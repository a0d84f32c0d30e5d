"""Who acts in a story: threads and processes that carry out what they are asked.

Each takes a request with ``post`` and is waited for with ``wait``.  A request has ``execute``,
which the actor calls in its own thread; one that goes to another process is pickled, and ``take``s
the answer, or is told that the process ``died``.
"""
# What the methods do is said once, in Actor.
# ruff: noqa: D102

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from xdiag import native

# Most cells have none of these, and what is imported here is copied for every one of them.
if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.connection import Connection

#: Seconds that a process may take to end after it has hung up.
_BURIAL = 2.0


class CannotAct(Exception):
    """There can be no such actor here; the message says why."""


class Request(Protocol):
    """One thing for one actor to do; afterwards it holds what came of it."""

    def execute(self) -> None:
        """Do it, on the calling thread."""

    def take(self, answer: Any) -> None:
        """Take over what came of it in another process."""

    def died(self, wait_status: int) -> None:
        """Note that the actor's process ended instead; as from os.waitpid, -1 if not known."""


class Actor:
    """What all have in common."""

    #: Whether it can run Python, and so XSched's binding and torch.
    runs_python: ClassVar[bool] = True

    @property
    def home(self) -> Actor | None:
        """The process that it lives in, where Python has started that; None for this one."""
        return None

    def post(self, request: Any) -> None:
        """Hand it a request."""
        raise NotImplementedError

    def wait(self, request: Any) -> None:
        """Wait until that request has been carried out."""
        raise NotImplementedError

    def end(self) -> None:
        """End it; it has nothing to do at the moment."""
        raise NotImplementedError


class MainThread(Actor):
    """The child's own main thread: it acts while the story waits for it."""

    def post(self, request: Request) -> None:
        del request

    def wait(self, request: Request) -> None:
        request.execute()


class NativeActor(Actor):
    """A native thread or a forked child, which the native core serves by its number.

    ``home``: the process that has it, if that is not this one.
    """

    runs_python = False

    def __init__(self, number: int, home: Actor | None = None) -> None:
        self.number = number
        self._home = home

    @property
    def home(self) -> Actor | None:
        return self._home

    def post(self, request: native.Request) -> None:
        request.raw.actor = self.number
        if self._home is None:
            request.post()
        else:
            self._home.post(_Posted(request))

    def wait(self, request: native.Request) -> None:
        if self._home is None:
            request.wait()
        else:
            self._home.wait(_Posted(request))

    def end(self) -> None:
        request = native.Request(native.OP_END)
        self.post(request)
        self.wait(request)


class _Posted:
    """A request to a native actor, for the process that has it."""

    def __init__(self, request: native.Request) -> None:
        self._request = request

    def execute(self) -> None:
        self._request.post()
        self._request.wait()

    def take(self, answer: _Posted) -> None:
        self._request.take(answer._request)

    def died(self, wait_status: int) -> None:
        self._request.died(wait_status)


class ServingThread(Actor):
    """Any thread of this process that runs ``serve`` until it is ended."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def serve(self) -> None:
        """Carry out requests on the calling thread, until there will be no more."""
        while (request := self._requests.get()) is not None:
            request.execute()
            self._done.put(None)

    def post(self, request: Request) -> None:
        self._requests.put(request)

    def wait(self, request: Request) -> None:
        del request
        self._done.get()

    def end(self) -> None:
        self._requests.put(None)


class PythonThread(ServingThread):
    """A threading.Thread that carries out requests, as a user's worker would."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._thread = threading.Thread(target=self.serve, name=name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        super().end()
        self._thread.join()


class PoolThread(Actor):
    """The thread of a concurrent.futures.ThreadPoolExecutor, to which requests are submitted."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(max_workers=1)
        self._submitted: Future[None] | None = None

    def post(self, request: Request) -> None:
        self._submitted = self._pool.submit(request.execute)

    def wait(self, request: Request) -> None:
        del request
        assert self._submitted is not None
        self._submitted.result()

    def end(self) -> None:
        self._pool.shutdown()


class ServingProcess(Actor):
    """A process that runs ``serve_from`` at the other end of a pipe.

    What has been declared to the native core is declared to it before it needs it: one that was
    forked knows what its parent had declared then, one that was spawned nothing.
    """

    @property
    def home(self) -> Actor | None:
        return self

    def __init__(self) -> None:
        import multiprocessing

        self._ours, self.theirs = multiprocessing.Pipe()
        self._told = 0
        self.process: Any = None

    def started(self, process: Any, *, knows: int) -> None:
        """Serve from now on with this process, which ``knows`` so many declarations."""
        self.process, self._told = process, knows
        # Else the pipe would stay open when it dies.
        self.theirs.close()

    def post(self, request: Request) -> None:
        declared = native.declarations()
        try:
            self._ours.send((declared[self._told :], request))
        except (BrokenPipeError, ConnectionResetError):
            return  # that it is gone is seen when it is waited for
        self._told = len(declared)

    def wait(self, request: Request) -> None:
        try:
            request.take(self._ours.recv())
        except (EOFError, ConnectionResetError):
            self.process.join(_BURIAL)
            code = self.process.exitcode
            request.died(-1 if code is None else -code if code < 0 else code << 8)

    def end(self) -> None:
        self._ours.close()
        self.process.join(_BURIAL)


class PythonProcess(ServingProcess):
    """A multiprocessing.Process, started by ``method``: fork or spawn.  Raises CannotAct."""

    def __init__(self, method: str) -> None:
        import multiprocessing

        if method == "spawn" and not os.path.samefile(sys.executable, "/proc/self/exe"):
            raise CannotAct(
                "Python's spawn starts the interpreter by its path, under this machine's C library,"
                " and this runtime needs a newer one"
            )
        super().__init__()
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=serve_from, args=(self.theirs,), daemon=True)
        knows = len(native.declarations()) if method == "fork" else 0
        process.start()
        self.started(process, knows=knows)


def serve_from(pipe: Connection[Any, Any]) -> None:
    """Carry out what comes through a pipe, in this process, until the other end is closed."""
    from multiprocessing.reduction import ForkingPickler

    while True:
        try:
            declared, request = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        for each in declared:
            native.declare_again(each)
        request.execute()
        # Pickled first: half a message would make the other end wait for the rest.
        pipe.send_bytes(ForkingPickler.dumps(request))
