"""What execve makes of a path: the program, the interpreter of a script, the rights it runs with.

Source: Linux, fs/exec.c, fs/binfmt_script.c and security/commoncap.c.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.discover.root import Root

#: BINPRM_BUF_SIZE, and how many scripts may lead to one another.
_FIRST_LINE = 256
_MOST_SCRIPTS = 5
_USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"


def interpreter_of(path: str, root: Root, environ: Mapping[str, str], cwd: str = "/") -> str:
    """The program that runs when ``path`` is executed: itself, or what its ``#!`` line leads to.

    ``#!/usr/bin/env python3`` leads to the python3 on PATH.  Where a file on the way cannot be
    read, the result is that file.
    """
    for _ in range(_MOST_SCRIPTS):
        try:
            line = root.read(os.path.join(cwd, path), _FIRST_LINE)
        except (OSError, ValueError):
            return path
        if not line.startswith(b"#!"):
            return path
        words = os.fsdecode(line[2:].partition(b"\n")[0].partition(b"\0")[0]).split(None, 1)
        if not words:
            return path
        path = words[0]
        if os.path.basename(path) == "env" and len(words) == 2:
            path = _by_env(words[1], root, environ, cwd) or path
    return path


def _by_env(arguments: str, root: Root, environ: Mapping[str, str], cwd: str) -> str:
    """The program that ``env`` starts when given these arguments; empty if that cannot be told."""
    words = arguments.split()
    search = environ.get("PATH", _USUAL_PATH)
    if words[0] in ("-S", "--split-string"):
        words = words[1:]
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        search = value if name == "PATH" else search
    if not words or words[0].startswith("-"):
        return ""
    if "/" in words[0]:
        return words[0]
    for folder in search.split(":"):
        candidate = os.path.join(folder or ".", words[0])
        if _is_executable(os.path.join(cwd, candidate), root):
            return candidate
    return ""


def _is_executable(path: str, root: Root) -> bool:
    try:
        mode = root.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def is_secure(path: str, root: Root) -> bool:
    """Whether the kernel would start this user's ``path`` with AT_SECURE: other rights than theirs.

    By a set-user-id or set-group-id bit, or capabilities of the file; the latter change nothing
    for root.  Raises OSError.
    """
    status = root.stat(path)
    if status.st_mode & stat.S_ISUID and status.st_uid != os.getuid():
        return True
    group_bits = stat.S_ISGID | stat.S_IXGRP
    if status.st_mode & group_bits == group_bits and status.st_gid != os.getgid():
        return True
    if os.getuid() == 0:
        return False
    try:
        return bool(os.getxattr(root.outside(path), "security.capability"))
    except OSError:
        return False
