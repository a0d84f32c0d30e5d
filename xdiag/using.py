"""A use step, and short-hands to write down the calls that a consumer makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from xdiag.model import Step, parse_step

#: How often each of two threads makes a call that both make at the same moment.
_TIMES = 200


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
