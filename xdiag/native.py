"""The only user of cffi: runtimes, actors and calls of the native core, as Python objects."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from xdiag._native import ffi, lib
from xdiag.model import Identity

OP_CALL: int = lib.XD_OP_CALL
OP_OPEN: int = lib.XD_OP_OPEN
OP_THREAD: int = lib.XD_OP_THREAD
OP_FORK: int = lib.XD_OP_FORK
OP_END: int = lib.XD_OP_END

DONE: int = lib.XD_DONE
UNSUPPORTED: int = lib.XD_UNSUPPORTED
FAILED: int = lib.XD_FAILED
DIED: int = lib.XD_DIED

#: What XSched's calls return is looked up as a platform's errors are.
XSCHED = "xsched"

_INPUT, _OUTPUT = 0, 1
_PLATFORMS = {"hip": lib.XD_HIP, "cuda": lib.XD_CUDA, XSCHED: lib.XD_XSCHED}
_PREFIXES = {"hip": "hip", "cuda": "cu"}
#: How a story may open a runtime: (function, flags).
_WAYS = {
    "local": (lib.XD_BY_DLOPEN, os.RTLD_NOW | os.RTLD_LOCAL),
    "deepbind": (lib.XD_BY_DLOPEN, os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND),
    "global": (lib.XD_BY_DLOPEN, os.RTLD_NOW | os.RTLD_GLOBAL),
    "namespace": (lib.XD_BY_NAMESPACE, os.RTLD_NOW | os.RTLD_LOCAL),
    "loaded": (lib.XD_BY_DLOPEN, os.RTLD_NOW | os.RTLD_NOLOAD),
}
WAYS = tuple(_WAYS)


@dataclass(frozen=True)
class Call:
    """One entry of the call list.  ``kinds`` are the arguments' kinds, in the call's order."""

    index: int
    name: str
    hip: tuple[str, ...]
    cuda: tuple[str, ...]
    returns_status: bool
    kinds: tuple[str, ...]
    #: A library of XSched has it, not the runtime.
    xsched: bool = False

    def inputs(self) -> tuple[int, ...]:
        """Places of the arguments that a step writes out."""
        return tuple(i for i, k in enumerate(self.kinds) if _kinds()[k][0] == _INPUT)

    def outputs(self) -> tuple[int, ...]:
        """Places of the arguments that the call fills in."""
        return tuple(i for i, k in enumerate(self.kinds) if _kinds()[k][0] == _OUTPUT)

    @property
    def stream_input(self) -> int | None:
        """Place of the stream among the inputs of a step, None for a call that takes none."""
        names = [self.kinds[i] for i in self.inputs()]
        return names.index("STREAM") if "STREAM" in names else None

    def symbols(self, platform: str) -> tuple[str, ...]:
        """Names to look up on a platform, in order; empty where it has no such call."""
        return self.hip if platform == "hip" else self.cuda

    def shown(self, platform: str) -> str:
        """What the call is called there: cuStreamCreate for StreamCreateWithFlags.

        HIP's names are the list's own; where a platform has no such call, the list's name remains.
        """
        if self.xsched:
            return self.name
        symbols = self.symbols(platform)
        return symbols[0] if platform != "hip" and symbols else f"{_PREFIXES[platform]}{self.name}"


def _text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode())


@cache
def _kinds() -> dict[str, tuple[int, int]]:
    """Kind name -> (direction, width of its value in bits)."""
    rows = (lib.xd_kind_at(i) for i in range(lib.xd_kind_count()))
    return {_text(row.name): (row.direction, row.bits) for row in rows}


@cache
def calls() -> dict[str, Call]:
    """The list of the driver's calls, by name without the platform's prefix."""
    return _listed(0, lib.xd_driver_call_count())


@cache
def xsched_calls() -> dict[str, Call]:
    """The calls of XSched's libraries, by their whole name; they return an XResult."""
    return _listed(lib.xd_driver_call_count(), lib.xd_call_count())


