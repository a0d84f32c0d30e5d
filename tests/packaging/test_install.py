"""``pip install`` from a checkout."""

from __future__ import annotations

import subprocess

import pytest

from xdiag import __version__


def _install(python, checkout, folder, run, *options, **changes):
    """Pip-install a checkout into a fresh venv; returns the venv and the finished pip."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    venv_python = folder / "venv/bin/python"
    done = run(venv_python, "-m", "pip", "install", "-q", *options, checkout, **changes)
    return folder / "venv", done


def _assert_it_runs(venv, run, cwd):
    for command in ([venv / "bin/xdiag"], [venv / "bin/python", "-m", "xdiag"]):
        done = run(*command, "--version", cwd=cwd)
        assert (done.returncode, done.stderr) == (0, "")
        assert __version__ in done.stdout


def test_an_install_from_a_checkout_runs(base_python, checkout, tmp_path, run):
    venv, done = _install(base_python, checkout, tmp_path, run)
    assert done.returncode == 0, done.stderr
    _assert_it_runs(venv, run, tmp_path)
    assert not (checkout / "xdiag/_native.abi3.so").exists(), "only -e builds in the checkout"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("options", [[], ["--editable"]], ids=["plain", "editable"])
def test_every_python_found_installs_and_runs(interpreters, checkout, tmp_path, run, options):
    assert interpreters
    for number, python in enumerate(interpreters):
        folder = tmp_path / str(number)
        folder.mkdir()
        venv, done = _install(python, checkout, folder, run, *options)
        assert done.returncode == 0, done.stderr
        _assert_it_runs(venv, run, folder)


def test_without_a_compiler_one_line_says_so(base_python, checkout, tmp_path, run):
    empty = tmp_path / "empty"
    empty.mkdir()
    _, done = _install(base_python, checkout, tmp_path, run, PATH=empty)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "xdiag: " in line]
    assert len(said) == 1
    assert said[0].split("xdiag: ")[1] == (
        "no C compiler: 'cc' not found; install gcc (Debian: apt-get install gcc) or set CC"
    )
    assert "Traceback" not in done.stderr
