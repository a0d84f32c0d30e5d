"""``xdiag workload``: the case's Test 5, measured to the end."""

from __future__ import annotations

import fnmatch
import math
import os
import shlex
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from xdiag.cli import output
from xdiag.errors import (
    COULD_NOT_RUN,
    FAULT_FOUND,
    INTERRUPTED,
    NOTHING_WRONG,
    CannotRun,
    Usage,
    near_matches,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.workload.arrangements import Arrangement, Driver
    from xdiag.workload.model import Report, Run, Settings, Subject

_ENDINGS = {".json": "json", ".svg": "svg", ".png": "png", ".md": "markdown"}
#: Channels of the first stage and pixels along a side.
_NETWORKS = {"full": (64, 224), "small": (32, 96), "tiny": (8, 32)}
#: What is taken where nothing is said, and what --quick takes.
_USUAL = {"seconds": 10.0, "repeats": 5, "warm_up": 2.0}
_QUICK = {"seconds": 0.3, "repeats": 2, "warm_up": 0.05}
_WARM_ITERATIONS = 5


@click.command("workload")
@click.option(
    "--python",
    metavar="PATH",
    help="The interpreter that has torch, or its environment's directory.  [default: the active"
    " environment's, else the first on PATH]",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "hip"]), default="auto",
    show_default=True, help="What the models run on; auto takes a CPU where torch has no GPU.",
)  # fmt: skip
@click.option(
    "--driver", "drivers", multiple=True, metavar="NAME",
    help="python, python-script, cpp, both (python and cpp) or all; several with commas."
    "  [default: all]",
)  # fmt: skip
@click.option(
    "--arrangement", "-a", "arrangements", multiple=True, metavar="GLOB",
    help="single-high, single-low, baseline, priority, xsched, xsched-shim.  [default: all]",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0.1, 10_000), default=20, show_default=True,
    help="Requests per second of the high-priority worker.",
)  # fmt: skip
@click.option(
    "--arrivals", type=click.Choice(["uniform", "poisson"]), default="uniform", show_default=True,
    help="How requests arrive.",
)  # fmt: skip
@click.option(
    "--batch-high", type=click.IntRange(1, 1024), default=1, show_default=True,
    help="Images per request of the high-priority worker.",
)  # fmt: skip
@click.option(
    "--batch-low", type=click.IntRange(1, 1024), default=8, show_default=True,
    help="Images per batch of the low-priority worker, which never pauses.",
)  # fmt: skip
@click.option(
    "--network", type=click.Choice(["auto", *_NETWORKS]), default="auto", show_default=True,
    help="Size of the ResNet-18: full on a GPU, small on a CPU.",
)  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.1, 3600), help="Length of a run.  [default: 10]")
@click.option("--repeats", type=click.IntRange(1, 100), help="Runs of each.  [default: 5]")
@click.option(
    "--warm-up", type=click.FloatRange(0, 600), help="Seconds before it counts.  [default: 2]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of poisson arrivals.")
@click.option("--quick", is_flag=True, help="A tiny network and short runs: does it work at all.")
@click.option(
    "--timeout", type=click.FloatRange(1, 86_400), default=120, show_default=True,
    help="Seconds for a run's start and end, after which it is a hang.",
)  # fmt: skip
@click.option("--xsched", metavar="DIR", help="XSched's installation.  [default: XSCHED_ROOT]")
@click.option(
    "--repair/--no-repair", default=True,
    help="Have XSched open the HIP runtime that came with torch, or leave it as it is."
    "  [default: repair]",
)  # fmt: skip
@click.option("--from", "saved", metavar="FILE", help="Show a saved JSON report; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--output", "-o", "paths", multiple=True, metavar="FILE",
    help="Write there, not to the terminal: .json, .svg, .png, .md, else the table.  Several times"
    " for several files.",
)  # fmt: skip
@click.pass_obj
def command(arguments: tuple[str, ...], /, **asked: Any) -> int:
    """Measure a high- and a low-priority model that share a GPU, by Python threads and by pthreads.

    Each arrangement (alone, together, with stream priorities, with XSched) runs under each driver
    in a process of its own, several times; requests arrive by the clock, and what waits in a queue
    counts.  Needs a Python that has torch, and for the C++ driver a compiler.

    Exits with 1 if a run failed, 3 if none could be made.
    """
    _check(asked)
    destinations = _destinations(asked["paths"], as_json=asked["as_json"])
    if asked["saved"] is not None:
        report = _saved(asked["saved"])
    else:
        report = _measured(shlex.join(["xdiag", *arguments]), asked)
    _deliver(report, destinations)
    if report.interrupted:
        return INTERRUPTED
    if not any(run.measured for run in report.runs):
        return FAULT_FOUND if report.runs else COULD_NOT_RUN
    failed = any(run.ending != "ok" for run in report.runs)
    return FAULT_FOUND if failed else NOTHING_WRONG


