"""PyTorch as a consumer: its own work on the stream, and what its steps mean.

torch runs on the runtime that it was built with, or brings along; ``T = torch()`` starts it and
gives that runtime a name, so that a story can make driver calls on it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag.model import Consumer, NotApplicable
from xdiag.using import Use

if TYPE_CHECKING:
    from xdiag.model import Result, Step

#: Cells with torch in them are forked from a process that has imported it, which takes seconds, and
#: started nothing (engine/zygote.py).
ENVIRONMENT = {"XDIAG_IMPORT": "torch"}
#: The name that stories give to torch's runtime, and to the one that is under test anyway.
RUNTIME, _UNDER_TEST = "T", "A"


@dataclass(frozen=True)
class Action:
    """What a step can be besides a call and one of ``xdiag.model.ACTIONS``."""

    means: str
    #: What a program writes for it, where torch does it; it is done by ``engine.torch_work`` then.
    called: str = ""
    #: Whether its argument is a stream.
    of_stream: bool = False


TORCH_ACTIONS = {
    "torch": Action(
        "start torch on this actor's device; the result is the runtime that torch uses",
        "torch.cuda.init",
    ),
    "torch_stream": Action(
        "a stream from torch's pool, of this priority and, if it is named, this device",
        "torch.cuda.Stream",
    ),
    "torch_external": Action(
        "torch's ExternalStream around a stream that torch did not make",
        "torch.cuda.ExternalStream",
        of_stream=True,
    ),
    "torch_default": Action("torch's default stream", "torch.cuda.default_stream"),
    "torch_current": Action(
        "torch's current stream, of the actor that asks", "torch.cuda.current_stream"
    ),
    "torch_make_current": Action(
        "make a stream the actor's current one", "torch.cuda.set_stream", of_stream=True
    ),
    "torch_begin_capture": Action(
        "begin to capture a graph on a stream",
        "torch.cuda.CUDAGraph.capture_begin",
        of_stream=True,
    ),
    "torch_copy": Action(
        "copy from the host to the device and back, on a stream; compare",
        "torch.Tensor.copy_",
        of_stream=True,
    ),
    "torch_matmul": Action(
        "multiply two matrices on a stream; compare with the processor's product",
        "torch.matmul",
        of_stream=True,
    ),
    "torch_backward": Action(
        "the same with gradients, which autograd's own thread computes; compare",
        "torch.Tensor.backward",
        of_stream=True,
    ),
    "torch_graph": Action(
        "capture a graph on a stream and replay it; compare", "torch.cuda.graph", of_stream=True
    ),
    "torch_autograd": Action("the thread of autograd that runs backward functions, as an actor"),
    "torch_dataloader": Action("a worker process of torch's DataLoader, as an actor"),
    "thread_pool": Action("the thread of a concurrent.futures.ThreadPoolExecutor, as an actor"),
    "process": Action("a process of Python's multiprocessing, as an actor: by fork or by spawn"),
}


def work(step: Step) -> tuple[Step, ...] | NotApplicable:
    """What torch does with a stream: work whose results are compared, on the stream it is given."""
    use = Use(step)
    runtime, handle = str(step.args[0]), step.args[1]
    if runtime not in (RUNTIME, _UNDER_TEST):
        return NotApplicable(
            reason=f"torch uses the runtime that it was built with, and cannot be given {runtime}"
        )
    if handle in ("LEGACY", "PER_THREAD"):
        return NotApplicable(
            reason="torch takes no special handle: ExternalStream takes pointers, and tells them"
            " from the numbers of its own streams by their lowest bit"
        )
    first = step.actors[0]
    return (
        *([] if runtime == RUNTIME else [use.line(f"{first}: {RUNTIME} = torch()")]),
        use.line("{user}: torch_copy({s})", independent=True),
        use.line("{user}: torch_matmul({s})", independent=True),
        use.line("{user}: torch_backward({s})", independent=True),
        # One capture per stream, and none of the default stream.
        *([use.line("{user}: torch_graph({s})", independent=True)]
          if use.alone and handle != "NULL" else []),
    )  # fmt: skip


def brought_another(result: Result) -> bool:
    """Whether torch worked on another copy of the runtime than the story that it was put into.

    Such a cell is the case itself, whatever its pattern is about.
    """
    runtimes = result.outcome.runtimes
    both = [runtimes[name] for name in (_UNDER_TEST, RUNTIME) if name in runtimes]
    return len({(each.device, each.inode, each.namespace) for each in both}) > 1


CONSUMER = Consumer(
    id="torch",
    title="PyTorch's own work on the stream, results checked",
    does="Copies, multiplies, computes gradients and captures a graph on the stream, and compares"
    " what comes out with what the processor computes.",
    expand=work,
    environment=ENVIRONMENT,
)
