"""`xdiag runtimes check` and `remove`: the entries of the cache, held against what was fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xdiag.errors import Usage, near_matches
from xdiag.model import Record
from xdiag.runtimes import entries
from xdiag.runtimes.workplace import put_away, workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[str], None]


class Checked(Record, frozen=True):
    """What became of one entry when its files were read."""

    path: str
    package: str
    version: str
    #: How it differs from what was fetched; empty if it does not.
    problem: str = ""
    #: Files that were read; 0 for an entry of an older xdiag, which kept no hashes of them.
    files: int = 0
    #: Bytes.
    size: int = 0


def check(wanted: tuple[str, ...] = ()) -> Iterator[Checked]:
    """Read all files of the entries that are meant, or of all, and hold them against their hashes.

    Raises Usage for a name that means none of them.
    """
    chosen = [path for text in wanted for path in _meant(text)] if wanted else _all()
    reasons = {each.path: each.reason for each in entries.refused()}
    for path in dict.fromkeys(chosen):
        package, version = entries.named(path.name)
        entry = entries.read(path)
        if entry is None:
            yield Checked(str(path), package, version, reasons.get(str(path), "it is gone"))
        else:
            count = len(entry.manifest.files)
            problem = entries.damage(entry)
            yield Checked(str(path), entry.package, entry.version, problem, count, entry.size)


def remove(wanted: tuple[str, ...], say: Say) -> None:
    """Delete the entries that are meant, also such as are refused; all or none of them.

    Raises Usage for a name that means none, or more than one; CannotRun where they cannot be
    deleted.
    """
    with workplace(say) as (_, work):
        chosen = [_only(text) for text in wanted]
        for path in dict.fromkeys(chosen):
            put_away(path, work)
            say(f"Removed {path}")


def _all() -> list[Path]:
    whole = [each.path for each in entries.every()]
    return [Path(each) for each in (*whole, *(each.path for each in entries.refused()))]


def _meant(text: str) -> list[Path]:
    there = _all()
    found = [path for path in there if entries.means(text, *entries.named(path.name))]
    if not found:
        known = [entries.named(path.name) for path in there]
        have = ", ".join(f"{package} {version}" for package, version in known)
        names = [name for package, version in known for name in (package, version)]
        raise Usage(
            f"no runtime in xdiag's cache is called {text!r}"
            + (near_matches(text, names) or (f"; it has {have}" if have else "; it is empty"))
        )
    return found


def _only(text: str) -> Path:
    found = _meant(text)
    if len(found) > 1:
        versions = " and ".join(entries.named(path.name)[1] for path in found)
        raise Usage(f"{text!r} means {versions}: name one of them")
    return found[0]
