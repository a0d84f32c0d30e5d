"""Which installation of XSched is used, and what the commands say where it does not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from xdiag.cli.options import choose_consumers
from xdiag.errors import Usage
from xdiag.runtimes.xsched import choose, note, present, usable
from xsched.conftest import build_hal, install

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


@pytest.mark.parametrize("platform", ["hip", "cuda"])
def test_one_built_for_the_other_platform_is_told_in_one_line(
    tmp_path: Path, platform: str
) -> None:
    other = "hip" if platform == "cuda" else "cuda"
    files = choose(str(install(tmp_path, platform=other)), platform)
    assert files is not None and (files.hal, files.preempt) == ("", "")
    assert f"it has libhal{other}.so and no libhal{platform}.so" in files.missing
    assert files.missing.endswith(f"(--platform {other} uses it)")
    assert not present(files, "hal")
    if platform == "hip":
        with pytest.raises(Usage, match="built for another platform than HIP"):
            usable(str(tmp_path))


def test_one_that_is_found_and_built_for_the_other_platform_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xdiag.discover.xsched._PREFIXES", ())
    monkeypatch.delenv("XSCHED_ROOT", raising=False)
    cuda, hip = (install(tmp_path / name, platform=name) / "lib" for name in ("cuda", "hip"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(cuda))
    files = choose(None)
    assert (
        files is not None and f"{cuda}: it has libhalcuda.so and no libhalhip.so" in files.missing
    )
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{cuda}:{hip}")
    files = choose(None)
    assert files is not None and files.hal == str(hip / "libhalhip.so")


def test_one_for_a_platform_that_xdiag_does_not_know_is_named(tmp_path: Path) -> None:
    (tmp_path / "libhallevelzero.so").touch()
    files = choose(str(tmp_path))
    assert files is not None and "libhallevelzero.so and no libhalhip.so" in files.missing
    assert "--platform" not in files.missing


def test_a_directory_of_both_platforms_serves_each(tmp_path: Path) -> None:
    install(tmp_path)
    build_hal(tmp_path, platform="cuda")
    for platform in ("hip", "cuda"):
        files = choose(str(tmp_path), platform)
        assert files is not None and not files.missing
        assert files.platform == platform
        assert files.hal == str(tmp_path / "lib" / f"libhal{platform}.so")


@pytest.mark.parametrize("newer", ["libhalhip.so", "libpreempt.so"])
def test_libraries_of_two_versions_are_told_by_how_they_log(tmp_path: Path, newer: str) -> None:
    folder, older = install(tmp_path / "new"), install(tmp_path / "old", "-DOLD_LINE")
    os.replace(folder / "lib" / newer, older / "lib" / newer)
    files = choose(str(older))
    assert files is not None and not files.hal
    assert f"and {newer} of 1.2.0 or later: they do not belong together" in files.missing
    assert "is of XSched before 1.2.0" in files.missing


def test_libraries_of_one_version_are_taken_old_or_new(tmp_path: Path) -> None:
    for name, options in (("new", []), ("old", ["-DOLD_LINE"])):
        files = choose(str(install(tmp_path / name, *options)))
        assert files is not None and not files.missing


@pytest.mark.parametrize("library", ["libhalhip.so", "libpreempt.so"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "not an ELF file"),
        ("empty", "an empty file"),
        ("cut", "damaged or truncated"),
        ("other-machine", "a library for"),
        ("dangling", "cannot be read: No such file"),
    ],
)
def test_a_library_that_cannot_be_loaded_here_is_named(
    tmp_path: Path, library: str, kind: str, says: str
) -> None:
    path = install(tmp_path) / "lib" / library
    spoil(path, kind)
    files = choose(str(tmp_path))
    assert files is not None and files.hal == ""
    assert files.missing.startswith(f"{path}: ") and says in files.missing
    assert "\n" not in files.missing


def spoil(path: Path, kind: str) -> None:
    """Make a library one that cannot be loaded."""
    whole = path.read_bytes()
    path.unlink()
    if kind == "dangling":
        path.symlink_to("nowhere.so")
        return
    # e_machine is at offset 18: 183 is AArch64, 62 x86-64.
    other = (62 if whole[18] == 183 else 183).to_bytes(2, "little")
    path.write_bytes(
        {
            "text": b"no library",
            "empty": b"",
            "cut": whole[:100],
            "other-machine": whole[:18] + other + whole[20:],
        }[kind]
    )


@pytest.mark.parametrize(
    ("root", "says"),
    [("nowhere", "no such directory"), ("file", "it is no directory"), ("empty", "no libhalhip")],
)
def test_xsched_root_that_leads_to_none_is_told_and_nothing_else_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    root: str, says: str,
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(install(tmp_path / "other") / "lib"))
    monkeypatch.setenv("XSCHED_ROOT", str(tmp_path / root))
    files = choose(None)
    assert files is not None and files.hal == ""
    assert files.missing.startswith(f"XSCHED_ROOT={tmp_path / root}: ") and says in files.missing
    consumers, _ = choose_consumers((), None, "hip")
    assert [each.id for each in consumers] == ["driver", "replay"]
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "XSched's own libraries are not called" in told
    assert choose_consumers(("driver",), None, "hip")[1] is None
    assert capsys.readouterr().err == ""


def test_naming_one_for_consumers_that_call_none_is_wrong_use(installed: Path) -> None:
    for globs, says in (("driver", "driver calls none"), ("driver,replay", "replay call none")):
        with pytest.raises(Usage, match=f"--xsched is for hal.*{says} of XSched's libraries"):
            choose_consumers((globs,), str(installed), "hip")
    assert choose_consumers(("driver,hal",), str(installed), "hip")[1] is not None


def test_a_directory_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    folder = install(tmp_path)
    # Root may read everything, unless it gives that up.
    give_up = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    before = give_up if os.geteuid() == 0 else []
    try:
        able = not before or subprocess.run([*before, "true"], check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("root that cannot give up its right to read everything")
    (folder / "lib").chmod(0)
    try:
        done = subprocess.run(
            [*before, sys.executable, "-m", "xdiag", "probe", "-p", "same-thread", "-c", "hal",
             "--xsched", str(folder)],
            capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    finally:
        (folder / "lib").chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert f"{folder / 'lib'} cannot be read: Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1
