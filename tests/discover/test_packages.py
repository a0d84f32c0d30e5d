"""Distributions, PyTorch and ROCm's wheels of an environment, read without importing them."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from discover.conftest import HERE, bounded, copied, put
from xdiag.discover import distributions, rocm, torch
from xdiag.discover.distributions import Distributions
from xdiag.discover.python_environment import PythonEnvironment
from xdiag.discover.root import Root


def _installed(site: Path, name: str, version: str, *files: str) -> Path:
    """A distribution as an installer leaves it."""
    info = site / f"{name}-{version}.dist-info"
    put(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    listed = [*files, f"{info.name}/METADATA", f"{info.name}/RECORD"]
    put(info / "RECORD", "".join(f"{file},sha256=x,1\n" for file in listed))
    for file in files:
        if not (site / file).exists():
            put(site / file)
    return info


def _environment(*search_path: Path) -> PythonEnvironment:
    entries = tuple(map(str, search_path))
    return PythonEnvironment("python", "python", "3.11", "/usr", "/usr", entries, entries)


# ---- distributions -----------------------------------------------------------------------------


def test_distributions_are_those_that_importlib_finds() -> None:
    folders = [entry for entry in sys.path if entry]
    found = distributions.find(folders, HERE)
    real = {
        (distributions.normalised(each.metadata["Name"]), each.version)
        for each in importlib.metadata.distributions()
    }
    assert {(each.name, each.version) for each in found.found} == real
    pytest_ = found.get("PyTest")
    assert pytest_ is not None
    listed = set(distributions.files(pytest_, HERE))
    assert os.path.realpath(pytest.__file__) in set(map(os.path.realpath, listed))


@pytest.mark.parametrize(
    ("folder", "name", "version"),
    [
        ("torch-2.9.0+rocm6.4.dist-info", "torch", "2.9.0+rocm6.4"),
        ("rocm_sdk_libraries_gfx94X_dcgpu-7.0.0rc1.dist-info",
         "rocm-sdk-libraries-gfx94x-dcgpu", "7.0.0rc1"),
        ("old-name-1.0_1.dist-info", "old-name", "1.0-1"),
        ("Zope.Interface-5.0.dist-info", "zope-interface", "5.0"),
        ("PyYAML-6.0-py3.11.egg-info", "pyyaml", "6.0"),
        ("cffi-1.15.1.egg-info", "cffi", "1.15.1"),
        ("xdiag.egg-info", "told-inside", "3.2"),
        ("nameless.dist-info", "told-inside", "3.2"),
    ],
)  # fmt: skip
def test_names_and_versions(tmp_path: Path, folder: str, name: str, version: str) -> None:
    headers = "METADATA" if folder.endswith("dist-info") else "PKG-INFO"
    put(tmp_path / folder / headers, "Name: Told_Inside\nVersion: 3.2\n\nName: no\n")
    (found,) = distributions.find([str(tmp_path)], HERE).found
    assert (found.name, found.version, found.info) == (name, version, str(tmp_path / folder))
    assert found.folder == str(tmp_path)


def test_eggs_and_single_files(tmp_path: Path) -> None:
    put(tmp_path / "six-1.16-py3.11.egg" / "EGG-INFO" / "PKG-INFO", "Name: six\nVersion: 1.16\n")
    put(tmp_path / "argh-0.1.egg-info", "Name: argh\nVersion: 0.1\n")
    put(tmp_path / "zipped-1.0-py3.11.egg", b"PK")
    found = distributions.find([str(tmp_path), str(tmp_path)], HERE)
    assert {(each.name, each.version) for each in found.found} == {
        ("argh", "0.1"), ("six", "1.16"),
    }  # fmt: skip


def test_damaged_ones_are_told_and_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "empty-1.0.dist-info").mkdir()
    put(tmp_path / "~orch-2.9.0.dist-info" / "METADATA", "Name: torch\n")
    put(tmp_path / "silent.egg-info" / "PKG-INFO", "\0\xff")
    (tmp_path / "gone-1.0.dist-info").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo-1.0.egg-info")
    strange = os.fsdecode(b"\xff-1.0.dist-info")
    put(tmp_path / strange / "METADATA", "Name: x\n")
    _installed(tmp_path, "good", "1.0")
    found = distributions.find([str(tmp_path), str(tmp_path / "absent")], HERE)
    assert found.get("good") is not None
    assert len(found.notes) == 5
    assert any("interrupted pip" in note for note in found.notes)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Distributions) == found


def test_hostile_records(tmp_path: Path) -> None:
    info = _installed(tmp_path, "large", "1.0")
    os.truncate(info / "RECORD", 4 << 30)
    os.truncate(put(tmp_path / "huge.egg-info" / "PKG-INFO", "Name: a\n"), 4 << 30)
    found = distributions.find([str(tmp_path)], HERE).found
    bounded(lambda: distributions.find([str(tmp_path)], HERE).notes)
    bounded(lambda: len(list(distributions.files(found[-1], HERE))))
    put(info / "RECORD", '"' + "x" * 200_000 + '",,\n')
    assert list(distributions.files(found[-1], HERE)) == []


def test_three_hundred_packages_are_listed_quickly(tmp_path: Path) -> None:
    for number in range(300):
        _installed(tmp_path, f"package_{number}", f"{number}.0", f"package_{number}/__init__.py")
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        assert len(distributions.find([str(tmp_path)], HERE).found) == 300
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.05


# ---- torch -------------------------------------------------------------------------------------

WHEEL = """
from typing import Optional
__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'xpu']
__version__ = '2.9.0+rocm6.4'
debug = False
cuda: Optional[str] = None
git_version = '0fabc3ba44823f257e70ce397d989c8de5e362c1'
hip: Optional[str] = '6.4.43484-123eb5128'
"""
ROCM_INIT = """
def initialize():
  import rocm_sdk
  rocm_sdk.initialize_process(preload_shortnames=[
    'amd_comgr',
    'amdhip64',
    'hiprtc',
  ],
  check_version='7.0.0rc20250917')
