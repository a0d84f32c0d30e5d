"""`xdiag runtimes check` and `remove`, and what the list says of fetched runtimes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtimes.test_entries import LIBRARY, made
from xdiag.cli import runtimes
from xdiag.errors import Usage
from xdiag.runtimes import entries, upkeep


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(runtimes.command, arguments, standalone_mode=False)


def test_check_reads_every_file(empty_machine: Path) -> None:
    good, bad = made(empty_machine, "7.1.0-1"), made(empty_machine, "7.2.4-1")
    missing = made(empty_machine, "7.3.0-1")
    status = (bad / LIBRARY).stat()
    (bad / LIBRARY).write_bytes(b"\0" * status.st_size)
    os.utime(bad / LIBRARY, ns=(status.st_atime_ns, status.st_mtime_ns))
    (missing / LIBRARY).unlink()
    found = {each.version: each for each in upkeep.check()}
    assert found["7.1.0-1"].problem == "" and found["7.1.0-1"].files == 3
    assert found["7.2.4-1"].problem == f"{LIBRARY} is not what was fetched"
    assert found["7.3.0-1"].problem == f"{LIBRARY} is missing"
    assert [each.path for each in upkeep.check(("7.1",))] == [str(good)]


def test_check_says_what_is_wrong_and_what_mends_it(empty_machine: Path) -> None:
    folder = made(empty_machine, "7.2.4-1")
    done = _run("check", "7.2")
    size = (folder / LIBRARY).stat().st_size / 1e6
    assert done.return_value == 0
    assert done.stdout == (
        f"libamdhip64-7 7.2.4-1 in {folder}: as fetched (3 files, {size:.0f} MB)\n"
    )
    (folder / LIBRARY).unlink()
    done = _run("check")
    assert done.return_value == 1
    assert f"{LIBRARY} is missing; mended by: xdiag runtimes add 7.2.4-1\n" in done.stdout


def test_check_of_an_entry_without_hashes(empty_machine: Path) -> None:
    made(empty_machine, "7.2.4-1", manifest_version=1, files=())
    done = _run("check")
    assert done.return_value == 0
    assert "not checked: no hashes of its files were kept" in done.stdout


def test_nothing_of_that_name(empty_machine: Path) -> None:
    with pytest.raises(Usage, match=r"no runtime in xdiag's cache is called '7\.2'; it is"):
        list(upkeep.check(("7.2",)))
    made(empty_machine, "7.2.4-1")
    with pytest.raises(Usage, match=r"called '5'; it has libamdhip64-7 7\.2\.4-1"):
        upkeep.remove(("5",), print)
    with pytest.raises(Usage, match=r"did you mean 7\.2\.4-1"):
        upkeep.remove(("7.2.4-2",), print)


def test_remove(empty_machine: Path) -> None:
    for version in ("7.1.0-1", "7.2.4-1", "7.2.5-1"):
        made(empty_machine, version)
    with pytest.raises(Usage, match=r"'7.2' means 7\.2\.4-1 and 7\.2\.5-1: name one of them"):
        upkeep.remove(("7.1", "7.2"), print)
    assert len(entries.every()) == 3
    said: list[str] = []
    upkeep.remove(("7.1", "7.2.4"), said.append)
    assert [each.version for each in entries.every()] == ["7.2.5-1"]
    assert len(said) == 2
    assert {path.name for path in (empty_machine / "runtimes").iterdir()} == {
        ".lock", "libamdhip64-7_7.2.5-1",
    }  # fmt: skip


def test_remove_takes_what_is_refused_as_well(empty_machine: Path) -> None:
    folder = made(empty_machine, "7.2.4-1")
    (folder / entries.MANIFEST).unlink()
    upkeep.remove(("libamdhip64-7",), print)
    assert not folder.exists()


def test_the_list_shows_size_and_c_library_and_what_is_refused(empty_machine: Path) -> None:
    made(empty_machine, "7.2.4-1")
    broken = made(empty_machine, "7.1.0-1")
    (broken / LIBRARY).unlink()
    shown = _run().stdout
    assert "experimental" not in shown
    (row,) = (line.split() for line in shown.splitlines() if line.startswith("7.2.4 "))
    assert row == ["7.2.4", "libamdhip64-7", "7.2.4-1", "sid", "0", "MB", "2.44"]
    assert f"Not used: {broken}: {LIBRARY} is missing; mended by: xdiag runtimes add" in shown
    document = json.loads(_run("--json").stdout)
    (fetched,) = document["fetched"]
    assert (fetched["hip"], fetched["suite"], fetched["libc"]) == ("7.2.4", "sid", "2.44")
    assert document["refused"] == [{"path": str(broken), "reason": f"{LIBRARY} is missing"}]