def _check(asked: dict[str, Any]) -> None:
    """What click lets through.  Raises Usage."""
    for name, value in asked.items():
        if isinstance(value, float) and math.isnan(value):
            raise Usage(f"--{name.replace('_', '-')} nan is no number")
    context = click.get_current_context()
    for name in asked if asked["saved"] is not None else ():
        if name in ("saved", "as_json", "paths"):
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            raise Usage(f"--from shows what was measured before: leave {option} out")


def _destinations(paths: Sequence[str], *, as_json: bool) -> list[tuple[str, str | None]]:
    """Formats, each with where it goes; raises now for what could not be written later."""
    from xdiag.render.workload_plot import can_draw_png

    found: list[tuple[str, str | None]] = []
    for path in paths or ("-",):
        target = output.destination(path)
        form = _ENDINGS.get(Path(path).suffix.lower(), "json" if as_json else "table")
        if form == "png" and not can_draw_png():
            raise CannotRun(
                f"{path}: a PNG needs matplotlib, which is not here; name an .svg instead"
            )
        found.append((form, target))
    if as_json and paths and not any(form == "json" for form, _ in found):
        found.append(("json", None))
    return found


def _saved(path: str) -> Report:
    from xdiag.workload.model import read

    try:
        return read(Path(path).read_bytes(), path)
    except OSError as error:
        raise Usage(f"cannot read {path}: {error.strerror}") from error


def _measured(line: str, asked: dict[str, Any]) -> Report:
    from xdiag import __version__
    from xdiag.model import SCHEMA_VERSION
    from xdiag.workload import conclusions, subject, xsched_files
    from xdiag.workload.model import Report
    from xdiag.workload.run import Bench

    drivers = _drivers(asked["drivers"])
    arrangements = _arrangements(asked["arrangements"])
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    xsched_files.check(asked["xsched"])
    found = subject.find(asked["python"], asked["device"], os.environ)
    settings = _settings(asked, found)
    _say(f"torch {found.torch} on {found.device_name}")
    if found.no_gpu and asked["device"] != "cpu":
        _say(f"no GPU ({found.no_gpu}): a CPU-sized network on the CPU")
    bench = Bench(
        found, settings, os.environ, xsched=asked["xsched"], repair=asked["repair"], say=_say
    )
    done = bench.measure(arrangements, drivers, _tell)
    return Report(
        schema_version=SCHEMA_VERSION,
        xdiag=__version__,
        command=line,
        started=started,
        subject=found,
        settings=settings,
        runs=done.runs,
        skips=done.skips,
        summaries=conclusions.summaries(done.runs),
        statements=conclusions.statements(done.runs),
        environment=done.environment,
        interrupted=done.interrupted,
    )


def _arrangements(globs: Sequence[str]) -> list[Arrangement]:
    """Those that match a glob, all without any; raises Usage for a glob that matches none."""
    from xdiag.workload.arrangements import ARRANGEMENTS

    known = [each.id for each in ARRANGEMENTS]
    wanted = _parts(globs, "--arrangement", known)
    for glob in wanted:
        if not fnmatch.filter(known, glob):
            near = near_matches(glob, known)
            raise Usage(f"no arrangement matches {glob!r}{near} ({', '.join(known)})")
    return [
        each
        for each in ARRANGEMENTS
        if not wanted or any(fnmatch.fnmatchcase(each.id, glob) for glob in wanted)
    ]


