"""What a step is called where people meet it: hipStreamQuery, HipQueueCreate, torch.cuda.Stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import native, platforms

if TYPE_CHECKING:
    from xdiag.model import Step

#: Steps that call XSched's Python binding; ``Platform.xsched`` says what they are called there.
BINDINGS = ("binding", "old_binding")
#: Steps that torch does, and what a program writes for them.
TORCH = {
    "torch": "torch.cuda.init",
    "torch_stream": "torch.cuda.Stream",
    "torch_external": "torch.cuda.ExternalStream",
    "torch_default": "torch.cuda.default_stream",
    "torch_current": "torch.cuda.current_stream",
    "torch_make_current": "torch.cuda.set_stream",
    "torch_begin_capture": "torch.cuda.CUDAGraph.capture_begin",
    "torch_copy": "torch.Tensor.copy_",
    "torch_matmul": "torch.matmul",
    "torch_backward": "torch.Tensor.backward",
    "torch_graph": "torch.cuda.graph",
}


def is_xsched(step: Step) -> bool:
    """Whether a step is a call of XSched's, through its libraries or its Python binding."""
    return (step.verb in native.xsched_calls()) if step.runtime else (step.verb in BINDINGS)


def is_torch(step: Step) -> bool:
    """Whether torch does a step."""
    return not step.runtime and step.verb in TORCH


def shown(step: Step, platform: str) -> str:
    """What a step is called in a trace: hipStreamQuery, HipQueueCreate, open."""
    if step.runtime:
        return native.every_call()[step.verb].shown(platform)
    if step.verb in BINDINGS:
        return ".".join(getattr(platforms.get(platform).xsched, step.verb))
    return TORCH.get(step.verb, step.verb)
