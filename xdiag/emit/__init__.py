"""Stand-alone reproducers: a cell's own steps as a program that needs no xdiag.

``write`` is all that others use.  One walk over the steps (``program.py``) resolves names; a writer
per language spells the rest out.
"""

from __future__ import annotations

import importlib
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdiag.model import Cell, Result, Target

#: What a cell can be written in: language -> (module, a file's usual name).
LANGUAGES = {
    "c": ("xdiag.emit.c", "repro.c"),
    "python": ("xdiag.emit.python", "repro.py"),
    "hip-tests": ("xdiag.emit.hip_tests", "repro.cc"),
}

#: A reproducer is to be read: it has no more lines than this.
MOST_LINES = 119


def write(
    cell: Cell,
    language: str,
    *,
    platform: str = "hip",
    name: str = "",
    options: str = "",
    result: Result | None = None,
    target: Target | None = None,
) -> str:
    """The text of a program that tells the cell's story, in one of ``LANGUAGES``.

    ``name`` is the file's, for the commands in its head; ``options`` are those of ``xdiag probe``
    that the cell was planned with, besides its three names.  With a ``result`` of this cell, and
    the ``target`` that it was obtained on, the head says what was seen there, and a hip-tests case
    expects it.  Where the ``target`` needs another loader, the command in the head starts that.
    Nothing is run.  Raises Usage with the reason where the cell is not applicable or
    the language cannot tell the story.
    """
    from xdiag.emit.head import Words, what_was_seen

    module, usual = LANGUAGES[language]
    writer = importlib.import_module(module)
    seen = what_was_seen(result, target) if result is not None else ""
    libc = target.loader.libc if target is not None and target.loader is not None else ""
    words = Words(
        shlex.quote(name or usual), seen, result, f"{options} " if options else "", libc=libc
    )
    text: str = writer.write(cell, platform, words)
    if text.count("\n") > MOST_LINES:
        # What can be read elsewhere goes first.
        text = writer.write(cell, platform, replace(words, brief=True))
    return text
