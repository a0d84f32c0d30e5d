"""The driver, compiled once, and a small root with a loader, a C library and the driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from loader.trees import INTERPRETER, LDCONFIG


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """libdriver.so, which opens what XDIAG_OPENS asks for from within other objects."""
    if os.uname().machine != "x86_64" or not Path(INTERPRETER).exists():
        pytest.skip("no glibc for x86-64 here")
    library = tmp_path_factory.mktemp("driver") / "libdriver.so"
    source = Path(__file__).with_name("driver.c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", str(source), "-o",
         str(library)], check=True,
    )  # fmt: skip
    return str(library)


@pytest.fixture(scope="session")
def small_root(driver: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the generated programs run; tests lay their trees out below its /t."""
    if os.geteuid() != 0 or not shutil.which(LDCONFIG):
        pytest.skip("needs root, for chroot, and ldconfig")
    root = tmp_path_factory.mktemp("root")
    loader = Path(os.path.realpath(INTERPRETER))
    for source in (loader, loader.with_name("libc.so.6")):
        target = root / str(source).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for folder in ("etc", "drv", "proc/self"):
        (root / folder).mkdir(parents=True)
    path = root / INTERPRETER.lstrip("/")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(loader)
    # Where Debian has it: /lib is a link there, and the loader searches by that name.
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    shutil.copy(driver, root / "drv" / "libdriver.so")
    # What the loader asks for $ORIGIN of the program.
    (root / "proc/self/exe").symlink_to("/t/bin/main")
    return root


@pytest.fixture(scope="session")
def in_small_root(small_root: Path) -> str:
    """The driver, as seen from inside of the small root."""
    return "/drv/libdriver.so"
