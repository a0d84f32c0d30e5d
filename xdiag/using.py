"""A use step, and short-hands to write down the calls that a consumer makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from xdiag.model import Step, parse_step

#: What a step compares where XSched's CUDA queue leaves if they differ.
CONTEXTS = ("current", "context")
#: How often each of two threads makes a call that both make at the same moment.
_TIMES = 200
#: BlockingSync | DisableTiming on both platforms, as XSched's event pool makes its events.
_XSCHED_EVENT = 3


@dataclass(frozen=True)
class Use:
    """A use step's parts: ``user: use(RUNTIME, HANDLE)``."""

    step: Step

    @property
    def user(self) -> str:
        """The actors that use the stream."""
        return " & ".join(self.step.actors)

    @property
    def alone(self) -> bool:
        """Whether only one actor uses it."""
        return len(self.step.actors) == 1

    def line(self, text: str, *, independent: bool = False, trusting: bool = False) -> Step:
        """A step by the user, on the runtime of use; ``{s}`` stands for the handle."""
        runtime, handle = self.step.args[0], self.step.args[1]
        text = text.format(user=self.user, R=runtime, s=handle)
        parsed = parse_step(text if ":" in text else f"{self.user}: {text}")
        return Step(
            actors=parsed.actors,
            verb=parsed.verb,
            args=parsed.args,
            runtime=parsed.runtime,
            result=parsed.result,
            # Often enough that two threads really meet inside the runtime.
            repeat=_TIMES if independent and len(parsed.actors) > 1 else parsed.repeat,
            tolerated=parsed.tolerated,
            phase="use",
            independent=independent,
            trusting=trusting,
        )


def start_of_xscheds_queue(use: Use, *, lazily: bool) -> tuple[Step, ...]:
    """What the own thread of an XQueue calls first, on both platforms; it leaves nothing running.

    ``lazily``: it takes the current context itself, in the place of the creator's.  Source:
    XpuOS/xsched, OnXQueueCreate of platforms/{hip,cuda}/hal, and LaunchWrapper.
    """
    return (
        use.line("queue = native_thread()"),
        *([use.line("queue: context = {R}.CtxGetCurrent()")] if lazily else []),
        use.line("queue: {R}.CtxSetCurrent(context)"),
        use.line(f"queue: event = {{R}}.EventCreateWithFlags({_XSCHED_EVENT})"),
        use.line("queue: {R}.EventRecord(event, {s})"),
        use.line("queue: {R}.EventSynchronize(event)"),
        use.line("queue: {R}.StreamSynchronize({s})"),
        use.line("queue: end()"),
    )
