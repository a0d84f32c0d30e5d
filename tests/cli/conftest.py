"""The command line as users call it: a process of its own, with directories of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import build_fake

from xdiag.runtimes.agent import library as software_agent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake runtime, linked to an HSA runtime as a real one is: xdiag looks for its agent."""
    agent = str(software_agent())
    return build_fake(tmp_path_factory.mktemp("fake-on-agent"), "-Wl,--no-as-needed", agent)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Environment of a user whose cache and state are empty."""
    return {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "COLUMNS": "120",
    }


@pytest.fixture
def xdiag(
    home: dict[str, str], fake_library: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run xdiag on the fake runtime: ``xdiag("probe", "-p", "same-thread", fault=...)``."""

    def run(
        *arguments: str, fault: str = "", fake: bool = True, **options: object
    ) -> subprocess.CompletedProcess[str]:
        runtime = ["--runtime", str(fake_library), "--agent", "software"] if fake else []
        return subprocess.run(
            [sys.executable, "-m", "xdiag", *arguments, *runtime],
            env={**home, "FAKE_FAULT": fault}, capture_output=True, text=True, timeout=100,
            stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip

    return run
