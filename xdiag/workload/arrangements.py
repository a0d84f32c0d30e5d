"""How the two workers share the device, and who drives them: what each is and what it needs."""

from __future__ import annotations

from typing import Literal

from xdiag.model import Record


class Arrangement(Record, frozen=True):
    """One way to run the workers."""

    id: str
    title: str
    workers: tuple[str, ...] = ("high", "low")
    #: Whether the high-priority worker's stream has a higher priority.
    priorities: bool = False
    #: XSched's queues: made by the workers, or by its shim for every stream.
    queues: Literal["", "made", "shim"] = ""

    @property
    def needs_gpu(self) -> bool:
        """Whether it means nothing without streams."""
        return self.priorities or bool(self.queues)


class Driver(Record, frozen=True):
    """One way to drive the workers."""

    id: str
    title: str


ARRANGEMENTS = (
    Arrangement("single-high", "the high-priority worker alone", ("high",)),
    Arrangement("single-low", "the low-priority worker alone", ("low",)),
    Arrangement("baseline", "both, each on a stream of its own"),
    Arrangement("priority", "both, streams of different priority", priorities=True),
    Arrangement("xsched", "both, XSched's queues as the case makes them", queues="made"),
    Arrangement("xsched-shim", "both, all launches through XSched's shim", queues="shim"),
)

DRIVERS = (
    Driver("python", "Python threads, the model as modules (as the case has it)"),
    Driver("python-script", "Python threads, the model as TorchScript"),
    Driver("cpp", "pthreads on LibTorch, the same TorchScript"),
)
