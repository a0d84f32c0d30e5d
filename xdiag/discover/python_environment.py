"""What belongs to a Python interpreter: its prefix and its search path, without starting it.

The rules are CPython's own, for 3.8 and later on Linux: Modules/getpath.py (before 3.11 getpath.c,
to the same effect) finds the prefix and the standard library, Lib/site.py adds the directories of
packages and reads their ``.pth`` files, PEP 405 says what ``pyvenv.cfg`` does to both.  Debian and
Fedora change site.py; which of them it is, the text of the interpreter's site.py shows.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from typing import TYPE_CHECKING

import msgspec

from xdiag.discover import elf
from xdiag.discover.names import as_text
from xdiag.discover.root import Root
from xdiag.discover.source import parsed
from xdiag.errors import CannotRun, Usage, XdiagError
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: How an interpreter's file, its shared library and the directory of its modules are called; the
#: t is that of a build without the interpreter lock (PEP 703).
_TAG = re.compile(r"(?:lib)?(python3\.[0-9]+t?)(?:\.so.*|d)?")
_NAMED_LIKE_PYTHON = re.compile(r"python[0-9.]*[dt]?")
_FOLDER = re.compile(r"python3\.([0-9]+)t?")
#: Exported by every CPython since 3.8 that has not moved its own to a shared library (main.c).
_PROOF = "Py_BytesMain"
#: A .pth file larger than this is read to here; one has a few lines.
_MOST_PTH = 1 << 20
#: Characters of a statement shown in a note.
_LONGEST_SHOWN = 120
#: "import __editable___torch_2_9_finder; __editable___torch_2_9_finder.install()"
_EDITABLE = re.compile(r"import[ \t]+(__editable___\w+_finder)\b")
#: What the site.py of two distributions has and no other.
_DEBIAN, _FEDORA = '"dist-packages"', 'PREFIXES.insert(0, "/usr/local")'


class PythonEnvironment(Record, frozen=True):
    """An interpreter's environment; paths as the interpreter itself has them in ``sys``."""

    #: As it was named, and with all links followed.
    executable: str
    real_executable: str
    #: "3.11".
    version: str
    #: ``sys.prefix`` and ``sys.base_prefix``; they differ in a virtual environment.
    prefix: str
    base_prefix: str
    #: ``sys.path``, without the directory of the script.
    search_path: tuple[str, ...]
    #: Those of it in which packages are installed: PYTHONPATH, then site-packages and the like,
    #: then what .pth files add; the standard library is left out.
    site_dirs: tuple[str, ...]
    #: Top-level module -> where its source is, for editable installations that have a finder.
    editable: dict[str, str] = msgspec.field(default_factory=dict)
    #: What cannot be seen without running it, or is damaged, in sentences.
    notes: tuple[str, ...] = ()

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual environment (PEP 405)."""
        return self.prefix != self.base_prefix


def find(python: str, root: Root, environ: Mapping[str, str], cwd: str = "") -> PythonEnvironment:
    """The environment of the interpreter at ``python``, an absolute path in ``root``.

    ``environ`` is what it would be started with, ``cwd`` what relative entries of PYTHONPATH are
    relative to.  Raises Usage if ``python`` is no CPython, CannotRun if it is one that could not
    start: its home, or its standard library, is gone.
    """
    _check_file(python, root)
    return _Environment(python, root, environ, cwd).facts()


def own() -> PythonEnvironment:
    """The environment of the interpreter that this is, with ``sys.path`` as it is now."""
    entries = tuple(entry for entry in map(os.path.abspath, sys.path) if entry == as_text(entry))
    try:
        environment = find(sys.executable, Root(), os.environ)
    except XdiagError:  # a program that has Python built in
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return PythonEnvironment(
            executable=sys.executable or "", real_executable=sys.executable or "",
            version=version, prefix=sys.prefix, base_prefix=sys.base_prefix,
            search_path=entries, site_dirs=entries,
        )  # fmt: skip
    return msgspec.structs.replace(environment, search_path=entries)


def packages(name: str, environment: PythonEnvironment, root: Root) -> tuple[str, ...]:
    """Directories of the top-level package ``name``; the first is the one that is imported.

    As importlib's PathFinder goes: along the search path, a directory without ``__init__.py``
    counting only where no other is found; then the finders of editable installations.
    """
    regular, bare = [], []
    for entry in environment.search_path:
        folder = os.path.join(entry, name)
        if root.is_file(f"{folder}/__init__.py"):
            regular.append(folder)
        elif root.is_dir(folder):
            bare.append(folder)
    editable = environment.editable.get(name, "")
    if editable and root.is_file(f"{editable}/__init__.py"):
        regular.append(editable)
    return tuple(dict.fromkeys(regular or bare))


def _check_file(python: str, root: Root) -> None:
    """Raises Usage with one line for what is no program that could be an interpreter."""
    if not root.is_file(python):
        kind = "a directory, not an interpreter" if root.is_dir(python) else "no such file"
        raise Usage(f"{python}: {kind}")
    try:
        start = root.read(python, 4)
    except OSError as error:
        raise CannotRun(f"{python}: cannot be read: {error.strerror or error}") from error
    if start[:2] == b"#!":
        raise Usage(f"{python}: a script, not an interpreter; name the interpreter that it starts")
    if start != b"\x7fELF":
        raise Usage(f"{python}: not a program, and no Python interpreter")


class _Environment:
    """One environment while it is made out."""

    def __init__(self, python: str, root: Root, environ: Mapping[str, str], cwd: str) -> None:
        self.python = os.path.normpath(python)
        self.root = root
        self.environ = environ
        self.cwd = cwd or (os.getcwd() if root.is_this_machine else "/")
        self.notes: list[str] = []
        self.editable: dict[str, str] = {}
        #: In order, as site.py keeps its ``known_paths``.
        self.path: dict[str, None] = {}

    def facts(self) -> PythonEnvironment:
        real = self._followed(self.python)
        prefix, config = self._virtual()
        tag = self._tag(real, config)
        if home := self.environ.get("PYTHONHOME"):
            start = os.path.join(self._absolute(home.partition(":")[0]), "bin")
            because = f"PYTHONHOME={home}"
        elif "home" in config:
            start = config["home"]
            because = f"{prefix}/pyvenv.cfg: home = {start}"
        else:
            start, because = os.path.dirname(real), ""
        found = self._standard_library(start, tag)
        if found is None:
            where = f"{because}: there is no Python there" if because else f"above {start}"
            raise CannotRun(
                f"{self.python}: its standard library (lib/{tag or 'python3.N'}/os.py) is not found"
                f" ({where})"
            )
        base, library_dir, tag = found
        for entry in self._python_path():
            self._add(entry)
        modules = f"{base}/{library_dir}/{tag}"
        number = tag.removeprefix("python").replace(".", "")
        standard = (f"{base}/{library_dir}/python{number.rstrip('t')}.zip", modules,
                    f"{modules}/lib-dynload")  # fmt: skip
        for entry in standard:
            self._add(entry)
        for folder in self._site_folders(prefix or base, base, library_dir, tag, config):
            if self.root.is_dir(folder):
                self._add_site_dir(folder)
        return PythonEnvironment(
            executable=self.python,
            real_executable=self.root.real_path(self.python),
            version=tag.removeprefix("python").rstrip("t"),
            prefix=prefix or base,
            base_prefix=base,
            search_path=tuple(self.path),
            site_dirs=tuple(each for each in self.path if each not in standard),
            editable=self.editable,
            notes=tuple(self.notes),
        )

    # ---- prefix, standard library ------------------------------------------------------------

    def _followed(self, path: str) -> str:
        """The executable, its own links followed but not those of its directories (getpath)."""
        for _ in range(40):
            try:
                target = self.root.read_link(path)
            except OSError:
                return path
            path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        raise CannotRun(f"{self.python}: too many levels of symbolic links")

    def _virtual(self) -> tuple[str, dict[str, str]]:
        """Prefix of the virtual environment and its pyvenv.cfg; empty where it is none.

        PEP 405: the file is beside the executable or one level up, and the executable is not
        followed if it is a link.
        """
        folder = os.path.dirname(self.python)
        for where in (folder, os.path.dirname(folder)):
            if self.root.is_file(f"{where}/pyvenv.cfg"):
                config = _key_values(self.root.text(f"{where}/pyvenv.cfg"))
                return os.path.dirname(folder), config
        return "", {}

    def _tag(self, real: str, config: Mapping[str, str]) -> str:
        """Name of the standard library's directory, python3.11, if program or environment tell.

        Raises Usage for a program that is no CPython.
        """
        try:
            facts = elf.read(self.python, self.root)
            needed = [match[1] for each in facts.needed if (match := _TAG.fullmatch(each))]
            is_python = bool(needed) or elf.exports(self.python, _PROOF, self.root)
        except elf.BadElf as error:
            # In an image for another machine the name has to do.
            if error.kind not in ("other-machine", "other-class", "other-order"):
                raise
            needed, is_python = [], False
            if _NAMED_LIKE_PYTHON.fullmatch(os.path.basename(real)):
                is_python = True
        if not is_python:
            raise Usage(f"{self.python}: a program, but not a CPython interpreter")
        if needed:
            return needed[0]
        if match := _TAG.fullmatch(os.path.basename(real)):
            return match[1]
        told = config.get("version") or config.get("version_info") or ""
        parts = told.split(".")
        if parts[0] == "3" and len(parts) > 1 and parts[1].isdecimal():
            return f"python3.{parts[1]}"
        return ""

    def _standard_library(self, start: str, tag: str) -> tuple[str, str, str] | None:
        """(prefix, lib or lib64, python3.N) of the first directory above ``start`` that has it."""
        prefix = start
        while prefix not in ("", "/"):
            if found := self._in_prefix(prefix, tag):
                return found
            prefix = os.path.dirname(prefix)
        # /bin is /usr/bin by another name: the prefix that was compiled in is used.
        return self._in_prefix("/usr", tag) if os.path.dirname(start) == "/" else None

    def _in_prefix(self, prefix: str, tag: str) -> tuple[str, str, str] | None:
        for library_dir in ("lib", "lib64"):
            folder = f"{prefix}/{library_dir}"
            # An environment's pyvenv.cfg does not tell the build without the interpreter lock.
            tags = [tag, f"{tag}t"] if tag else self._tags_in(folder)
            for each in tags:
                if self.root.is_file(f"{folder}/{each}/os.py"):
                    return prefix, library_dir, each
        return None

    def _tags_in(self, folder: str) -> list[str]:
        """Directories of standard libraries, the newest first."""
        found = [match for name in self.root.names(folder) if (match := _FOLDER.fullmatch(name))]
        return [match[0] for match in sorted(found, key=lambda match: -int(match[1]))]

    def _python_path(self) -> Iterator[str]:
        if told := self.environ.get("PYTHONPATH"):
            # An empty entry is the working directory (getpath.py: abspath of each).
            yield from (self._absolute(entry) for entry in told.split(":"))

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.cwd, path))

    # ---- site.py -----------------------------------------------------------------------------

    def _site_folders(
        self, prefix: str, base: str, library_dir: str, tag: str, config: Mapping[str, str]
    ) -> Iterator[str]:
        """Directories that site.main adds if they exist.

        The virtual environment's come first (site.venv), then the user's, then the base's.
        """
        text = self.root.text(f"{base}/{library_dir}/{tag}/site.py")
        library_dirs = tuple(dict.fromkeys((library_dir, "lib")))

        def of_prefix(each: str) -> Iterator[str]:
            if _DEBIAN not in text:
                yield from (f"{each}/{name}/{tag}/site-packages" for name in library_dirs)
                return
            if prefix != base:
                yield f"{each}/lib/{tag}/site-packages"
            yield f"{each}/local/lib/{tag}/dist-packages"
            yield f"{each}/lib/python3/dist-packages"
            yield from (f"{each}/{name}/{tag}/dist-packages" for name in library_dirs)

        if config:
            yield from of_prefix(prefix)
            if config.get("include-system-site-packages", "").lower() != "true":
                return
        if not self.environ.get("PYTHONNOUSERSITE"):
            yield f"{self._user_base()}/lib/{tag}/site-packages"
            if _FEDORA in text and "RPM_BUILD_ROOT" not in self.environ:
                yield from of_prefix("/usr/local")
        yield from of_prefix(base)

    def _user_base(self) -> str:
        """site.getuserbase: PYTHONUSERBASE, else ~/.local."""
        if told := self.environ.get("PYTHONUSERBASE"):
            return self._absolute(told)
        home = self.environ.get("HOME") or self._home_by_account()
        return os.path.normpath(f"{home}/.local")

    def _home_by_account(self) -> str:
        user = str(os.getuid() if self.root.is_this_machine else 0)
        for line in self.root.text("/etc/passwd").splitlines():
            fields = line.split(":")
            if len(fields) >= 6 and fields[2] == user:
                return fields[5]
        return "/"

    def _add(self, entry: str) -> None:
        if entry != as_text(entry):
            self.notes.append(f"{as_text(entry)} is left out: its name is not text.")
            return
        self.path.setdefault(entry)

    def _add_site_dir(self, folder: str) -> None:
        """site.addsitedir: the directory, then what its .pth files say, in the order of names."""
        self._add(folder)
        for name in self.root.names(folder):
            # Hidden ones are left out since 3.11.8 (gh-113659); nobody has any.
            if name.endswith(".pth") and not name.startswith("."):
                self._add_pth(folder, name)

    def _add_pth(self, folder: str, name: str) -> None:
        """site.addpackage, except that lines of code are noted and not executed."""
        path = f"{folder}/{name}"
        try:
            # By the locale's encoding or as UTF-8, with a mark or without, over the versions.
            text = os.fsdecode(self.root.read(path, _MOST_PTH).removeprefix(b"\xef\xbb\xbf"))
        except (OSError, ValueError):
            self.notes.append(f"{path} cannot be read.")
            return
        for line in text.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith(("import ", "import\t")):
                if not self._is_editable(folder, line):
                    self.notes.append(f"{path} has code that runs at start: {_shown(line)}")
                continue
            entry = os.path.normpath(os.path.join(folder, line.rstrip()))
            # PATH_MAX, and no null: the interpreter gives up on the file, and so do we.
            if "\0" in entry or len(entry) > 4096:
                self.notes.append(f"{path} is damaged: {_shown(line)}")
                return
            if entry not in self.path and self.root.exists(entry):
                self._add(entry)

    def _is_editable(self, folder: str, line: str) -> bool:
        """Whether a line installs setuptools' finder of an editable installation, now known."""
        match = _EDITABLE.match(line)
        if match is None:
            return False
        mapping = _mapping(self.root.text(f"{folder}/{match[1]}.py"))
        if mapping is None:
            return False
        for module, place in mapping.items():
            self.editable.setdefault(module, place)
        return True


def _mapping(source: str) -> dict[str, str] | None:
    """MAPPING of an editable installation's finder; None if it is no plain literal.

    As setuptools writes it (setuptools/command/editable_wheel.py, _FINDER_TEMPLATE).
    """
    tree = parsed(source)
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets: list[ast.expr] = [node.target]
            value = node.value
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        else:
            continue
        if any(isinstance(each, ast.Name) and each.id == "MAPPING" for each in targets):
            try:
                mapping = ast.literal_eval(value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                return None
            pairs = mapping.items() if isinstance(mapping, dict) else ()
            return {k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)}
    return None


def _key_values(text: str) -> dict[str, str]:
    """pyvenv.cfg as site.venv reads it: a key in any case, an equals sign, a value."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _shown(line: str) -> str:
    """A line for people: of bounded length, and fit for a report."""
    return as_text(line.strip()[:_LONGEST_SHOWN])
