"""`xdiag runtimes add`: AMD's HIP runtimes from the distribution's packages, without root.

Where the machine's own package sources have the runtime, it is unpacked with those of its
dependencies that the system lacks.  Any other is looked for in all suites of Debian's archive, and
comes with all it needs, the C library included: it builds on nothing of the system's.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun, Usage, near_matches
from xdiag.model import Record
from xdiag.runtimes import cache, entries, find, suites
from xdiag.runtimes.apt import Apt, Failed, Offer, Planned, installed
from xdiag.runtimes.assemble import assemble
from xdiag.runtimes.workplace import fresh, refuse_small_disk, replace, workplace

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

#: Debian's and Ubuntu's packages of the HIP runtime: libamdhip64-5, libamdhip64-6, ...
_PREFIX = "libamdhip64-"
_PACKAGE = re.compile(_PREFIX + r"([0-9]+)")
#: A HIP version, or a Debian version, by the characters that one may have.
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~:-]*")
#: A second C library in the loader's path does not work with the first one's loader.
_OF_THE_SYSTEM = ("libc6", "libc6-i386")
#: Bytes that package lists, packages and their contents take together, where most of what the
#: runtime depends on is there: asked for first, because apt copes badly with a full disk.
_ROOM = 200 << 20
#: The same for a runtime with all it needs, and the lists of all suites.
_ROOM_WITH_ALL = 800 << 20
#: Seconds between two lines on how far a download has come.
_TELL_EVERY = 5


class Added(Record, frozen=True):
    """What `add` has to show for it."""

    package: str
    version: str
    #: cache; system for a package that is installed system-wide.
    source: str
    #: False if it was there already.
    new: bool
    #: The runtime's file; empty for one of the system's that is not where it should be.
    runtime: str = ""
    #: The entry's directory, for one in the cache.
    path: str = ""
    packages: tuple[str, ...] = ()


class NotThere(Record, frozen=True):
    """A runtime to be fetched."""

    offer: Offer
    #: What people call the suite; empty for the machine's own sources.
    label: str = ""


def add(say: Say, wanted: str | None = None, *, again: bool = False) -> Added:
    """Fetch one HIP runtime into the user's cache, as ``add_all`` does."""
    return add_all(say, () if wanted is None else (wanted,), again=again)[0]


def add_all(say: Say, wanted: tuple[str, ...] = (), *, again: bool = False) -> tuple[Added, ...]:
    """Fetch HIP runtimes into the user's cache, each named by a version or a package.

    Without a name that is the newest which the machine's own sources have.  One that is there is
    held against the hashes of what was fetched, and fetched again only if it differs, so that no
    network is needed; ``again`` fetches all the same.  All are looked for before the first is
    fetched.  ``say`` is told of each thing that takes a while.
    Raises Usage for what is no version and no package, CannotRun where it cannot be done, with what
    to do.
    """
    for text in wanted:
        if not _PACKAGE.fullmatch(text) and not _VERSION.fullmatch(text):
            raise Usage(
                f"{text!r} is no version and no package of the HIP runtime; name one as 5.7 or as"
                f" {_PREFIX}5"
            )
    present = {each: v for each, v in installed(_PREFIX).items() if _PACKAGE.fullmatch(each)}
    of_system = {text: _installed(text, present, say) for text in wanted or ("",)}
    # What is there needs no place to write in, nor the lock.
    here = {text: of_system[text] or (None if again else _whole(text)) for text in of_system}
    if all(here.values()):
        for each in here.values():
            if each and each.path:
                say(_is_there(each))
        return tuple(each for each in here.values() if each)
    _refuse_separators()
    with workplace(say) as (folder, work):
        adding = _Adding(folder, work, say)
        found = {
            text: of_system[text] or (None if again else adding.there(text)) or adding.look(text)
            for text in of_system
        }
        # Two names may mean one runtime, as 7 and 7.2.
        missing = dict.fromkeys(each for each in found.values() if isinstance(each, NotThere))
        fetched = {each: adding.fetch(each) for each in missing}
        return tuple(
            fetched[each] if isinstance(each, NotThere) else each for each in found.values()
        )


