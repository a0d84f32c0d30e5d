"""Foretelling a program's link map, against the loader that lists it (``ld.so --list``)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.figure import Figure
from xdiag.discover.root import Root
from xdiag.loader.link_map import LinkMap, NotLoaded

if TYPE_CHECKING:
    from xdiag.model import Target

RUNS = 30


def _foretold(target: Target, environ: dict[str, str], *, opens: bool) -> tuple[float, int]:
    """Milliseconds for this Python, with the HIP runtime opened if so wanted, and the objects."""
    begun = time.perf_counter()
    link_map = LinkMap.of_program(sys.executable, Root(), environ)
    if opens:
        try:
            link_map.open(target.runtime)
        except NotLoaded as error:
            print(f"not opened: {error}", file=sys.stderr)
    return (time.perf_counter() - begun) * 1e3, len(link_map.objects)


def _listed(loader: str, environ: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [loader, "--list", sys.executable], env=environ, check=True, stdout=subprocess.DEVNULL
    )
    return (time.perf_counter() - begun) * 1e3


def run(target: Target) -> list[Figure]:
    """Milliseconds of each in turn; the first round warms the page cache."""
    environ = {**os.environ, "LD_LIBRARY_PATH": ":".join(target.library_path)}
    loader = LinkMap.of_program(sys.executable, Root(), environ).glibc
    alone, opened, listed = [], [], []
    objects = 0
    for round_ in range(RUNS + 1):
        one, _ = _foretold(target, environ, opens=False)
        other, objects = _foretold(target, environ, opens=True)
        peer = _listed(loader.path, environ) if loader is not None else 0.0
        if round_:
            alone.append(one)
            opened.append(other)
            listed.append(peer)
    return [
        Figure("python foretold", alone, "ms"),
        Figure("python listed by ld.so, a process each", listed, "ms"),
        Figure(f"python and the HIP runtime foretold, {objects} objects", opened, "ms"),
    ]
