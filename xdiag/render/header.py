"""What a reader has to know before the results: what was run, on what, and how far it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.render.text import count

if TYPE_CHECKING:
    from xdiag.model import Report, Target

#: Stands with every result of a software agent.
STANDS_IN = (
    "The software agent stands in for the GPU: this shows the HIP runtime's host-side logic and"
    " does not speak for hardware."
)


def facts(report: Report) -> list[tuple[str, str]]:
    """The header as terms and texts; terms with nothing to say are left out."""
    target, host = report.target, report.host
    wanted = [
        ("runtime", target.runtime),
        ("found in", target.source),
        ("platform", platforms.get(target.platform).title),
        ("version", target.version),
        ("SONAME", target.soname),
        ("build id", target.build_id),
        ("agent", f"software. {STANDS_IN}" if target.agent == "software" else target.agent),
        ("devices", _devices(target)),
        ("library path", ":".join(target.library_path)),
        ("loader", _loader(target)),
        ("environment", " ".join(f"{name}={value}" for name, value in target.environment.items())),
        ("system", host.system),
        ("kernel", host.kernel),
        ("libc", host.libc),
        ("Python", host.python),
        ("CPUs", str(host.cpus)),
        ("container", host.container),
        ("xdiag", report.xdiag),
        ("command", report.command),
        ("started", report.started),
        ("cells", _cells(report)),
    ]
    notes = [("note", note) for note in target.notes]
    return [(term, text) for term, text in (*wanted, *notes) if text]


def summary(report: Report) -> list[str]:
    """The header in a few sentences, for a terminal; ``facts`` has the rest."""
    target, host = report.target, report.host
    known = ", ".join(
        filter(None, (target.soname, target.build_id and f"build id {target.build_id}"))
    )
    title = platforms.get(target.platform).title
    below = target.device_name or "GPU"
    if target.agent == "software":
        below = "software agent"
    machine = [host.system, host.kernel, host.libc, host.python, count(host.cpus, "CPU")]
    if host.container:
        machine.append(f"in a container ({host.container})")
    lines = [
        f"{title} {target.version or 'of unknown version'} on {count(target.devices, 'device')}"
        f" ({below}){f'; {known}' if known else ''}",
        target.runtime,
        ", ".join(filter(None, machine)),
        f"xdiag {report.xdiag}, {report.started}: {_cells(report)}",
        *target.notes,
    ]
    return [*lines, STANDS_IN] if target.agent == "software" else lines


def interruption(report: Report) -> str:
    """``interrupted: N of M cells`` where fewer were run than planned, else empty."""
    if len(report.results) >= report.planned:
        return ""
    return f"interrupted: {len(report.results)} of {report.planned} cells"


def _loader(target: Target) -> str:
    if target.loader is None:
        return ""
    return f"{target.loader.path} (glibc {target.loader.libc})"


def _devices(target: Target) -> str:
    if target.device_name:
        return f"{target.devices} ({target.device_name})"
    return str(target.devices)


def _cells(report: Report) -> str:
    planned = max(report.planned, len(report.results))
    done = count(len(report.results), "result")
    text = f"{planned} planned, {done}, {report.seconds:.1f} s"
    interrupted = interruption(report)
    return f"{text} ({interrupted})" if interrupted else text
