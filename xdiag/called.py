"""What a step is called where people meet it: hipStreamQuery, HipQueueCreate, torch.cuda.Stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import native, platforms
from xdiag.torch_consumer import TORCH_ACTIONS

if TYPE_CHECKING:
    from xdiag.model import Step

#: Steps that call XSched's Python binding; ``Platform.xsched`` says what they are called there.
BINDINGS = ("binding", "old_binding")
#: Steps that torch does, and what a program writes for them.
_TORCH = {verb: action.called for verb, action in TORCH_ACTIONS.items() if action.called}


def is_xsched(step: Step) -> bool:
    """Whether a step is a call of XSched's, through its libraries or its Python binding."""
    return (step.verb in native.xsched_calls()) if step.runtime else (step.verb in BINDINGS)


def is_torch(step: Step) -> bool:
    """Whether torch does a step."""
    return not step.runtime and step.verb in _TORCH


def takes_stream(step: Step) -> bool:
    """Whether torch does a step with a stream that it is given first."""
    return is_torch(step) and TORCH_ACTIONS[step.verb].of_stream


def shown(step: Step, platform: str) -> str:
    """What a step is called in a trace: hipStreamQuery, HipQueueCreate, open."""
    if step.runtime:
        return native.every_call()[step.verb].shown(platform)
    if step.verb in BINDINGS:
        return ".".join(getattr(platforms.get(platform).xsched, step.verb))
    return _TORCH.get(step.verb, step.verb)
