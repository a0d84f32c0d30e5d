"""Which Python is examined: named, of a command, or the usual one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from doctor.scenes import Image
from xdiag.discover.root import Root
from xdiag.doctor import interpreter
from xdiag.errors import CannotRun, Usage

HERE = Root()


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_file_a_directory_and_a_name_on_path_all_name_an_interpreter(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "python"
    link.symlink_to(sys.executable)
    path = {"PATH": f"/nowhere:{tmp_path / 'bin'}"}
    assert interpreter.named(str(link), HERE, {}).path == str(link)
    assert interpreter.named(str(tmp_path), HERE, {}).path == str(link)
    assert interpreter.named("python", HERE, path).path == str(link)


@pytest.mark.parametrize(
    ("named", "says"),
    [("/nowhere/python", "no such file"), ("/etc", "without bin/python"), ("pythn", "on PATH")],
)
def test_what_names_none_is_wrong_usage(named: str, says: str) -> None:
    with pytest.raises(Usage, match=says):
        interpreter.named(named, HERE, {"PATH": "/usr/bin"})


def test_a_launcher_is_asked_which_interpreter_it_starts(tmp_path: Path) -> None:
    shim = _script(tmp_path / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    found = interpreter.named(str(shim), HERE, {})
    assert os.path.samefile(found.path, sys.executable)
    assert str(shim) in found.because


def test_a_launcher_that_starts_nothing_is_told_in_one_line(tmp_path: Path) -> None:
    shim = _script(tmp_path / "python3", "#!/bin/sh\nexit 3\n")
    with pytest.raises(CannotRun, match="name one with --python"):
        interpreter.named(str(shim), HERE, {})


def test_in_an_image_a_launcher_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    _script(tmp_path / "root/usr/bin/python3", f"#!/bin/sh\ntouch {ran}\n")
    with pytest.raises(CannotRun, match="script"):
        interpreter.named("/usr/bin/python3", Root(tmp_path / "root"), {})
    assert not ran.exists()


def test_the_active_environment_comes_before_path(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    found = interpreter.usual(HERE, {"VIRTUAL_ENV": str(tmp_path), "PATH": "/usr/bin"})
    assert found is not None
    assert found.path == str(python)
    assert "VIRTUAL_ENV" in found.because


def test_an_image_without_a_python_has_none(tmp_path: Path) -> None:
    assert interpreter.usual(Root(tmp_path), {"PATH": "/usr/bin"}) is None


def test_a_variable_that_leads_nowhere_is_noted(tmp_path: Path) -> None:
    found = interpreter.usual(HERE, {"VIRTUAL_ENV": str(tmp_path), "PATH": "/usr/bin"})
    assert found is not None
    assert found.notes == (f"VIRTUAL_ENV={tmp_path} has no bin/python.",)


def test_in_an_image_the_python_with_torch_is_meant(image: Image) -> None:
    (image.folder / "opt/venv/bin").mkdir(parents=True)
    (image.folder / "opt/venv/bin/python").symlink_to("/usr/bin/python3")
    (image.folder / "opt/venv/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11\n")
    torch = image.folder / "opt/venv/lib/python3.11/site-packages/torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").write_text("")
    root = Root(image.folder)
    found = interpreter.usual(root, {"PATH": "/usr/bin"})
    assert found is not None
    assert (found.path, found.others) == ("/opt/venv/bin/python", ())
    # A second one is told of.
    image.torch()
    found = interpreter.usual(root, {"PATH": "/usr/bin"})
    assert found is not None
    assert (found.path, found.others) == ("/usr/bin/python3", ("/opt/venv/bin/python",))
