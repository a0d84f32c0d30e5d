"""Gathering: each part by itself, and an end at Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from report.scenes import log, record
from xdiag import session
from xdiag.errors import CannotRun, Usage
from xdiag.model import Target
from xdiag.patterns import PATTERNS
from xdiag.report import gather as module
from xdiag.report.environment import variables
from xdiag.report.gather import STORY_OF, Wanted, gather


@pytest.fixture
def wanted(fake_target: Target) -> Wanted:
    return Wanted(choose_target=lambda keep: fake_target, arguments=("report",))


def _missing(seen: module.Gathered) -> dict[str, str]:
    return {each.part: each.because for each in seen.problems}


def test_the_stories_that_matter_are_run(wanted: Wanted) -> None:
    seen = gather(wanted)
    assert seen.probes is not None and seen.matrix is None
    cells = {result.cell.id for result in seen.probes.results}
    assert {"same-thread/none/driver", "second-runtime/none/driver",
            "second-runtime/unify/driver", "truncated-handle/none/driver"} <= cells  # fmt: skip
    assert len(cells) < 20
    assert seen.examination is not None and seen.versions is not None and seen.found is not None
    assert _missing(seen)["matrix"] == "not asked for (--with-matrix)"


def test_causes_of_records_and_logs_are_run_and_reproduced(
    tmp_path: Path, fake_target: Target
) -> None:
    log(tmp_path)
    one = record(tmp_path)
    seen = gather(
        Wanted(lambda keep: fake_target, records=(one.path,), logs=(str(tmp_path / "amd.log"),))
    )
    assert seen.fault
    assert seen.records[0].causes == ("two-runtimes",)
    assert seen.logs[0].causes == ("two-runtimes",)
    assert seen.reproduces == "second-runtime/none/driver"
    assert "int main(" in seen.reproducer


def test_a_cause_that_only_a_record_knows_is_not_denied(
    tmp_path: Path, fake_target: Target
) -> None:
    one = record(tmp_path)
    told = _missing(gather(Wanted(lambda keep: fake_target, records=(one.path,))))["repairs"]
    assert told.startswith("two-runtimes: by a record or a log, and not foretold for what is")
    assert _missing(gather(Wanted(lambda keep: fake_target)))["repairs"] == (
        "no cause to repair was found here"
    )


def test_every_cause_has_a_story_that_there_is() -> None:
    assert set(STORY_OF.values()) <= {pattern.id for pattern in PATTERNS}


def test_a_part_that_fails_costs_no_other(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr(module, "examine", broken)
    monkeypatch.setattr(module, "find", full)
    monkeypatch.setattr(module, "versions", broken)
    monkeypatch.setattr(session, "run", broken)
    missing = _missing(gather(wanted))
    assert missing["doctor"] == "internal error: RuntimeError: a bug"
    assert missing["versions"] == "internal error: RuntimeError: a bug"
    assert missing["runtimes"] == "/tmp/x: No space left on device"
    assert missing["probes"] == "internal error: RuntimeError: a bug"


def test_without_a_runtime_there_are_no_probes() -> None:
    def none(_: str | None) -> Target:
        raise CannotRun("no HIP runtime found here")

    missing = _missing(gather(Wanted(none)))
    assert missing["runtime"] == "no HIP runtime found here"
    assert missing["probes"] == "there is no runtime that can be run"
    assert "reproducer" in missing


def test_wrong_usage_is_no_missing_part() -> None:
    def wrong(_: str | None) -> Target:
        raise Usage("/x: not an ELF file")

    with pytest.raises(Usage, match="not an ELF file"):
        gather(Wanted(wrong))
    with pytest.raises(Usage, match="no such"):
        gather(Wanted(wrong, python="/nowhere/python3"))


def test_ctrl_c_ends_it_whoever_made_nothing_of_it(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallowing(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            return

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(module, "find", swallowing)
    with pytest.raises(KeyboardInterrupt):
        gather(wanted)
    assert signal.getsignal(signal.SIGINT) is handler


# ---- the environment -------------------------------------------------------------------------


def test_variables_that_matter_are_told_and_others_named() -> None:
    environ = {
        "HIP_VISIBLE_DEVICES": "0", "HSA_OVERRIDE_GFX_VERSION": "10.3.0", "ROCR_X": "1",
        "XSCHED_HIP_LIB": "/x", "LD_PRELOAD": "/y", "PYTHONPATH": "/z", "CUDA_VISIBLE_DEVICES": "",
        "TORCH_HOME": "/t", "PYTORCH_HIP_ALLOC_CONF": "a:1", "AMD_LOG_LEVEL": "4", "TRITON_X": "1",
        "GLIBC_TUNABLES": "glibc.rtld=1", "EDITOR": "vi", "HISTORY": "private", "LS_COLORS": "x",
        "HIPSTER": "no", "SLURM_JOB_UID": "1234",
    }  # fmt: skip
    told = variables(environ)
    assert set(told.names) == {"EDITOR", "HISTORY", "LS_COLORS", "HIPSTER", "SLURM_JOB_UID"}
    assert set(told.values) == set(environ) - set(told.names)
    assert list(told.values) == sorted(told.values)