@cache
def every_call() -> dict[str, Call]:
    """The calls of the driver and of XSched together: no name is in both lists."""
    return {**calls(), **xsched_calls()}


def _listed(first: int, end: int) -> dict[str, Call]:
    kind_names = list(_kinds())
    found = {}
    for index in range(first, end):
        row = lib.xd_call_at(index)
        name = _text(row.name)
        found[name] = Call(
            index=index,
            name=name,
            hip=tuple(filter(None, _text(row.hip).split("|"))),
            cuda=tuple(filter(None, _text(row.cuda).split("|"))),
            returns_status=bool(row.returns_status),
            kinds=tuple(kind_names[row.kinds[i]] for i in range(row.count)),
            xsched=index >= lib.xd_driver_call_count(),
        )
    return found


@cache
def errors(platform: str = "hip") -> dict[int, tuple[str, str]]:
    """A platform's error codes: code -> (name, what it means)."""
    number = _PLATFORMS[platform]
    rows = (lib.xd_error_at(number, i) for i in range(lib.xd_error_count(number)))
    return {row.code: (_text(row.name), _text(row.meaning)) for row in rows}


#: What was declared, in order: the function, and what it was given.
Declaration = tuple[str, tuple[Any, ...], dict[str, Any]]
_declarations: list[Declaration] = []


def declarations() -> list[Declaration]:
    """What has been declared in this process, for ``declare_again`` in another."""
    return list(_declarations)


def declare_again(declaration: Declaration) -> None:
    """Declare what was declared elsewhere."""
    function, arguments, named = declaration
    if function == "runtime":
        declare_runtime(*arguments)
    else:
        declare_library(*arguments, **named)


def declare_runtime(index: int, platform: str, path: str, way: str) -> None:
    """Say how runtime ``index`` (0 to 15) will be opened; ``way`` is one of ``WAYS``."""
    _declarations.append(("runtime", (index, platform, path, way), {}))
    how, flags = _WAYS[way]
    if lib.xd_declare_runtime(index, _PLATFORMS[platform], path.encode(), how, flags) != 0:
        raise ValueError(f"runtime {index}: more than 16 runtimes, or too long a path: {path}")


def declare_library(
    index: int, platform: str, path: str, *, behind: int, variable: str, beside: bool
) -> None:
    """Say that ``index`` is a library that opens a runtime for itself: number ``behind``.

    It learns which from the environment ``variable``, which is set when it is opened.  ``beside``:
    it goes into the link-map namespace of that runtime, wherever that is.
    """
    named = {"behind": behind, "variable": variable, "beside": beside}
    _declarations.append(("library", (index, platform, path), named))
    how = lib.XD_BY_NAMESPACE if beside else lib.XD_BY_DLOPEN
    number, name = _PLATFORMS[platform], variable.encode()
    if lib.xd_declare_library(index, number, os.fsencode(path), how, behind, name) != 0:
        raise ValueError(f"library {index}: more than 16 runtimes, or too long a path: {path}")


def identify(index: int) -> Identity | None:
    """Identity of an open runtime, None if it is not open in this process."""
    identity = ffi.new("xd_identity *")
    if lib.xd_identify(index, identity) != 0:
        return None
    return Identity(
        path=os.fsdecode(ffi.string(identity.path)),
        soname=_text(identity.soname),
        build_id=_text(identity.build_id),
        device=identity.device,
        inode=identity.inode,
        namespace=identity.namespace_id,
        base=identity.base,
        handle=identity.handle,
    )


def symbol_used(runtime: int, call: str) -> str | None:
    """Which of a call's symbols an open runtime answers with, None if it has none."""
    name = lib.xd_symbol_used(runtime, calls()[call].index)
    return None if name == ffi.NULL else _text(name)


