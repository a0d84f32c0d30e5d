"""Reports made by hand: every kind of outcome, and strings that want to break out of a format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.fixes import FIXES
from xdiag.model import (
    SCHEMA_VERSION,
    Cell,
    Evidence,
    Host,
    Identity,
    Outcome,
    OutcomeKind,
    Prediction,
    Report,
    Result,
    StepRecord,
    Support,
    Target,
    Verdict,
    parse_step,
)
from xdiag.patterns import PATTERNS

#: Unicode, markup of three languages, a table's own characters, control characters.
HOSTILE = (
    "Grüße 日本 <script>alert('x')</script> | a\nb\r\n"
    "`*_[x](http://e.vil)_*` &amp; \x1b[31m \x00 ]]>"
)

HANDLE = 0x5647EC7885B0
REFUSED = {"code": 709, "name": "hipErrorContextIsDestroyed"}

_STEPS = (
    ("main: A = open(first, local)", "setup"),
    ("main: s = A.StreamCreateWithFlags(0)", "setup"),
    ("main: B = open(copy, local)", "setup"),
    ("worker: B.CtxSetCurrent(c)", "fix"),
    ("worker: B.StreamGetFlags(s)", "use"),
    ("worker: B.StreamQuery(s)", "use"),
)
#: Places of the steps above.
CREATE, FIX, FLAGS, QUERY = 1, 3, 4, 5


class Factory:
    """Makes records with sensible fields; what a test is about is passed in."""

    hostile = HOSTILE

    def target(self, **fields: Any) -> Target:
        base = Target(
            "hip", "/opt/rocm/lib/libamdhip64.so.6", "hardware", version="6.4.43482",
            soname="libamdhip64.so.6", build_id="ab12", devices=2, device_name="gfx90a",
            source="rocm",
        )  # fmt: skip
        return msgspec.structs.replace(base, **fields)

    def identity(self, inode: int, **fields: Any) -> Identity:
        return Identity(f"/lib/{inode}/libamdhip64.so.6", device=2049, inode=inode, **fields)

    def trace(self, failing: int | None = None, **fields: Any) -> tuple[StepRecord, ...]:
        """All steps done, up to the failing one, whose record has the given fields."""
        records = []
        for index, (line, phase) in enumerate(_STEPS):
            step = parse_step(line)
            call = f"hip{step.verb}" if step.runtime else step.verb
            record = StepRecord(
                step=index, actor=step.actors[0], call=call,
                state="done", phase=phase, tid=100 + index, runtime=step.runtime,
                handle=HANDLE if "s" in step.args else None,
                code=0 if step.runtime else None, name="hipSuccess" if step.runtime else "",
                nanoseconds=1500,
            )  # fmt: skip
            if failing is not None and index == failing:
                record = msgspec.structs.replace(record, **{"failed": True, **fields})
            elif failing is not None and index > failing:
                record = msgspec.structs.replace(
                    record, state="unreached", code=None, name="", tid=0, nanoseconds=None
                )
            records.append(record)
        return tuple(records)

    def result(
        self, kind: OutcomeKind | str = OutcomeKind.OK, *, pattern: str = "second-runtime",
        fix: str = "none", consumer: str = "driver", **fields: Any,
    ) -> Result:  # fmt: skip
        cell = Cell(
            id=f"{pattern}/{fix}/{consumer}", pattern=pattern, fix=fix, consumer=consumer,
            steps=tuple(
                msgspec.structs.replace(parse_step(line), phase=phase) for line, phase in _STEPS
            ),
        )  # fmt: skip
        fields.setdefault("trace", self.trace())
        fields.setdefault("runtimes", {"A": self.identity(1), "B": self.identity(2)})
        fields.setdefault("seconds", 0.25)
        return Result(cell, Outcome(OutcomeKind(kind), **fields))

    def error(self, step: int = FLAGS, code: int = 709, name: str = "", **fields: Any) -> Result:
        """A cell in which a call returned an error."""
        name = name or ("hipErrorContextIsDestroyed" if code == 709 else f"hipError{code}")
        trace = self.trace(step, code=code, name=name)
        return self.result(
            "error", step=step, call=trace[step].call, code=code, name=name, trace=trace, **fields
        )

    def ended(self, kind: str, at: int = QUERY, **fields: Any) -> Result:
        """A cell whose process died or hung in a call, perhaps after another had failed."""
        trace = list(self.trace(at, state="unfinished", code=None, name="", error="it ended here"))
        if "code" in fields:
            failed = fields["step"]
            trace[failed] = msgspec.structs.replace(
                trace[failed], code=fields["code"], name=fields["name"]
            )
        return self.result(kind, died_at=at, trace=tuple(trace), **fields)

    def every_kind(self) -> list[tuple[Result, str, str]]:
        """A result of every kind, with the label and the style that it must have."""
        refused = {"step": FLAGS, "call": "hipStreamGetFlags", **REFUSED}
        nothing = {"trace": (), "runtimes": {}}
        return [
            (self.result("ok", pattern="same-thread"), "ok", "ok"),
            (self.error(pattern="cross-thread"), "709", "refused"),
            (self.error(code=400, pattern="create-in-worker"), "400", "error"),
            (self.error(CREATE, 101, pattern="creator-exited"), "setup: 101", "setup"),
            (self.error(FIX, 709, pattern="concurrent-use"), "fix: 709", "setup"),
            (self.ended("crash", signal="SIGSEGV", pattern="destroyed-stream"), "SEGV", "fault"),
            (self.ended("crash", signal="SIGSEGV", pattern="device-reset", **refused),
             "709+SEGV", "fault"),
            (self.ended("exit", status=1, pattern="null-stream", message=HOSTILE),
             "exit 1", "fault"),
            (self.ended("exit", status=1, pattern="per-thread-stream", **refused),
             "709+exit 1", "fault"),
            (self.ended("hang", pattern="legacy-stream"), "hang", "fault"),
            (self.ended("hang", pattern="other-device-current", **refused), "709+hang", "fault"),
            (self.ended("crash", CREATE, signal="SIGABRT", pattern="context-popped"),
             "setup: ABRT", "setup"),
            (self.result("error", step=CREATE, call="open", message=HOSTILE,
                         pattern="foreign-context"), "setup: failed", "setup"),
            (self.result("skipped", reason="needs 2 devices", pattern="second-runtime", **nothing),
             "skipped", "absent"),
            (self.result("unsupported", reason="no hipX here", pattern="second-namespace"),
             "no call", "absent"),
            (self.result("n/a", reason=HOSTILE, pattern="fork-after-init", **nothing),
             "-", "absent"),
        ]  # fmt: skip

    def report(self, results: Iterable[Result], **fields: Any) -> Report:
        results = tuple(results)
        fields.setdefault("target", self.target())
        fields.setdefault("planned", len(results))
        base = Report(
            schema_version=SCHEMA_VERSION, xdiag="0.1.0", command="xdiag matrix",
            target=self.target(),
            host=Host("Debian 12", "6.1.0", "glibc 2.36", "3.11.7", 16, "docker"),
            results=results, seconds=12.5, started="2025-11-23T02:51:00+00:00",
        )  # fmt: skip
        return msgspec.structs.replace(base, **fields)

    def mixed(self, **fields: Any) -> Report:
        """Every kind of outcome under two consumers, verdicts of every mark, hostile strings."""
        results = [result for result, _, _ in self.every_kind()]
        replayed = self.error(pattern="same-thread", consumer="replay")
        evidence = (
            Evidence("cross-thread/none/driver", Prediction.FAILS, "709", True),
            Evidence("same-thread/none/driver", Prediction.FAILS, "ok", False),
        )
        fields.setdefault("verdicts", (
            Verdict("thread-bound", "a stream belongs", Support.REFUTED, HOSTILE, evidence),
            Verdict("fork", HOSTILE, Support.OPEN, "nothing decides it"),
            Verdict("two-runtimes", "another copy", Support.SUPPORTED, "seen", evidence),
        ))  # fmt: skip
        fields.setdefault("target", self.target(notes=(HOSTILE, "second note")))
        return self.report([*results, replayed], **fields)

    def full(self) -> Report:
        """The whole catalogue's size, with the labels of a usual run."""
        results = []
        for cell in plan(PATTERNS, FIXES, CONSUMERS):
            kind = "n/a" if cell.not_applicable else "error" if "second" in cell.pattern else "ok"
            code = REFUSED | {"step": FLAGS} if kind == "error" else {}
            made = self.result(kind, reason=cell.not_applicable, trace=(), **code)
            results.append(msgspec.structs.replace(
                made, cell=msgspec.structs.replace(
                    made.cell, id=cell.id, pattern=cell.pattern, fix=cell.fix,
                    consumer=cell.consumer,
                ),
            ))  # fmt: skip
        return self.report(results)


@pytest.fixture(scope="session")
def make() -> Factory:
    return Factory()
