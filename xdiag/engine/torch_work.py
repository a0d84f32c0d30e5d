"""What torch is asked to do in a story, in whichever process and thread the actor is.

torch is imported by the warm parent of these cells, and started (given a device) here only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from xdiag import native, platforms
from xdiag.discover.torch import unfit
from xdiag.engine.tasks import NotAsked, NotHere, Task, first_line
from xdiag.torch_consumer import TORCH_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.model import Step
    from xdiag.platforms import Platform

#: Side of the matrices, and bytes copied: some blocks of work, done in well under a second.
_SIDE = 256
_BYTES = 1 << 20
#: What a runtime's error looks like in a message of torch's.
_SAYS = re.compile(r"(?:CUDA|HIP) error: (?P<what>[^\n]+)")
#: cudaErrorNoDevice and hipErrorNoDevice.
_NO_DEVICE = 100

#: Streams that torch gave out in this process, by handle, and captures that are not to end.
_streams: dict[int, Any] = {}
_captures: list[Any] = []


class TorchTask(Task):
    """One step of torch's for one actor."""

    def __init__(self, step: Step, args: tuple[int, ...], platform: str) -> None:
        super().__init__(step.repeat)
        self._verb, self._args, self._platform = step.verb, args, platform
        if TORCH_ACTIONS[step.verb].of_stream:
            self.handle = args[0]
        #: Of ``torch()``: the file of the runtime that torch uses.
        self.runtime = ""

    def _do(self) -> None:
        if self._verb == "torch":
            self.runtime = _start(platforms.get(self._platform))
        else:
            self.value = _DO[self._verb](*self._args)

    def _told_by(self, error: Exception) -> dict[str, Any]:
        code = _code(error, self._platform)
        if code is None:
            return {}
        name = native.errors(self._platform).get(code, (f"error {code}", ""))[0]
        return {"code": code, "name": name}


# ---- starting ----------------------------------------------------------------------------------


def _torch() -> Any:
    import torch

    return torch


def _start(facts: Platform) -> str:
    """Start torch on this thread's device; the file of the runtime that it uses.

    Raises NotHere where this torch, or this machine, is not one to ask.
    """
    torch = _torch()
    built = {"hip": torch.version.hip, "cuda": torch.version.cuda}
    if reason := unfit(torch.__version__, built, facts.id):
        raise NotHere(reason)
    # Of a forked process whose parent had started torch this is the question, not an obstacle.
    refuses_forks = getattr(torch.cuda, "_is_in_bad_fork", lambda: False)()
    try:
        torch.cuda.init()
        if not torch.cuda.device_count():
            raise RuntimeError("no device is visible to it")
    except (RuntimeError, AssertionError) as error:
        # What the runtime says of something else, a context that is gone, is an outcome.
        if refuses_forks or _code(error, facts.id) not in (None, _NO_DEVICE):
            raise
        raise NotHere(f"{_told(torch)} finds no GPU: {first_line(error)}") from error
    # Each actor would have as many threads as processors, and more cells run beside this one.
    torch.set_num_threads(1)
    # The first allocation makes the device's primary context this thread's current one.
    torch.zeros(1, device="cuda")
    from xdiag.engine.torch_runtime import runtime_of

    runtime = runtime_of(torch, facts)
    if not runtime:
        raise NotHere(f"{_told(torch)} has started, and no library of its has {facts.proof}")
    return runtime


def _told(torch: Any) -> str:
    return f"torch {torch.__version__}"


# ---- streams -----------------------------------------------------------------------------------


def _keep(stream: Any) -> int:
    handle = int(stream.cuda_stream)
    _streams[handle] = stream
    return handle


def _stream(handle: int) -> Any:
    """Torch's object for a handle: the one it gave out, or an ExternalStream around it."""
    torch = _torch()
    if handle == 0:
        return torch.cuda.default_stream()
    return _streams.get(handle) or torch.cuda.ExternalStream(handle)


def _from_pool(priority: int, device: int = 0) -> int:
    return _keep(_torch().cuda.Stream(device=device, priority=priority))


def _external(handle: int) -> int:
    return _keep(_torch().cuda.ExternalStream(handle))


def _default() -> int:
    return int(_torch().cuda.default_stream().cuda_stream)


def _current() -> int:
    return int(_torch().cuda.current_stream().cuda_stream)


