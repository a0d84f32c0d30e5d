"""Drive the workers by Python threads, and write what came of it as JSON.

driver.cpp is the same program in C++: what is changed here is to be changed there.  Streams are
made by the main thread and handed to the workers, as the case does it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
import traceback
import warnings

warnings.simplefilter("ignore")

import torch  # noqa: E402 - after its warnings are off
from xdiag_network import network  # type: ignore[import-not-found]  # noqa: E402
from xdiag_queues import Queues  # type: ignore[import-not-found]  # noqa: E402

#: Of the stream of the worker that is in a hurry; 0 is that of all others.
_HIGHER = -1
#: Seconds between the last worker's readiness and the first moment that counts.
_LEAD = 0.05
#: What is worth telling of what was mapped.
_TOLD = ("libamdhip64", "libcuda.so", "libhal", "libshim", "libpreempt")


class Shared:
    """What the workers have in common."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.gpu = asked.device == "gpu"
        with open(asked.arrivals) as lines:
            self.arrivals = [float(line) for line in lines]
        self.start = 0.0
        self.ready = threading.Barrier(len(asked.workers), self._begin)
        self.done = threading.Event()
        self.queues = None
        if asked.queues != "none":
            self.queues = Queues(asked.preempt, asked.hal, asked.create)
        self.result: dict[str, object] = {}
        self.failure = ""

    def _begin(self) -> None:
        self.start = time.monotonic() + _LEAD


class Worker:
    """A model, its input and its stream; made by the main thread, run by its own."""

    def __init__(self, name: str, shared: Shared) -> None:
        asked = shared.asked
        self.name, self.shared = name, shared
        if asked.script:
            self.model = torch.jit.load(asked.model)
        else:
            self.model = network(asked.width)
        device = torch.device("cuda", 0) if shared.gpu else torch.device("cpu")
        self.model.to(device)
        batch = asked.batch_high if name == "high" else asked.batch_low
        self.images = torch.zeros(batch, 3, asked.size, asked.size, device=device)
        self.stream: torch.cuda.Stream | None = None
        self.queue = 0
        if shared.gpu:
            priority = _HIGHER if asked.priorities and name == "high" else 0
            self.stream = torch.cuda.Stream(device, priority=priority)

    def run(self) -> None:
        """The thread: prepare, warm up, wait for the other, work."""
        shared = self.shared
        try:
            # The current stream and the mode are a thread's own.
            on_stream = torch.cuda.stream(self.stream) if shared.gpu else contextlib.nullcontext()
            with on_stream, torch.inference_mode():
                if self.stream is not None:
                    torch.cuda.set_device(0)
                    # A kernel of this thread's own: CUDA's current context is bound with it.
                    torch.zeros(1, device="cuda").add_(1)
                    self.stream.synchronize()
                if shared.queues is not None and self.stream is not None:
                    take = shared.queues.get if shared.asked.queues == "get" else shared.queues.make
                    self.queue = take(self.stream.cuda_stream, self.name)
                self._warm_up()
                before = self._commands()
                shared.ready.wait()
                self._serve() if self.name == "high" else self._grind()
                if self.queue:
                    shared.result[f"{self.name}_commands"] = self._commands() - before
        except BaseException as error:
            if not isinstance(error, threading.BrokenBarrierError):
                traceback.print_exc()
                shared.failure = f"{type(error).__name__}: {error}"
            shared.ready.abort()
            shared.done.set()

    def _once(self) -> None:
        self.model(self.images)
        if self.stream is not None:
            self.stream.synchronize()

    def _commands(self) -> int:
        queues = self.shared.queues
        return queues.commands(self.queue) if queues is not None else 0

    def _warm_up(self) -> None:
        asked = self.shared.asked
        began, times = time.monotonic(), 0
        while times < asked.warmup or time.monotonic() - began < asked.warm_seconds:
            self._once()
            times += 1

    def _serve(self) -> None:
        """Requests, each at its time or as soon after it as the ones before are done."""
        shared = self.shared
        last = shared.start + shared.asked.seconds + shared.asked.grace
        latencies: list[float] = []
        unserved = 0
        now = shared.start
        for arrival in shared.arrivals:
            due = shared.start + arrival
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            if time.monotonic() >= last or shared.done.is_set():
                unserved += 1
                # So long at least.
                latencies.append(max(last, now) - due)
                continue
            self._once()
            now = time.monotonic()
            latencies.append(now - due)
        shared.done.set()
        took = max(now - shared.start, shared.asked.seconds)
        shared.result["latencies"] = latencies
        shared.result["unserved"] = unserved
        shared.result["served_rate"] = (len(latencies) - unserved) / took

    def _grind(self) -> None:
        """Batches without a pause, until the other is done or, alone, until the time is up."""
        shared = self.shared
        alone = len(shared.asked.workers) == 1
        while time.monotonic() < shared.start:
            time.sleep(0.001)
        batches, now = 0, shared.start
        while not shared.done.is_set() and not (
            alone and now - shared.start >= shared.asked.seconds
        ):
            self._once()
            batches += 1
            now = time.monotonic()
        shared.result["batch_rate"] = batches / (now - shared.start) if batches else 0.0


def libraries() -> list[str]:
    """Paths of mapped GPU runtimes and of XSched's libraries."""
    with open("/proc/self/maps") as lines:
        paths = {line.split(None, 5)[5].strip() for line in lines if "/" in line}
    return sorted(each for each in paths if any(told in each.rsplit("/")[-1] for told in _TOLD))


def main() -> int:
    """Run the workers; 1 where one of them failed."""
    parser = argparse.ArgumentParser()
    for name in ("model", "arrivals", "result", "device", "queues", "preempt", "hal", "create"):
        parser.add_argument(f"--{name}", default="")
    for name in ("width", "size", "script", "priorities", "batch-high", "batch-low", "warmup"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("seconds", "grace", "warm-seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--workers", type=lambda names: names.split(","), required=True)
    asked = parser.parse_args()
    if asked.device == "cpu":
        # Two workers share the processors; each has one thread, in every driver.
        torch.set_num_threads(1)
    shared = Shared(asked)
    workers = [Worker(name, shared) for name in asked.workers]
    if shared.gpu:
        # What was put on the device, on this thread's stream, is there before others use it.
        torch.cuda.synchronize()
    threads = [threading.Thread(target=worker.run, name=worker.name) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if shared.failure:
        print(shared.failure, file=sys.stderr)
        return 1
    shared.result["libraries"] = libraries()
    with open(asked.result, "w") as file:
        json.dump(shared.result, file)
    return 0


sys.exit(main())
