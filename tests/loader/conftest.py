"""The driver, compiled once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from loader.trees import INTERPRETER


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
