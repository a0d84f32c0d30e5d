"""Give argument types to the functions of XSched's binding that were declared none.

Read by sitecustomize.py, beside this file, in any Python from 3.6 on; imports nothing of xdiag.
"""

import os
import sys

TYPE_CHECKING = False  # as typing has it, which costs 5 ms to import
if TYPE_CHECKING:
    from typing import Any

#: What XSched's libraries export that takes a handle, and how many arguments it takes.
_FUNCTIONS = {
    "HipQueueCreate": 2,
    "HwQueueDestroy": 1, "HwQueueLaunch": 2, "HwQueueSynchronize": 1, "HwCommandDestroy": 1,
    "XQueueCreate": 4, "XQueueDestroy": 1, "XQueueSetPreemptLevel": 2, "XQueueSetLaunchConfig": 3,
    "XQueueSubmit": 2, "XQueueWait": 2, "XQueueWaitAll": 1, "XQueueQuery": 2, "XQueueSuspend": 2,
    "XQueueResume": 2, "XQueueProfileHwCommandCount": 2,
}  # fmt: skip
#: Names the file that xdiag reads what was done from; it is there already.
_LOG = "XDIAG_HOOK_LOG"
#: How deep classes, instances and containers are looked into, and how wide.
_DEPTH, _WIDTH = 4, 1000


class Whole:
    """An argument type that passes an int with 64 bits, and all else as if it were not there."""

    @classmethod
    def from_param(cls, value: "Any") -> "Any":
        """What ctypes passes for ``value``."""
        known = value
        for _ in range(_DEPTH):  # ctypes asks an object of unknown type for what to pass
            if isinstance(known, int):
                break
            known = getattr(known, "_as_parameter_", None)
        if isinstance(known, int) and -(1 << 63) <= known < 1 << 64:
            return sys.modules["ctypes"].c_void_p(known)
        return value


def declare(module: "Any") -> None:
    """Give argument types to the functions that a binding calls and declares none for."""
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return
    libraries, functions, called = _parts(module, ctypes)
    for library in libraries:
        known = [getattr(library, name, None) for name in sorted(called or ["HipQueueCreate"])]
        if not any(function is not None and function.argtypes for function in known):
            library._FuncPtr = _declared(library._FuncPtr)
        functions += known
    done = []
    for function in functions:
        # A prototype made by CFUNCTYPE has its types in its class.
        if function is None or function.argtypes or getattr(function, "_argtypes_", None):
            continue
        function.argtypes = [Whole] * _FUNCTIONS[function.__name__]
        done.append(function.__name__)
    if done:
        _tell(f"argument types set for {module.__name__}: {', '.join(done)}")
    elif not functions:
        _tell(f"no argument types set for {module.__name__}: it has opened no library yet")


def _declared(kind: "Any") -> "Any":
    """The class of functions that a library makes anew each time that it is asked by index."""

    class FuncPtr(kind):  # type: ignore[misc]
        _flags_ = kind._flags_
        _restype_ = kind._restype_

        def __new__(cls, what: "Any", *rest: "Any") -> "Any":
            function = kind.__new__(cls, what, *rest)
            if isinstance(what, tuple) and what[0] in _FUNCTIONS:
                function.argtypes = [Whole] * _FUNCTIONS[what[0]]
            return function

    return FuncPtr


def _parts(module: "Any", ctypes: "Any") -> "tuple[list[Any], list[Any], set[str]]":
    """Libraries and functions that a binding holds, and which functions its code names.

    No attribute is asked of an object that is not the binding's own: it might be one of those that
    import something when they are touched.
    """
    libraries, functions, called = [], [], set()
    seen = set()
    todo = [(value, 0) for value in vars(module).values()]
    while todo:
        value, depth = todo.pop()
        kind = type(value)
        if id(value) in seen or depth > _DEPTH:
            continue
        seen.add(id(value))
        inside: Any = ()
        if kind is type(_parts):
            called.update(_named(value.__code__))
        elif kind in (staticmethod, classmethod):
            inside = (value.__func__,)
        elif kind is property:
            inside = (value.fget,)
        elif issubclass(kind, ctypes.CDLL):
            libraries.append(value)
        elif issubclass(kind, ctypes._CFuncPtr):
            if value.__name__ in _FUNCTIONS:
                functions.append(value)
        elif kind in (list, tuple):
            inside = value
        elif kind is dict:
            inside = value.values()
        elif issubclass(kind, type):
            inside = vars(value).values() if value.__module__ == module.__name__ else ()
        elif kind.__module__ == module.__name__:
            inside = getattr(value, "__dict__", {}).values()
        todo.extend((each, depth + 1) for each in list(inside)[:_WIDTH])
    return libraries, functions, called


def _named(code: "Any") -> "set[str]":
    """The functions that a code object, or one within it, names."""
    found = set()
    todo = [code]
    while todo:
        here = todo.pop()
        found.update(here.co_names)
        found.update(each for each in here.co_consts if isinstance(each, str))
        todo.extend(each for each in here.co_consts if isinstance(each, type(code)))
    return found.intersection(_FUNCTIONS)


def _tell(line: str) -> None:
    """Add a line to the file that xdiag reads, if it is there and nobody else's."""
    path = os.environ.get(_LOG)
    if not path:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    log = os.open(path, flags)
    try:
        status = os.fstat(log)
        if status.st_mode & 0o170077 == 0o100000 and status.st_uid == os.geteuid():
            os.write(log, (line + "\n").encode("utf-8", "backslashreplace"))
    finally:
        os.close(log)
