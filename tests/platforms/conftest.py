"""The fake CUDA driver."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "fake" / "fake_cuda.c"


@pytest.fixture(scope="session")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake driver's library, built once."""
    library = tmp_path_factory.mktemp("cuda") / "libcuda.so.1"
    command = [
        "cc", "-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
        "-Wl,-soname,libcuda.so.1", "-Wl,--build-id", str(SOURCE), "-o", str(library),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return library
