"""XSched on disk: its libraries, its shim's links, its Python bindings, and which runtime it opens.

Facts about XSched are from its public source (github.com/XpuOS/xsched, 2026-07): libraries and
links from platforms/CMakeLists.txt and platforms/hip/CMakeLists.txt, the search for the runtime
from utils/include/xsched/utils/lib.h and platforms/hip/hal/include/xsched/hip/hal/driver.h, the
bindings from platforms/hip/python/xsched/hip/__init__.py and, before June 2026,
platforms/hip/hal/include/xsched/xsched_hip.py.
"""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from xdiag import platforms
from xdiag.discover import elf
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xdiag.discover.root import Root

_HIP = platforms.get("hip").xsched
#: What an installation for HIP has in its lib directory; PREEMPT is the same on all platforms.
HAL, PREEMPT, SHIM = _HIP.hal, "libpreempt.so", _HIP.shim
#: Names that links to the shim go by, to be loaded in the runtime's place.
_SHIM_LINKS = ("libamdhip64.so", "libamdhip64.so.1")
#: The variable that names the runtime to open.
HIP_LIB = _HIP.variable
#: Where it looks next; then _DEFAULT_DIRS (lib.h; the missing slash in the third is theirs).
_FIRST_DIR = "/opt/rocm/lib"
_DEFAULT_DIRS = (
    "/lib/{arch}-linux-gnu", "/usr/lib/{arch}-linux-gnu", "/usr/local/lib{arch}-linux-gnu",
    "/lib", "/usr/lib", "/usr/lib64", "/usr/local/lib",
)  # fmt: skip
_RUNTIME = "libamdhip64.so"
#: Installations people make, besides those that the environment points at.
_PREFIXES = ("/opt/xsched", "/usr/local/xsched", "/usr/local", "/usr")
_HAL_NAME = re.compile(r"libhal[a-z0-9]+\.so")
#: How log lines begin since 1.2.0, and began before; its libraries are smaller than this.
_SINCE, _BEFORE = "[XSCHED ", "[%s @ T"
_MOST_LIBRARY = 64 << 20
#: The call that takes a stream's handle, as the C library exports it.
_CALL = _HIP.create


class Binding(Record, frozen=True):
    """A Python module that calls XSched's HIP library through ctypes."""

    path: str
    #: current: xsched.hip, since June 2026; old: xsched_hip, before.
    kind: Literal["current", "old"]
    #: The library that it opens, by the name that it uses.
    opens: str
    #: Where it calls HipQueueCreate, and where it declares that call's argument types; 0: nowhere.
    call_line: int = 0
    argtypes_line: int = 0
    #: Declared types as written in the source, and whether a handle keeps its 64 bits in them.
    argtypes: str = ""
    full_width: bool = False
    #: Why its source says nothing, in one line.
    problem: str = ""
    #: The file that Python takes for the module xsched instead of this one's package, so that an
    #: import of xsched.hip finds nothing; empty where it finds this one.
    hidden_by: str = ""


class Installation(Record, frozen=True):
    """A directory with XSched's libraries."""

    folder: str
    #: Names of those that are there, of the platform's HAL and shim and of PREEMPT.
    libraries: tuple[str, ...]
    #: Links that lead to the shim, by path.
    shim_links: tuple[str, ...] = ()
    #: Libraries that cannot be used here, each with the reason.
    problems: tuple[str, ...] = ()
    #: HALs of other platforms that lie there too.
    others: tuple[str, ...] = ()
    #: What shows that its libraries are of two versions of XSched; empty where nothing does.
    two_versions: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether it was built for another platform only: PREEMPT is what all have in common."""
        return bool(self.others) and self.libraries == (PREEMPT,)


class Choice(Record, frozen=True):
    """Which runtime XSched will open: its path, empty for none, and the rule that says so."""

    path: str
    rule: str
    #: What XSched warns about on its way and then leaves aside.
    ignored: str = ""


class XSched(Record, frozen=True):
    """All there is of XSched."""

    installations: tuple[Installation, ...]
    bindings: tuple[Binding, ...]
    choice: Choice

    @property
    def present(self) -> bool:
        """Whether there is anything of it for HIP."""
        here = [each for each in self.installations if not each.elsewhere]
        return bool(here or self.bindings)


def find(
    root: Root, environ: Mapping[str, str], search_path: Sequence[str], cwd: str = "/"
) -> XSched:
    """XSched where it usually is and the environment points, and Python's bindings of it."""
    found = bindings(search_path, root)
    beside = [os.path.join(folder, "lib") for each in found for folder in _prefixes(each)]
    return XSched(
        installations=installations(root, environ, beside, cwd=cwd),
        bindings=found,
        choice=chosen_runtime(root, environ, cwd),
    )