"""


def test_a_torch_that_bundles_its_runtime(tmp_path: Path, hip: Path) -> None:
    folder = tmp_path / "torch"
    put(folder / "__init__.py", "raise SystemExit('torch was imported')")
    put(folder / "version.py", WHEEL)
    copied(hip, folder / "lib" / "libamdhip64.so")
    put(folder / "lib" / "libtorch_hip.so")
    put(folder / "lib" / "libamdhip64_stub.so")
    (found,) = torch.find(_environment(tmp_path), HERE)
    assert (found.version, found.hip, found.cuda) == ("2.9.0+rocm6.4", "6.4.43484-123eb5128", "")
    assert found.bundled == ("libamdhip64.so",)
    assert found.runtime_from == "bundled"
    assert (found.folder, found.library_dir) == (str(folder), str(folder / "lib"))


def test_a_torch_on_rocms_wheels(tmp_path: Path) -> None:
    put(tmp_path / "torch" / "__init__.py")
    put(tmp_path / "torch" / "version.py", WHEEL.replace("6.4", "7.0"))
    put(tmp_path / "torch" / "_rocm_init.py", ROCM_INIT)
    (found,) = torch.find(_environment(tmp_path), HERE)
    assert found.preloads == ("amd_comgr", "amdhip64", "hiprtc")
    assert found.wants_rocm == "7.0.0rc20250917"
    assert found.runtime_from == "wheels"
    assert found.bundled == ()


def test_torches_of_debian_and_of_others(tmp_path: Path) -> None:
    site = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    put(site / "torch" / "__init__.py")
    put(site / "torch" / "version.py", "__version__ = '2.6.0'\nhip = '5.7.1'\ncuda = None\n")
    other = tmp_path / "cuda"
    put(other / "torch" / "__init__.py")
    put(other / "torch" / "version.py", "__version__ = '2.6.0+cu124'\ncuda = '12.4'\nhip = None\n")
    first, second = torch.find(_environment(site, other), HERE)
    assert (first.runtime_from, first.hip) == ("system", "5.7.1")
    assert (second.runtime_from, second.cuda) == ("", "12.4")
    inside = Root(tmp_path)
    relative = f"/{site.relative_to(tmp_path)}"
    assert torch.find(_environment(Path(relative)), inside)[0].folder == f"{relative}/torch"


@pytest.mark.parametrize("content", [None, b"\0", b"(" * 5000, b"\xff", b"hip = \n", "loop"])
def test_a_damaged_torch(tmp_path: Path, content: bytes | str | None) -> None:
    put(tmp_path / "torch" / "__init__.py")
    version = tmp_path / "torch" / "version.py"
    if isinstance(content, bytes):
        put(version, content)
    elif content:
        version.symlink_to("version.py")
    (found,) = torch.find(_environment(tmp_path), HERE)
    assert "version.py is missing or damaged" in found.problem
    assert found.version == ""


def test_hostile_sources(tmp_path: Path) -> None:
    put(tmp_path / "torch" / "__init__.py")
    put(tmp_path / "torch" / "version.py", "hip = '6'\n" + "x = '" + "-" * (5 << 20))
    deep = "f(" * 90 + "initialize_process()" + ")" * 90
    put(tmp_path / "torch" / "_rocm_init.py", f"{deep}\n" * 2000)
    bounded(lambda: torch.find(_environment(tmp_path), HERE)[0].problem)


def test_no_torch(tmp_path: Path) -> None:
    assert torch.find(_environment(tmp_path), HERE) == ()


# ---- ROCm --------------------------------------------------------------------------------------


def test_installations(tmp_path: Path) -> None:
    put(tmp_path / "opt" / "rocm-6.4.3" / ".info" / "version", "6.4.3-127\n")
    for name in ("lib", "lib64", "hip/lib"):
        (tmp_path / "opt" / "rocm-6.4.3" / name).mkdir(parents=True)
    (tmp_path / "opt" / "rocm").symlink_to("rocm-6.4.3")
    put(tmp_path / "opt" / "rocm-broken" / ".info" / "version", b"\xff\n" * 100)
    root = Root(tmp_path)
    environ = {"ROCM_PATH": "/apps/rocm", "HIP_PATH": ""}
    told, link, real, broken = rocm.installations(root, environ)
    assert (told.prefix, told.because) == ("/apps/rocm", "ROCM_PATH (/apps/rocm)")
    assert told.library_dirs == ()
    assert (link.prefix, link.version) == ("/opt/rocm", "6.4.3-127")
    assert real.library_dirs == tuple(
        f"/opt/rocm-6.4.3/{name}" for name in ("lib", "lib64", "hip/lib")
    )
    assert broken.version == ""
    msgspec.json.encode(broken)
    assert rocm.installations(Root(tmp_path / "opt"), {}) == ()


def test_wheels(tmp_path: Path) -> None:
    for name in ("_rocm_sdk_core", "_rocm_sdk_devel", "_rocm_sdk_libraries_gfx94X_dcgpu"):
        (tmp_path / name / "lib").mkdir(parents=True)
    put(tmp_path / "rocm_sdk" / "__init__.py")
    put(tmp_path / "_rocm_sdk_notes.txt")
    _installed(tmp_path, "rocm", "7.0.0", "rocm_sdk/__init__.py")
    _installed(tmp_path, "rocm_sdk_core", "7.0.0")
    _installed(tmp_path, "rocm_sdk_devel", "7.0.1")
    _installed(tmp_path, "rocm_sdk_libraries_gfx94X_dcgpu", "7.0.2")
    installed = distributions.find([str(tmp_path)], HERE)
    found = rocm.wheels([str(tmp_path)], installed, HERE)
    assert {each.package: (each.distribution, each.version) for each in found} == {
        "_rocm_sdk_core": ("rocm-sdk-core", "7.0.0"),
        "_rocm_sdk_devel": ("rocm-sdk-devel", "7.0.1"),
        "_rocm_sdk_libraries_gfx94X_dcgpu": ("rocm-sdk-libraries-gfx94x-dcgpu", "7.0.2"),
        "rocm_sdk": ("rocm", "7.0.0"),
    }
    assert found[0].library_dirs == (str(tmp_path / "_rocm_sdk_core" / "lib"),)
    assert found[-1].library_dirs == ()
    bare = rocm.wheels([str(tmp_path)], Distributions(()), HERE)
    assert [each.version for each in bare] == [""] * 4


def test_nothing_of_these_imports_what_it_looks_at() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from xdiag.discover import distributions, python_environment, rocm, root, torch\n"
        "here = root.Root(); found = python_environment.own()\n"
        "torch.find(found, here); distributions.find(found.site_dirs, here)\n"
        "assert not {'torch', 'importlib.metadata', 'subprocess'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
