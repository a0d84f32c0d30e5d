"""Which installation of XSched is used, and what the commands say where it does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdiag.cli.options import choose_consumers
from xdiag.errors import Usage
from xdiag.runtimes.xsched import choose, note, present
from xsched.conftest import build_hal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory laid out as XSched installs itself, with the fake HAL."""
    prefix = tmp_path / "xsched"
    build_hal(prefix)
    for module in ("lib/python/xsched/hip/__init__.py", "include/xsched_hip.py"):
        path = prefix / module
        path.parent.mkdir(parents=True)
        path.write_text("class XSchedHip: pass\n")
    return prefix


def test_a_prefix_or_its_libraries_can_be_named(installed: Path) -> None:
    for folder in (installed, installed / "lib"):
        files = choose(str(folder))
        assert files is not None
        assert files.hal == str(installed / "lib" / "libhalhip.so")
        assert files.binding == str(installed / "lib" / "python")
        assert files.old_binding == str(installed / "include")
        assert (files.preempt, files.shim) == ("", "")


def test_it_is_found_by_xsched_root(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSCHED_ROOT", str(installed))
    files = choose(None)
    assert files is not None and files.hal == str(installed / "lib" / "libhalhip.so")


def test_an_empty_module_is_no_binding(installed: Path) -> None:
    (installed / "include" / "xsched_hip.py").write_text("")
    files = choose(str(installed))
    assert files is not None and files.old_binding == ""
    assert not present(files, "old-binding")


def test_the_default_consumers_are_those_that_can_be_run(installed: Path) -> None:
    consumers, _ = choose_consumers((), str(installed), "hip")
    assert [each.id for each in consumers] == ["driver", "replay", "hal", "binding"]
    everything, _ = choose_consumers(("*",), str(installed), "hip")
    assert {"xqueue", "old-binding"} <= {each.id for each in everything}


def test_without_xsched_the_default_matrix_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xdiag.discover.xsched._PREFIXES", ())
    monkeypatch.delenv("XSCHED_ROOT", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    consumers, files = choose_consumers((), None, "hip")
    assert [each.id for each in consumers] == ["driver", "replay"] and files is None


def test_the_report_names_the_library(installed: Path) -> None:
    files = choose(str(installed))
    assert files is not None and files.hal in note(files) and "build id" in note(files)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("", "no such directory"),
        ("lib/other.so", "no libhalhip.so"),
    ],
)  # fmt: skip
def test_a_directory_that_does_not_fit_is_named(tmp_path: Path, made: str, says: str) -> None:
    folder = tmp_path / "named"
    if made:
        (folder / made).parent.mkdir(parents=True)
        (folder / made).touch()
    with pytest.raises(Usage, match=says):
        choose(str(folder))
