"""A command that tells what it is given, started directly or supervised."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from launch.supervision import HERE, Catcher


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = tmp_path_factory.mktemp("probe") / "probe"
    source = str(HERE / "probe.c")
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-o", program, source], check=True)
    return str(program)


@pytest.fixture
def catcher(probe: str) -> Iterator[Callable[..., Catcher]]:
    """``catcher(way, ...)``: a catcher that is gone when the test is."""
    started: list[Catcher] = []

    def start(way: list[str], *arguments: str, **options: object) -> Catcher:
        started.append(Catcher(way, probe, "catch", *arguments, **options))
        started[-1].wait_until_ready()
        return started[-1]

    yield start
    for each in started:
        for pid in (each.pid, each.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        each.process.wait()
