"""The files that a command will run, as far as its words tell: whose they are matters to root."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from xdiag.loader.program import interpreter_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from xdiag.discover.root import Root

#: An absolute path in a shell's or Python's text, up to what cannot be of it without quoting.
_PATH_IN_TEXT = re.compile(r"(?<![\w./-])/[^\s'\"`;|&<>(){}$,=:*?\[\]\0]+")
#: Longest path (PATH_MAX), words of a command and paths in one word that are looked at.
_LONGEST, _MOST_WORDS, _MOST_PATHS = 4096, 1 << 14, 1 << 10


def files_of(
    command: Sequence[str], root: Root, environ: Mapping[str, str], cwd: str
) -> tuple[str, ...]:
    """The existing files that the words of a command name, and the interpreters of scripts.

    A word is a file's path, from ``cwd``, a program on PATH, what an option has after ``=``, or a
    text with absolute paths in it.  Which of the files are run and which only read is not told
    apart: that is the command's own affair.  Not seen are files that a text names otherwise
    (relative, through a variable), and what the files themselves start.
    """
    found: dict[str, None] = {}
    for path in _named(command[:_MOST_WORDS], environ, cwd):
        if len(path) <= _LONGEST and os.path.isfile(root.outside(path)):
            found[path] = None
            # The program of a script; of one that is started by env, the program that env finds.
            found[os.path.join(cwd, interpreter_of(path, root, environ, cwd))] = None
    return tuple(found)


def imported_from(
    module: str,
    *,
    has_script: bool,
    environ: Mapping[str, str],
    search_path: Iterable[str],
    cwd: str,
) -> tuple[str, ...]:
    """Directories and files that Python takes code from: PYTHONPATH, the module of ``-m``.

    Without a script the working directory comes first (sys.path in Python's library reference).
    """
    found = [] if has_script else [cwd]
    # An empty entry is the working directory.
    entries = environ["PYTHONPATH"].split(":") if environ.get("PYTHONPATH") else []
    found += [os.path.join(cwd, each) for each in entries]
    if module:
        for folder in (cwd, *entries, *search_path):
            found += _module_in(os.path.join(cwd, folder), module)
    return tuple(dict.fromkeys(found))


def _named(words: Sequence[str], environ: Mapping[str, str], cwd: str) -> Iterator[str]:
    """Paths that words may mean, absolute, whether or not anything is there."""
    folders = [os.path.join(cwd, each) for each in environ.get("PATH", os.defpath).split(":")]
    for place, word in enumerate(words):
        if not word:
            continue
        if place or "/" in word:
            yield os.path.join(cwd, word)
        if "/" not in word:
            # The first only, as execvp(3) does: the others are never reached.
            there = (os.path.join(each, word) for each in folders)
            yield next(filter(_is_program, there), word)
        elif word.startswith("-") or "=" in word:
            yield os.path.join(cwd, word.partition("=")[2])
        for match, _ in zip(_PATH_IN_TEXT.finditer(word), range(_MOST_PATHS), strict=False):
            yield match[0]


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _module_in(folder: str, module: str) -> Iterator[str]:
    """The package or file of a dotted name below a directory, where it is there."""
    path = os.path.join(folder, *module.split("."))
    for each in (path, f"{path}.py"):
        if os.path.exists(each):
            yield each
