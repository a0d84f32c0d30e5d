"""The machine's own loader in its listing mode, which is what ldd asks for.

It maps the libraries and prints them; no code of the program or of a library is run
(LD_TRACE_LOADED_OBJECTS, ld.so(8)).
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Mapping

#: "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f...)" or "\t/lib64/ld.so.2 (0x...)".
_LINE = re.compile(r"\t(?:.* => )?(/.*) \(0x[0-9a-f]+\)")
#: Seconds; it takes milliseconds.
_PATIENCE = 20


def listed(loader: str, program: str, environ: Mapping[str, str], cwd: str) -> tuple[str, ...]:
    """Paths of the libraries that ``loader`` would load for ``program``, in its order.

    Raises CannotRun where it cannot be asked or refuses.
    """
    # An audit library would be run, even here.
    environment = {name: value for name, value in environ.items() if name != "LD_AUDIT"}
    command = [loader, "--list", program]
    try:
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, timeout=_PATIENCE,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotRun(f"cannot ask {loader}: {error}") from error
    if done.returncode:
        lines = os.fsdecode(done.stderr).strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        raise CannotRun(f"{loader} --list {program} ended with {done.returncode}{said}")
    matches = map(_LINE.fullmatch, os.fsdecode(done.stdout).splitlines())
    return tuple(match[1] for match in matches if match)
