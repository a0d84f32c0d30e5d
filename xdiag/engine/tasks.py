"""What Python is asked to do in a step, for one actor: torch's work, calls of XSched's binding."""

from __future__ import annotations

import os
import threading
import time
from typing import Any


class NotHere(Exception):
    """The experiment makes no sense with what is here; the message says why."""


class NotAsked(Exception):
    """One thing cannot be asked here; the message says why."""


class Task:
    """One step for one actor, made as a ``native.Request`` is; subclasses say what in ``_do``."""

    def __init__(self, repeat: int = 1) -> None:
        self._repeat = repeat
        #: The stream that it is given, None for none.
        self.handle: int | None = None
        #: What came of it, as fields of a StepRecord.
        self.came: dict[str, Any] = {}
        #: What the step names.
        self.value: int | None = None
        #: Why the story makes no sense here, and how the actor's process ended, where that is so.
        self.not_here = ""
        self.wait_status: int | None = None

    def execute(self) -> None:
        """Do it on the calling thread; what it raises is kept."""
        self.came = {"pid": os.getpid(), "tid": threading.get_native_id(), "state": "done"}
        made, started = 0, time.monotonic_ns()
        try:
            while made < self._repeat:
                made += 1
                self._do()
        except NotHere as error:
            self.not_here = str(error)
        except NotAsked as error:
            self.came |= {"state": "skipped", "error": str(error)}
        except Exception as error:
            self.came |= {"state": "failed", "failed": True, "error": first_line(error)}
            self.came |= self._told_by(error)
        self.came |= {"made": made, "nanoseconds": time.monotonic_ns() - started}

    def _do(self) -> None:
        """Do it once; raises NotHere, NotAsked, and whatever else is then its failure."""
        raise NotImplementedError

    def _told_by(self, error: Exception) -> dict[str, Any]:
        """Fields of a StepRecord that a failure has besides."""
        del error
        return {}

    def take(self, answer: Task) -> None:
        """Take over what came of it in another process."""
        self.__dict__.update(answer.__dict__)

    def died(self, wait_status: int) -> None:
        """Note that the process of its actor has ended; as from os.waitpid, -1 if not known."""
        self.wait_status = wait_status


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
