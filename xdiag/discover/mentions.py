"""Who in a Python environment needs or opens a HIP runtime, by what is written in its files.

A shared library *needs* one by DT_NEEDED; one that only has the name among its constants, or a
module that has it as a literal, *opens* it by some call.  What is opened by a name that is put
together at run time is not seen; where that is known of a package, ``RULES`` has it.
"""

from __future__ import annotations

import ast
import errno
import os
import re
from typing import TYPE_CHECKING, Literal

from xdiag.discover import elf
from xdiag.discover.names import HIP, as_text, family_of
from xdiag.discover.source import parsed
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.discover.root import Root
    from xdiag.discover.tree import Folder, Tree

#: In every name of the library, with or without "lib" and ".so" around it.
_WORD = b"amdhip64"

#: Bytes of a module that are looked through; generated ones have some megabytes.
_MOST_MODULE = 8 << 20
#: Bytes of a library's data that are looked through.
_MOST_DATA = 32 << 20
#: Bytes of modules with a hit that are parsed, each and in all: 1 MB takes half a second.
_MOST_PARSED, _MOST_PARSED_IN_ALL = 512 << 10, 2 << 20
_MOST_MENTIONS = 10_000
_LONGEST_EXPRESSION = 160

#: Functions that take a library's bare name, "amdhip64", to look it up.
_LOOK_UP = ("find_library", "initialize_process", "preload_libraries", "find_libraries")
_NOT_HERE = (".dll", ".lib", ".dylib", ".a", ".h")
#: A library's name or path among a file's constants.
_NAME = re.compile(rb"[\w./+${}@~*-]*libamdhip64(?:-[0-9a-f]{8,})?\.so(?:\.[0-9]+)*")
#: What stands beside a name in a sentence: such a constant is a message.
_SENTENCE = b" '\"`():,;"
_QUOTED = re.compile(rb"""["']([^\s"']*amdhip64[^\s"']*)["']""")


class Mention(Record, frozen=True):
    """One place where a file names the library."""

    #: The top-level package, or module, of the environment that the file is part of.
    package: str
    path: str
    kind: Literal["needs", "opens"]
    #: As written: "libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so", "{root}/lib/libamdhip64.so",
    #: or, of a call that looks a library up, "amdhip64".
    name: str
    #: In a module; 0 in a library.
    line: int = 0
    #: The function that the name is an argument of, as written: "ctypes.CDLL", "os.path.join";
    #: empty where it is none, as in a list.
    call: str = ""
    #: That call as written, if it is short.
    expression: str = ""


class Mentions(Record, frozen=True):
    """All of them, in the order of the search path."""

    found: tuple[Mention, ...]
    #: What was not, or not wholly, looked through, in sentences.
    skipped: tuple[str, ...] = ()

    def by_package(self) -> dict[str, tuple[Mention, ...]]:
        """The mentions of each package, packages in the order in which they are found."""
        packages: dict[str, list[Mention]] = {}
        for mention in self.found:
            packages.setdefault(mention.package, []).append(mention)
        return {package: tuple(mentions) for package, mentions in packages.items()}


class Rule(Record, frozen=True):
    """How a package finds the runtime, where its files do not show it."""

    #: In order, as a sentence.
    finds: str
    #: The variable that names a file to open before all else; empty if there is none.
    variable: str = ""
    #: Whether it takes the copy that the process has loaded, if there is one.
    takes_loaded: bool = False
    #: Where this was read, and of which time.
    source: str = ""


#: By top-level package.  XSched's is in ``discover.xsched``.
RULES = {
    "triton": Rule(
        finds="the first loaded library with libamdhip64.so in its name (dl_iterate_phdr); else"
        " libamdhip64.so beside its AMD backend, in torch/lib, LD_LIBRARY_PATH, HIP_PATH/lib,"
        " hipconfig's prefix, ROCM_PATH/lib, ldconfig's cache, /opt/rocm/lib",
        variable="TRITON_LIBHIP_PATH",
        takes_loaded=True,
        source="triton, third_party/amd/backend/driver.py (3.0 to 3.5)",
    ),
    "mori": Rule(
        finds="ROCM_PATH/lib/libamdhip64.so, by default in /opt/rocm, then the bare name; since"
        " ROCm/mori#402 the copy that is mapped",
        source="ROCm/mori, python/mori/jit/hip_driver.py (before and after 2026-06)",
    ),
    "sglang": Rule(
        finds="the first library in /proc/self/maps that is called so, which is the one at the"
        " lowest address and not the one that was loaded first; some modules the bare name",
        takes_loaded=True,
        source="sglang, srt/distributed/device_communicators/cuda_wrapper.py (2026)",
    ),
    "vllm": Rule(
        finds="the first library in /proc/self/maps that is called so, which is the one at the"
        " lowest address and not the one that was loaded first",
        takes_loaded=True,
        source="vllm, distributed/device_communicators/cuda_wrapper.py (2025)",
    ),
}  # fmt: skip


