"""What a command about to be started comes to: the program, its environment, the script.

Followed are ``#!`` lines, ``env``, programs that only start another one (nice, timeout, ...), and
Python's own options; a shell is not, and that is said.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.doctor.interpreter import Interpreter, first_line, is_python, launched, on_path
from xdiag.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xdiag.discover.root import Root

#: Programs whose arguments end with the command that they become.
_WRAPPERS = frozenset(
    ("nice", "ionice", "nohup", "timeout", "setsid", "stdbuf", "taskset", "numactl", "chrt",
     "time", "prlimit", "setpriv", "unbuffer", "catchsegv")
)  # fmt: skip
#: Programs that start others as they please.
_LAUNCHERS = re.compile(
    r"(ba|da|z|k|fi|a|c|tc|)sh|busybox|make|ninja|srun|mpirun|mpiexec|sudo|su|docker|podman|xargs"
)
#: What pip writes where the interpreter's path is too long for a first line.
_EXEC = re.compile(rb"exec['\"]?\s+['\"]?(/[^'\"\s]*python[^'\"\s]*)")
_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
#: execve follows that many scripts (fs/exec.c); wrappers may come on top.
_MOST = 12
#: Python's options that take the next word (Python/getopt.c), and those that end its own.
_TAKES_WORD = frozenset("WX")


@dataclass
class Start:
    """A command, understood."""

    program: str
    #: None where it is no Python.
    interpreter: Interpreter | None
    environ: dict[str, str]
    #: The file that Python runs, or the module of ``-m``; both empty for ``-c`` and the prompt.
    script: str = ""
    module: str = ""
    #: False for Python's -S: site.py, and so site-packages, is left out.
    site: bool = True
    #: False for -I and -E: variables called PYTHON... are not read.
    reads_environment: bool = True
    #: Whether it starts other programs that are not foretold.
    launcher: bool = False


def understood(
    command: Sequence[str], root: Root, environ: Mapping[str, str], cwd: str = "/"
) -> Start:
    """Follow a command to what it becomes; raises Usage where something of it is not there."""
    return _Following(root, dict(environ), cwd, shlex.join(command)).start(list(command))


@dataclass
class _Following:
    root: Root
    environ: dict[str, str]
    cwd: str
    text: str
    because: list[str] = field(default_factory=list)

    def start(self, words: list[str]) -> Start:
        program = ""
        for _ in range(_MOST):
            program = self._program(words[0])
            base = os.path.basename(program)
            if is_python(base):
                return self._python(program, words[1:])
            if base == "env":
                words = self._after_env(words[1:])
            elif base in _WRAPPERS:
                words = self._wrapped(words[1:])
            elif line := first_line(program, self.root):
                if python := self._exec_of(program):
                    line = [python]
                words = [*line, program, *words[1:]]
            else:
                words = []
            if not words:
                break
            self.because.append(program)
        return Start(program, None, self.environ,
                     launcher=bool(_LAUNCHERS.fullmatch(os.path.basename(program))))  # fmt: skip

    def _program(self, word: str) -> str:
        if "/" not in word:
            found = next(on_path((word,), self.root, self.environ), "")
            if found:
                return found
            if _SETTING.fullmatch(word):
                raise Usage(f"{word} before a command is the shell's own: use --env {word}")
            raise Usage(f"no program {word} on PATH{self._for()}")
        path = os.path.normpath(os.path.join(self.cwd, word))
        if not self.root.is_file(path):
            if _SETTING.fullmatch(word):
                raise Usage(f"{word} before a command is the shell's own: use --env {word}")
            raise Usage(f"{path}: no such program{self._for()}")
        return path

    def _for(self) -> str:
        """Whose idea the program is that is not there."""
        where = "" if self.root.is_this_machine else f" in {self.root.path}"
        return f"{where}, which {self.because[-1]} starts" if self.because else where

    def _after_env(self, words: list[str]) -> list[str]:
        """What ``env`` starts, after it has changed the environment (env(1))."""
        while words:
            word = words.pop(0)
            if word in ("-i", "-", "--ignore-environment"):
                self.environ.clear()
            elif word in ("-u", "--unset") and words:
                self.environ.pop(words.pop(0), None)
            elif word in ("-S", "--split-string") and words:
                words = [*shlex.split(words[0]), *words[1:]]
            elif word in ("-C", "--chdir") and words:
                self.cwd = os.path.join(self.cwd, words.pop(0))
            elif match := _SETTING.fullmatch(word):
                self.environ[match[1]] = match[2]
            elif not word.startswith("-"):
                return [word, *words]
        return []

    def _wrapped(self, words: list[str]) -> list[str]:
        """The command among a wrapper's arguments: from the first that is a program."""
        for place, word in enumerate(words):
            if word.startswith("-") or word.replace(".", "").isdecimal():
                continue
            path = os.path.join(self.cwd, word)
            if ("/" in word and self.root.is_file(path)) or (
                "/" not in word and next(on_path((word,), self.root, self.environ), "")
            ):
                return words[place:]
        return []

    def _exec_of(self, program: str) -> str:
        """The Python that a two-language script of pip's hands itself to."""
        match = _EXEC.search(self.root.read(program, 512))
        return os.fsdecode(match[1]) if match else ""

    def _python(self, program: str, words: list[str]) -> Start:
        because = f"the command {self.text}"
        start = Start(program, launched(program, because, self.root), self.environ)
        while words:
            word = words.pop(0)
            if word == "--":
                continue
            if not word.startswith("-") or word == "-":
                if word != "-":
                    start.script = self._script(word)
                break
            if word.startswith("--"):
                continue
            for place, flag in enumerate(word[1:], 1):
                rest = word[place + 1 :]
                if flag == "m":
                    start.module = rest or (words[0] if words else "")
                    return start
                if flag == "c":
                    return start
                if flag in _TAKES_WORD:
                    if not rest and words:
                        words.pop(0)
                    break
                self._flag(flag, start)
        return start

    def _flag(self, flag: str, start: Start) -> None:
        if flag in "IE":
            start.reads_environment = False
            for name in [each for each in self.environ if each.startswith("PYTHON")]:
                del self.environ[name]
        if flag in "Is":
            self.environ["PYTHONNOUSERSITE"] = "1"
        if flag == "S":
            start.site = False

    def _script(self, word: str) -> str:
        path = os.path.normpath(os.path.join(self.cwd, word))
        if not self.root.exists(path):
            raise Usage(f"{path}: no such script")
        return path