class Request:
    """One thing for one actor to do; after ``execute`` or ``wait`` it holds the answer."""

    def __init__(
        self,
        op: int,
        *,
        actor: int = 0,
        subject: int = 0,
        runtime: int = 0,
        call: Call | None = None,
        inputs: tuple[int, ...] = (),
        repeat: int = 1,
    ) -> None:
        self.call = call
        self.raw = raw = ffi.new("xd_request *")
        raw.op, raw.actor, raw.subject, raw.runtime = op, actor, subject, runtime
        raw.repeat = repeat
        raw.call = -1
        if call is not None:
            raw.call = call.index
            places = call.inputs()
            if len(places) != len(inputs):
                raise ValueError(
                    f"{call.name} takes {len(places)} arguments, {len(inputs)} were given"
                )
            for place, value in zip(places, inputs, strict=True):
                raw.args[place] = value & 0xFFFFFFFFFFFFFFFF

    def execute(self) -> None:
        """Carry it out on the calling thread (the GIL is released meanwhile)."""
        lib.xd_execute(self.raw)

    def post(self) -> None:
        """Hand it to its actor, a native thread or a forked child."""
        lib.xd_post(self.raw)

    def wait(self) -> None:
        """Wait until its actor has carried it out."""
        lib.xd_wait(self.raw)

    def __getstate__(self) -> tuple[Call | None, bytes]:
        return self.call, bytes(ffi.buffer(self.raw))

    def __setstate__(self, state: tuple[Call | None, bytes]) -> None:
        self.call, self.raw = state[0], ffi.new("xd_request *")
        ffi.buffer(self.raw)[:] = state[1]

    def take(self, answer: Request) -> None:
        """Take over what came of it in another process."""
        ffi.buffer(self.raw)[:] = bytes(ffi.buffer(answer.raw))

    def died(self, wait_status: int) -> None:
        """Note that the process of its actor has ended; as from os.waitpid, -1 if not known."""
        self.raw.status, self.raw.wait_status = DIED, wait_status

    def outputs(self) -> tuple[int, ...]:
        """Values that the call filled in, in order; 32-bit values are signed where the kind is."""
        if self.call is None:
            return ()
        values = []
        for place in self.call.outputs():
            kind = self.call.kinds[place]
            value = int(self.raw.outs[place])
            if _kinds()[kind][1] == 32:
                value &= 0xFFFFFFFF
                if kind != "OUT_U32" and value >= 0x80000000:
                    value -= 0x100000000
            values.append(value)
        return tuple(values)

    @property
    def error(self) -> str:
        """Why it failed, where status is FAILED."""
        return str(ffi.string(self.raw.error).decode(errors="replace"))


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends (prctl(2))."""
    lib.xd_die_with_parent()


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (prctl(2), child subreaper)."""
    lib.xd_adopt_orphans()


def preload_compiler(library: str) -> bool:
    """Open AMD's code object manager (comgr) for all children to come; False if that failed."""
    return bool(lib.xd_preload_compiler(library.encode()) == 0)


def callbacks_seen() -> int:
    """How many stream callbacks have run in this process."""
    return int(lib.xd_callbacks_seen())


def callback_stream() -> int:
    """The stream that the last stream callback of this process was given, 0 if there was none."""
    return int(lib.xd_callback_stream())


def register_code(
    runtime: int, bundle: int, kernel: str, variable: str, size: int
) -> tuple[int, int] | None:
    """Make a kernel and a variable of ``size`` bytes known to an open runtime.

    ``bundle`` is the address of the code, which must stay.  Returns what stands for the two in a
    program, None where the runtime offers no registration.
    """
    function, symbol = ffi.new("uint64_t *"), ffi.new("uint64_t *")
    status = lib.xd_register_code(
        runtime,
        ffi.cast("void *", bundle),
        kernel.encode(),
        variable.encode(),
        size,
        function,
        symbol,
    )
    return None if status != 0 else (int(function[0]), int(symbol[0]))
