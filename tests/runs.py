"""Runs for the tests of comparing and merging: small ones by hand, and any at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from xdiag.model import (
    SCHEMA_VERSION,
    Cell,
    Host,
    Identity,
    Outcome,
    OutcomeKind,
    Report,
    Result,
    Step,
    StepRecord,
    Support,
    Target,
    Verdict,
    parse_step,
)

_STEPS = tuple(
    Step(**{**{f: getattr(parse_step(line), f) for f in Step.__struct_fields__}, "phase": phase})
    for line, phase in (
        ("main: s = A.StreamCreateWithFlags(0)", "setup"),
        ("worker: B.StreamGetFlags(s)", "use"),
        ("worker: B.StreamQuery(s)", "use"),
    )
)


def cell(
    pattern: str = "same-thread", fix: str = "none", consumer: str = "driver", *,
    kind: str = "ok", code: int | None = None, name: str = "", later: int = 0,
    variables: dict[str, str] | None = None, **fields: Any,
) -> Result:  # fmt: skip
    """A cell of three steps; ``code`` is what the second returned, ``later`` the third."""
    made = Cell(f"{pattern}/{fix}/{consumer}", pattern, fix, consumer, _STEPS, variables or {})
    if kind in ("ok", "error", "crash", "hang", "exit"):
        codes = (0, code or 0, later)
        fields.setdefault("trace", tuple(
            StepRecord(
                step=place, actor=step.actors[0], call=f"hip{step.verb}", state="done",
                phase=step.phase, tid=10, runtime=step.runtime, handle=0x1234, code=codes[place],
                name="hipSuccess" if not codes[place] else f"hipError{codes[place]}",
                nanoseconds=7, failed=codes[place] != 0,
            )
            for place, step in enumerate(_STEPS)
        ))  # fmt: skip
    if kind == "error":
        code = 709 if code is None else code
        fields = {"step": 1, "call": "hipStreamGetFlags", "code": code, "name": name, **fields}
    elif kind in ("crash", "hang", "exit"):
        fields = {"died_at": 2, **fields}
    return Result(made, Outcome(OutcomeKind(kind), **fields))


def run_report(results: Any, **fields: Any) -> Report:
    """A run on the software agent; fields of the report, its target or its host are set by name."""
    target = {
        "platform": "hip", "runtime": "/opt/rocm/lib/libamdhip64.so.6", "agent": "software",
        "version": "6.3.0", "soname": "libamdhip64.so.6", "build_id": "ab12", "devices": 1,
    }  # fmt: skip
    host = {
        "system": "Debian 12",
        "kernel": "6.1.0",
        "libc": "glibc 2.36",
        "python": "3.11",
        "cpus": 4,
    }
    report = {"xdiag": "0.1.0", "command": "xdiag matrix", "started": "2026-01-01T00:00:00+00:00"}
    for name, value in fields.items():
        kind = next(
            (
                part
                for part, record in ((target, Target), (host, Host))
                if name in record.__struct_fields__
            ),
            report,
        )
        kind[name] = value
    results = tuple(results)
    return Report(
        schema_version=SCHEMA_VERSION, target=Target(**target), host=Host(**host),
        results=results, **{"planned": len(results), **report},
    )  # fmt: skip


# ---- any run ----

#: Any text that JSON can say: the rest is escaped before it is written.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
#: Few names, so that two runs share some; one that is in no catalogue, and hostile ones.
_PATTERNS = st.sampled_from(["same-thread", "destroyed-stream", "second-runtime", "nowhere"]) | TEXT
_FIXES = st.sampled_from(["none", "unify"])
_CONSUMERS = st.sampled_from(["driver", "replay"])
_SMALL = st.integers(-1, 4)


@st.composite
def _steps(draw: st.DrawFn) -> tuple[Step, ...]:
    return _STEPS[: draw(st.integers(0, 3))]


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Any result, also such as no engine makes: steps that are not there, half a trace."""
    pattern, fix, consumer = draw(_PATTERNS), draw(_FIXES), draw(_CONSUMERS)
    records = draw(
        st.lists(
            st.builds(
                StepRecord, step=_SMALL, actor=st.sampled_from(["main", "worker"]),
                call=st.sampled_from(["hipStreamQuery", "open"]) | TEXT,
                state=st.sampled_from(["done", "unfinished", "unreached", "skipped"]),
                code=st.none() | st.sampled_from([0, 400, 709]), name=TEXT,
            ),
            max_size=4,
        )
    )  # fmt: skip
    runtimes = draw(
        st.dictionaries(
            st.sampled_from("AB"), st.builds(Identity, path=TEXT, inode=_SMALL), max_size=2
        )
    )
    outcome = Outcome(
        draw(st.sampled_from(OutcomeKind)), draw(st.none() | _SMALL), draw(TEXT),
        draw(st.none() | st.sampled_from([0, 400, 709])), draw(TEXT), draw(st.none() | _SMALL),
        draw(st.sampled_from(["", "SIGSEGV"])), draw(st.none() | _SMALL), draw(TEXT), draw(TEXT),
        tuple(records), runtimes, draw(st.sampled_from([0.0, 1.5])), draw(_SMALL),
    )  # fmt: skip
    environment = draw(st.dictionaries(TEXT, TEXT, max_size=1))
    made = Cell(f"{pattern}/{fix}/{consumer}", pattern, fix, consumer, draw(_steps()), environment)
    return Result(made, outcome)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Any run; cells are in it once."""
    cells = draw(
        st.lists(
            results(), max_size=5, unique_by=lambda r: (r.cell.pattern, r.cell.fix, r.cell.consumer)
        )
    )
    marks = draw(st.dictionaries(TEXT, st.sampled_from(Support), max_size=2))
    return run_report(
        cells,
        verdicts=tuple(Verdict(id, "s", mark, "b") for id, mark in marks.items()),
        version=draw(st.sampled_from(["5.2.1", "7.0.1", ""]) | TEXT),
        agent=draw(st.sampled_from(["software", "hardware"])),
        platform=draw(st.sampled_from(["hip", "cuda"])),
        device_name=draw(TEXT),
        system=draw(st.sampled_from(["Debian 12", ""]) | TEXT),
        started=draw(st.sampled_from(["2026-01-01", "2026-01-02"])),
        planned=draw(st.integers(-1, 9)),
    )
