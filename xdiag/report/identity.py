"""Who and where this is: names and secrets of this machine, to be masked wherever they stand."""

from __future__ import annotations

import os
import pwd
import socket
from typing import TYPE_CHECKING

from xdiag.discover.root import Root
from xdiag.report.masking import spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: People's accounts (login.defs: UID_MIN and UID_MAX), and how many of them are read.
_UIDS = range(1000, 60000)
_MOST_PEOPLE = 300
#: Homes that are nobody's own.
_NO_HOMES = ("/", "/root", "/tmp", "/nonexistent", "/dev/null", "/usr", "/var", "/opt", "/home")
_NO_HOMES_BELOW = (
    "/bin",
    "/dev",
    "/proc",
    "/run",
    "/sbin",
    "/usr",
    "/var/lib",
    "/var/run",
    "/var/www",
)
_USERS = (
    "USER",
    "LOGNAME",
    "USERNAME",
    "SUDO_USER",
    "SLURM_JOB_USER",
    "NB_USER",
    "JUPYTERHUB_USER",
)
_HOMES = ("HOME", "SLURM_JOB_USER_HOME")
#: Domains that are everybody's.
_COMMON_DOMAINS = frozenset(
    ("local", "localdomain", "lan", "home", "internal", "cluster.local", "svc.cluster.local",
     "ec2.internal", "compute.internal", "localhost.localdomain", "home.arpa")
)  # fmt: skip


def of_this_machine(
    environ: Mapping[str, str], paths: Iterable[str] = (), root: Root | None = None
) -> list[tuple[str, str]]:
    """(kind, value) of what is private here: users, homes, hosts, domains, secrets.

    ``paths`` are files that the report speaks of: their owners are named in it.  Never raises.
    """
    root = root or Root()
    found = [*_people(environ, paths, root), *_machine(root), *_variables(environ)]
    return list(dict.fromkeys(each for each in found if each[1]))


def _people(
    environ: Mapping[str, str], paths: Iterable[str], root: Root
) -> Iterator[tuple[str, str]]:
    for name in _USERS:
        yield "user", environ.get(name, "")
    for name in _HOMES:
        yield from _home(environ.get(name, ""))
    numbers = {os.getuid(), os.geteuid()}
    for path in paths:
        try:
            numbers.add(root.stat(path).st_uid)
        except (OSError, ValueError):  # noqa: PERF203 - each may be gone
            continue
    for number in sorted(numbers):
        try:
            entry = pwd.getpwuid(number)
        except (KeyError, OverflowError):
            continue
        yield from _account(entry.pw_name, entry.pw_gecos, entry.pw_dir)
    # The file itself: asking the name service for everybody may ask a whole company's directory.
    people = 0
    for line in root.text("/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) < 7 or not fields[2].isdecimal() or int(fields[2]) not in _UIDS:
            continue
        people += 1
        if people > _MOST_PEOPLE:
            break
        yield from _account(fields[0], fields[4], fields[5])


def _account(name: str, gecos: str, home: str) -> Iterator[tuple[str, str]]:
    yield "user", name
    full = gecos.partition(",")[0].strip()
    # One word is as a rule the account's purpose; two are a person's name.
    if " " in full and full.istitle():
        yield "user", full
    yield from _home(home)


def _home(home: str) -> Iterator[tuple[str, str]]:
    home = home.rstrip("/")
    below = any(home == each or home.startswith(f"{each}/") for each in _NO_HOMES_BELOW)
    if home.startswith("/") and home not in _NO_HOMES and not below:
        real = os.path.realpath(home)
        for path in dict.fromkeys((home, real)):
            # Of /home/alice the name is masked, and the rest is told.
            if os.path.dirname(path) not in ("/home", "/Users"):
                yield "home", path
            else:
                yield "user", os.path.basename(path)


def _machine(root: Root) -> Iterator[tuple[str, str]]:
    names = [
        *_quietly(socket.gethostname),
        *_quietly(lambda: os.uname().nodename),
        root.text("/etc/hostname").strip(),
        root.text("/etc/mailname").strip(),
    ]
    for line in root.text("/etc/hosts").splitlines():
        words = line.partition("#")[0].split()
        # A machine's own lines: 127.0.1.1 on Debian, its address in a container.
        if words and any(name and name in words[1:] for name in names):
            names += words[1:]
    for name in names:
        short, _, domain = name.partition(".")
        if domain and domain.lower() not in _COMMON_DOMAINS:
            yield "domain", domain
        yield "host", name
        yield "host", short
    for line in root.text("/etc/resolv.conf").splitlines():
        words = line.split()
        if words and words[0] in ("search", "domain"):
            for domain in words[1:8]:
                if "." in domain and domain.rstrip(".").lower() not in _COMMON_DOMAINS:
                    yield "domain", domain.rstrip(".")


def _quietly(ask: object) -> list[str]:
    try:
        return [str(ask())] if callable(ask) else []
    except OSError:
        return []


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Secrets and names in the values of variables, by the variables' names and by their shape."""
    for name in sorted(environ):
        text = f"{name}={environ[name]}"
        if len(text) > 1 << 16:
            continue
        # As one word: a value with spaces is a value still.
        quoted = f"{name}='{environ[name]}'" if "'" not in environ[name] else text
        for each in (text, quoted):
            for span in spans(each):
                if span.learn:
                    yield span.kind, each[span.start : span.end]
