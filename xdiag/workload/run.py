"""Run what is planned, one process after the other, and keep what is finished."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xdiag.errors import CannotRun, XdiagError
from xdiag.model import Record
from xdiag.workload import build, xsched_files
from xdiag.workload.arrivals import schedule
from xdiag.workload.children import run as run_child
from xdiag.workload.model import Queues, Run, Skip
from xdiag.workload.subject import CHILD, child_environment
from xdiag.workload.xsched_files import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xdiag.workload.arrangements import Arrangement, Driver
    from xdiag.workload.model import Settings, Subject

#: Exit status of a driver that finds that this cannot be run here (driver.cpp).
_UNAVAILABLE = os.EX_UNAVAILABLE
#: Seconds for the requests that are late at the end: at least, and as a part of the run's length.
_LEAST_GRACE, _GRACE = 1.0, 0.25


class Measured(Record, frozen=True):
    """What came of a plan."""

    runs: tuple[Run, ...]
    skips: tuple[Skip, ...]
    #: What was set for XSched's runs.
    environment: dict[str, str]
    interrupted: bool


class _Result(msgspec.Struct):
    """What a driver writes."""

    latencies: list[float] = []
    unserved: int = 0
    served_rate: float | None = None
    batch_rate: float | None = None
    high_commands: int | None = None
    low_commands: int | None = None
    libraries: list[str] = []


class Bench:
    """A subject under settings: its network saved, its C++ driver built."""

    def __init__(
        self,
        subject: Subject,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        xsched: str | None = None,
        repair: bool = True,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.subject, self.settings = subject, settings
        self._environ = child_environment(environ)
        self._xsched, self._repair, self._say = xsched, repair, say
        self.environment: dict[str, str] = {}
        self._cpp = ""

    def measure(
        self,
        arrangements: Sequence[Arrangement],
        drivers: Sequence[Driver],
        tell: Callable[[Run, int, int], None],
    ) -> Measured:
        """Run every arrangement under every driver, as often as the settings say.

        Repeats are rounds over everything, so that a machine that changes as it gets warm changes
        for all alike.  ``tell`` is called with each run, its number and how many there will be.
        Ctrl-C ends the measurement, not what is finished of it.

        Raises CannotRun where the network cannot be saved, Usage for a wrong --xsched.
        """
        runs: list[Run] = []
        skips: list[Skip] = []
        interrupted = False
        with tempfile.TemporaryDirectory(prefix="xdiag-workload-") as folder:
            self._folder = Path(folder)
            try:
                self._save_network()
                ready = list(self._prepared(arrangements, drivers, skips))
                for each in self._rounds(ready, skips):
                    runs.append(each)
                    tell(each, len(runs), len(ready) * self.settings.repeats)
            except KeyboardInterrupt:
                interrupted = True
        return Measured(tuple(runs), tuple(skips), self.environment, interrupted)

    def _save_network(self) -> None:
        network = self.settings.network
        command = [
            self.subject.python, str(CHILD / "save_network.py"), str(self._folder / "network.pt"),
            str(network.width), str(network.size),
        ]  # fmt: skip
        ended = run_child(command, self._environ, self.settings.timeout)
        if ended.ending != "ok":
            raise CannotRun(f"the network cannot be made as TorchScript: {ended.last_line}")

    def _prepared(
        self, arrangements: Sequence[Arrangement], drivers: Sequence[Driver], skips: list[Skip]
    ) -> Iterator[tuple[Arrangement, Driver, list[str], dict[str, str]]]:
        """What can be run here: arrangement, driver, arguments and environment."""
        possible = []
        for arrangement in arrangements:
            try:
                arguments, changed = self._arranged(arrangement)
            except Unavailable as error:
                skips.append(Skip(arrangement.id, str(error)))
                continue
            self.environment |= changed
            possible.append((arrangement, arguments, changed))
        for driver in drivers if possible else ():
            if driver.id == "cpp":
                self._say("the C++ driver is built, if it is not in the cache: a minute or less")
                try:
                    self._cpp = build.built(self.subject, self._environ)
                except XdiagError as error:
                    skips.append(Skip(driver.id, str(error)))
                    continue
            for arrangement, arguments, changed in possible:
                yield arrangement, driver, arguments, changed

    def _arranged(self, arrangement: Arrangement) -> tuple[list[str], dict[str, str]]:
        """Arguments and variables of an arrangement; raises Unavailable, Usage."""
        if arrangement.needs_gpu and self.subject.device == "cpu":
            raise Unavailable("; ".join(["a CPU has no streams", *self._besides(arrangement)]))
        arguments = [
            "--workers", ",".join(arrangement.workers),
            "--priorities", str(int(arrangement.priorities)),
        ]  # fmt: skip
        if not arrangement.queues:
            return [*arguments, "--queues", "none"], {}
        files = xsched_files.find(self._xsched, self.subject, self._environ)
        changed = xsched_files.settings(
            arrangement, files, self.subject, self._environ, repair=self._repair
        )
        arguments += [
            "--queues", "get" if arrangement.queues == "shim" else "make",
            "--preempt", files.preempt, "--hal", files.hal, "--create", files.create,
        ]  # fmt: skip
        return arguments, changed

    def _besides(self, arrangement: Arrangement) -> Iterator[str]:
        """What would be in the way of XSched with a GPU, too: said of one that was named."""
        if self._xsched and arrangement.queues and self.subject.build != "cpu":
            try:
                xsched_files.find(self._xsched, self.subject, self._environ)
            except Unavailable as error:
                yield str(error)

    def _rounds(
        self,
        ready: Sequence[tuple[Arrangement, Driver, list[str], dict[str, str]]],
        skips: list[Skip],
    ) -> Iterator[Run]:
        left_out: set[tuple[str, str]] = set()
        for repeat in range(self.settings.repeats):
            arrivals = self._folder / f"arrivals-{repeat}"
            due = schedule(self.settings, repeat)
            arrivals.write_text("".join(f"{each:.9f}\n" for each in due))
            # Every second round backwards: none is always the one that follows another.
            turn = ready if repeat % 2 == 0 else ready[::-1]
            for arrangement, driver, arguments, changed in turn:
                place = (arrangement.id, driver.id)
                if place in left_out:
                    continue
                done = self._once(arrangement, driver, repeat, arguments, changed, arrivals)
                if done.ending == "exit" and done.status == _UNAVAILABLE:
                    left_out.add(place)
                    skips.append(Skip(f"{arrangement.id} under {driver.id}", done.said))
                    continue
                if done.ending == "hang":
                    # Another would cost as long, and end the same way.
                    left_out.add(place)
                    what = f"{arrangement.id} under {driver.id}, from run {repeat + 2} on"
                    if repeat + 1 < self.settings.repeats:
                        skips.append(Skip(what, f"run {repeat + 1} hung"))
                yield done

    def _once(
        self,
        arrangement: Arrangement,
        driver: Driver,
        repeat: int,
        arguments: list[str],
        changed: dict[str, str],
        arrivals: Path,
    ) -> Run:
        settings = self.settings
        result = self._folder / "result.json"
        result.unlink(missing_ok=True)
        grace = max(_LEAST_GRACE, _GRACE * settings.seconds)
        program = [self.subject.python, str(CHILD / "drive.py")]
        command = [
            *([self._cpp] if driver.id == "cpp" else program), *arguments,
            "--script", str(int(driver.id != "python")),
            "--model", str(self._folder / "network.pt"),
            "--arrivals", str(arrivals), "--result", str(result), "--device", self.subject.device,
            "--width", str(settings.network.width), "--size", str(settings.network.size),
            "--batch-high", str(settings.batch_high), "--batch-low", str(settings.batch_low),
            "--warmup", str(settings.warmup), "--warm-seconds", str(settings.warm_seconds),
            "--seconds", str(settings.seconds), "--grace", str(grace),
        ]  # fmt: skip
        limit = settings.timeout + settings.warm_seconds + settings.seconds + grace
        ended = run_child(command, {**self._environ, **changed}, limit)
        said = "" if ended.ending == "ok" else ended.last_line
        done = Run(arrangement.id, driver.id, repeat, ended.ending, ended.status, said)
        return _with_results(done, result)


def _with_results(run: Run, path: Path) -> Run:
    """The run with what its driver has written, where it came so far."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Result)
    except FileNotFoundError:
        if run.ending != "ok":
            return run
        return msgspec.structs.replace(run, ending="exit", said="it ended without a result")
    except msgspec.DecodeError as error:
        return msgspec.structs.replace(run, ending="exit", said=f"its result is damaged: {error}")
    queues = None
    if found.high_commands is not None or found.low_commands is not None:
        queues = Queues(found.high_commands, found.low_commands)
    return msgspec.structs.replace(
        run,
        latencies=tuple(round(each * 1e3, 4) for each in found.latencies),
        unserved=found.unserved,
        served_rate=found.served_rate,
        batch_rate=found.batch_rate,
        queues=queues,
        libraries=tuple(found.libraries),
    )
