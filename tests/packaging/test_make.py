"""``make``: its help, and one clear line where a machine lacks something."""

from __future__ import annotations

import re
import shutil

import pytest


@pytest.fixture
def make(run, checkout, bare_machine):
    """Run make in a fresh checkout on the bare machine; returns its exit status and its lines.

    make's own lines ("make: *** ...") are left out.
    """

    def run_make(*arguments, **changes):
        done = run("make", *arguments, cwd=checkout, **{"PATH": bare_machine, **changes})
        lines = (done.stdout + done.stderr).splitlines()
        return done.returncode, [line for line in lines if not line.startswith("make")]

    return run_make


@pytest.fixture
def has(bare_machine):
    """Give the bare machine a program: a link to a real one, or a script."""

    def add(name, *, link=None, script=None):
        place = bare_machine / name
        place.unlink(missing_ok=True)
        if link:
            place.symlink_to(link)
        else:
            place.write_text(f"#!/bin/sh\n{script}\n")
            place.chmod(0o755)

    return add


@pytest.fixture
def has_python(has, base_python):
    # Not a link: an interpreter looks for its library beside the name it was called by.
    has("python3", script=f'exec "{base_python}" "$@"')


@pytest.fixture
def has_compiler(has):
    has("cc", script=f'PATH="$PATH:/usr/bin" exec {shutil.which("cc")} "$@"')


def test_help_lists_every_target(run, root):
    makefile = (root / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    done = run("make", cwd=root)
    assert done.returncode == 0
    listed = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert {name for _, name, _ in listed} == phony
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize("status", [0, 1, 3])
def test_matrix_exits_as_xdiag_does(run, root, tmp_path, status):
    # Only the recipe of `matrix`, with a program in xdiag's place; make says 2 for any failure.
    (tmp_path / "xdiag").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "xdiag").chmod(0o755)
    done = run("make", f"BIN={tmp_path}", "--old-file=native", "--old-file=runtimes", "matrix",
               cwd=root)  # fmt: skip
    assert (done.returncode == 0) == (status == 0), done.stderr


@pytest.mark.parametrize("target", ["matrix", "test"])
def test_no_python_and_no_apt(make, target):
    status, lines = make(target)
    assert status == 2
    assert lines == [
        "setup: no Python 3.10 or newer found; please install one, or set PYTHON to its path"
    ]


def test_an_old_python_is_no_python(make, has):
    has("python3", script="exit 1")
    status, lines = make("setup", PYTHON="python3")
    assert (status, lines) == (2, ["setup: PYTHON=python3 is no Python 3.10 or newer"])


@pytest.mark.usefixtures("has_python")
def test_no_compiler_and_no_apt(make):
    status, lines = make("test")
    assert status == 2
    assert lines == [
        "setup: missing: gcc libc6-dev (Debian's names); there is no apt-get here, "
        "please install them"
    ]


@pytest.mark.usefixtures("has_python")
def test_no_compiler_and_no_right_to_install_one(make, has):
    has("id", script="echo 1000")
    has("apt-get", script="exit 100")
    status, lines = make("test")
    expected = "setup: missing packages; please run: sudo apt-get install gcc libc6-dev"
    assert (status, lines) == (2, [expected])


@pytest.mark.usefixtures("has_python")
def test_apt_cannot_install(make, has):
    has("id", script="echo 0")
    has("apt-get", script="echo 'E: Unable to locate package gcc' >&2; exit 100")
    status, lines = make("test")
    assert status == 2
    assert lines == [
        "setup: installing gcc libc6-dev (apt-get)",
        "setup: apt-get could not install gcc libc6-dev: E: Unable to locate package gcc",
    ]


@pytest.mark.usefixtures("has_python")
def test_sudo_is_used_where_it_asks_for_nothing(make, has, tmp_path):
    has("id", script="echo 1000")
    has("sudo", script=f'printf "%s\\n" "$*" >> "{tmp_path}/asked"; test "$2" = true')
    has("apt-get", script="exit 100")
    assert make("test")[0] == 2
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "-n true"
    assert asked[1].startswith("-n env DEBIAN_FRONTEND=noninteractive apt-get")


@pytest.mark.usefixtures("has_python")
def test_a_compiler_that_is_none(make):
    status, lines = make("test", CC="no-such-cc")
    expected = "setup: CC=no-such-cc cannot compile a C file; unset it, or name one that can"
    assert (status, lines) == (2, [expected])


@pytest.mark.usefixtures("has_python", "has_compiler")
def test_no_network(make):
    # Port 9 of this machine answers nobody; no other place is asked.
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
    }
    status, lines = make("test", **nowhere)
    assert status == 2
    assert lines[-1] == (
        "setup: pip cannot reach the package index; is there a network? (log: build/log/pip.txt)"
    )
    assert all(line.startswith("setup: ") for line in lines)
    assert len(lines) == 3


def test_another_system(make, has):
    has("uname", script="echo Darwin arm64")
    status, lines = make("test")
    assert status == 2
    assert lines == ["setup: xdiag runs on Linux x86-64 only, this is Darwin arm64"]
