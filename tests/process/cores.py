"""Core files: the kernel's own, where it writes one here, and one written from outside."""

from __future__ import annotations

import os
import re
import resource
import signal
import struct
import subprocess
from pathlib import Path

import pytest

_PAGE = 4096


def of_the_kernel(folder: Path, program: Path, *lines: str, **options: object) -> Path:
    """Start the program, let it do ``lines`` and crash; its core, or skip where there is none."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|") or "/" in pattern:
        pytest.skip("the kernel puts cores elsewhere here (core_pattern)")
    folder.mkdir(parents=True, exist_ok=True)
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    if limit[1] != resource.RLIM_INFINITY:
        pytest.skip("cores are not permitted here (ulimit -H -c)")
    subprocess.run(
        [program], input="".join(f"{line}\n" for line in (*lines, "crash")), text=True,
        stdout=subprocess.DEVNULL, cwd=folder, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit[1], limit[1])),
        **options,
    )  # fmt: skip
    found = list(folder.glob("core*"))
    if not found:
        pytest.skip("the kernel wrote no core here")
    return found[0]


def written(path: Path, pid: int, number: int = 11) -> Path:
    """A core file of a running process in the kernel's format, from its maps and memory.

    The process is stopped meanwhile, so that all of it is of one moment.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        return _write(path, pid, number)
    finally:
        os.kill(pid, signal.SIGCONT)


def _write(path: Path, pid: int, number: int) -> Path:
    proc = Path("/proc") / str(pid)
    segments, files = [], []
    # Private mappings that were written to, be they read-only by now: relocated data.
    changed = {
        part.split(None, 1)[0]
        for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", (proc / "smaps").read_text(
            errors="surrogateescape"), flags=re.MULTILINE)
        if part and not re.search(r"^Anonymous: +0 kB", part, re.MULTILINE)
    }  # fmt: skip
    with (proc / "mem").open("rb", buffering=0) as memory:
        for line in (proc / "maps").read_text(errors="surrogateescape").splitlines():
            addresses, permissions, offset, _, inode, *name = line.split(None, 5)
            start, end = (int(part, 16) for part in addresses.split("-"))
            if name and name[0].startswith("[v"):
                continue
            flags = 4 * ("r" in permissions) + 2 * ("w" in permissions) + ("x" in permissions)
            # As the default of coredump_filter: private memory, and the first page of ELF files.
            content = b""
            if "w" in permissions or inode == "0" or addresses in changed:
                memory.seek(start)
                content = memory.read(end - start)
            elif int(offset, 16) == 0 and "r" in permissions:
                memory.seek(start)
                content = memory.read(_PAGE)
            segments.append((start, end, flags, content))
            if name and name[0].startswith("/"):
                files.append((start, end, int(offset, 16) // _PAGE, name[0]))
    status = struct.pack("=iii h 2x QQ I", number, 0, 0, number, 0, 0, pid).ljust(336, b"\0")
    command = (proc / "cmdline").read_bytes().replace(b"\0", b" ")[:79]
    told = struct.pack(
        "=bcbb 4x Q II iiii 16s 80s", 0, b"R", 0, 0, 0, os.stat(proc).st_uid, 0, pid, 1, 1, 1,
        (proc / "comm").read_bytes().strip()[:15], command,
    )  # fmt: skip
    notes = b"".join(
        (
            note(1, status),
            note(3, told),
            note(6, (proc / "auxv").read_bytes()),
            note(0x46494C45, file_note(files)),
        )
    )
    return assemble(path, segments, notes)


def note(kind: int, content: bytes) -> bytes:
    padding = bytes(-len(content) % 4)
    return struct.pack("=III8s", 5, len(content), kind, b"CORE") + content + padding


def file_note(files: list[tuple[int, int, int, str]]) -> bytes:
    """The content of an NT_FILE note."""
    entries = b"".join(struct.pack("=QQQ", *each[:3]) for each in files)
    names = b"".join(os.fsencode(each[3]) + b"\0" for each in files)
    return struct.pack("=QQ", len(files), _PAGE) + entries + names


def assemble(path: Path, segments: list[tuple[int, int, int, bytes]], notes: bytes) -> Path:
    """Headers, notes and memory as an ELF core file."""
    count = len(segments) + 1
    place = 64 + 56 * count
    headers = [struct.pack("=IIQQQQQQ", 4, 0, place, 0, 0, len(notes), 0, 4)]
    place += len(notes)
    memory = []
    for start, end, flags, content in segments:
        headers.append(
            struct.pack("=IIQQQQQQ", 1, flags, place, start, 0, len(content), end - start, _PAGE)
        )
        memory.append(content)
        place += len(content)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "=HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0
    )  # fmt: skip
    path.write_bytes(b"".join((head, *headers, notes, *memory)))
    return path
