"""Places that are safe to load code from and to write records to: no other user can change them.

What remains after a check: a directory or link that passed can be changed only by root and the user
who runs xdiag, so nothing that others do between the check and the use leads elsewhere.  Whoever is
one of these two needs no trick.  Not seen are rights that the mode does not show: a file server's
own rules, and what an administrator mounts over a directory.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.runtimes import cache as user_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Links followed in one path before it counts as a loop (MAXSYMLINKS, linux/namei.h).
_MOST_LINKS = 40
#: Group ids that a distribution hands out, and no directory service to people: 0-99 (LSB Core,
#: "User ID Ranges"; Debian Policy 9.2.2).  Their members are in /etc/group.
_STATIC_GROUPS = range(100)
_ACCESS_LIST = "system.posix_acl_access"


def check_trusted(path: str, *, what: str, follow: bool = True) -> None:
    """Make sure that nobody but root and this user can change what ``path`` leads to.

    Every directory and every link on the way from / has to belong to one of the two, and no
    directory may be writable by others, unless it is sticky, as /tmp is, and what comes next is
    root's or ours.  The directory that holds the file may not be writable by others at all, nor the
    file, which has to be regular.  A path that does not exist passes if its directory does;
    a directory passes if a file in it would.

    ``what`` names it in the message: "the audit library".  Without ``follow`` the file may not be a
    link.  Raises CannotRun, which says which part of the path is whose.
    """
    if "\0" in path:
        raise CannotRun(f"{what}: {path!r} is not a path")
    try:
        for step in _steps(path):
            _check_step(step, what, follow=follow)
    except OSError as error:
        raise CannotRun(f"{what}: {path}: {error.strerror or error}") from error


def private_folder() -> Path:
    """A directory for temporary records that only this user can enter, made where it is missing.

    Below XDG_RUNTIME_DIR if that is as its specification wants it: absolute, ours, mode 0700; else
    in xdiag's cache.  Raises CannotRun where neither can be had.
    """
    told = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(told) and _is_private(told):
        folder = Path(told) / "xdiag"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            folder = _in_cache()
    else:
        folder = _in_cache()
    if not _is_private(str(folder)):
        try:
            # Ours by name; made by a version, or under a umask, that cared less.
            os.chmod(folder, 0o700, follow_symlinks=False)
        except (OSError, NotImplementedError) as error:
            raise _not_private(folder) from error
        if not _is_private(str(folder)):
            raise _not_private(folder)
    check_trusted(str(folder), what="the directory for records")
    return folder


def _in_cache() -> Path:
    """The cache's directory for records; nothing is made where it would be refused."""
    what = "the directory for records"
    folder = user_cache.root() / "records"
    # Of the directory itself the mode can still be mended.
    there = next(each for each in folder.parents if os.path.lexists(each))
    try:
        for step in _steps(str(there)):
            _check_step(replace(step, last=False), what, follow=True)
        if there.is_dir():
            # What is made in a sticky directory is ours, and stays.
            _check_folder(str(there), what, holds_file=False)
    except OSError as error:
        raise CannotRun(f"{what}: {folder}: {error.strerror or error}") from error
    return user_cache.folder("records")


def check_ownership_of_tree(paths: Iterable[str], *, allow_root: bool) -> None:
    """As root, make sure that no other user can change the files that are about to be run.

    Looked at are the files, and all directories and links that lead to them: a virtual
    environment's python is a link to root's.  Files that do not exist pass, and so does all for
    other users than root.  Raises CannotRun, which says which path is whose.
    """
    if allow_root or os.geteuid() != 0:
        return
    for path in paths:
        for part, owner in _foreign(path):
            raise CannotRun(
                f"you are root, and {part} belongs to {_name(owner)}, who could have put anything"
                f" there: run xdiag as {_name(owner)}, or tell it --allow-root"
            )


def _foreign(path: str) -> Iterator[tuple[str, int]]:
    """What on the way to a file belongs to other users, and to whom."""
    # A file that is not there is told of by whoever starts it.
    with contextlib.suppress(OSError, ValueError):
        for step in _steps(path):
            if step.status is not None and not _is_trusted(step.status.st_uid):
                yield step.path, step.status.st_uid


