"""XSched's libraries and its Python binding, as a cell's story uses them.

A library is declared before the story begins: a forked child inherits what was declared, and opens
it for itself.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from xdiag import native, platforms
from xdiag.discover.xsched import PREEMPT
from xdiag.engine.tasks import NotHere, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Step

#: Numbers of libraries are counted down from here, those of runtimes up from 0 (api.h).
_LAST = 15
#: A function of namespace xsched that is nowhere, as the C++ ABI writes its name.
_XSCHEDS_OWN = re.compile(r"undefined symbol: _Z\w*?6xsched")


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


class BindingCall(Task):
    """A call of XSched's Python binding for one actor, on its thread.

    XSched ends the process where the runtime refuses.  Raises NotHere if this installation has no
    such module.
    """

    def __init__(self, verb: str, handle: int, files: XSchedFiles) -> None:
        super().__init__()
        # A step is called as the field in XSchedFiles and in Platform.xsched.
        self._called = getattr(platforms.get(files.platform).xsched, verb)
        self._place = str(getattr(files, verb))
        self.handle = handle
        if not self._place:
            module = self._called[0]
            raise NotHere(files.missing or f"this installation of XSched has no module {module}")

    def _do(self) -> None:
        result, _ = self._imported()(self.handle)
        code = int(result)
        name = native.errors(native.XSCHED).get(code, (f"error {code}", ""))[0]
        self.came |= {"failed": code != 0, "code": code, "name": name}

    def _imported(self) -> Any:
        """The function, imported by the process that calls it; raises NotHere."""
        module, of, function = self._called
        sys.path.insert(0, self._place)
        try:
            return getattr(getattr(importlib.import_module(module), of), function)
        except (Exception, SystemExit) as error:  # the old one prints why, and exits
            raise NotHere(f"{module} in {self._place} cannot be imported: {error}") from error
        finally:
            sys.path.remove(self._place)
