"""XSched's libraries and its Python binding, as a cell's story uses them.

A library is declared before the story begins: a forked child inherits what was declared, and opens
it for itself.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from xdiag import native, platforms
from xdiag.discover.xsched import PREEMPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Step

#: Numbers of libraries are counted down from here, those of runtimes up from 0 (api.h).
_LAST = 15
#: A function of namespace xsched that is nowhere, as the C++ ABI writes its name.
_XSCHEDS_OWN = re.compile(r"undefined symbol: _Z\w*?6xsched")


class NoBinding(Exception):
    """The binding cannot be imported here; the message says why."""


def declare(steps: Sequence[Step], platform: str, paths: Paths) -> dict[int, tuple[int, str]]:
    """Declare the libraries that steps open; returns their numbers and files, by the step's place.

    The file is empty for one that is not there, which is not declared.
    """
    runtimes: dict[str, int] = {}
    found: dict[int, tuple[int, str]] = {}
    variable = platforms.get(platform).xsched.variable
    for index, step in enumerate(steps):
        if step.verb in ("open", "torch") and not step.runtime:
            runtimes[step.result] = len(runtimes)
        elif step.verb == "xsched" and not step.runtime:
            number, path = _LAST - len(found), str(getattr(paths.xsched, str(step.args[0])))
            found[index] = (number, path)
            if path:
                native.declare_library(
                    number, platform, path,
                    behind=runtimes[str(step.args[1])], variable=variable,
                    beside="python" not in step.args[2:],
                )  # fmt: skip
    return found


def missing(library: str, paths: Paths) -> str:
    """Why a library cannot be opened that is not there."""
    names = platforms.get(paths.xsched.platform).xsched
    files = {"hal": names.hal, "preempt": PREEMPT, "shim": names.shim}
    return paths.xsched.missing or f"this installation of XSched has no {files[library]}"


def why_not(path: str, loader_says: str) -> str:
    """Why a library that is there could not be opened, in one line; ``loader_says`` is dlerror's.

    Libraries of two versions share a directory where one was installed over the other: the HAL then
    asks libpreempt.so for a function that it does not have.
    """
    text = f"{path} cannot be opened: {loader_says.removeprefix(f'{path}: ')}"
    if _XSCHEDS_OWN.search(loader_says) and os.path.basename(path) != PREEMPT:
        text += f"; it and the {PREEMPT} beside it are of two versions of XSched"
    return text


class BindingCall:
    """A call of XSched's Python binding for one actor, made as a ``native.Request`` is.

    Raises NoBinding if this installation has no such module.
    """

    def __init__(self, verb: str, handle: int, files: XSchedFiles) -> None:
        # A step is called as the field in XSchedFiles and in Platform.xsched.
        self._called = getattr(platforms.get(files.platform).xsched, verb)
        self._place = str(getattr(files, verb))
        self.handle = handle
        #: What came of it, as fields of a StepRecord, or why the module cannot be imported.
        self.came: dict[str, Any] = {}
        self.not_here = ""
        self.wait_status: int | None = None
        if not self._place:
            module = self._called[0]
            raise NoBinding(files.missing or f"this installation of XSched has no module {module}")

    def execute(self) -> None:
        """Make the call on this thread; XSched ends the process where the runtime refuses."""
        try:
            function = self._imported()
        except NoBinding as error:
            self.not_here = str(error)
            return
        self.came = {"pid": os.getpid(), "tid": threading.get_native_id()}
        try:
            result, _ = function(self.handle)
        except Exception as error:
            self.came |= {"state": "failed", "failed": True}
            self.came["error"] = f"{type(error).__name__}: {error}"
            return
        code = int(result)
        name = native.errors(native.XSCHED).get(code, (f"error {code}", ""))[0]
        self.came |= {"state": "done", "failed": code != 0, "code": code, "name": name}

    def _imported(self) -> Any:
        """The function, imported by the process that calls it; raises NoBinding."""
        module, of, function = self._called
        sys.path.insert(0, self._place)
        try:
            return getattr(getattr(importlib.import_module(module), of), function)
        except (Exception, SystemExit) as error:  # the old one prints why, and exits
            raise NoBinding(f"{module} in {self._place} cannot be imported: {error}") from error
        finally:
            sys.path.remove(self._place)

    def take(self, answer: BindingCall) -> None:
        """Take over what came of it in another process."""
        self.came, self.not_here = answer.came, answer.not_here

    def died(self, wait_status: int) -> None:
        """Note that the process of its actor has ended; as from os.waitpid, -1 if not known."""
        self.wait_status = wait_status