def _is_private(path: str) -> bool:
    """Whether it is a directory, no link to one, that only this user can enter."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and stat.S_IMODE(status.st_mode) & 0o777 == 0o700
    )


def _not_private(folder: Path) -> CannotRun:
    return CannotRun(
        f"{folder} is not a directory of yours with mode 0700:"
        " set XDG_CACHE_HOME to a directory that only you can write to"
    )


@dataclass(frozen=True)
class _Step:
    """One part of a path, as it is met on the way; ``status`` is None for a file yet to be made."""

    folder: str
    path: str
    status: os.stat_result | None
    #: Whether nothing comes after it, as far as can be seen without following it.
    last: bool


def _steps(path: str) -> Iterator[_Step]:
    """Every directory, link and file on the way, in the kernel's order; raises OSError."""
    # The working directory is asked for only where it counts: it may be gone.
    todo = _parts(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))
    #: Directories that lead to where we are, none of which is a link.
    done: list[str] = []
    links = 0
    yield _Step("/", "/", os.lstat("/"), not todo)
    # Whether the way ends elsewhere than at the last part: at "..", or a link to ".".
    turned = False
    while todo:
        part = todo.pop()
        turned = part == ".."
        if turned:
            done = done[:-1]
            continue
        folder = "/" + "/".join(done)
        here = os.path.join(folder, part)
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            if todo:
                raise
            yield _Step(folder, here, None, last=True)
            return
        yield _Step(folder, here, status, last=not todo)
        if not stat.S_ISLNK(status.st_mode):
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(here)
        if target.startswith("/"):
            done = []
        todo += _parts(target)
        turned = not todo
    if turned:
        here = "/" + "/".join(done)
        yield _Step(os.path.dirname(here), here, os.lstat(here), last=True)


def _check_step(step: _Step, what: str, *, follow: bool) -> None:
    status = step.status
    if status is None:
        _check_folder(step.folder, what, holds_file=True)
        return
    if not _is_trusted(status.st_uid):
        raise CannotRun(
            f"{what}: {step.path} belongs to {_name(status.st_uid)}, who could change it;"
            " it has to be yours or root's"
        )
    is_folder = stat.S_ISDIR(status.st_mode)
    _check_folder(step.folder, what, holds_file=step.last and not is_folder)
    if is_folder:
        if step.last:
            _check_folder(step.path, what, holds_file=True)
    elif stat.S_ISLNK(status.st_mode):
        if step.last and not follow:
            raise CannotRun(f"{what}: {step.path} is a link, not a file")
    elif not stat.S_ISREG(status.st_mode):
        raise CannotRun(f"{what}: {step.path} is not a regular file")
    elif writers := _writers(step.path, status):
        raise CannotRun(
            f"{what}: {step.path} can be written to by {writers}; take that away with chmod go-w"
        )


def _check_folder(path: str, what: str, *, holds_file: bool) -> None:
    """A sticky bit does not help the directory that holds the file.

    It keeps others from replacing what is there, not from being the first to put it there.
    """
    status = os.lstat(path)
    writers = _writers(path, status)
    if writers and (holds_file or not status.st_mode & stat.S_ISVTX):
        raise CannotRun(
            f"{what}: {path} can be written to by {writers};"
            " choose a directory that only you can write to"
        )


def _parts(path: str) -> list[str]:
    """The parts of a path, the last one first."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def _writers(path: str, status: os.stat_result) -> str:
    """Who else can write to it, in words; empty for nobody but its owner and root."""
    if status.st_mode & stat.S_IWOTH:
        return "everyone"
    if not status.st_mode & stat.S_IWGRP:
        return ""
    # With an access list, the group's bits are what the list allows at most (acl(5)).
    try:
        os.getxattr(path, _ACCESS_LIST, follow_symlinks=False)
    except OSError:
        return _others_in(status.st_gid)
    return "those on its access control list"


@cache
def _others_in(gid: int) -> str:
    """Who is in a group besides root and this user, in words; empty for nobody.

    A group of a user's own, as most distributions give to each (useradd(8), USERGROUPS_ENAB), lets
    in nobody else; it has the user's name and no other members, and so has root's.  What another
    group's members are is not asked further: a directory service need not list those whose first
    group it is.  The distribution's own groups (Debian's staff may write below /usr/local) are as
    /etc/group says.
    """
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return f"group {gid}"
    accounts = pwd.getpwall()
    ours = {each.pw_name for each in accounts if each.pw_uid in (0, os.geteuid())}
    with contextlib.suppress(KeyError):  # of a directory service that lists nobody
        ours.add(pwd.getpwuid(os.geteuid()).pw_name)
    listed = {*group.gr_mem, *(each.pw_name for each in accounts if each.pw_gid == gid)}
    if listed - ours or (gid not in _STATIC_GROUPS and group.gr_name not in ours):
        return f"group {group.gr_name}"
    return ""


def _is_trusted(uid: int) -> bool:
    return uid in (0, os.geteuid()) or uid == _unmapped_owner()


@cache
def _unmapped_owner() -> int | None:
    """The user that owns what belongs to nobody in this user namespace; None outside of one.

    In a namespace that does not know the machine's root (bubblewrap, Apptainer), root's files
    are shown as this user's, and nobody inside can become it (user_namespaces(7)).
    """
    try:
        ranges = Path("/proc/self/uid_map").read_text().split()
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return None
    if any(int(first) <= overflow < int(first) + int(count)
           for first, count in zip(ranges[::3], ranges[2::3], strict=False)):  # fmt: skip
        return None
    return overflow


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
