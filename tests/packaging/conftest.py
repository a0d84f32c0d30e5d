"""A checkout to install from, machines that lack things, wheels and interpreters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: What a bare Debian machine has of what the Makefile and .ci/setup use.
BASE_TOOLS = """
    bash cat cp dirname env grep head id make mkdir mv rm sed sh stat tail touch uname
""".split()


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def clean_environment():
    """This process's environment without what make, a venv or a compiler's user put there."""
    unwanted = ("MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV", "CC", "CFLAGS", "LDFLAGS", "XDIAG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


@pytest.fixture(scope="session")
def base_python():
    """The interpreter that this one's venv was made from."""
    return Path(sys.executable).resolve()


def _checkout(into: Path) -> Path:
    """Copy what a fresh clone of this checkout, with its changes, would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, into / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return into


@pytest.fixture
def checkout(tmp_path):
    return _checkout(tmp_path / "xdiag with a space")


@pytest.fixture
def bare_machine(tmp_path):
    """A PATH with the tools of a bare machine and the scripts and links that a test adds to it."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for tool in BASE_TOOLS:
        (bin_dir / tool).symlink_to(shutil.which(tool))
    return bin_dir


@pytest.fixture(scope="session")
def run(clean_environment):
    """Run a command, with changes to the clean environment; returns the finished process."""

    def run_command(*command, cwd=None, **changes):
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env={**clean_environment, **{k: str(v) for k, v in changes.items()}},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_command


@pytest.fixture(scope="session")
def wheel(tmp_path_factory, run, base_python):
    """The wheel in $XDIAG_WHEEL, else one built here from a copy of the checkout."""
    given = os.environ.get("XDIAG_WHEEL")
    if given:
        return ROOT / given
    checkout = _checkout(tmp_path_factory.mktemp("checkout"))
    into = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", into, checkout)
    assert done.returncode == 0, done.stderr
    assert not (checkout / "xdiag/_native.abi3.so").exists(), "the checkout was written to"
    (built,) = into.glob("*.whl")
    assert sysconfig.get_platform().replace("-", "_") in built.name
    return built


@pytest.fixture(scope="session")
def interpreters():
    """Each supported Python found on this machine, on PATH or kept by pyenv."""
    found = []
    pyenv = shutil.which("pyenv")
    versions = Path(os.devnull)
    if pyenv:
        kept = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout
        versions = Path(kept.strip()) / "versions"
    for minor in (10, 11, 12, 13):
        places = [shutil.which(f"python3.{minor}"), *versions.glob(f"3.{minor}.*/bin/python")]
        for place in filter(None, places):
            # pyenv puts a python3.X on PATH that refuses to run where 3.X is not chosen.
            done = subprocess.run([place, "-c", "import ensurepip"], capture_output=True)
            if done.returncode == 0:
                found.append(str(place))
                break
    return found
