"""How checks are run: order, one failure for one cause, what cannot be carried out."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from xdiag.discover.root import Root
from xdiag.doctor import examination
from xdiag.doctor.catalogue import CHECKS
from xdiag.doctor.check import Check
from xdiag.doctor.patient import Patient
from xdiag.errors import CannotRun
from xdiag.findings import Finding, Status, failed, passed, skipped, warned

HERE = Patient(root=Root(), environ={})


def _run(*checks: Check, only: tuple[str, ...] = (), patient: Patient = HERE) -> dict[str, Finding]:
    chosen = [check for check in checks if not only or check.id in only]
    return {each.check: each for each in examination.findings(patient, chosen, checks)}


def _check(id: str, finding: Finding | Exception, *requires: str, **more: str) -> Check:
    def look(patient: Patient) -> Finding:
        if isinstance(finding, Exception):
            raise finding
        return finding

    return Check(id, "a test's", look, requires=requires, **more)  # type: ignore[arg-type]


def test_a_root_cause_is_one_failure_and_its_dependants_are_skipped() -> None:
    found = _run(
        _check("a.one", failed("broken")),
        _check("a.two", passed("never asked"), "a.one"),
        _check("a.three", passed("never asked"), "a.two"),
    )
    assert [each.status for each in found.values()] == [Status.FAIL, Status.SKIP, Status.SKIP]
    assert found["a.two"].summary == "a.one says FAIL"
    assert found["a.three"].summary == "a.one says FAIL"


def test_a_warning_keeps_nobody_from_looking() -> None:
    found = _run(_check("a.one", warned("hm")), _check("a.two", passed("fine"), "a.one"))
    assert found["a.two"].status is Status.PASS


def test_what_a_chosen_check_requires_is_told_only_where_it_failed() -> None:
    fine = (_check("a.one", passed("fine")), _check("a.two", passed("fine"), "a.one"))
    assert list(_run(*fine, only=("a.two",))) == ["a.two"]
    broken = (_check("a.one", failed("broken")), _check("a.two", passed("fine"), "a.one"))
    assert list(_run(*broken, only=("a.two",))) == ["a.one", "a.two"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (CannotRun("no such thing"), "no such thing"),
        (PermissionError(errno.EACCES, "Permission denied", "/dev/kfd"), "/dev/kfd: Permission"),
        (ZeroDivisionError("oops"), "internal error: ZeroDivisionError: oops"),
    ],
)
def test_an_error_in_one_check_costs_only_that_check(error: Exception, says: str) -> None:
    found = _run(_check("a.one", error), _check("a.two", passed("fine")))
    assert found["a.one"].status is Status.ERR
    assert says in found["a.one"].summary
    assert found["a.two"].status is Status.PASS


def test_in_an_image_nothing_is_run(tmp_path: Path) -> None:
    asked = _check("a.one", RuntimeError("was run"), probe="process")
    found = _run(asked, patient=Patient(root=Root(tmp_path), environ={}))
    assert found["a.one"].status is Status.SKIP


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([passed("")], 0),
        ([passed(""), warned(""), skipped("")], 0),
        ([failed(""), Finding("", Status.ERR, "")], 1),
        ([passed(""), Finding("", Status.ERR, "")], 3),
        ([skipped("")], 3),
    ],
)
def test_exit_codes(findings: list[Finding], code: int) -> None:
    assert examination.exit_code(findings) == code


def test_an_examination_survives_json() -> None:
    made = examination.examine(
        HERE, [check for check in CHECKS if check.group == "environment"], CHECKS, ("doctor",)
    )
    assert made.findings
    assert msgspec.json.decode(msgspec.json.encode(made), type=examination.Examination) == made


def test_the_catalogue_is_in_order_and_speaks_of_itself() -> None:
    seen: set[str] = set()
    for check in CHECKS:
        assert set(check.requires) <= seen, f"{check.id} comes before what it requires"
        assert check.id not in seen
        assert check.group
        assert check.title
        seen.add(check.id)
    assert {check.probe for check in CHECKS} == {"passive", "process", "gpu"}
    assert {"runtimes", "python", "xsched", "environment", "devices", "forecast"} == {
        check.group for check in CHECKS
    }
