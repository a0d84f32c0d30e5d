"""The whole history of one handle that was asked for, as far as a log has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.explain import amd_log
from xdiag.explain.facts import Step

if TYPE_CHECKING:
    from xdiag.explain.facts import Line

#: Lines told of a handle; more are counted.
_MOST = 200


class Teller:
    """Collects what lines do with a handle."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        #: As logs write it: with as many digits as it has.
        self.text = f"{handle:#x}".encode()
        self.steps: list[Step] = []
        self.more = 0

    def concerns(self, text: bytes, place: int) -> bool:
        """Whether the number at a place ends there: it is not the beginning of a longer one."""
        end = place + len(self.text)
        return not text[end : end + 1].isalnum()

    def take(self, text: bytes, line: Line) -> None:
        """A line with the handle in it."""
        if len(self.steps) >= _MOST:
            self.more += 1
            return
        message = amd_log.message(text).text
        made = amd_log.made(message)
        entered = amd_log.entered(message)
        if made is not None and made[1] == self.handle:
            what = "made"
        elif entered is not None:
            what = "destroyed" if entered[0].endswith("Destroy") else "given"
        else:
            what = "named"
        self.steps.append(Step(what, line))
