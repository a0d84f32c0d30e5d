"""What each fact on disk costs, on an environment of 300 packages and a machine of 3000."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from discover.environments import grow
from msgspec.structs import replace

from bench.figure import Figure
from xdiag.discover import (
    distributions,
    elf,
    libraries,
    mentions,
    owners,
    python_environment,
    rocm,
    torch,
    tree,
)
from xdiag.discover.distributions import Distributions
from xdiag.discover.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.model import Target

ROUNDS = 15
DPKG_LISTS = 3000


def _timed(work: Callable[[], Any]) -> list[float]:
    """Milliseconds of each round; the one before them warms the page cache."""
    times = []
    for round_ in range(ROUNDS + 1):
        begun = time.perf_counter()
        work()
        if round_:
            times.append((time.perf_counter() - begun) * 1e3)
    return times


def _image(folder: Path) -> Root:
    """A machine with many Debian packages, none of which has what is looked for."""
    info = folder / "var" / "lib" / "dpkg" / "info"
    info.mkdir(parents=True)
    lines = "".join(f"/usr/share/doc/package/some/file/of/it/number-{n}\n" for n in range(200))
    for number in range(DPKG_LISTS):
        (info / f"package-{number}:amd64.list").write_text(lines)
    (info.parent / "status").write_text("Package: x\nVersion: 1\n\n" * DPKG_LISTS)
    return Root(folder)


def run(target: Target) -> list[Figure]:
    """Milliseconds of each fact, everything in the page cache."""
    here = Root()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site-packages"
        spec = importlib.util.find_spec("_ctypes")
        files = grow(site, library=Path(spec.origin) if spec and spec.origin else None)
        entries = (str(site),)
        own = python_environment.own()
        environment = replace(own, search_path=entries, site_dirs=entries)
        walked = tree.walk(entries, here)
        installed = distributions.find(entries, here)
        machine = _image(Path(folder) / "image")
        wanted = [f"/opt/rocm/lib/lib{name}.so.6" for name in (
            "amdhip64", "hsa-runtime64", "amd_comgr", "rccl", "hiprtc")]  # fmt: skip
        of_pip = [f"{site}/package_{number}/module_0.py" for number in range(10)]

        def places() -> None:
            found = libraries.find(
                here,
                [
                    *libraries.in_torch(torch.find(environment, here)),
                    *libraries.in_rocm(
                        rocm.installations(here, os.environ),
                        rocm.wheels(entries, Distributions(()), here),
                    ),
                    *libraries.in_packages(walked),
                    libraries.in_system(os.environ, ()),
                ],
            )
            del found

        every = f"{files} files"
        return [
            Figure(
                "an interpreter's environment",
                _timed(lambda: python_environment.find(sys.executable, here, os.environ)),
                "ms",
            ),
            Figure("300 distributions", _timed(lambda: distributions.find(entries, here)), "ms",
                   aim="at most 50"),
            Figure(f"walk over {every}", _timed(lambda: tree.walk(entries, here)), "ms"),
            Figure("runtime libraries in all places", _timed(places), "ms"),
            Figure("one library's facts", _timed(lambda: elf.read(target.runtime, here)), "ms"),
            Figure(f"who needs or opens a runtime, {every}",
                   _timed(lambda: mentions.find(walked, here)), "ms", aim="at most 800"),
            Figure("owners by pip's records, 10 files",
                   _timed(lambda: owners.owners(of_pip, here, installed.found)), "ms"),
            Figure(f"owners by {DPKG_LISTS} lists of dpkg, 5 files",
                   _timed(lambda: owners.owners(wanted, machine)), "ms", aim="at most 150"),
        ]  # fmt: skip
