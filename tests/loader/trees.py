"""Generated trees of small libraries, programs and requests, and how one is laid out on disk.

In every text of a tree, ``@`` stands for the directory that it is laid out in, so that a tree reads
the same wherever that is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st

from loader.elf_writer import EMPTY, ET_EXEC, Content, Short, written
from xdiag.loader.cpu import this_cpu

#: Debian keeps it from users' PATH.
LDCONFIG = shutil.which("ldconfig", path="/sbin:/usr/sbin") or "ldconfig"
INTERPRETER = "/lib64/ld-linux-x86-64.so.2"

# ---- what a tree is --------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Library(Short):
    """A library at a path."""

    path: str
    content: Content = EMPTY


@dataclass(frozen=True, repr=False)
class Link(Short):
    """A symbolic link, a hard link, or a copy: the same bytes, another inode."""

    path: str
    to: str
    kind: str = "symlink"


@dataclass(frozen=True, repr=False)
class Obstacle(Short):
    """Something that has a library's name and is none."""

    path: str
    kind: str


@dataclass(frozen=True, repr=False)
class Open(Short):
    """A dlopen from within the object of this number."""

    name: str
    caller: int = 0
    noload: bool = False


@dataclass(frozen=True, repr=False)
class Tree(Short):
    """A whole case."""

    program: Content
    files: tuple[Library | Link | Obstacle, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    opens: tuple[Open, ...] = ()
    #: For a root of its own: /etc/ld.so.conf, the cache's format, /etc/ld.so.preload.
    conf: tuple[str, ...] = ()
    cache_format: str = ""
    preload: str = ""

    @property
    def has_filtees(self) -> bool:
        """Whether any library has DT_AUXILIARY or DT_FILTER."""
        libraries = [each.content for each in self.files if isinstance(each, Library)]
        return any(content.auxiliary or content.filters for content in libraries)


# ---- how it is laid out ----------------------------------------------------------------------

_OTHER_MACHINE = written(Content(machine=183))
_LIBRARY = written(Content())
OBSTACLES = {
    "empty": b"",
    "short": _LIBRARY[:40],
    "cut": _LIBRARY[:100],
    "text": b"INPUT ( libreal.so )" + b" " * 60,
    "32-bit": _LIBRARY[:4] + b"\1" + _LIBRARY[5:],
    "big-endian": _LIBRARY[:5] + b"\2" + _LIBRARY[6:],
    "other machine": _OTHER_MACHINE,
    "other system": _LIBRARY[:7] + b"\x09" + _LIBRARY[8:],
    "object file": _LIBRARY[:16] + b"\1" + _LIBRARY[17:],
    "program": written(Content(kind=ET_EXEC)),
}


def lay_out(tree: Tree, top: Path, driver: str, *, inside: str | None = None) -> Path:
    """Write the tree below ``top``; returns the program.  ``inside`` is what ``@`` becomes."""
    here = str(top) if inside is None else inside
    for each in tree.files:
        _place(each, top, here)
    if tree.cache_format:
        _configure(tree, top.parent, here)
    program = top / "bin" / "main"
    program.parent.mkdir(exist_ok=True)
    needed = tuple(driver if name == "DRIVER" else name for name in tree.program.needed)
    content = at(replace(tree.program, needed=needed, interpreter=INTERPRETER), here)
    program.write_bytes(written(content))
    program.chmod(0o755)
    return program


def _configure(tree: Tree, root: Path, here: str) -> None:
    """Write what the loader reads below /etc of the root."""
    etc = root / "etc"
    conf = "".join(f"{line}\n" for line in tree.conf).replace("@", here)
    (etc / "ld.so.conf").write_text(conf)
    (etc / "ld.so.preload").unlink(missing_ok=True)
    if tree.preload:
        (etc / "ld.so.preload").write_text(tree.preload.replace("@", here))
    (etc / "ld.so.cache").unlink(missing_ok=True)
    # Some ldconfig abort over tls/ when they write the formats of old; then only the new one is.
    for cache_format in (tree.cache_format, "new"):
        command = [LDCONFIG, "-r", str(root), "-X", "-c", cache_format]
        if not subprocess.run(command, capture_output=True).returncode:
            return
    raise AssertionError(f"{command} failed")


def _place(each: Library | Link | Obstacle, top: Path, here: str) -> None:
    path = top / each.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        return
    if isinstance(each, Library):
        path.write_bytes(written(at(each.content, here)))
    elif isinstance(each, Link):
        target = top / each.to
        if each.kind == "symlink":
            path.symlink_to(os.path.relpath(target, path.parent))
        elif each.kind == "loop":
            path.symlink_to(path.name)
        elif target.is_file():
            if each.kind == "hardlink":
                os.link(target, path)
            else:
                path.write_bytes(target.read_bytes())
    elif each.kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(OBSTACLES[each.kind])


def at(content: Content, here: str) -> Content:
    """The content with ``@`` replaced."""

    def put(text: str | None) -> str | None:
        return None if text is None else text.replace("@", here)

    return replace(
        content,
        soname=put(content.soname),
        needed=tuple(name.replace("@", here) for name in content.needed),
        auxiliary=tuple(name.replace("@", here) for name in content.auxiliary),
        filters=tuple(name.replace("@", here) for name in content.filters),
        rpath=put(content.rpath),
        runpath=put(content.runpath),
    )


# ---- how it is generated ---------------------------------------------------------------------

NAMES = ("libx.so", "libx.so.1", "liby.so", "libz.so.2", "libw.so")
#: Directories of libraries; d links to a, and b is below a name that $LIB makes on Debian.
PLACES = ("a", "b", "c/e", "bin", "lib/x86_64-linux-gnu")
_SUBDIRECTORIES = tuple(
    dict.fromkeys(each.rstrip("/") for each in this_cpu().subdirectories((2, 36)) if each)
)
_FOR_CPU = ("a", *(f"a/{each}" for each in (*_SUBDIRECTORIES, "glibc-hwcaps/x86-64-v9")))

_folders = st.sampled_from(PLACES) | st.sampled_from(PLACES) | st.sampled_from(_FOR_CPU)
_names = st.sampled_from(NAMES)
_paths = st.builds("{}/{}".format, _folders, _names)


def _requests(paths: list[str]) -> st.SearchStrategy[str]:
    """Names as they stand in DT_NEEDED or are given to dlopen; mostly of what is there."""
    known = st.sampled_from(paths)
    return st.one_of(
        _names,
        known.map(os.path.basename),
        known.map(os.path.basename),
        known.map("@/{}".format),
        known.map("./{}".format),
        known,
        known.map("$ORIGIN/../{}".format),
        known.map("${{ORIGIN}}/../{}".format),
        known.map("@/./d/../{}".format),
        known.map(lambda path: f"@/bin/../{path}"),
        st.sampled_from(
            ("libmissing.so", "@/missing/libx.so", "$ORIGIN/libx.so", "$LIB/libx.so",
             "@/$LIB/libx.so", "@/${LIB}/liby.so", "$PLATFORM/libx.so", "$ORIGINAL/libx.so",
             "lib$x.so", "libc.so.6", "ld-linux-x86-64.so.2", "libm.so.6", "@/bin/main")
        ),
    )  # fmt: skip


_elements = st.one_of(
    st.sampled_from(PLACES).map("@/{}".format),
    st.sampled_from(PLACES).map("@/{}".format),
    st.sampled_from(PLACES).map("$ORIGIN/../{}".format),
    st.sampled_from(PLACES).map("@/{}/".format),
    st.sampled_from(PLACES).map("@//{}//".format),
    st.sampled_from(PLACES),
    st.sampled_from(
        ("$ORIGIN", "${ORIGIN}", "$ORIGIN/", "${ORIGIN}/../b", "$ORIGIN/../c/e", "$ORIGIN_/b",
         "$ORIGINAL", "${ORIGIN", "x$ORIGIN", "@/$LIB", "@/${LIB}", "@/$PLATFORM", "@/a/$PLATFORM",
         "@/$NONE", "", ".", "/", "@", "@/d", "@/missing", "@/a/libx.so", "a/libx.so",
         "/usr/lib", "/lib/", "@/a/..", "./a")
    ),
)  # fmt: skip
_search_paths = st.lists(_elements, min_size=1, max_size=4).map(":".join)


@st.composite
def contents(draw: st.DrawFn, paths: list[str]) -> Content:
    """What a library says of itself."""
    requests = _requests(paths)
    name = draw(st.none() | st.none() | _names)
    which = draw(st.sampled_from(("", "", "rpath", "runpath", "runpath", "both")))
    rare = draw(st.integers(0, 19))
    return Content(
        soname=name,
        needed=tuple(draw(st.lists(requests, max_size=3))),
        rpath=draw(_search_paths) if which in ("rpath", "both") else None,
        runpath=draw(_search_paths | st.just("")) if which in ("runpath", "both") else None,
        nodeflib=rare == 19,
        noopen=rare == 18,
        auxiliary=(draw(requests),) if rare in (15, 16) else (),
        filters=(draw(requests),) if rare in (16, 17) else (),
    )


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree, an environment, a program and what it opens."""
    paths = draw(st.lists(_paths, min_size=2, max_size=8, unique=True))
    files: list[Library | Link | Obstacle] = [Link("d", "a"), Library("b/libbase.so")]
    for path in paths:
        kind = draw(st.integers(0, 19))
        if kind < 13:
            files.append(Library(path, draw(contents(paths))))
        elif kind < 18:
            how = ("symlink", "symlink", "hardlink", "copy", "loop")[kind - 13]
            files.append(Link(path, draw(st.sampled_from(paths)), how))
        else:
            files.append(Obstacle(path, draw(st.sampled_from(("directory", *OBSTACLES)))))
    requests = _requests(paths)
    program = draw(contents(paths))
    where = draw(st.integers(0, len(program.needed)))
    program = replace(
        program,
        auxiliary=(), filters=(), noopen=False,
        needed=(*program.needed[:where], "DRIVER", *program.needed[where:]),
    )  # fmt: skip
    environ = {}
    if draw(st.booleans()):
        separator = draw(st.sampled_from((":", ":", ";")))
        environ["LD_LIBRARY_PATH"] = separator.join(draw(st.lists(_elements, max_size=4)))
    if draw(st.integers(0, 4)) == 4:
        separator = draw(st.sampled_from((":", " ")))
        environ["LD_PRELOAD"] = separator.join(draw(st.lists(requests, min_size=1, max_size=3)))
    opens = draw(
        st.lists(
            st.builds(Open, requests, st.integers(0, 5), st.sampled_from((False, False, True))),
            max_size=5,
        )
    )
    tree = Tree(program, tuple(files), tuple(environ.items()), tuple(opens))
    # A filtee that is the program itself makes the loader lose its list.
    return replace(tree, program=replace(program, soname=None)) if tree.has_filtees else tree


_separators = st.sampled_from((" ", "\n", "\t", ":", " # libnone.so\n", "#\n", "# a: b #\n"))


@st.composite
def rooted_trees(draw: st.DrawFn) -> Tree:
    """A tree with a configuration of its own below /etc."""
    tree = draw(trees())
    places = sorted({os.path.dirname(each.path) for each in tree.files if "/" in each.path})
    conf = draw(st.lists(st.sampled_from(places).map("@/{}".format), max_size=4, unique=True))
    preload = ""
    if draw(st.integers(0, 3)) == 3:
        names = _requests([each.path for each in tree.files])
        preload = "".join(draw(st.lists(st.one_of(names, _separators), max_size=8)))
    return replace(
        tree,
        conf=tuple(conf),
        cache_format=draw(st.sampled_from(("new", "new", "compat", "old"))),
        preload=preload,
    )
