"""An interpreter's environment, held against what the interpreter says of itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import msgspec
import pytest
from runtimes.conftest import in_fork

from discover.conftest import HERE, ask, bounded, on_debian, put
from xdiag.discover import python_environment
from xdiag.discover.python_environment import PythonEnvironment
from xdiag.discover.root import Root
from xdiag.errors import CannotRun, Usage, XdiagError

VERSION = f"python3.{sys.version_info[1]}"
#: What a test's interpreter is started with: nothing of ours but a home without packages.
PLAIN = {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent"}


def _made(folder: Path, **options: bool) -> Path:
    venv.create(folder, with_pip=False, symlinks=True, **options)
    return folder / "bin" / "python"


def _same(python: Path | str, environ: dict[str, str] | None = None, cwd: str = "/") -> None:
    """The facts are those that the interpreter itself tells."""
    environ = PLAIN if environ is None else environ
    real = ask(
        python,
        "[sys.path[1:], sys.prefix, sys.base_prefix, '%d.%d' % sys.version_info[:2],"
        " site.ENABLE_USER_SITE]",
        env=environ,
        cwd=cwd,
    )
    found = python_environment.find(str(python), HERE, environ, cwd)
    assert list(found.search_path) == real[0]
    assert [found.prefix, found.base_prefix, found.version] == real[1:4]
    assert found.is_virtual == (real[1] != real[2])
    assert found.real_executable == os.path.realpath(python)
    assert msgspec.json.decode(msgspec.json.encode(found), type=PythonEnvironment) == found
    ends = (f"/lib/{VERSION}", f"/python3{sys.version_info[1]}.zip", "/lib-dynload")
    standard = [entry for entry in real[0] if entry.endswith(ends)]
    assert [entry for entry in found.search_path if entry not in found.site_dirs] == standard


def test_the_interpreter_of_these_tests() -> None:
    _same(sys.executable)
    own = python_environment.own()
    assert own.search_path == tuple(map(os.path.abspath, sys.path))


def test_the_interpreter_below_it() -> None:
    _same(Path(sys.base_prefix) / "bin" / VERSION)


@on_debian
@pytest.mark.parametrize("python", ["/usr/bin/python3", "/bin/python3"])
def test_the_systems(python: str, tmp_path: Path) -> None:
    _same(python)
    # Debian's venv, with its own directories of packages behind.
    for name, option in (("alone", ()), ("open", ("--system-site-packages",))):
        subprocess.run(
            [python, "-m", "venv", "--without-pip", *option, tmp_path / name], check=True
        )
        _same(tmp_path / name / "bin" / "python3")


def test_virtual_environments(tmp_path: Path) -> None:
    _same(_made(tmp_path / "alone"))
    _same(_made(tmp_path / "open", system_site_packages=True))
    venv.create(tmp_path / "copied", symlinks=False)
    _same(tmp_path / "copied" / "bin" / "python")
    # One that was made by the first.
    inner = tmp_path / "inner"
    subprocess.run(
        [tmp_path / "alone" / "bin" / "python", "-m", "venv", "--without-pip", inner], check=True
    )
    _same(inner / "bin" / "python")
    # A link to an environment's interpreter is not that environment.
    (tmp_path / "linked").symlink_to(tmp_path / "alone" / "bin" / "python")
    _same(tmp_path / "linked")


def test_what_the_environment_adds(tmp_path: Path) -> None:
    python = _made(tmp_path / "open", system_site_packages=True)
    home = tmp_path / "home"
    user = home / ".local" / "lib" / VERSION / "site-packages"
    other = tmp_path / "other" / "lib" / VERSION / "site-packages"
    for folder in (user, other, tmp_path / "a"):
        folder.mkdir(parents=True)
    plain = {**PLAIN, "HOME": str(home)}
    for extra in (
        {},
        {"PYTHONNOUSERSITE": "1"},
        {"PYTHONUSERBASE": str(tmp_path / "other")},
        {"PYTHONPATH": f"{tmp_path}/a:{tmp_path}/absent::relative:{tmp_path}/a/../a"},
        {"PYTHONPATH": ""},
    ):
        _same(python, {**plain, **extra}, cwd=str(tmp_path))
        _same(_made(tmp_path / "alone"), {**plain, **extra}, cwd=str(tmp_path))
    found = python_environment.find(str(python), HERE, plain)
    assert str(user) in found.site_dirs
    home_prefix = {**PLAIN, "PYTHONHOME": sys.base_prefix}
    _same(python, home_prefix)


def test_path_files_are_followed_and_code_is_not_run(tmp_path: Path) -> None:
    python = _made(tmp_path / "venv")
    site = tmp_path / "venv" / "lib" / VERSION / "site-packages"
    for name in ("one", "two", "three", "four"):
        (tmp_path / name).mkdir()
    put(tmp_path / "file.zip")
    ran = tmp_path / "ran"
    put(site / "b.pth", f"{tmp_path}/two\n\n# comment\n{tmp_path}/absent\n../../../../one\n")
    put(site / "a.pth", f"{tmp_path}/three\r\n{tmp_path}/three\n  \n{tmp_path}/file.zip  \n")
    put(site / "c.pth", f"import sys; open({str(ran)!r}, 'w')\nimport\tos\n{tmp_path}/four")
    put(site / "d.pth", b"\xef\xbb\xbf")
    put(site / "e.txt", f"{tmp_path}")
    (site / "f.pth").mkdir()
    (site / "g.pth").symlink_to("gone")
    os.mkfifo(site / "h.pth")
    found = python_environment.find(str(python), HERE, PLAIN)
    assert not ran.exists()
    assert [note for note in found.notes if "c.pth has code that runs at start: import" in note]
    (site / "h.pth").unlink()
    (site / "f.pth").rmdir()
    _same(python)
    assert ran.exists()
    assert len([entry for entry in found.site_dirs if str(tmp_path) in entry]) == 6


def test_damaged_path_files(tmp_path: Path) -> None:
    python = _made(tmp_path / "venv")
    site = tmp_path / "venv" / "lib" / VERSION / "site-packages"
    good = tmp_path / "good"
    good.mkdir()
    put(site / "a.pth", b"x" * 5000 + b"\n" + os.fsencode(good))
    put(site / "b.pth", b"a\0b\n" + os.fsencode(good) + b"\n")
    strange = tmp_path / os.fsdecode(b"\xff")
    strange.mkdir()
    put(site / "c.pth", os.fsencode(strange) + b"\n" + os.fsencode(good) + b"\n")
    put(site / "d.pth")
    os.truncate(site / "d.pth", 4 << 30)
    found = python_environment.find(str(python), HERE, PLAIN)
    msgspec.json.encode(found)
    assert found.site_dirs == (str(site), str(good))
    assert sum("is damaged" in note for note in found.notes) >= 2
    assert any(r"\udcff is left out" in note for note in found.notes)
    bounded(lambda: python_environment.find(str(python), HERE, PLAIN).site_dirs)


FINDER = """
from __future__ import annotations
import sys
MAPPING: dict[str, str] = {'torch': '/src/pytorch/torch', 'functorch': '/src/pytorch/functorch'}
NAMESPACES: dict[str, list[str]] = {}
raise SystemExit('it was run')
"""


def test_editable_installations_with_a_finder(tmp_path: Path) -> None:
    python = _made(tmp_path / "venv")
    site = tmp_path / "venv" / "lib" / VERSION / "site-packages"
    name = "__editable___torch_2_9_0_finder"
    put(site / "__editable__.torch-2.9.0.pth", f"import {name}; {name}.install()")
    put(site / f"{name}.py", FINDER.replace("/src", str(tmp_path / "src")))
    put(site / "computed.pth", "import __editable___other_finder; other.install()")
    put(site / "__editable___other_finder.py", "MAPPING = dict(a=computed())")
    put(tmp_path / "src" / "pytorch" / "torch" / "__init__.py")
    found = python_environment.find(str(python), HERE, PLAIN)
    assert found.editable == {
        "torch": f"{tmp_path}/src/pytorch/torch",
        "functorch": f"{tmp_path}/src/pytorch/functorch",
    }
    assert [note for note in found.notes if "__editable___other" in note]
    assert python_environment.packages("torch", found, HERE) == (
        f"{tmp_path}/src/pytorch/torch",
    )  # fmt: skip
    # What is on the path comes first, and a directory without __init__ last of all.
    (tmp_path / "bare" / "torch").mkdir(parents=True)
    put(site / "torch" / "__init__.py")
    put(site / "a.pth", str(tmp_path / "bare"))
    found = python_environment.find(str(python), HERE, PLAIN)
    assert python_environment.packages("torch", found, HERE) == (
        f"{site}/torch",
        f"{tmp_path}/src/pytorch/torch",
    )


# ---- images ------------------------------------------------------------------------------------


def _image(folder: Path) -> Path:
    """An image with a Debian-like Python in it; its interpreter is a copy of ours."""
    real = Path(sys.base_prefix, "bin", VERSION).resolve()
    python = folder / "usr" / "bin" / VERSION
    python.parent.mkdir(parents=True)
    shutil.copy(real, python)
    (python.parent / "python3").symlink_to(VERSION)
    put(folder / "usr" / "lib" / VERSION / "os.py")
    put(folder / "usr" / "lib" / VERSION / "site.py", 'x = "dist-packages"')
    (folder / "usr" / "lib" / "python3" / "dist-packages").mkdir(parents=True)
    (folder / "usr" / "local" / "lib" / VERSION / "dist-packages").mkdir(parents=True)
    for name in ("bin", "lib"):
        (folder / name).symlink_to(f"usr/{name}")
    return folder


def test_an_image_is_read_from_inside(tmp_path: Path) -> None:
    image = _image(tmp_path / "image")
    root = Root(image)
    environment = image / "opt" / "venv"
    site = environment / "lib" / VERSION / "site-packages"
    site.mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to("/usr/bin/python3")
    put(environment / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n")
    (image / "src").mkdir()
    put(site / "project.pth", "/src\n/etc\n")  # /etc is here, and not in the image
    for path in ("/usr/bin/python3", "/bin/python3"):
        found = python_environment.find(path, root, {"HOME": "/root"})
        assert (found.prefix, found.version) == ("/usr", VERSION.removeprefix("python"))
        assert found.real_executable == f"/usr/bin/{VERSION}"
        assert found.site_dirs == (
            f"/usr/local/lib/{VERSION}/dist-packages", "/usr/lib/python3/dist-packages",
        )  # fmt: skip
    user = f"/root/.local/lib/{VERSION}/site-packages"
    (image / user[1:]).mkdir(parents=True)
    put(image / "etc" / "passwd", "root:x:0:0:root:/root:/bin/bash\n")
    (image / "etc").rename(image / "not-etc")
    found = python_environment.find("/opt/venv/bin/python", root, {"HOME": "/root"})
    assert (found.prefix, found.base_prefix) == ("/opt/venv", "/usr")
    assert found.site_dirs == (
        f"/opt/venv/lib/{VERSION}/site-packages",
        "/src",
        user,
        f"/usr/local/lib/{VERSION}/dist-packages",
        "/usr/lib/python3/dist-packages",
    )
    # Without HOME the account's home directory counts.
    (image / "not-etc").rename(image / "etc")
    found = python_environment.find("/opt/venv/bin/python", root, {})
    assert user in found.site_dirs
    assert "/etc" in found.site_dirs


def test_fedoras_directories(tmp_path: Path) -> None:
    image = tmp_path / "image"
    python = image / "usr" / "bin" / VERSION
    python.parent.mkdir(parents=True)
    shutil.copy(Path(sys.base_prefix, "bin", VERSION).resolve(), python)
    put(image / "usr" / "lib64" / VERSION / "os.py")
    put(image / "usr" / "lib64" / VERSION / "site.py", 'PREFIXES.insert(0, "/usr/local")')
    expected = [
        f"{prefix}/{library}/{VERSION}/site-packages"
        for prefix in ("/usr/local", "/usr") for library in ("lib64", "lib")
    ]  # fmt: skip
    for each in expected:
        (image / each[1:]).mkdir(parents=True)
    found = python_environment.find(f"/usr/bin/{VERSION}", Root(image), {})
    assert found.site_dirs == tuple(expected)
    assert f"/usr/lib64/{VERSION}/lib-dynload" in found.search_path


def test_an_image_for_another_machine(tmp_path: Path) -> None:
    image = _image(tmp_path / "image")
    python = image / "usr" / "bin" / VERSION
    data = bytearray(python.read_bytes())
    data[18:20] = b"\xf3\x00"  # RISC-V
    python.write_bytes(data)
    found = python_environment.find("/usr/bin/python3", Root(image), {})
    assert found.prefix == "/usr"


# ---- what is no interpreter ----------------------------------------------------------------------


def test_what_is_no_interpreter(tmp_path: Path) -> None:
    shim = put(tmp_path / "shim", "#!/usr/bin/env bash\nexec pyenv exec python\n")
    text = put(tmp_path / "text", "hello")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    for path, says in (
        (shim, "a script, not an interpreter"),
        (text, "not a program"),
        (tmp_path, "a directory"),
        (tmp_path / "absent", "no such file"),
        (tmp_path / "loop", "no such file"),
        (tmp_path / "fifo", "no such file"),
        (Path("/bin/ls"), "not a CPython interpreter"),
    ):
        with pytest.raises(Usage, match=says) as caught:
            python_environment.find(str(path), HERE, PLAIN)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_an_interpreter_that_could_not_start(tmp_path: Path) -> None:
    python = _made(tmp_path / "venv")
    put(tmp_path / "venv" / "pyvenv.cfg", f"home = {tmp_path}/gone/bin\n")
    with pytest.raises(CannotRun, match=r"pyvenv.cfg: home = .*gone/bin: there is no Python"):
        python_environment.find(str(python), HERE, PLAIN)
    with pytest.raises(CannotRun, match=r"PYTHONHOME=/gone: there is no Python"):
        python_environment.find(str(_made(tmp_path / "new")), HERE, {"PYTHONHOME": "/gone"})
    alone = tmp_path / "alone" / "bin" / "python"
    alone.parent.mkdir(parents=True)
    shutil.copy(Path(sys.base_prefix, "bin", VERSION).resolve(), alone)
    with pytest.raises(CannotRun, match="its standard library"):
        python_environment.find("/alone/bin/python", Root(tmp_path), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_interpreter_that_may_not_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    python = folder / "python3"
    shutil.copy(Path(sys.base_prefix, "bin", VERSION).resolve(), python)
    python.chmod(0o711)
    for each in (folder, *folder.parents):
        if str(each).startswith("/tmp/pytest"):
            each.chmod(0o755)

    def look() -> str:
        try:
            return python_environment.find(str(python), HERE, {}).prefix
        except XdiagError as error:
            return str(error)

    status, told = in_fork(look, user=65534)
    assert status == 0
    assert "Permission denied" in told or "no such file" in told