def _make_current(handle: int) -> None:
    _torch().cuda.set_stream(_stream(handle))


def _begin_capture(handle: int) -> None:
    torch = _torch()
    graph = torch.cuda.CUDAGraph()
    _captures.append(graph)
    torch.cuda.set_stream(_stream(handle))
    graph.capture_begin(capture_error_mode="relaxed")


# ---- work --------------------------------------------------------------------------------------


def _numbers(torch: Any, *shape: int) -> Any:
    """Small whole numbers, so that sums of products are exact whatever the device computes with."""
    return torch.arange(shape[0] * shape[1], dtype=torch.float32).reshape(shape) % 3


def _must_be(what: Any, expected: Any) -> None:
    if not bool((what.cpu() == expected).all()):
        raise ValueError("the result differs from the processor's")


def _must_compute() -> None:
    """Raises NotAsked over xdiag's agent, which knows no kernels but the runtime's own."""
    from xdiag.engine.torch_runtime import over_our_agent

    if over_our_agent():
        raise NotAsked("the software agent executes no kernels of torch's")


def _copy(handle: int) -> None:
    torch = _torch()
    source = (torch.arange(_BYTES, dtype=torch.int64) % 251).to(torch.uint8).pin_memory()
    stream = _stream(handle)
    with torch.cuda.stream(stream):
        there = torch.empty(_BYTES, dtype=torch.uint8, device="cuda")
        there.copy_(source, non_blocking=True)
        back = torch.empty(_BYTES, dtype=torch.uint8, pin_memory=True)
        back.copy_(there, non_blocking=True)
    stream.synchronize()
    _must_be(back, source)


def _matmul(handle: int) -> None:
    _must_compute()
    torch = _torch()
    left, right = _numbers(torch, _SIDE, _SIDE), _numbers(torch, _SIDE, _SIDE).T.contiguous()
    stream = _stream(handle)
    with torch.cuda.stream(stream):
        product = torch.matmul(left.cuda(), right.cuda())
    stream.synchronize()
    _must_be(product, torch.matmul(left, right))


def _backward(handle: int) -> None:
    _must_compute()
    torch = _torch()
    weights, data = _numbers(torch, _SIDE, _SIDE), _numbers(torch, _SIDE, _SIDE)
    stream = _stream(handle)
    # Backward functions are run with gradients off, and this may be asked in one.
    with torch.cuda.stream(stream), torch.enable_grad():
        there = weights.cuda().requires_grad_()
        torch.matmul(data.cuda(), there).sum().backward()
    stream.synchronize()
    # The gradient of a sum of products is the sum of what each weight was multiplied with.
    _must_be(there.grad, data.sum(0, keepdim=True).T.expand(_SIDE, _SIDE))


def _graph(handle: int) -> None:
    _must_compute()
    torch = _torch()
    start = _numbers(torch, _SIDE, _SIDE)
    stream = _stream(handle)
    with torch.cuda.stream(stream):
        there = start.cuda()
        # Once before the capture: what is prepared at a first use cannot be captured.
        there.mul(2).add(1)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed"):
        result = there.mul(2).add(1)
    there.add_(1)
    torch.cuda.synchronize()
    graph.replay()
    torch.cuda.synchronize()
    _must_be(result, (start + 1) * 2 + 1)


_DO: dict[str, Callable[..., int | None]] = {
    "torch_stream": _from_pool,
    "torch_external": _external,
    "torch_default": _default,
    "torch_current": _current,
    "torch_make_current": _make_current,
    "torch_begin_capture": _begin_capture,
    "torch_copy": _copy,
    "torch_matmul": _matmul,
    "torch_backward": _backward,
    "torch_graph": _graph,
}


# ---- what it raises ----------------------------------------------------------------------------


def _code(error: BaseException, platform: str) -> int | None:
    """The runtime's error code in what torch raised, None where there is none.

    torch.AcceleratorError has it (torch 2.8 and later); before, only the message says it, in the
    words of hipGetErrorString: a meaning as in our list of errors, or, in HIP 5, the name.
    """
    code = getattr(error, "error_code", None)
    if isinstance(code, int):
        return code
    said = _SAYS.search(str(error))
    if said is None:
        return None
    words = said["what"].strip().lower()
    for known, described in native.errors(platform).items():
        if words in map(str.lower, described):
            return known
    return None
