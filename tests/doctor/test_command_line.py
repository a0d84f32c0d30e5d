"""What a command comes to: through scripts, env, wrappers, Python's options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from runtimes.conftest import in_fork

from doctor.scenes import SITE, Image
from xdiag.discover.root import Root
from xdiag.doctor import examination
from xdiag.doctor.catalogue import CHECKS
from xdiag.doctor.command_line import Start, understood
from xdiag.doctor.patient import Patient
from xdiag.errors import Usage
from xdiag.findings import Status

HERE = Root()


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    """A directory for PATH with python3, beside the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(sys.executable)
    (tmp_path / "x.py").write_text("")
    return folder


def _start(bin: Path, *command: str) -> Start:
    environ = {"PATH": f"{bin}:/usr/bin:/bin", "PYTHONPATH": "/p"}
    return understood(command, HERE, environ, str(bin.parent))


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "command",
    [
        "python3 x.py", "env python3 x.py", "env -u HOME A=1 B=2 python3 -u x.py",
        "nice -n 5 python3 x.py", "timeout -s KILL 10 python3 x.py", "nohup python3 x.py",
        "stdbuf -oL env A=1 nice python3 x.py", "setsid taskset 3 python3 -W ignore -X dev x.py",
        "env -S 'A=1 python3' x.py",
    ],
)  # fmt: skip
def test_a_command_is_followed_to_its_python(bin: Path, command: str) -> None:
    import shlex

    start = _start(bin, *shlex.split(command))
    assert start.interpreter is not None
    assert start.interpreter.path == str(bin / "python3")
    assert start.script == str(bin.parent / "x.py")
    assert not start.launcher
    assert ("A" in start.environ) is ("A=1" in command)


def test_scripts_are_followed_as_the_kernel_does(bin: Path) -> None:
    direct = _script(bin.parent / "tool", f"#!{bin}/python3\n")
    by_env = _script(bin / "serve", "#!/usr/bin/env -S python3 -u\n")
    text = f"#!/bin/sh\n'''exec' \"{bin}/python3\" \"$0\" \"$@\"\n' '''\n"
    by_pip = _script(bin / "piped", text)
    for command, script in (((str(direct),), direct), (("serve",), by_env), (("piped",), by_pip)):
        start = _start(bin, *command)
        assert start.interpreter is not None, command
        assert start.script == str(script)


def test_what_pythons_options_leave_out_is_left_out(bin: Path) -> None:
    environ = _start(bin, "python3", "-IS", "x.py").environ
    assert "PYTHONPATH" not in environ
    assert _start(bin, "python3", "-c", "import torch").script == ""
    assert _start(bin, "python3", "-m", "serve.main").module == "serve.main"
    assert _start(bin, "python3", "-S", "x.py").site is False
    here = Patient(root=HERE, environ=environ, site=False,
                   interpreter=_start(bin, "python3").interpreter)  # fmt: skip
    assert here.python is not None
    real = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.path, sep=chr(10))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert list(here.python.search_path) == real.stdout.splitlines()


@pytest.mark.parametrize("command", [["bash", "-c", "python3 x.py"], ["sh"], ["make", "serve"]])
def test_what_starts_others_is_a_launcher(bin: Path, command: list[str]) -> None:
    (bin / "make").symlink_to("/bin/true")
    start = _start(bin, *command)
    assert start.interpreter is None
    assert start.launcher


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["nonesuch"], "no program nonesuch on PATH"),
        (["./nonesuch"], "no such program"),
        (["A=1", "python3"], "use --env A=1"),
        (["python3", "none.py"], "no such script"),
        (["env", "A=1", "nonesuch"], "no program nonesuch on PATH, which /usr/bin/env starts"),
    ],
)
def test_what_is_not_there_is_wrong_usage(bin: Path, command: list[str], says: str) -> None:
    with pytest.raises(Usage, match=says):
        _start(bin, *command)


def test_a_script_is_read_for_what_it_opens(image: Image) -> None:
    image.torch()
    image.runtime("opt/rocm/lib/libamdhip64.so.6", marker="rocm")
    image.write("app/main.py", "import torch, helper\n")
    image.write("app/helper.py", 'import ctypes\nctypes.CDLL("/opt/rocm/lib/libamdhip64.so.6")\n')
    root = Root(image.folder)
    start = understood(["/usr/bin/python3", "/app/main.py"], root, {})
    patient = Patient(root, start.environ, start.interpreter, script=start.script)
    found = {each.check: each for each in examination.findings(patient, CHECKS, CHECKS)}
    told = found["forecast.agreement"]
    assert told.status is Status.WARN
    text = "\n".join(told.evidence)
    assert "for the script's own files: " in text
    assert f"/{SITE}/torch/lib/libamdhip64.so.6" in text
    assert "/opt/rocm/lib/libamdhip64.so.6" in text


def test_what_may_not_be_read_is_not_said_to_be_absent(image: Image) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    image.torch()
    os.chmod(image.site / "torch", 0o700)
    # pytest keeps its directories to the user that runs it.
    for folder in (image.folder, *image.folder.parents):
        if os.stat(folder).st_mode & 0o007 == 0:
            os.chmod(folder, 0o755)
        if folder.name.startswith("pytest-of-"):
            break

    def look() -> str:
        found = examination.findings(image.patient(), CHECKS, CHECKS)
        return "".join(f"{each.status.value} {each.check}: {each.summary}\n" for each in found)

    status, told = in_fork(look, user=65534)
    assert status == 0, told
    assert "WARN forecast.readable: this user may not read all" in told
    assert "WARN forecast.agreement: not all can be foretold" in told
    assert "WARN python.torch: torch may not be read by this user" in told
    assert "ERR " not in told
