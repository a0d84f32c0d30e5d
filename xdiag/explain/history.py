"""What happened to a handle, as far as a log has it: one that failed, or one that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.explain import amd_log
from xdiag.explain.facts import Step
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.explain.evidence import Found
    from xdiag.explain.facts import Line

#: Lines told of a handle; more are counted.
_MOST = 200


def of(found: Found, died: Line | None = None) -> Iterator[Step]:
    """The steps of the handle of a failure, in their order; with the line of the crash in it."""
    failure = found.failure
    steps = [Step(what, line) for what, line in _before(found) if line is not None]
    # Of one source they are told in the order of its lines; others came as they were given.
    if len({step.line.source for step in steps}) == 1:
        steps.sort(key=lambda step: step.line.number)
    yield from steps
    if died is not None:
        yield Step("died", died)
    elif failure.code:
        for line in [failure.line, *found.more] if steps else []:
            yield Step("refused" if failure.code == CONTEXT_IS_DESTROYED else "failed", line)
    elif failure.code == 0:
        yield Step("accepted", failure.line)
        return
    if found.accepted_after is not None:
        yield Step("accepted", found.accepted_after)


def _before(found: Found) -> Iterator[tuple[str, Line | None]]:
    life = found.life
    if life is not None and life.before is not None:
        before = life.before
        if before.made_at:
            yield f"an earlier {before.kind} made there", before.made
        if before.ended is not None:
            yield f"the earlier {before.kind} destroyed", before.ended.line
    if life is not None and life.made_at:
        yield "made", life.made
    if found.whole is not None:
        yield "whole handle made", found.whole.made
    if found.elsewhere is not None:
        yield "made in another process", found.elsewhere[1].made
    yield "accepted", found.accepted_before
    if found.end is not None:
        yield "destroyed", found.end.line
    if found.reset is not None:
        same = life is not None and found.reset.device == life.device
        yield "device reset" if same else "a device reset", found.reset.line
    yield "given", found.failure.entry


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