def _parts(names: Sequence[str], option: str, known: Sequence[str]) -> list[str]:
    """What an option names; raises Usage where it is given and names nothing."""
    found = []
    for name in names:
        parts = [part.strip() for part in name.split(",") if part.strip()]
        if not parts:
            raise Usage(f"{option} {name!r} names nothing: leave it out for all, or name some"
                        f" ({', '.join(known)})")  # fmt: skip
        found += parts
    return found


def _drivers(names: Sequence[str]) -> list[Driver]:
    """The drivers that are meant; raises Usage for a name that is none."""
    from xdiag.workload.arrangements import DRIVERS

    known = [driver.id for driver in DRIVERS]
    groups = {"all": known, "both": ["python", "cpp"]}
    wanted = _parts(names, "--driver", [*known, *groups])
    for name in wanted:
        if name not in known and name not in groups:
            listed = [*known, *groups]
            raise Usage(f"no driver {name!r}{near_matches(name, listed)} ({', '.join(listed)})")
    meant = {id for name in wanted or ["all"] for id in groups.get(name, [name])}
    return [driver for driver in DRIVERS if driver.id in meant]


def _settings(asked: dict[str, Any], subject: Subject) -> Settings:
    from xdiag.workload.model import Network, Settings

    usual = _QUICK if asked["quick"] else _USUAL
    length = {name: usual[name] if asked[name] is None else asked[name] for name in usual}
    name = asked["network"]
    if name == "auto":
        name = "tiny" if asked["quick"] else "full" if subject.device == "gpu" else "small"
    return Settings(
        network=Network(name, *_NETWORKS[name]),
        rate=asked["rate"],
        arrivals=asked["arrivals"],
        seconds=length["seconds"],
        repeats=int(length["repeats"]),
        batch_high=asked["batch_high"],
        batch_low=asked["batch_low"],
        warmup=_WARM_ITERATIONS,
        warm_seconds=length["warm_up"],
        seed=asked["seed"],
        timeout=asked["timeout"],
    )


def _deliver(report: Report, destinations: Sequence[tuple[str, str | None]]) -> None:
    from xdiag.render import workload as rendering
    from xdiag.render import workload_plot

    drawable = any(run.latencies for run in report.runs)
    for form, path in destinations:
        if form in ("svg", "png") and not drawable:
            # The other files are still to be written.
            _say(f"{path} is not written: no run has latencies to draw")
        elif form == "json":
            output.write(rendering.document(report), path)
        elif form == "markdown":
            output.write(rendering.markdown(report), path)
        elif form == "svg":
            output.write(workload_plot.svg(report), path)
        elif form == "png":
            _write_bytes(workload_plot.png(report), path)
        else:
            output.show(lambda console: rendering.show(report, console), path)


def _write_bytes(data: bytes, path: str | None) -> None:
    """Write a picture through a temporary file beside it."""
    assert path is not None
    target = Path(path)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / target.name
            made.write_bytes(data)
            os.replace(made, target)
    except OSError as error:
        raise CannotRun(f"cannot write {path}: {error.strerror}") from error


def _tell(run: Run, number: int, total: int) -> None:
    from xdiag.workload.conclusions import failure
    from xdiag.workload.estimates import percentile

    if run.ending != "ok":
        what = failure(run)
    elif run.latencies:
        median, late = (percentile(run.latencies, each) for each in (50, 99))
        what = f"P50 {median:.2f} ms, P99 {late:.2f} ms"
    else:
        what = f"{run.batch_rate:.1f} batches/s"
    _say(f"{number} of {total}: {run.arrangement}, {run.driver}: {what}")


def _say(line: str) -> None:
    from xdiag.render.text import printable

    click.echo(f"xdiag: {printable(line)}", err=True)
