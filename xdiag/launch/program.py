"""The command as exec(2) takes it: where it may lie, becoming it, why it cannot be started."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.errors import CannotRun, Usage, XdiagError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Errors after which execvp(3) looks at the next directory of PATH.
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)
#: Bytes in which a script names its interpreter (BINPRM_BUF_SIZE, linux/binfmts.h).
_FIRST_LINE = 256


class Program(NamedTuple):
    """Paths to try in turn, arguments (the first as it was given) and variables."""

    candidates: list[bytes]
    arguments: list[bytes]
    variables: dict[bytes, bytes]

    @classmethod
    def of(cls, command: Sequence[str], environ: Mapping[str, str]) -> Program:
        """A command; a name without a slash is looked for in the PATH of ``environ``.

        Raises Usage for one that no program can be given.
        """
        if not command or not command[0]:
            raise Usage("no command to start")
        arguments = [os.fsencode(each) for each in command]
        # execve refuses a variable without a name, and no program can ask for it.
        variables = {os.fsencode(name): os.fsencode(environ[name]) for name in environ if name}
        if any(b"\0" in text for text in (*arguments, *variables, *variables.values())):
            raise Usage(f"{_shown(command[0])}: an argument or variable of it contains a NUL")
        if b"/" in arguments[0]:
            return cls([arguments[0]], arguments, variables)
        folders = [os.fsencode(each) for each in os.get_exec_path(environ)]
        return cls([os.path.join(each, arguments[0]) for each in folders], arguments, variables)

    def become(self) -> tuple[int, int]:
        """Be that program from now on; where that fails, the errno to tell and of which candidate.

        The rules are those of execvp(3), but a file of no known format is not given to a shell.
        """
        refused = (errno.ENOENT, 0)
        for place, path in enumerate(self.candidates):
            number = self._refusal(path)
            if number not in (*_NOT_HERE, errno.EACCES):
                return number, place
            if number == errno.EACCES and refused[0] != errno.EACCES:
                refused = (number, place)
        return refused

    def _refusal(self, path: bytes) -> int:
        try:
            os.execve(path, self.arguments, self.variables)
        except OSError as error:
            return error.errno or errno.EIO

    def why(self, number: int, place: int) -> XdiagError:
        """One line about what ``become`` returned, and what to do about it."""
        path = os.fsdecode(self.candidates[place])
        shown = _shown(path)
        if number in _NOT_HERE:
            there = next(filter(os.path.isfile, map(os.fsdecode, self.candidates)), "")
            if there:
                return CannotRun(f"{_shown(there)}: {_missing_interpreter(there)}")
            name = os.fsdecode(self.arguments[0])
            where = "no such file" if "/" in name else "no such command in PATH"
            return Usage(f"{_shown(name)}: {where}")
        if number == errno.EACCES and os.path.isdir(path):
            return Usage(f"{shown}: a directory, no command")
        if number == errno.EACCES:
            return CannotRun(f"{shown}: may not be executed (chmod +x, if it is a program)")
        if number == errno.ENOEXEC:
            return CannotRun(
                f"{shown}: no program for this machine, and no script that begins with #!"
                f" (no shell is started; if it is a shell script, give it to one: sh {shown})"
            )
        return CannotRun(f"{shown}: cannot be executed: {os.strerror(number)}")


def environment() -> dict[str, str]:
    """The variables that this process was started with.

    Not ``os.environ``: in the C locale Python adds LC_CTYPE to that (PEP 538).
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environ)
    variables: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition(b"=")
        if name and equals:
            variables.setdefault(os.fsdecode(name), os.fsdecode(value))
    return variables


def _missing_interpreter(path: str) -> str:
    """What a file that is there lacks, when the kernel says that there is none."""
    named = ""
    try:
        with open(path, "rb") as file:
            before, mark, rest = file.readline(_FIRST_LINE).partition(b"#!")
        if mark and not before:
            # Ended by space, tab or newline (fs/binfmt_script.c); a carriage return is of the name.
            named = os.fsdecode(b"".join(re.findall(rb"[^ \t\n\0]+", rest)[:1]))
        else:
            named = elf.read(path, Root("/")).interpreter
    except (OSError, XdiagError):
        pass
    return f"its interpreter is missing: {_shown(named)}" if named else "its interpreter is missing"


def _shown(name: str) -> str:
    """A name on one line."""
    return name if name.isprintable() else repr(name)
