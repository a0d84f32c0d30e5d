"""Records of a measurement: what ran on what, how each run ended, and what follows from them."""

from __future__ import annotations

from typing import Literal

import msgspec

from xdiag.errors import Usage
from xdiag.model import SCHEMA_VERSION, Record

#: How a run ended: as it should, by a status, by a signal, not in time, never started.
Ending = Literal["ok", "exit", "crash", "hang", "not-started"]


class Subject(Record, frozen=True):
    """What is measured: one torch, on one device."""

    #: The interpreter that has torch, and why it is this one.
    python: str
    because: str
    python_version: str
    #: torch.__version__, and what it was built for.
    torch: str
    build: Literal["cpu", "cuda", "hip"]
    #: torch.version.hip and torch.version.cuda; empty where it was built without.
    hip: str = ""
    cuda: str = ""
    #: What the model runs on.
    device: Literal["cpu", "gpu"] = "cpu"
    device_name: str = ""
    #: Version of the kernel's GPU driver; empty where that cannot be told.
    driver: str = ""
    #: Processors that this process may use.
    processors: int = 0
    #: Why there is no GPU in this measurement; empty where there is one.
    no_gpu: str = ""
    folder: str = ""
    #: Whether its C++ libraries have the C++11 ABI (torch._C._GLIBCXX_USE_CXX11_ABI).
    cxx11_abi: bool = True


class Network(Record, frozen=True):
    """A ResNet-18 by its size."""

    name: str
    #: Channels of the first stage; 64 in the ResNet-18 that everybody has.
    width: int
    #: Pixels along a side of an image.
    size: int


class Settings(Record, frozen=True):
    """What was asked for."""

    network: Network
    #: Requests per second of the high-priority worker, and how they arrive.
    rate: float
    arrivals: Literal["uniform", "poisson"]
    #: Seconds that one run measures.
    seconds: float
    repeats: int
    #: Images per request, and per batch of the low-priority worker.
    batch_high: int
    batch_low: int
    #: Iterations, and seconds, of each worker before anything counts.
    warmup: int
    warm_seconds: float
    seed: int
    #: Seconds after which a run is a hang; how long its start and end may take besides.
    timeout: float


class Queues(Record, frozen=True):
    """What became of XSched's queues in one run."""

    #: Commands that went through each worker's queue (XQueueProfileHwCommandCount).
    high: int | None = None
    low: int | None = None


class Run(Record, frozen=True):
    """One run: an arrangement under a driver, in a process of its own."""

    arrangement: str
    driver: str
    repeat: int
    ending: Ending
    #: Exit status or number of the signal.
    status: int = 0
    #: Its last line, where it did not end well.
    said: str = ""
    #: Milliseconds from a request's scheduled arrival to its result, in order of arrival.
    latencies: tuple[float, ...] = ()
    #: Of these the last ones were never served: each has waited so long at least.
    unserved: int = 0
    #: Results per second of the high-priority worker, batches per second of the other.
    served_rate: float | None = None
    batch_rate: float | None = None
    queues: Queues | None = None
    #: GPU runtimes and XSched's libraries that were mapped, by path.
    libraries: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether it has results; it may have ended badly after them."""
        return bool(self.latencies) or self.batch_rate is not None


class Skip(Record, frozen=True):
    """What was not run, and why."""

    what: str
    reason: str


class Estimate(Record, frozen=True):
    """A mean over runs, with its interval where there was more than one run."""

    value: float
    low: float | None = None
    high: float | None = None


class Summary(Record, frozen=True):
    """The runs of an arrangement under a driver, put together."""

    arrangement: str
    driver: str
    #: Runs with results, and all.
    measured: int
    runs: int
    #: Milliseconds.
    p50: Estimate | None = None
    p90: Estimate | None = None
    p99: Estimate | None = None
    #: Results per second, batches per second.
    served_rate: Estimate | None = None
    batch_rate: Estimate | None = None
    #: Requests that were never served, over all runs.
    unserved: int = 0
    #: How those ended that did not end well, each with how often.
    failures: dict[str, int] = msgspec.field(default_factory=dict)


class Statement(Record, frozen=True):
    """One comparison, in words that the intervals support."""

    #: "threads", "executor", or "mixed" for both at once: of drivers; "sharing": of arrangements.
    about: Literal["threads", "executor", "mixed", "sharing"]
    quantity: Literal["P50", "P99"]
    arrangement: str
    #: What is compared with what: a / b.
    a: str
    b: str
    ratio: Estimate | None
    verdict: Literal["more", "less", "alike", "not-told"]
    text: str


class Report(Record, frozen=True):
    """A whole measurement."""

    schema_version: int
    xdiag: str
    command: str
    #: When it began, in UTC.
    started: str
    subject: Subject
    settings: Settings
    runs: tuple[Run, ...]
    skips: tuple[Skip, ...]
    summaries: tuple[Summary, ...]
    statements: tuple[Statement, ...]
    #: What was set in the environment of XSched's runs.
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    interrupted: bool = False


def read(text: bytes, name: str) -> Report:
    """A saved report.  Raises Usage, with the file's ``name``, for what is none."""
    try:
        report = msgspec.json.decode(text, type=Report)
    except msgspec.DecodeError as error:
        raise Usage(f"{name} is not a report of xdiag workload: {error}") from error
    if report.schema_version > SCHEMA_VERSION:
        raise Usage(
            f"{name} was written by xdiag {report.xdiag}, newer than this one; update xdiag"
        )
    return report