@dataclass
class _Adding:
    """One call of ``add_all``, with the lock held.  An empty text is the newest at hand."""

    folder: Path
    work: Path
    say: Say
    #: On the machine's own sources, what these have, and why their lists could not be fetched.
    own: Apt | None = None
    offers: tuple[Offer, ...] = ()
    trouble: str = ""
    archive: suites.Archive | None = None

    def there(self, text: str) -> Added | None:
        """The entry that ``text`` means, if it is what was fetched."""
        for each in entries.refused():
            if text and entries.means(text, *entries.named(Path(each.path).name)):
                mended = entries.mend_times(Path(each.path))
                self.say(f"{each.path}: {each.reason}" + (", but holds the same" * mended))
        # Without a name it is one that builds on this system: the others do not run everywhere.
        entry = entries.by_version(text) if text else _newest_entry()
        if entry is None:
            return None
        if problem := entries.damage(entry):
            self.say(f"{entry.path}: {problem}: it is fetched again")
            return None
        added = _added(entry, new=False)
        self.say(_is_there(added))
        return added

    def look(self, text: str) -> NotThere:
        """Find out where to fetch it from; raises CannotRun if it cannot be had."""
        refuse_small_disk(self.folder, _ROOM)
        own = self._own_offers()
        for offer in own:
            if not text or entries.means(text, offer.name, offer.version):
                return NotThere(offer)
        return self._in_archive(text, own)

    def fetch(self, what: NotThere) -> Added:
        """Fetch it and put it in its place; raises CannotRun."""
        started = time.monotonic()
        name, version = what.offer.name, what.offer.version
        if what.label:
            entry = self._build_with_all(what)
        else:
            try:
                entry = self._build(what.offer)
            except Failed as error:
                if not error.stale:
                    raise
                # The system's lists name a version that the servers have replaced since.
                offer = self._newest_of(name)
                version = offer.version
                entry = self._build(offer)
            except _DoesNotFit as error:
                # It needs a newer C library, or what this system keeps it from: all of it, then.
                entry = self._build_with_all(self._in_archive(version, (), error))
        destination = self.folder / entries.name_of(name, version)
        replace(destination, entry, self.work)
        added = entries.read(destination)
        if added is None:
            raise CannotRun(f"{destination}: what was fetched cannot be read back; try again")
        self.say(_told(added, time.monotonic() - started))
        return _added(added, new=True)

    # ---- the machine's own sources -------------------------------------------------------------

    def _own_offers(self) -> tuple[Offer, ...]:
        """What the machine's sources have, the newest first; their lists are fetched if need be."""
        if self.own is None:
            self.say("Asking apt what it knows")
            self.own = Apt(fresh(self.work / "apt"), own_lists=False)
            self.offers = _candidates(self.own)
            if not self.offers:
                # The lists are empty, as in a fresh container, or older than the package.
                self._fetch_own_lists()
        return self.offers

    def _fetch_own_lists(self) -> None:
        self.say("Fetching package lists (the system's are of no use here)")
        self.own = Apt(fresh(self.work / "apt"), own_lists=True)
        self.trouble = self.own.update()
        self.offers = _candidates(self.own)

    def _newest_of(self, name: str) -> Offer:
        """A package's version by lists fetched for this once; raises CannotRun if it has none."""
        self._fetch_own_lists()
        offer = next((each for each in self.offers if each.name == name), None)
        if offer is None:
            raise CannotRun(f"cannot fetch package lists: {self.trouble or f'{name} is gone'}")
        return offer

    def _build(self, offer: Offer) -> Path:
        assert self.own is not None
        try:
            planned = self.own.plan(offer.name, offer.version)
        except Failed as error:
            raise _DoesNotFit(str(error)) from error
        _refuse_system_parts(offer.name, planned)
        return self._assembled(self.own, planned, "")

    # ---- all of Debian's suites ----------------------------------------------------------------

    def _in_archive(
        self, text: str, own: tuple[Offer, ...], otherwise: CannotRun | None = None
    ) -> NotThere:
        """Look in all suites; raises CannotRun, ``otherwise`` where there are none to look in."""
        refuse_small_disk(self.folder, _ROOM_WITH_ALL)
        try:
            self.archive = self.archive or suites.open_archive(self.work, self.say)
        except suites.NoArchive as error:
            if self.trouble and not own:
                raise CannotRun(f"cannot fetch package lists: {self.trouble}") from error
            raise otherwise or CannotRun(f"{_no_such(text, own)}; {error}") from error
        offers = self.archive.offers(_PREFIX, _PACKAGE)
        if offer := suites.choose(offers, text) if text else next(iter(offers), None):
            return NotThere(offer, self.archive.label(offer))
        have = self.archive.described(offers) or "none at all"
        hint = near_matches(text, [each.name for each in offers]) if _is_package(text) else ""
        trouble = f" ({self.archive.trouble})"
        raise CannotRun(
            f"no HIP runtime {text}: the archive has {have}{hint}"
            + (trouble if self.archive.trouble else "")
        )

    def _build_with_all(self, what: NotThere) -> Path:
        assert self.archive is not None
        offer = what.offer
        planned = self.archive.apt.plan(offer.name, offer.version, offer.suite)
        return self._assembled(self.archive.apt, planned, what.label)

    def _assembled(self, apt: Apt, planned: tuple[Planned, ...], label: str) -> Path:
        downloads, entry = fresh(self.work / "downloads"), fresh(self.work / "entry")
        main = planned[-1]
        others = f" and {len(planned) - 1} packages that it needs" if len(planned) > 1 else ""
        self.say(f"Fetching {main.name} {main.version}{others}")
        files = apt.download(planned, downloads, _Progress(downloads, self.say).tell)
        assemble(planned, files, entry, label, self.say)
        return entry


