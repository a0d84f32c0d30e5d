"""Where the loader's audit interface works, foretold from files, and what LD_AUDIT has to say.

Sources: glibc, elf/rtld.c, elf/dl-audit.c, elf/dl-reloc.c, elf/dl-tls.c and NEWS; ld.so(8),
"Secure-execution mode"; Linux, fs/exec.c and security/commoncap.c.  What a security module
decides (SELinux' domain transitions, AppArmor's scrubbed environments) no file of the program says.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xdiag.discover import elf
from xdiag.discover.elf import BadElf
from xdiag.errors import CannotRun, Usage
from xdiag.launch import audit_library
from xdiag.loader import glibc
from xdiag.loader.link_map import LinkMap
from xdiag.loader.program import interpreter_of
from xdiag.loader.records import NotLoaded
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xdiag.discover.root import Root
    from xdiag.loader.glibc import Glibc
    from xdiag.loader.records import Loaded

#: la_symbind is called for what is bound at load time as well: programs linked with -z now,
#: LD_BIND_NOW, dlopen with RTLD_NOW (bug 23734); calls no longer pass through a trampoline (bug
#: 15533); on AArch64 the trampoline keeps register x8 (bug 26643).  A distribution may have taken
#: this into an older version: more is recorded then than is foretold.
_EVERY_BINDING = (2, 35)
#: The first with the tunable glibc.rtld.optional_static_tls.
_TUNABLE_TLS = (2, 32)
#: The first that remembers the name that was asked for where another is answered (bug 18251).
_NAMES_KEPT = (2, 23)

#: Longest name in LD_AUDIT: char fname[SECURE_NAME_LIMIT], its end included (elf/rtld.c, since
#: 2.26); a longer one is passed over without a word.
_LONGEST_NAME = 254

#: Bytes of static thread-local storage that libraries may have before room is made for them.
#: With an auditor the block is laid out before they are loaded, and they share what is kept for
#: dlopen: 1664 bytes and 288 for the auditor, less its own and its libc's (elf/dl-tls.c).
_TLS_FITS = 512
#: More than any library has (ThreadSanitizer's runtime: 0.8 MB); threads pay it of their stacks.
_MOST_TLS = 4 << 20
#: The tunable's own default, which stays for dlopen.
_TLS_OPTIONAL = 512
_TLS_TUNABLE = "glibc.rtld.optional_static_tls"

#: Sanitizers that refuse RTLD_DEEPBIND (CheckNoDeepBind in their common part), by the library that
#: GCC links and the function that clang links in and exports.
_SANITIZERS = (
    ("AddressSanitizer", "libasan.so", "__asan_init"),
    ("ThreadSanitizer", "libtsan.so", "__tsan_init"),
)

#: struct vfs_cap_data (linux/capability.h): flags and revision, then permitted and inheritable.
_CAPABILITY = "security.capability"
_CAPABILITY_EFFECTIVE = 1

_BUILT_FOR = re.compile(rb"\0GLIBC_(\d{1,3})\.(\d{1,3})(?=[.\0])")


class Reach(Record, frozen=True):
    """Whether LD_AUDIT works for a program, what of it, and what has to be done for it."""

    works: bool
    #: In a sentence: why, or why not.
    because: str
    #: What to do where it does not work; empty where nothing helps or nothing is needed.
    remedy: str = ""
    #: What works, but not as one might expect; a sentence each.
    warnings: tuple[str, ...] = ()
    #: Whether a request for a library can be answered with another path (la_objsearch).
    redirects: bool = False
    #: Whether every call through a PLT or dlsym can be recorded (la_symbind); where it is False and
    #: ``works`` is True, those found by dlsym and those bound lazily still are.  No version asks
    #: about a function whose address is taken, or about code built with -fno-plt (elf/do-rel.h).
    records: bool = False
    #: Variables, besides LD_AUDIT, without which the program would not start under an auditor.
    settings: dict[str, str] = msgspec.field(default_factory=dict)


class Caller(Record, frozen=True):
    """Who starts the program: real and effective user and group."""

    uid: int
    gid: int
    euid: int
    egid: int

    @classmethod
    def here(cls) -> Caller:
        """The process that asks."""
        return cls(os.getuid(), os.getgid(), os.geteuid(), os.getegid())


class _Unreached(Exception):
    """LD_AUDIT does not work, and what to do about it."""

    def __init__(self, because: str, remedy: str = "") -> None:
        super().__init__(because)
        self.because = because
        self.remedy = remedy


def audit_reach(
    program: str,
    root: Root,
    environ: Mapping[str, str],
    *,
    cwd: str = "/",
    caller: Caller | None = None,
) -> Reach:
    """Whether ``program``, started with ``environ``, would load our audit library.

    A script stands for its interpreter.  Programs that it starts are not looked at: LD_AUDIT is
    inherited, and they are reached or not by the same rules.  ``caller`` is this process unless
    told.  Nothing is run; a program that cannot be read counts as one that is not reached.
    """
    path = os.path.join(cwd, interpreter_of(program, root, environ, cwd))
    try:
        facts = _readable(path, root)
        loader = _loader(path, facts, root, cwd)
        elevated = elevation(path, root, caller or Caller.here())
        if elevated:
            raise _Unreached(
                f"{path} {elevated}: ld.so ignores LD_AUDIT in secure-execution mode",
                "start it as the user that it becomes, or run a copy without those rights",
            )
        _check_versions(path, loader)
        started = _started(path, root, environ, cwd)
        settings = _room(path, started, loader, environ)
    except _Unreached as unreached:
        return Reach(False, unreached.because, unreached.remedy)
    version = "{}.{}".format(*loader.version) if loader.version_known else "of unknown version"
    return Reach(
        works=True,
        because=f"{path} is loaded by glibc {version}",
        warnings=(*_warned(path, started, loader, root), *_others(environ.get("LD_AUDIT", ""))),
        redirects=True,
        records=loader.version >= _EVERY_BINDING,
        settings=settings,
    )


def audit_variable(library: str, earlier: str) -> str:
    """The value of LD_AUDIT that loads ``library`` before what ``earlier`` names already.

    First, because dlsym asks the auditors after one that has no la_symbind, or wants none, in its
    place (elf/dl-audit.c, _dl_audit_symbind_alt, since 2.35): ours would never be asked.  Names are
    asked of all in order, each with the answer of the one before it, so the others' have the last
    word.  A second entry for the same file would be a second auditor, and is left out.  Raises
    CannotRun for a path that LD_AUDIT cannot hold.
    """
    if not os.path.isabs(library):
        raise CannotRun(f"{library}: LD_AUDIT needs an absolute path")
    for character, why in ((":", "separates its entries"), ("$", "begins a token such as $ORIGIN")):
        if character in library:
            raise CannotRun(
                f"{library}: not a path that LD_AUDIT can hold, where {character!r} {why};"
                " install xdiag in another directory"
            )
    if len(os.fsencode(library)) > _LONGEST_NAME:
        raise CannotRun(
            f"{library}: longer than {_LONGEST_NAME} bytes, which ld.so passes over in LD_AUDIT;"
            " install xdiag in a directory with a shorter path"
        )
    others = [each for each in earlier.split(":") if each not in ("", library)]
    return ":".join([library, *others])


def elevation(path: str, root: Root, caller: Caller) -> str:
    """What of ``path`` lets the kernel start it with AT_SECURE, as a predicate; empty for nothing.

    The rule of cap_bprm_creds_from_file: other ids than the real ones, and for all but root
    capabilities that the file gives, whether or not the caller has them.  A mount with nosuid takes
    both away, no_new_privs the ids alone.  Capabilities that a file only lets through (inheritable)
    count as none.
    """
    if (caller.uid, caller.gid) != (caller.euid, caller.egid):
        return "is started by a process whose effective ids are not its real ones"
    outside = root.outside(path)
    status = os.stat(outside)
    if os.statvfs(outside).f_flag & os.ST_NOSUID:
        return ""
    if not _no_new_privileges():
        if status.st_mode & stat.S_ISUID and status.st_uid != caller.uid:
            return f"is set-user-id, of user {status.st_uid}"
        # Without the group's execute bit it marked mandatory locking.
        group_bits = stat.S_ISGID | stat.S_IXGRP
        if status.st_mode & group_bits == group_bits and status.st_gid != caller.gid:
            return f"is set-group-id, of group {status.st_gid}"
    if caller.uid != 0 and _gives_capabilities(outside):
        return "has capabilities of its own"
    return ""


def _gives_capabilities(path: str) -> bool:
    try:
        value = os.getxattr(path, _CAPABILITY)
    except OSError:  # none, or a file system that has no such attributes
        return False
    words = struct.unpack(f"<{len(value) // 4}I", value[: len(value) // 4 * 4])
    if not words:
        return False
    permitted = words[1:5:2]
    return bool(words[0] & _CAPABILITY_EFFECTIVE or any(permitted))


@cache
def _no_new_privileges() -> bool:
    """Whether this process, and so all that it starts, can gain no rights (prctl(2))."""
    try:
        status = Path("/proc/self/status").read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE) is not None


# ---- why not ---------------------------------------------------------------------------------


_KINDS = {
    "not-elf": "is not an ELF program",
    "empty": "is an empty file",
    "damaged": "is a damaged or truncated ELF file",
    "other-class": "is a 32-bit program; the audit library is for 64-bit ones",
    "other-order": "is a program for a machine of the other byte order",
    "not-loadable": "is an ELF file, but not a program",
}


def _readable(path: str, root: Root) -> elf.Elf:
    try:
        return elf.read(path, root)
    except BadElf as error:
        # The others' words name the path, and what is wrong with it.
        known = _KINDS.get(error.kind)
        raise _Unreached(f"{path} {known}" if known else str(error)) from error


def _loader(path: str, facts: elf.Elf, root: Root, cwd: str) -> Glibc:
    """The dynamic loader that the kernel starts with the program; or the program, if it is one."""
    interpreter = facts.interpreter
    if not interpreter and facts.soname.startswith("ld"):
        interpreter = path  # ld.so, which is given a program as its argument
    if not interpreter:
        raise _Unreached(
            f"{path} is statically linked: no dynamic loader runs, which LD_AUDIT speaks to",
            "link it dynamically",
        )
    if os.path.basename(interpreter).startswith("ld-musl-"):
        raise _Unreached(
            f"{path} asks for musl's dynamic loader ({interpreter}), which has no audit interface",
            "use a program that is built for glibc",
        )
    try:
        return glibc.of_program(path, os.path.join(cwd, interpreter), root)
    except glibc.NotGlibc as error:
        raise _Unreached(
            f"{path} asks for {interpreter}, which is not glibc's dynamic loader",
            "use a program that is built for glibc",
        ) from error
    except NotLoaded as error:
        raise _Unreached(f"{path} cannot be started: {error}") from error


def _check_versions(path: str, loader: Glibc) -> None:
    if not loader.version_known:
        return
    have = "{}.{}".format(*loader.version)
    needs = _built_for()
    if loader.version < needs:
        raise _Unreached(
            f"{path} is loaded by glibc {have}, and the audit library was built for"
            f" {needs[0]}.{needs[1]} or later",
            "install xdiag from a wheel, which is built for glibc 2.17 or later",
        )
    if os.uname().machine == "aarch64" and loader.version < _EVERY_BINDING:
        raise _Unreached(
            f"{path} is loaded by glibc {have}: on AArch64, auditing before 2.35 loses register x8"
            " and makes calls go wrong (bug 26643)",
            "use glibc 2.35 or later",
        )


@cache
def _built_for() -> tuple[int, int]:
    """The oldest glibc that has all symbol versions that our audit library needs."""
    try:
        data = Path(audit_library.path()).read_bytes()
    except CannotRun:  # whoever wants to load it is told so
        return (2, 17)
    return max(((int(major), int(minor)) for major, minor in _BUILT_FOR.findall(data)),
               default=(2, 17))  # fmt: skip


# ---- the libraries it starts with ------------------------------------------------------------


def _started(path: str, root: Root, environ: Mapping[str, str], cwd: str) -> tuple[Loaded, ...]:
    """The objects that are loaded before the program runs; a missing one is for ld.so to tell."""
    try:
        found = LinkMap.of_program(path, root, environ, cwd=cwd, keep_going=True, secure=False)
    except NotLoaded as error:
        raise _Unreached(f"{path} cannot be started: {error}") from error
    return found.objects


def _room(
    path: str, started: Iterable[Loaded], loader: Glibc, environ: Mapping[str, str]
) -> dict[str, str]:
    """GLIBC_TUNABLES with room for the libraries' static thread-local storage, if they need it.

    Without an auditor the block is made to measure; with one, "cannot allocate memory in static TLS
    block" ends a program that preloads jemalloc or links ThreadSanitizer's runtime.
    """
    # The program's own is always measured, its libc's is part of what is kept free.
    needed = sum(
        each.elf.static_tls
        for each in started
        if each.request not in ("program", "interpreter") and each.elf.soname != "libc.so.6"
    )
    if needed <= _TLS_FITS:
        return {}
    if needed > _MOST_TLS or loader.version < _TUNABLE_TLS:
        raise _Unreached(
            f"{path} starts with libraries that have {needed} bytes of static thread-local"
            " storage, for which an auditor leaves no room",
            "start it without the library that it preloads, or with glibc 2.32 or later",
        )
    earlier = environ.get("GLIBC_TUNABLES", "")
    told = re.findall(rf"(?:^|:){re.escape(_TLS_TUNABLE)}=(0x[0-9a-fA-F]+|\d+)", earlier)
    wanted = needed + _TLS_OPTIONAL
    if told and int(told[-1], 0 if "x" in told[-1] else 10) >= wanted:
        return {}
    # The last of two for one tunable holds (elf/dl-tunables.c).
    return {"GLIBC_TUNABLES": f"{earlier}:{_TLS_TUNABLE}={wanted}".lstrip(":")}


def _warned(path: str, started: Iterable[Loaded], loader: Glibc, root: Root) -> Iterable[str]:
    if not loader.version_known:
        yield f"which glibc {loader.path} is cannot be told: what is said of it is a guess"
    elif loader.version < _EVERY_BINDING:
        yield (
            "before glibc 2.35 an auditor is not asked about what is bound at load time (-z now,"
            " LD_BIND_NOW, Python's extension modules): such calls are not recorded, and all"
            " others pass through a trampoline, which is slower"
        )
    if loader.version_known and loader.version < _NAMES_KEPT:
        yield (
            "before glibc 2.23 a library that needs the runtime by a name that is not its SONAME"
            " may not load when it is given another (bug 18251)"
        )
    names = [os.path.basename(each.path) for each in started]
    for sanitizer, library, function in _SANITIZERS:
        if any(name.startswith(library) for name in names) or _defines(path, function, root):
            yield (
                f"{path} is built with {sanitizer}: its runtime ends a program that opens a library"
                " with RTLD_DEEPBIND, as XSched does, with and without xdiag"
            )


def _defines(path: str, function: str, root: Root) -> bool:
    try:
        return elf.exports(path, function, root)
    except (BadElf, Usage):
        return False


def _others(earlier: str) -> Iterable[str]:
    library = ""
    with contextlib.suppress(CannotRun):
        library = audit_library.path()
    others = [each for each in earlier.split(":") if each not in ("", library)]
    if others:
        yield (
            f"LD_AUDIT names {', '.join(others)} already: kept, after xdiag's library; what it"
            " answers to a request for a library has the last word"
        )
