"""Props of a story: host memory, code and functions that a call is asked with.

Steps without a runtime, as ``ACTIONS`` are, that no pattern needs and no reproducer can write down.
"""

from __future__ import annotations

import array
from functools import cache
from typing import TYPE_CHECKING

from xdiag import code_object, native

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What a step can be besides these: a driver call, or one of ``xdiag.model.ACTIONS``.
PROPS = {
    "words": "host memory that holds these 64-bit values",
    "text": "host memory that holds this word, ended by a zero",
    "filled": "host memory of so many bytes, each of this value",
    "code_object": "a code object with one kernel, `nothing`, and one variable, `cell`",
    "kernel": "the host function that stands for that kernel, registered with a runtime",
    "variable": "the host variable that stands for that variable, registered with a runtime",
    "stream_of_callback": "the stream that the last stream callback was given",
}

#: Memory that calls have been given: it stays until the process ends.
_kept: list[array.array[int]] = []


class NoSuchProp(Exception):
    """It cannot be had here; the message says why."""


def _memory(content: bytes) -> int:
    """The address of memory with this content."""
    kept = array.array("Q", content.ljust(-(-len(content) // 8) * 8 or 8, b"\0"))
    _kept.append(kept)
    return kept.buffer_info()[0]


@cache
def _registered(runtime: int) -> tuple[int, int]:
    code = native.register_code(
        runtime,
        _memory(code_object.bundle()),
        code_object.KERNEL,
        code_object.VARIABLE,
        code_object.VARIABLE_SIZE,
    )
    if code is None:
        raise NoSuchProp("this runtime offers no registration of a program's code")
    return code


def make(
    verb: str, words: Sequence[str], values: Sequence[int], runtimes: Mapping[str, int]
) -> int:
    """The value of a prop: ``words`` are its arguments as written, ``values`` as evaluated.

    Raises NoSuchProp with the reason where it cannot be had.
    """
    if verb == "words":
        return _memory(b"".join((value & (2**64 - 1)).to_bytes(8, "little") for value in values))
    if verb == "text":
        return _memory(words[0].encode() + b"\0")
    if verb == "filled":
        return _memory(bytes([values[1]]) * values[0])
    if verb == "code_object":
        return _memory(code_object.code_object())
    if verb == "stream_of_callback":
        return native.callback_stream()
    function, variable = _registered(runtimes[words[0]])
    return function if verb == "kernel" else variable
