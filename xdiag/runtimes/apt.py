"""Debian's package tools, without root: nothing of the system's is written to or locked.

The keys, proxies and, unless others are given, the sources and preferences are the machine's own;
only what apt writes (its lists, caches, archives) is in a private directory.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Seconds of silence after which a server is given up (apt's own default is two minutes).
_SILENCE = 20
#: Seconds after which a whole command is given up.
_PATIENCE = 1800

_INSTALL = re.compile(
    r"Inst (?P<name>\S+) (?:\[(?P<old>[^]]*)\] )?\((?P<version>\S+) (?P<rest>.*)\)"
)
#: What apt says when the servers cannot be reached.
_UNREACHABLE = re.compile(
    r"Temporary failure resolving|Could not resolve|Could not connect|Unable to connect"
    r"|Cannot initiate the connection|Connection (?:failed|timed out|refused)|No route to host"
    r"|Network is unreachable"
)
_DISK_FULL = "No space left on device"
_NO_SPACE = "no space left on the disk: make room, or set XDG_CACHE_HOME to another one"
#: A disk with fewer bytes left is full.
_FULL = 64 * 1024
#: Seconds between looks at a running command.
_WATCH_EVERY = 2
#: Of a package list, what `apt-get indextargets` is asked for (apt's own names, in its manual).
_TARGET = ("REPO_URI", "RELEASE", "COMPONENT", "SUITE", "CODENAME", "ORIGIN", "SOURCESENTRY")

# Hooks of the machine's own (to empty the system's archives, to tell a desktop) are not ours to
# run.  The indexes left out are those that no package name or dependency is in.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
Dir::Cache "{private}/cache/";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Acquire::Languages "none";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
Acquire::Retries "1";
Acquire::http::Timeout "{silence}";
Acquire::https::Timeout "{silence}";
"""
_CONFIG_STATE = """\
Dir::State "{private}/state/";
Dir::State::lists "lists/";
Dir::State::status "{status}";
"""
# Other sources than the machine's: its preferences were not written for them, nor are its packages
# there to build on.  Lists are kept compressed, or six suites of them would take 300 MB.
_CONFIG_SOURCES = """\
Dir::Etc::sourcelist "{private}/archive.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::GzipIndexes "true";
"""
# As root apt drops to a user of its own, who cannot enter a private directory.
_CONFIG_ROOT = 'APT::Sandbox::User "root";\n'


class Planned(Record, frozen=True):
    """One package that an installation would bring."""

    name: str
    version: str
    #: The installed version that it would replace.
    replaces: str = ""


class Offer(Record, frozen=True):
    """One version of a package that a source has."""

    name: str
    version: str
    #: The suite as the source calls it.
    suite: str


class Target(Record, frozen=True):
    """One package list that apt's sources tell of."""

    uri: str
    #: The suite as the source calls it, and as it calls itself; these are empty before its Release
    #: file is fetched.
    release: str
    component: str
    suite: str
    codename: str
    origin: str
    #: The file of sources and the place in it, with a colon between them.
    entry: str