class _DoesNotFit(CannotRun):
    """A package of the machine's own sources cannot be built on this system."""


@dataclass
class _Progress:
    """Says now and then how much has been downloaded."""

    folder: Path
    say: Say
    last: float = 0.0

    def tell(self) -> None:
        now = time.monotonic()
        self.last = self.last or now
        if now - self.last < _TELL_EVERY:
            return
        self.last = now
        with suppress(OSError):  # a file that is renamed meanwhile
            size = sum(path.stat().st_size for path in self.folder.rglob("*"))
            self.say(f"  {size / 1e6:.0f} MB so far")


def _candidates(apt: Apt) -> tuple[Offer, ...]:
    """What apt would install of the HIP runtime's packages, the newest first."""
    names = [name for name in apt.names(_PREFIX) if _PACKAGE.fullmatch(name)]
    names.sort(key=_number, reverse=True)
    found = (Offer(name, apt.candidate(name), "") for name in names)
    return tuple(each for each in found if each.version)


def _refuse_system_parts(name: str, planned: tuple[Planned, ...]) -> None:
    for each in planned:
        if each.name in _OF_THE_SYSTEM:
            raise _DoesNotFit(
                f"{name} needs a newer C library ({each.name} {each.version}) than this system's"
                f" {each.replaces}: upgrade the system, or add an older runtime"
            )


# ---- answers ---------------------------------------------------------------------------------


def _installed(text: str, present: dict[str, str], say: Say) -> Added | None:
    """The package that is installed system-wide, if it is what ``text`` means."""
    found = [
        each for each, version in present.items() if not text or entries.means(text, each, version)
    ]
    if not found:
        return None
    package = max(found, key=_number)
    say(f"{package} {present[package]} is installed on this system: nothing to fetch")
    runtime = find.loader_finds(f"libamdhip64.so.{_number(package)}")
    return Added(package, present[package], source="system", new=False, runtime=runtime)


def _whole(text: str) -> Added | None:
    """The entry that ``text`` means, if it is what was fetched, and no refused one is meant too."""
    for each in entries.refused():
        if text and entries.means(text, *entries.named(Path(each.path).name)):
            return None
    entry = entries.by_version(text) if text else _newest_entry()
    return None if entry is None or entries.damage(entry) else _added(entry, new=False)


def _is_there(added: Added) -> str:
    return f"{added.package} {added.version} is there already, in {added.path}"


def _refuse_separators() -> None:
    """Raises CannotRun where no runtime of the cache could be used afterwards."""
    folder = str(cache.root())
    if set(folder) & set(cache.SEPARATORS):
        raise CannotRun(
            f"a runtime in {folder} could not be used: LD_LIBRARY_PATH cannot hold a path with a"
            " colon or semicolon in it; set XDG_CACHE_HOME to another directory"
        )


def _newest_entry() -> entries.Entry | None:
    found = (each for each in entries.every() if not each.loader)
    return max(found, key=lambda each: find.version_key(each.version), default=None)


def _added(entry: entries.Entry, *, new: bool) -> Added:
    return Added(
        package=entry.package,
        version=entry.version,
        source="cache",
        new=new,
        runtime=entry.runtime,
        path=entry.path,
        packages=tuple(f"{each.name} {each.version}" for each in entry.manifest.packages),
    )


def _told(entry: entries.Entry, seconds: float) -> str:
    suite = f", {entry.manifest.suite}" if entry.manifest.suite else ""
    count = len(entry.manifest.packages)
    return (
        f"Added HIP {entry.hip} ({entry.version}{suite}) in {entry.path}:"
        f" {count} package{'s' * (count != 1)}, {entry.size / 1e6:.0f} MB,"
        + (f" own C library {entry.libc}," if entry.libc else "")
        + f" {seconds:.0f} s"
    )


def _no_such(text: str, own: tuple[Offer, ...]) -> str:
    """That the machine's own sources do not have it, and what they have."""
    what = text if _is_package(text) else f"HIP runtime {text}".rstrip()
    have = ", ".join(f"{each.name} {each.version}" for each in own)
    hint = near_matches(text, [each.name for each in own]) if _is_package(text) else ""
    told = f" (they have {have})" if have else "; name a runtime of your own with --runtime PATH"
    return f"this system's package sources have no {what}{hint or told}"


def _is_package(text: str) -> bool:
    return text.startswith(_PREFIX)


def _number(package: str) -> int:
    return int(package.removeprefix(_PREFIX))
