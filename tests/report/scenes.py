"""What is gathered for a report, made by hand, with anything planted in every text of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recording.writer import Written
from render.conftest import Factory

from xdiag.doctor.examination import Examination
from xdiag.findings import CheckFacts, Finding, Status
from xdiag.hypotheses import HYPOTHESES
from xdiag.model import SCHEMA_VERSION, Host, Report
from xdiag.patterns import PATTERNS
from xdiag.repair.repair import Change
from xdiag.repair.verify import Pair, Trial, Trials
from xdiag.report.bundle import Missing
from xdiag.report.environment import Variables
from xdiag.report.gather import Gathered, Record
from xdiag.report.logs import Log, read
from xdiag.report.records import texts
from xdiag.report.versions import Versions
from xdiag.runtimes.find import Candidate, Found
from xdiag.verdict import weigh

HOST_FACTS = Host("Debian 12", "6.1.0", "glibc 2.36", "CPython 3.11.7", 2)


def report(factory: Factory, planted: str = "") -> Report:
    """Two cells, of which one is refused, and the verdicts."""
    results = (
        factory.error(message=planted),
        factory.result(pattern="same-thread"),
        factory.result(fix="bind-loaded-runtime"),
    )
    return Report(
        SCHEMA_VERSION, "0.1.0", f"xdiag report {planted}",
        factory.target(runtime=f"/opt/{planted}/libamdhip64.so.6", notes=(planted,),
                       environment={f"X_{planted}": planted}),
        HOST_FACTS, results, weigh(results, HYPOTHESES, PATTERNS, "hip"), len(results), 1.0,
        "2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def examination(planted: str = "") -> Examination:
    """A FAIL, a WARN and a PASS."""
    findings = (
        Finding("forecast.agreement", Status.FAIL, f"two runtimes {planted}", (planted,),
                (planted,)),
        Finding("python.torch", Status.WARN, planted, (f"in {planted}", planted)),
        Finding("runtimes.found", Status.PASS, "one runtime", (planted,)),
    )  # fmt: skip
    return Examination(
        SCHEMA_VERSION, "0.1.0", f"xdiag report -- {planted}", "/", f"/usr/{planted}/python3",
        planted, findings, (CheckFacts("forecast.agreement", "x", "passive", "fault"),),
        program=planted, host=HOST_FACTS, started="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def trials(factory: Factory, planted: str = "") -> Trials:
    """One repair that repairs."""
    before, after = factory.error(message=planted), factory.result(fix="bind-loaded-runtime")
    change = Change({"XSCHED_HIP_LIB": planted})
    pair = Pair("second-runtime", planted, before, after)
    trial = Trial("xsched-hip-lib", "t", "two-runtimes", planted, planted, change, (pair,))
    return Trials(
        SCHEMA_VERSION, "0.1.0", f"xdiag {planted}", ("two-runtimes",), (trial,),
        ("xsched-hip-lib",), planted, change, factory.target(), planted, "", HOST_FACTS, 1.0,
    )  # fmt: skip


def record(folder: Path, planted: str = "") -> Record:
    """A record in which a stream is refused."""
    path = folder / "run.xdiag"
    written = Written(path)
    process = written.process(4711, exe=f"/usr/{planted}", command=f"python3\0{planted}\0-v\0")
    first = process.runtime(f"/opt/{planted}/libamdhip64.so.6")
    second = process.runtime("/opt/rocm/lib/libamdhip64.so.6")
    process.asked(f"/x/{planted}/libamdhip64.so", 1.5, to=planted, why=planted)
    thread = process.thread()
    thread.make(first, 0x7F0000001000, 3)
    thread.use(second, 0x7F0000001000, 4, 709)
    return Record(str(path), ("two-runtimes",), True, tuple(texts(str(path))))


#: A refused handle in the runtime's own log, in the format of HIP 6.
_REFUSED = """\
:3:rocdevice.cpp  :442 : 1000 us: [pid:4711  tid:0x7f01] Initializing HSA stack.
:3:hip_stream.cpp :310 : 1002 us: [pid:4711  tid:0x7f01] hipStreamCreateWithFlags: Returned \
hipSuccess : stream:0x55f7f7645030
:3:rocdevice.cpp  :442 : 1003 us: [pid:4711  tid:0x7f01] Initializing HSA stack. {0}
:3:hip_stream.cpp :500 : 1004 us: [pid:4711  tid:0x7f02] hipStreamGetFlags ( \
stream:0x55f7f7645030, 0x7ffd2000 )
:3:hip_stream.cpp :510 : 1005 us: [pid:4711  tid:0x7f02] hipStreamGetFlags: Returned \
hipErrorContextIsDestroyed : {0}
{0}
"""


def log(folder: Path, planted: str = "") -> Log:
    """A log in which a stream is refused."""
    path = folder / "amd.log"
    path.write_text(_REFUSED.format(planted), errors="surrogateescape")
    return read(str(path))


def gathered(folder: Path, planted: str = "", factory: Factory | None = None) -> Gathered:
    """A report's parts, each of them there."""
    factory = factory or Factory()
    candidate = Candidate(f"/opt/{planted}/libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so.6",
                          1, 2, "rocm", version="6.4.43482", problem=planted)  # fmt: skip
    return Gathered(
        command=f"xdiag report -- {planted}",
        examination=examination(planted),
        versions=Versions("0.1.0", f"CPython ({planted})", planted, "glibc 2.36", "6.1.0",
                          torch=planted, xsched=(planted,)),
        variables=Variables({"LD_LIBRARY_PATH": planted, f"HIP_{planted}": "1"}, (planted,)),
        found=Found((candidate,), (planted,)),
        target=factory.target(runtime=f"/opt/{planted}/libamdhip64.so.6"),
        probes=report(factory, planted),
        trials=trials(factory, planted),
        records=[record(folder, planted)],
        logs=[log(folder, planted)],
        reproducer=f"/* {planted} */\nint main(void) {{ return 0; }}\n",
        reproduces="second-runtime/none/driver",
        problems=[Missing(f"log {planted}", planted)],
    )  # fmt: skip


def known(seen: Gathered, private: list[tuple[str, str]]) -> Gathered:
    """The same, with what is known of the machine."""
    return replace(seen, private=private)