class Failed(CannotRun):
    """A command of apt's failed.  ``stale`` where newer lists may mend it."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class Apt:
    """apt over a private directory: on the system's package lists, or on lists of its own."""

    def __init__(self, private: Path, *, own_lists: bool, sources: str = "") -> None:
        """``sources`` replaces the machine's: lines of sources.list(5) in the deb822 style.

        With these, apt takes nothing for installed.
        """
        self._config = private / "apt.conf"
        # apt.conf(5) has no way to write a quote in a value.
        if any(character in str(private) for character in '"\\\n'):
            raise CannotRun(f"apt cannot use a directory of this name: {private}")
        text = _CONFIG.format(private=private, silence=_SILENCE)
        (private / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        if own_lists:
            (private / "state/lists/partial").mkdir(parents=True, exist_ok=True)
            status = "/dev/null" if sources else _dpkg_status()
            text += _CONFIG_STATE.format(private=private, status=status)
        if sources:
            (private / "archive.sources").write_text(sources)
            text += _CONFIG_SOURCES.format(private=private)
        if os.geteuid() == 0:
            text += _CONFIG_ROOT
        self._config.write_text(text)

    def update(self) -> str:
        """Fetch the package lists; returns what went wrong, which need not concern us."""
        done = self._run("apt-get", "update")
        return "" if done.returncode == 0 and "Failed to fetch" not in done.stderr else _why(done)

    def targets(self, *, unfetched: bool = False) -> tuple[Target, ...]:
        """Package lists that are there, or, ``unfetched``, all that the sources tell of.

        Raises Failed where apt cannot read its sources.
        """
        form = "\t".join(f"$({name})" for name in _TARGET)
        options = ["--no-release-info"] if unfetched else []
        done = self._run(
            "apt-get", "indextargets", *options, "--format", form, "Created-By: Packages"
        )
        if done.returncode != 0:
            raise Failed(f"apt cannot read its sources: {_why(done)}")
        rows = (line.split("\t") for line in done.stdout.splitlines())
        # What apt does not know it prints as it was asked for.
        known = (["" if each.startswith("$(") else each for each in row] for row in rows)
        return tuple(Target(*row) for row in known if len(row) == len(_TARGET))

    def offers(self, names: Sequence[str]) -> tuple[Offer, ...]:
        """All versions of these packages that the sources have."""
        if not names:
            return ()
        done = self._run("apt-cache", "madison", *names)
        rows = ([each.strip() for each in line.split(" | ")] for line in done.stdout.splitlines())
        return tuple(
            Offer(row[0], row[1], words[1].rpartition("/")[0])
            for row in rows
            if len(row) == 3 and len(words := row[2].split()) == 4 and words[3] == "Packages"
        )

    def names(self, prefix: str) -> list[str]:
        """Names of packages that start so; some may be known by name only."""
        return self._run("apt-cache", "pkgnames", prefix).stdout.split()

    def candidate(self, package: str) -> str:
        """The version that would be installed; empty for a package that cannot be had."""
        done = self._run("apt-cache", "policy", package)
        match = re.search(r"^\s+Candidate: (\S+)$", done.stdout, re.MULTILINE)
        return match[1] if match and match[1] != "(none)" else ""

    def plan(self, package: str, version: str, suite: str = "") -> tuple[Planned, ...]:
        """What installing this would bring, from ``suite`` where it can be.

        Raises Failed where it cannot be installed.
        """
        done = self._run(
            "apt-get", "-s", "install", "--no-install-recommends",
            *(["-t", suite] if suite else []), f"{package}={version}",
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"apt finds no way to install {package}: {_why(done)}")
        matches = (_INSTALL.match(line) for line in done.stdout.splitlines())
        return tuple(Planned(m["name"], m["version"], m["old"] or "") for m in matches if m)

    def download(
        self, planned: Sequence[Planned], into: Path, watch: Callable[[], None] | None = None
    ) -> dict[str, Path]:
        """Fetch packages, checked by apt against its lists: name -> file; raises Failed.

        ``watch`` is called every few seconds meanwhile.
        """
        into.mkdir(exist_ok=True)
        asked = [f"{each.name}={each.version}" for each in planned]
        done = self._run("apt-get", "download", *asked, cwd=into, watch=watch)
        found = {path.name.partition("_")[0]: path for path in into.glob("*.deb")}
        missing = [each for each in planned if each.name not in found]
        if done.returncode != 0 or missing:
            # apt names the file that failed; one that is merely missing it may not.
            silent = done.returncode == 0
            what = f"{missing[0].name} {missing[0].version}" if silent else "packages"
            raise Failed(
                f"cannot fetch {what}: {_why(done)}",
                stale=" 404 " in done.stderr or "was not found" in done.stderr,
            )
        return found

    def _run(
        self,
        program: str,
        *arguments: str,
        cwd: Path | None = None,
        watch: Callable[[], None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        command = [tool(program), "-q", "-c", str(self._config), *arguments]
        return run(command, cwd=cwd, writes_to=self._config.parent, watch=watch)


def installed(prefix: str) -> dict[str, str]:
    """Packages installed system-wide whose names start so: name -> version."""
    done = run(
        [tool("dpkg-query"), "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n",
         f"{prefix}*"]
    )  # fmt: skip
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}


def unpack(package: Path, into: Path) -> None:
    """Unpack a package's files; raises Failed."""
    done = run([tool("dpkg-deb"), "-x", str(package), str(into)])
    if done.returncode != 0:
        raise Failed(f"cannot unpack {package.name}: {_why(done)}")


def source_of(package: Path) -> str:
    """The name of the source that a package file was built from; raises Failed."""
    done = run([tool("dpkg-deb"), "-W", "--showformat=${source:Package}", str(package)])
    if done.returncode != 0:
        raise Failed(f"cannot read {package.name}: {_why(done)}")
    return done.stdout


def architecture() -> str:
    """Debian's name for this machine's architecture; raises Failed."""
    done = run([tool("dpkg"), "--print-architecture"])
    if done.returncode != 0:
        raise Failed(f"dpkg does not say which architecture this is: {_why(done)}")
    return done.stdout.strip()


def tool(name: str) -> str:
    """Where a program is; raises CannotRun if this machine has none."""
    found = shutil.which(name)
    if found is None:
        raise CannotRun(
            f"{name} is not here: fetching a runtime needs the package tools of Debian or Ubuntu;"
            " install ROCm's HIP runtime by other means and name it with --runtime PATH"
        )
    return found


def run(
    command: list[str],
    cwd: Path | None = None,
    writes_to: Path | None = None,
    watch: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, quietly and in English; ``watch`` is called while it lasts.

    Raises Failed if it does not start or does not end; for a command that ``writes_to`` a
    directory, that is also when the disk is full, over which apt waits for ever.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    # A library path that is meant for the patient is none of apt's business.
    for name in ("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"):
        environment.pop(name, None)
    deadline = time.monotonic() + _PATIENCE
    try:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise Failed(f"cannot run {command[0]}: {error.strerror}") from error
    try:
        while (told := _ended(process)) is None:
            if watch is not None:
                watch()
            if writes_to is not None and free_bytes(writes_to) < _FULL:
                raise Failed(_NO_SPACE)
            if time.monotonic() > deadline:
                raise Failed(f"{command[0]} did not end within {_PATIENCE} s")
        return subprocess.CompletedProcess(command, process.returncode, *told)
    finally:
        if process.returncode is None:  # apt's helpers do the fetching: they have to go as well
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _ended(process: subprocess.Popen[str]) -> tuple[str, str] | None:
    """All that the process wrote, None if it does not end for a while."""
    try:
        return process.communicate(timeout=_WATCH_EVERY)
    except subprocess.TimeoutExpired:
        return None


def free_bytes(folder: Path) -> int:
    """Room for this user on a directory's disk."""
    disk = os.statvfs(folder)
    return disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)


def _dpkg_status() -> str:
    done = run([tool("apt-config"), "shell", "status", "Dir::State::status/f"])
    match = re.fullmatch(r"status='(.+)'\s*", done.stdout)
    return match[1] if match else "/var/lib/dpkg/status"


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """The reason in apt's or dpkg's output, in one line, and what to do about the usual ones."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    for line in lines:
        if _DISK_FULL in line:
            return _NO_SPACE
    for line in lines:
        if _UNREACHABLE.search(line):
            server = re.sub(r"^[EW]: (Failed to fetch )?", "", line)
            return f"the package servers cannot be reached ({server}); check network and proxy"
    told = [line for line in lines if re.match(r"E:|dpkg", line)] or lines
    return re.sub(r"^E: ", "", told[0]) if told else f"exit status {done.returncode}"