def find(tree: Tree, root: Root) -> Mentions:
    """Mentions in the modules and shared libraries of ``tree``; each file is read, none is run.

    Takes 0.4 s for 25 000 modules and 900 libraries that are in memory: reading and looking
    through is all of that, and more threads do not help, as bytes.find keeps the interpreter's
    lock.
    """
    search = _Search(root)
    for folder in tree.folders:
        search.folder(folder)
    return Mentions(tuple(search.found), (*tree.skipped, *search.skipped()))


class _Search:
    """One search while it goes."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.found: list[Mention] = []
        self.parsed = 0
        #: One for all files: a new one each time would be given to us by the kernel page by page.
        self.buffer = bytearray(_MOST_MODULE)
        self.flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        if not root.is_this_machine:
            self.flags |= os.O_NOFOLLOW  # a link has to be followed inside the root
        self.in_part: list[str] = []
        self.unreadable: list[str] = []
        self.unparsed: list[str] = []

    def folder(self, folder: Folder) -> None:
        """Look through the files of one directory."""
        for name in folder.files:
            if len(self.found) >= _MOST_MENTIONS:
                return
            if name.endswith(".py"):
                self._module(folder, name)
            elif (name.endswith(".so") or ".so." in name) and family_of(name) != HIP:
                self._library(folder, name)

    def skipped(self) -> Iterator[str]:
        """Sentences about what was not looked through."""
        limit = _MOST_DATA >> 20
        if self.in_part:
            yield (
                f"{_files(self.in_part)} only by the dynamic section and {limit} MB of the data:"
                " larger than that"
            )
        if self.unparsed:
            yield f"{_files(self.unparsed)} not parsed: too large, or no Python of this version"
        if self.unreadable:
            yield f"{_files(self.unreadable)} not read"
        if len(self.found) >= _MOST_MENTIONS:
            yield f"everything after {_MOST_MENTIONS} mentions"

    # ---- modules -----------------------------------------------------------------------------

    def _module(self, folder: Folder, name: str) -> None:
        try:
            fd = os.open(f"{folder.outside}/{name}", self.flags)
        except OSError as error:
            if error.errno == errno.ELOOP and not self.root.is_this_machine:
                self._linked_module(folder, name)
            elif error.errno != errno.ENOENT:  # a link that leads nowhere is no module
                self.unreadable.append(f"{folder.path}/{name}")
            return
        try:
            size = os.readv(fd, [self.buffer])
        except OSError:
            # A directory, a pipe nobody writes into, a device: none of them is a module.
            return
        finally:
            os.close(fd)
        if self.buffer.find(_WORD, 0, size) >= 0:
            self._source(folder, name, bytes(self.buffer[:size]))

    def _linked_module(self, folder: Folder, name: str) -> None:
        try:
            source = self.root.read(f"{folder.path}/{name}", _MOST_MODULE)
        except OSError:
            return
        if _WORD in source:
            self._source(folder, name, source)

    def _source(self, folder: Folder, name: str, source: bytes) -> None:
        path = f"{folder.path}/{name}"
        tree = None
        if len(source) <= _MOST_PARSED and self.parsed + len(source) <= _MOST_PARSED_IN_ALL:
            self.parsed += len(source)
            tree = parsed(source)
        if tree is None:
            self.unparsed.append(path)
            literals = _quoted(source)
        else:
            literals = sorted(_literals(tree), key=lambda each: each[1])
        for literal, line, call, expression in literals:
            self._add(folder, name, "opens", literal, line, call, expression)

    # ---- libraries ---------------------------------------------------------------------------

    def _library(self, folder: Folder, name: str) -> None:
        path = f"{folder.path}/{name}"
        try:
            places, whole = elf.constants(path, _WORD, self.root, _MOST_DATA)
            if whole and not places:
                return
            needed = elf.read(path, self.root).needed
        except elf.BadElf as error:
            if error.kind in ("damaged", "unreadable") and self.root.is_file(path):
                self.unreadable.append(path)
            return
        if not whole:
            self.in_part.append(path)
        for each in needed:
            if family_of(each) == HIP:
                self._add(folder, name, "needs", each)
        for each in dict.fromkeys(_names_in(places)):
            if each not in needed:
                self._add(folder, name, "opens", each)

    def _add(
        self,
        folder: Folder,
        name: str,
        kind: Literal["needs", "opens"],
        library: str,
        line: int = 0,
        call: str = "",
        expression: str = "",
    ) -> None:
        package = folder.package or name.partition(".")[0]
        self.found.append(
            Mention(
                package=as_text(package),
                path=as_text(f"{folder.path}/{name}"),
                kind=kind,
                name=as_text(library),
                line=line,
                call=as_text(call),
                expression=as_text(expression),
            )
        )


# ---- names in constants ------------------------------------------------------------------------


def _names_in(places: list[bytes]) -> Iterator[str]:
    """Names and paths of the library among the bytes around the word.

    A constant of C ends with a null and begins after one; constants of Rust and Go lie side by
    side.  One that goes on with a space or quotation mark is a sentence about the library.
    """
    for place in places:
        for match in _NAME.finditer(place):
            before = place[match.start() - 1 : match.start()] if match.start() else b""
            after = place[match.end() : match.end() + 1]
            if not (before and before in _SENTENCE) and not (after and after in _SENTENCE):
                yield os.fsdecode(match[0])


def _quoted(source: bytes) -> list[tuple[str, int, str, str]]:
    """Literals of a module that cannot be parsed, with their lines."""
    found = []
    for number, line in enumerate(source.split(b"\n"), 1):
        if _WORD in line:
            names = (os.fsdecode(match[1]) for match in _QUOTED.finditer(line[:4096]))
            found += [(name, number, "", "") for name in names if _is_name(name)]
    return found


def _literals(tree: ast.Module) -> Iterator[tuple[str, int, str, str]]:
    """(literal, line, function called with it, that call) of all that names the library."""
    #: Of each node, the call that it is an argument of; through lists and sums, not other calls.
    calls: dict[int, ast.Call] = {}
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            arguments = [*node.args, *(each.value for each in node.keywords)]
            calls |= {id(each): node for each in arguments}
        elif id(node) in calls and not isinstance(node, ast.JoinedStr):
            calls |= {id(each): calls[id(node)] for each in ast.iter_child_nodes(node)}
        if isinstance(node, ast.JoinedStr):
            text = "".join(map(_part, node.values))
            inner |= {id(each) for each in node.values}
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            text = node.value
        else:
            continue
        call = calls.get(id(node))
        function = _unparsed(call.func) if call is not None else ""
        looked_up = text == "amdhip64" and function.rpartition(".")[2] in _LOOK_UP
        if _is_name(text) or looked_up:
            yield text, node.lineno, function, _unparsed(call) if call is not None else ""


def _part(node: ast.expr) -> str:
    """A part of an f-string: text as it is, an expression in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    value = node.value if isinstance(node, ast.FormattedValue) else node
    return "{" + _unparsed(value) + "}"


def _unparsed(node: ast.expr) -> str:
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        return ""
    return text if len(text) <= _LONGEST_EXPRESSION else ""


def _is_name(text: str) -> bool:
    """Whether a literal is the library's name or a path to it, and no sentence or link option."""
    base = text.rpartition("/")[2]
    if "libamdhip64" not in base or len(text) > 4096 or any(map(str.isspace, text)):
        return False
    if base.endswith(_NOT_HERE):
        return False
    # Patterns for glob, and the name that vLLM and others look for in maps.
    return base == "libamdhip64" or "*" in base or "{" in base or family_of(base) == HIP


def _files(paths: list[str]) -> str:
    first = as_text(paths[0])
    if len(paths) == 1:
        return first
    return f"{first} and {len(paths) - 1} other file{'s' if len(paths) > 2 else ''}"
