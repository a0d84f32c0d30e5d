"""A program that only supervises: ``supervised.py [OPTION=VALUE ...] COMMAND ...``.

``tell=FILE`` writes the ending as JSON; ``ticks=FILE`` a line for each tick; ``fail=N`` has tick N
raise; ``other=FILE`` starts a child of another kind before, and writes its exit status after;
``late=1`` has the tick after the end send this process a SIGTERM;
``orphan=1`` has the child find its parent dead before it can ask to die with it.
"""

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from xdiag import native
from xdiag.errors import XdiagError
from xdiag.launch.program import environment
from xdiag.launch.supervise import end_like, supervise


def main(arguments: list[str]) -> int:
    options = {}
    while arguments and "=" in arguments[0] and "/" not in arguments[0].partition("=")[0]:
        name, _, value = arguments.pop(0).partition("=")
        options[name] = value
    if "orphan" in options:
        supervisor = os.getpid()
        native.die_with_parent = lambda: _be_orphaned(supervisor)
    other = os.posix_spawnp("sh", ["sh", "-c", "exit 9"], os.environ) if "other" in options else 0
    done = []

    def tick() -> None:
        done.append(time.monotonic())
        if len(done) == int(options.get("fail", 0)):
            raise ValueError("a tick that fails")
        if "late" in options:
            os.kill(os.getpid(), signal.SIGTERM)

    wanted = tick if {"ticks", "fail", "late"} & set(options) else None
    interval = 1000 if "late" in options else 0.1
    try:
        ending = supervise(arguments, environment(), tick=wanted, interval=interval)
    except XdiagError as error:
        print(f"xdiag: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if "ticks" in options:
            Path(options["ticks"]).write_text("".join(f"{each}\n" for each in done))
    if other:
        _, status = os.waitpid(other, 0)
        Path(options["other"]).write_text(str(os.waitstatus_to_exitcode(status)))
    if "tell" in options:
        Path(options["tell"]).write_bytes(msgspec.json.encode(ending))
    return end_like(ending)


def _be_orphaned(supervisor: int) -> None:
    if os.getppid() == supervisor:
        os.kill(supervisor, signal.SIGKILL)
    while os.getppid() == supervisor:
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