def _prefixes(binding: Binding) -> Iterable[str]:
    """Where XSched may be installed whose binding this is: lib/python, or include, are below."""
    up = os.path.dirname(binding.path)
    for _ in range(4):
        if os.path.basename(up) in ("python", "include"):
            yield (
                os.path.dirname(os.path.dirname(up))
                if up.endswith("python")
                else (os.path.dirname(up))
            )
        up = os.path.dirname(up)


def installations(
    root: Root,
    environ: Mapping[str, str],
    also: Iterable[str] = (),
    platform: str = "hip",
    cwd: str = "/",
) -> tuple[Installation, ...]:
    """Directories with any of XSched's libraries for a platform.

    Looked at: XSCHED_ROOT, LD_LIBRARY_PATH, the usual prefixes, and the directories ``also``.
    """
    its = platforms.get(platform).xsched
    folders = [*named_places(environ, cwd), *(os.path.join(prefix, "lib") for prefix in _PREFIXES)]
    folders += environ.get("LD_LIBRARY_PATH", "").replace(";", ":").split(":")
    found: dict[str, Installation] = {}
    for folder in dict.fromkeys([*folders, *also]):
        if not os.path.isabs(folder):
            continue
        names = root.names(folder)
        libraries = tuple(name for name in (its.hal, PREEMPT, its.shim) if name in names)
        if not libraries:
            continue
        try:
            real = root.real_path(folder)
        except OSError:
            continue
        found.setdefault(
            real,
            Installation(
                folder=folder,
                libraries=libraries,
                shim_links=tuple(_shim_links(folder, names, root)),
                problems=tuple(_problems(folder, libraries, root)),
                others=tuple(sorted(name for name in names if is_hal(name) and name != its.hal)),
                two_versions=of_two_versions(
                    os.path.join(folder, its.hal), os.path.join(folder, PREEMPT), root
                ),
            ),
        )
    return tuple(found.values())


def named_places(environ: Mapping[str, str], cwd: str = "/") -> tuple[str, ...]:
    """Where the libraries may be of the installation that XSCHED_ROOT names; none unless it does.

    It may be a prefix, or the directory itself that has them.
    """
    named = environ.get("XSCHED_ROOT", "")
    if not named:
        return ()
    folder = os.path.normpath(os.path.join(cwd, named))
    return os.path.join(folder, "lib"), folder


def bindings(search_path: Sequence[str], root: Root) -> tuple[Binding, ...]:
    """The bindings on a Python search path: of each kind the one that an import of it gets.

    The current one is a module of the package xsched.  Where another module of that name comes
    first, as the old binding brings one (xsched.py), it is hidden.
    """
    hider, homes = _module_xsched(search_path, root)
    every = [os.path.join(folder, "xsched") for folder in search_path]
    found = []
    for folders, hidden_by in ((homes, ""), (every, hider)):
        path = _first(folders, "hip/__init__.py", root)
        if path:
            found.append(replace(read_binding(path, "current", root), hidden_by=hidden_by))
            break
    path = _first(search_path, "xsched_hip.py", root)
    return (*found, read_binding(path, "old", root)) if path else tuple(found)


def _first(folders: Iterable[str], inside: str, root: Root) -> str:
    return next(filter(root.is_file, (os.path.join(each, inside) for each in folders)), "")


def _module_xsched(search_path: Sequence[str], root: Root) -> tuple[str, list[str]]:
    """The file that ``import xsched`` runs, and the directories of the package that it is.

    In one directory a package comes before a module; directories without __init__.py make one
    package together, if there is nothing else (Python's reference, 5.3 and 5.4).
    """
    namespace = []
    for folder in search_path:
        package = os.path.join(folder, "xsched")
        if root.is_file(os.path.join(package, "__init__.py")):
            return os.path.join(package, "__init__.py"), [package]
        if root.is_file(f"{package}.py"):
            return f"{package}.py", []
        if root.is_dir(package):
            namespace.append(package)
    return "", namespace


