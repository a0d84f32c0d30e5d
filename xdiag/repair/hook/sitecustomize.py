"""Pass stream handles whole through XSched's binding of before June 2026, which cuts them.

That binding calls HipQueueCreate through ctypes and declares no argument types: ctypes then passes
a Python int as a C int, the handle's low 32 bits.  When it is imported, its functions get argument
types (xdiag_argument_types.py, beside this file).

Python's site module imports the first ``sitecustomize`` on its path, which is this one where its
directory comes first on PYTHONPATH (xdiag.repair.full_width_handle).  Any Python that is started
may read it, from 3.6 on: nothing of xdiag is imported, nor anything that site had not imported
before.  It leaves no trace but a finder on sys.meta_path: its directory is taken off sys.path, and
the sitecustomize that would have been imported without it is.
"""

import os
import sys

TYPE_CHECKING = False  # as typing has it, which costs 5 ms to import
if TYPE_CHECKING:
    from typing import Any

#: XSched's bindings for HIP: before June 2026, and since.
_BINDINGS = ("xsched_hip", "xsched.hip")
_FOLDER = os.path.dirname(os.path.abspath(__file__))


class XdiagBindingFinder:
    """Finds what the finders after it find, and sees to a binding when it has been executed."""

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """As importlib.abc.MetaPathFinder has it; None for all that is no binding."""
        if name not in _BINDINGS:
            return None
        for finder in sys.meta_path:
            search = getattr(finder, "find_spec", None)
            spec = search(name, path, target) if search and finder is not self else None
            if spec is not None:
                try:
                    _see_to(spec.loader)
                except Exception as error:
                    _complain(error)
                return spec
        return None


def _see_to(loader: "Any") -> None:
    """Let a loader, which stays what it is, call us once it has executed its module."""
    execute = loader.exec_module

    def exec_module(module: "Any") -> None:
        loader.__dict__.pop("exec_module", None)
        execute(module)
        try:
            _declare(module)
        except Exception as error:
            _complain(error)

    loader.exec_module = exec_module


def _declare(module: "Any") -> None:
    """Do what there is to be done; it is read only now, since every Python reads this file."""
    path = os.path.join(_FOLDER, "xdiag_argument_types.py")
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    names: dict[str, Any] = {"__name__": "xdiag_argument_types", "__file__": path}
    exec(code, names)
    names["declare"](module)


def _complain(error: BaseException) -> None:
    try:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"xdiag: argument types of XSched's binding not set: {text}\n")
    except Exception:
        pass  # there is no standard error


def _step_aside() -> bool:
    """Install the finder, and take this module out of its successor's way.

    Returns whether that worked: False where our directory is not what led here.
    """
    names = [type(each).__name__ for each in sys.meta_path]
    if XdiagBindingFinder.__name__ not in names:
        sys.meta_path.insert(0, XdiagBindingFinder())
    kept = [each for each in sys.path if not _is_ours(each)]
    if len(kept) == len(sys.path):
        return False
    sys.path[:] = kept
    sys.path_importer_cache.pop(_FOLDER, None)
    sys.modules.pop(__name__, None)
    return True


def _is_ours(entry: object) -> bool:
    return isinstance(entry, str) and os.path.isabs(entry) and os.path.abspath(entry) == _FOLDER


def _stepped_aside() -> bool:
    try:
        return _step_aside()
    except Exception as error:
        _complain(error)
        return False


if __name__ == "sitecustomize" and _stepped_aside():
    # What is imported now takes our place in sys.modules, as importlib allows.  Where there is
    # none, or it fails, site sees what it would have seen without us.
    __import__(__name__)
