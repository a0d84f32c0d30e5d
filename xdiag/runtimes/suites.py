"""All suites of Debian's archive, at the address that this machine's own apt has for it.

They are asked for by the names that stay (stable, testing): code names move on, and with them the
versions of a package.  Which of the machine's sources is Debian's archive is known for sure from
what its Release file says of its origin; before one is fetched, sources are tried in turn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xdiag.discover.libraries import version_key
from xdiag.errors import CannotRun
from xdiag.model import Record
from xdiag.runtimes.apt import Apt, Offer, Target, architecture
from xdiag.runtimes.entries import means, upstream
from xdiag.runtimes.workplace import fresh

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

#: From the most settled to the least: of two that have a version, the first is taken.
SUITES = ("oldoldstable", "oldstable", "stable", "testing", "unstable", "experimental")
_ORIGIN = "Debian"
#: Where in a source of the machine's the files are that make up a Debian system.
_COMPONENT = "main"
#: Fields of a source that hold for the whole archive, as sources.list(5) calls them.
_KEPT = (
    "Signed-By", "Trusted", "Allow-Insecure", "Allow-Weak", "Allow-Downgrade-To-Insecure",
    "Check-Valid-Until", "Check-Date", "Date-Max-Future", "Valid-Until-Min", "Valid-Until-Max",
)  # fmt: skip
#: In what apt could not do: reasons that do not tell whose archive a source is.
_SAYS_NOTHING = ("cannot be reached", "no space left")
_ONE_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s")


class NoArchive(CannotRun):
    """None of the machine's sources is Debian's archive."""


class Source(Record, frozen=True):
    """A source of this machine's that may be Debian's archive."""

    uri: str
    #: Lines of the deb822 style that say how it is to be trusted.
    options: tuple[str, ...] = ()

    def all_suites(self, architecture: str) -> str:
        """All of Debian's suites at this source, as apt reads it."""
        return "\n".join(
            (
                "Types: deb", f"URIs: {self.uri}", f"Suites: {' '.join(SUITES)}",
                f"Components: {_COMPONENT}", f"Architectures: {architecture}", *self.options, "",
            )
        )  # fmt: skip


@dataclass
class Archive:
    """Debian's archive with the lists of all its suites."""

    apt: Apt
    #: What people call a suite, by the name it was asked for: its code name, mostly.
    labels: dict[str, str]
    #: Which of the suites could not be had, and why; empty if all could.
    trouble: str

    def offers(self, prefix: str, pattern: re.Pattern[str]) -> tuple[Offer, ...]:
        """The packages called so, those of the most settled suite first, of these the newest."""
        names = [name for name in self.apt.names(prefix) if pattern.fullmatch(name)]
        found = [each for each in self.apt.offers(names) if each.suite in self.labels]
        found.sort(key=lambda each: version_key(upstream(each.version)), reverse=True)
        return tuple(sorted(found, key=lambda each: SUITES.index(each.suite)))

    def label(self, offer: Offer) -> str:
        """The suite it is in, as people call it."""
        return self.labels[offer.suite]

    def described(self, offers: tuple[Offer, ...]) -> str:
        """What there is, each version once, as ``5.7.1 (trixie), 6.4.3 (forky)``."""
        suites: dict[str, str] = {}
        for each in offers:
            suites.setdefault(upstream(each.version), self.label(each))
        told = sorted(suites.items(), key=lambda each: version_key(each[0]))
        return ", ".join(f"{version} ({suite})" for version, suite in told)


def choose(offers: tuple[Offer, ...], text: str) -> Offer | None:
    """The offer that ``text`` means: a version, or the start of one, or a package."""
    return next((each for each in offers if means(text, each.name, each.version)), None)


def open_archive(work: Path, say: Say) -> Archive:
    """Fetch the lists of all suites into a directory under ``work``.

    Raises NoArchive where no source of this machine's is Debian's archive, CannotRun where it
    cannot be reached.
    """
    private = work / "suites"
    here, trouble = architecture(), ""
    for source in sources(Apt(fresh(private), own_lists=False)):
        say("Fetching package lists of all of Debian's suites")
        apt = Apt(fresh(private), own_lists=True, sources=source.all_suites(here))
        told = apt.update()
        labels = {each.release: _label(each) for each in apt.targets() if each.origin == _ORIGIN}
        if labels:
            missing = " and ".join(each for each in SUITES if each not in labels)
            return Archive(apt, labels, missing and f"{missing} could not be read: {told}")
        trouble = trouble or told
    if any(each in trouble for each in _SAYS_NOTHING):
        raise CannotRun(f"cannot fetch package lists: {trouble}")
    # Another archive lacks suites of these names, of which there is no need to tell.
    reason = f" ({trouble})" if trouble and " 404 " not in trouble else ""
    raise NoArchive(f"none of them is Debian's archive, whose other suites may have it{reason}")


def sources(apt: Apt) -> tuple[Source, ...]:
    """The machine's sources that may be Debian's archive, the likeliest first.

    Where their Release files are there, only those that say they are.
    """
    known = [each for each in apt.targets() if _is_main(each) and each.origin == _ORIGIN]
    likely = known or [each for each in apt.targets(unfetched=True) if _is_main(each)]
    found = {each.uri: Source(each.uri, _options(each)) for each in likely}
    # Debian's keys are named after it; that of another archive's is rarely.
    return tuple(
        sorted(found.values(), key=lambda each: "debian-archive" not in " ".join(each.options))
    )


def _is_main(target: Target) -> bool:
    """Whether a package list can be one of a whole Debian system's.

    Those of updates and security fixes are called after the system's, with a hyphen or a slash; a
    medium cannot be asked for.
    """
    return (
        target.component == _COMPONENT
        and not re.search("[-/]", target.release)
        and not target.uri.startswith("cdrom:")
    )


def _label(target: Target) -> str:
    # The code name of experimental, rc-buggy, is known to few.
    return target.release if target.release == SUITES[-1] else target.codename or target.release


def _options(target: Target) -> tuple[str, ...]:
    """How the machine's own entry for this source says that it is to be trusted."""
    file = Path(target.entry.rpartition(":")[0])
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ()
    fields = _deb822(text, target.uri) if file.suffix == ".sources" else _line(text, target.uri)
    return tuple(f"{name}: {fields[name.lower()]}" for name in _KEPT if name.lower() in fields)


def _deb822(text: str, uri: str) -> dict[str, str]:
    """The fields of the first stanza with this address, continuation lines and all."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", lines):
        matches = re.finditer(r"^([^\s:]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {match[1].lower(): match[2].rstrip() for match in matches}
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off")
        if enabled and _is_among(uri, fields.get("uris", "").split()):
            return fields
    return {}


def _line(text: str, uri: str) -> dict[str, str]:
    """The options of the first line with this address."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line)
        if match and _is_among(uri, [match["uri"]]):
            pairs = (each.partition("=") for each in (match["options"] or "").split())
            return {name.lower(): value.replace(",", " ") for name, _, value in pairs if value}
    return {}


def _is_among(uri: str, uris: list[str]) -> bool:
    return uri.rstrip("/") in (each.rstrip("/") for each in uris)