def read_binding(path: str, kind: Literal["current", "old"], root: Root) -> Binding:
    """What a binding's source says of HipQueueCreate; it is read, never run."""
    try:
        tree = ast.parse(root.read(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Binding(path, kind, "", problem=f"its source cannot be read: {error}")
    opens, call, declared = "", 0, None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == _CALL and not call:
                call = node.lineno
            first = node.args[0] if node.args else None
            if (
                node.func.attr in ("LoadLibrary", "CDLL", "PyDLL")
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                opens = opens or first.value
        elif isinstance(node, ast.Assign) and any(map(_is_argtypes, node.targets)):
            declared = node
    if declared is None:
        return Binding(path, kind, opens, call)
    types, wide = ast.unparse(declared.value), _full_width(declared.value, tree)
    return Binding(path, kind, opens, call, declared.lineno, types, wide)


def chosen_runtime(root: Root, environ: Mapping[str, str], cwd: str = "/") -> Choice:
    """The file that XSched's HIP HAL will open, by its own search (lib.h, FindLibrary)."""
    told = environ.get(HIP_LIB, "")
    ignored = ""
    if told:
        # A bare name is looked up in the working directory, as any relative path is.
        if root.exists(os.path.join(cwd, told)):
            # dlopen searches for a name without a slash: the file that was seen is not what is
            # opened then.
            return Choice(told, f"{HIP_LIB}={told}")
        ignored = f"{HIP_LIB}={told} leads to no file and is ignored"
    arch = os.uname().machine
    for folder in (_FIRST_DIR, *(each.format(arch=arch) for each in _DEFAULT_DIRS)):
        path = f"{folder}/{_RUNTIME}"
        if root.exists(path):
            return Choice(path, f"XSched's own search: {path} is the first that exists", ignored)
    return Choice("", f"XSched's own search finds no {_RUNTIME}", ignored)


def _shim_links(folder: str, names: list[str], root: Root) -> Iterable[str]:
    for name in _SHIM_LINKS:
        path = os.path.join(folder, name)
        if name not in names:
            continue
        try:
            if os.path.basename(root.real_path(path)) == SHIM:
                yield path
        except OSError:
            continue


def is_hal(name: str) -> bool:
    """Whether a file's name is that of a HAL, of whatever platform."""
    return bool(_HAL_NAME.fullmatch(name))


def of_two_versions(hal: str, preempt: str, root: Root) -> str:
    """What shows that a HAL and the library it needs are of two versions; empty if nothing does.

    They share C++ classes by their layout: such a pair is loaded, and what it does is chance.  What
    can be told apart is 1.2.0 and later from what was before, by how log lines begin (log.h); other
    pairs are refused by the loader, or are not told apart.
    """
    formats = {path: _log_format(path, root) for path in (hal, preempt)}
    if "" in formats.values() or formats[hal] == formats[preempt]:
        return ""
    older, newer = sorted(formats, key=lambda path: formats[path] == _SINCE)
    return (
        f"{os.path.basename(older)} in {os.path.dirname(older)} is of XSched before 1.2.0 and"
        f" {os.path.basename(newer)} of 1.2.0 or later: they do not belong together"
    )


def _log_format(path: str, root: Root) -> str:
    try:
        content = root.read(path, _MOST_LIBRARY)
    except (OSError, ValueError):
        return ""
    return next((each for each in (_SINCE, _BEFORE) if each.encode() in content), "")


def _problems(folder: str, libraries: Iterable[str], root: Root) -> Iterable[str]:
    return filter(None, (_problem(os.path.join(folder, name), root) for name in libraries))


def _problem(path: str, root: Root) -> str:
    try:
        elf.read(path, root)
    except elf.BadElf as error:
        return str(error)
    return ""


def _is_argtypes(target: ast.expr) -> bool:
    """Whether an assignment's target is ``<anything>.HipQueueCreate.argtypes``."""
    return (
        isinstance(target, ast.Attribute)
        and target.attr == "argtypes"
        and isinstance(target.value, ast.Attribute)
        and target.value.attr == _CALL
    )


#: ctypes types that carry a 64-bit handle on LP64 Linux whole.
_WIDE = frozenset(
    ("c_int64", "c_uint64", "c_void_p", "c_size_t", "c_ssize_t", "c_long", "c_ulong",
     "c_longlong", "c_ulonglong")
)  # fmt: skip


def _full_width(types: ast.expr, tree: ast.Module) -> bool:
    """Whether the last of the declared types, the stream's, is one of 64 bits.

    A name is looked up among the module's own assignments, as ``__hip_stream_ctype`` is.
    """
    if not isinstance(types, (ast.List, ast.Tuple)) or not types.elts:
        return False
    last = types.elts[-1]
    named = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for _ in range(8):
        if isinstance(last, ast.Name) and last.id in named:
            last = named[last.id]
    name = last.attr if isinstance(last, ast.Attribute) else getattr(last, "id", "")
    return name in _WIDE or (isinstance(last, ast.Call) and "POINTER" in ast.unparse(last.func))
