"""Small ELF files that the real loader takes: a page each, written without a compiler.

Every one has the same few instructions at the same address, by which it can be made the caller of
any function: the loader asks from where dlopen was called.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from typing import Any

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_PHDR, PT_GNU_STACK = 1, 2, 3, 6, 0x6474E551
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT = 1, 4, 5, 6, 10, 11
DT_SONAME, DT_RPATH, DT_RUNPATH, DT_FLAGS_1 = 14, 15, 29, 0x6FFFFFFB
DT_AUXILIARY, DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
DF_1_NOOPEN, DF_1_NODEFLIB, DF_1_PIE = 0x40, 0x800, 0x08000000

#: Where the call lies in every file, and where a program begins.
CALL, ENTRY = 0x200, 0x220
#: call(function, first, second): sub rsp, 8; mov rax, rdi; mov rdi, rsi; mov rsi, rdx; call rax;
#: add rsp, 8; ret
_CALL = bytes.fromhex("4883ec08 4889f8 4889f7 4889d6 ffd0 4883c408 c3")
#: exit_group(0): xor edi, edi; mov eax, 231; syscall
_ENTRY = bytes.fromhex("31ff b8e7000000 0f05")


class Short:
    """A dataclass that shows only what differs from its defaults."""

    def __repr__(self) -> str:
        shown = [
            f"{each.name}={value!r}"
            for each in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, each.name)) != each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Content(Short):
    """What one file says of itself."""

    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    nodeflib: bool = False
    noopen: bool = False
    auxiliary: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    interpreter: str | None = None
    machine: int = 62
    kind: int = ET_DYN


#: A library without a name that needs nothing.
EMPTY = Content()


@dataclass
class _Strings:
    data: bytearray = field(default_factory=lambda: bytearray(1))

    def add(self, text: str) -> int:
        place = len(self.data)
        self.data += text.encode() + b"\0"
        return place


def written(content: Content) -> bytes:
    """The file, one segment that is mapped whole."""
    strings = _Strings()
    tags = [(DT_AUXILIARY, strings.add(name)) for name in content.auxiliary]
    tags += [(DT_FILTER, strings.add(name)) for name in content.filters]
    tags += [(DT_NEEDED, strings.add(name)) for name in content.needed]
    for tag, text in (
        (DT_SONAME, content.soname), (DT_RPATH, content.rpath), (DT_RUNPATH, content.runpath)
    ):  # fmt: skip
        if text is not None:
            tags.append((tag, strings.add(text)))
    flags = DF_1_NODEFLIB * content.nodeflib | DF_1_NOOPEN * content.noopen
    flags |= DF_1_PIE * (content.interpreter is not None)
    if flags:
        tags.append((DT_FLAGS_1, flags))
    interpreter = (content.interpreter or "").encode() + b"\0"
    hash_at = 0x240
    symbols_at = hash_at + 16
    interpreter_at = symbols_at + 24
    strings_at = interpreter_at + len(interpreter)
    dynamic_at = strings_at + len(strings.data) + 15 & ~15
    tags += [
        (DT_HASH, hash_at), (DT_SYMTAB, symbols_at), (DT_SYMENT, 24), (DT_STRTAB, strings_at),
        (DT_STRSZ, len(strings.data)), (0, 0),
    ]  # fmt: skip
    dynamic = b"".join(struct.pack("=qQ", tag, value) for tag, value in tags)
    size = dynamic_at + len(dynamic)
    base = 0x400000 if content.kind == ET_EXEC else 0
    segments = []
    if content.interpreter is not None:
        segments += [(PT_PHDR, 4, 64, 0), (PT_INTERP, 4, interpreter_at, len(interpreter))]
    segments += [(PT_LOAD, 7, 0, size), (PT_DYNAMIC, 6, dynamic_at, len(dynamic))]
    segments.append((PT_GNU_STACK, 6, 0, 0))
    headers = b"".join(
        struct.pack(
            "=IIQQQQQQ", kind, access, at, at + base, at + base,
            length or 56 * len(segments) * (kind == PT_PHDR), length, 0x1000,
        )
        for kind, access, at, length in segments
    )  # fmt: skip
    header = struct.pack(
        "=16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", content.kind, content.machine, 1, base + ENTRY,
        64, 0, 0, 64, 56, len(segments), 64, 0, 0,
    )  # fmt: skip
    data = bytearray(size)
    for at, part in (
        (0, header), (64, headers), (CALL, _CALL), (ENTRY, _ENTRY),
        (hash_at, struct.pack("=IIII", 1, 1, 0, 0)), (interpreter_at, interpreter),
        (strings_at, strings.data), (dynamic_at, dynamic),
    ):  # fmt: skip
        data[at : at + len(part)] = part
    return bytes(data)
