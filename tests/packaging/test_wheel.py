"""What the wheel holds, and that it works where there is no compiler."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from xdiag import __version__

NATIVE = {
    "xdiag/_native.abi3.so": None,
    "xdiag/_lib/audit/libxdiag-audit.so": "libxdiag-audit.so",
    "xdiag/_lib/agent/libhsa-runtime64.so.1": "libhsa-runtime64.so.1",
    "xdiag/_lib/kernel-cache/libamd_comgr.so.2": "libamd_comgr.so.2",
    "xdiag/_lib/kernel-cache/libamd_comgr.so.3": "libamd_comgr.so.3",
}
GLIBC = {"libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"}


@pytest.fixture(scope="module")
def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}


def test_holds_the_package_its_native_parts_and_nothing_else(contents, root):
    info = f"xdiag-{__version__}.dist-info"
    metadata = ["METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"]
    sources = {
        str(path.relative_to(root))
        for path in (root / "xdiag").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".so" not in path.name
    }
    assert "xdiag/py.typed" in sources
    assert set(contents) == sources | set(NATIVE) | {f"{info}/{name}" for name in metadata}


def test_is_tagged_for_the_stable_abi_and_one_platform(wheel, contents):
    _, _, python, abi, platform = wheel.stem.split("-")
    assert (python, abi) == ("cp310", "abi3")
    assert platform.endswith("_x86_64")
    tags = contents[f"xdiag-{__version__}.dist-info/WHEEL"].decode()
    assert "Root-Is-Purelib: false" in tags
    assert all(f"Tag: cp310-abi3-{tag}\n" in tags for tag in platform.split("."))


@pytest.mark.parametrize("name", NATIVE)
def test_a_native_part_keeps_its_soname_and_needs_glibc_only(contents, name):
    dynamic = ELFFile(io.BytesIO(contents[name])).get_section_by_name(".dynamic")
    tags = list(dynamic.iter_tags())
    sonames = [tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"]
    assert sonames == ([NATIVE[name]] if NATIVE[name] else [])
    assert {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"} <= GLIBC
    assert not [tag for tag in tags if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")]


def _installs_and_runs(wheel: Path, python: str, folder: Path, run) -> None:
    """Install into a fresh venv with nothing on PATH, and start it in both ways."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    empty = folder / "empty"
    empty.mkdir()
    bin_dir = folder / "venv/bin"
    done = run(
        bin_dir / "python", "-m", "pip", "install", "-q", "--only-binary=:all:", wheel, PATH=empty
    )
    assert done.returncode == 0, done.stderr
    for command in ([bin_dir / "xdiag"], [bin_dir / "python", "-m", "xdiag"]):
        done = run(*command, "--version", PATH=empty, cwd=empty)
        assert (done.returncode, done.stderr) == (0, "")
        assert __version__ in done.stdout
    loads = "import ctypes, pathlib, xdiag.native; print(len(xdiag.native.calls()))\n"
    loads += "for lib in pathlib.Path(xdiag.__path__[0]).rglob('lib*.so*'): ctypes.CDLL(str(lib))"
    done = run(bin_dir / "python", "-c", loads, PATH=empty, cwd=empty)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_installs_and_runs_without_a_compiler(wheel, base_python, tmp_path, run):
    _installs_and_runs(wheel, str(base_python), tmp_path, run)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_installs_and_runs_on_every_python_found(wheel, interpreters, tmp_path, run):
    assert interpreters
    for python in interpreters:
        folder = tmp_path / str(interpreters.index(python))
        folder.mkdir()
        _installs_and_runs(wheel, python, folder, run)
