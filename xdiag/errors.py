"""What ends a command early: one clear line and an exit code, never a traceback."""

from __future__ import annotations

#: Exit codes of every command.
NOTHING_WRONG, FAULT_FOUND, WRONG_USAGE, COULD_NOT_RUN = 0, 1, 2, 3
#: As shells have it for a program that SIGINT ended.
INTERRUPTED = 130


class XdiagError(Exception):
    """An error for the user: the message says what is wrong and what to do."""

    exit_code = COULD_NOT_RUN


class Usage(XdiagError):
    """What was asked for makes no sense."""

    exit_code = WRONG_USAGE


class CannotRun(XdiagError):
    """The experiment cannot be carried out here."""


def near_matches(wrong: str, known: list[str]) -> str:
    """The nearest known names as ``; did you mean a or b?``, empty if none is near."""
    import difflib

    near = difflib.get_close_matches(wrong, list(dict.fromkeys(known)), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
