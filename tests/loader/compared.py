"""Foretell, start, compare: one case against the real loader."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from loader import real_loader
from loader.trees import Open, Tree, lay_out
from xdiag.discover.root import Root
from xdiag.loader.link_map import LinkMap, Loaded, NotLoaded, Rule

#: Lists as LD_DEBUG calls them.
_LISTS = {
    Rule.RPATH: "RPATH", Rule.RUNPATH: "RUNPATH", Rule.LIBRARY_PATH: "LD_LIBRARY_PATH",
    Rule.DEFAULT: "system search path",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a tree is laid out: its directory from outside and from inside of its root."""

    outside: Path
    inside: str
    driver: str
    #: None for this machine's own root.
    root: Path | None = None

    @classmethod
    def here(cls, top: Path, driver: str) -> Place:
        """A directory of this machine."""
        return cls(top, str(top), driver)

    @property
    def program(self) -> str:
        """The program, from inside."""
        return f"{self.inside}/bin/main"

    def put(self, text: str) -> str:
        """``text`` of a tree, made true."""
        return text.replace("@", self.inside)

    def foretell(self, environ: dict[str, str], *, keep_going: bool = False) -> LinkMap:
        """The link map of the program, before it is started."""
        root = Root("/" if self.root is None else self.root)
        return LinkMap.of_program(
            self.program, root, environ, cwd=self.inside, keep_going=keep_going, traced=True
        )

    def run(self, environ: dict[str, str]) -> real_loader.Seen:
        """What the loader then does."""
        return real_loader.run([self.program], environ, self.inside, self.root)

    def same(self, what: str, foretold: Iterable[object], seen: Iterable[object]) -> None:
        """Fail with a readable difference."""
        ours, theirs = (
            [str(line).replace(self.inside, "@") for line in each] for each in (foretold, seen)
        )
        if ours != theirs:
            lines = difflib.unified_diff(ours, theirs, "foretold", "seen", lineterm="")
            pytest.fail(f"{what} differ:\n" + "\n".join(lines), pytrace=False)


def compare(tree: Tree, place: Place, *, secure: bool = False) -> bool:
    """Lay the tree out, foretell, start it, and hold one against the other.

    False where there is nothing to compare: the loader itself crashes over some filtees.  With
    ``secure`` the program has other rights than who starts it, and LD_DEBUG is ignored.
    """
    program = lay_out(tree, place.outside, place.driver, inside=place.inside)
    if secure:
        os.chown(program, -1, os.getgid() + 1)
        program.chmod(0o2755)
    environ = {key: place.put(value) for key, value in tree.environ}
    opens = [Open(place.put(each.name), each.caller, each.noload) for each in tree.opens]
    requests = "".join(f"{each.caller} {each.noload:d} {each.name}\n" for each in opens)
    seen = place.run({**environ, "XDIAG_OPENS": requests})
    if seen.fatal:
        _compare_refusal(place, seen, environ, listed=not tree.has_filtees and not secure)
        return True
    if seen.status and tree.has_filtees:
        return False
    assert seen.status == 0, seen
    foretold = place.foretell(environ)
    results, closures = [], {}
    for each in opens:
        before = {one.path for one in foretold.objects}
        try:
            loaded = foretold.open(each.name, _caller(foretold, each.caller), noload=each.noload)
        except NotLoaded as error:
            results.append(_refused(error))
        else:
            results.append(f"opened {_l_name(loaded, place)}")
            if loaded.path not in before and not tree.has_filtees:
                closures[loaded.path] = _closure(foretold, loaded)
    place.same("what dlopen returned", results, seen.opens)
    objects = [_l_name(one, place) for one in foretold.objects]
    place.same("objects", objects, [name for name in seen.objects if name != real_loader.VDSO])
    if secure:
        assert not seen.trace
        return True
    place.same("searches", [line for line in foretold.trace if line], seen.trace)
    place.same("warnings", foretold.warnings, seen.warnings)
    _compare_rules(foretold, seen, environ, place)
    for path, closure in closures.items():
        place.same(f"what {path} brings along", closure, seen.closures[path])
    return True


def _compare_refusal(
    place: Place, seen: real_loader.Seen, environ: dict[str, str], *, listed: bool
) -> None:
    with pytest.raises(NotLoaded) as caught:
        place.foretell(environ)
    missing = caught.value.missing
    place.same("refusal", [f"{missing.file}: {missing.words}"], [seen.fatal])
    foretold = place.foretell(environ, keep_going=True)
    assert foretold.missing[0] == missing
    trace = [line for line in foretold.trace if line]
    place.same("searches", trace[: len(seen.trace)], seen.trace)
    absent = ("cannot open shared object file", "wrong ELF class: ELFCLASS32")
    if listed and all(each.reason in absent for each in foretold.missing):
        _compare_listed(foretold, environ, place)


def _compare_listed(foretold: LinkMap, environ: dict[str, str], place: Place) -> None:
    """Hold a map that goes on without what is missing against what ldd says of the program."""
    seen = real_loader.listed(place.program, environ, place.inside, place.root)
    objects = [(each.name, each.path) for each in foretold.objects[1:]]
    place.same("objects of ldd", objects, [each for each in seen if each[1]])
    missing = [each.name for each in foretold.missing]
    place.same("what ldd misses", missing, [name for name, path in seen if not path])


def _compare_rules(
    foretold: LinkMap, seen: real_loader.Seen, environ: dict[str, str], place: Place
) -> None:
    """Hold each object's rule against the loader's words, and against the list that it names.

    For a directory that is in several lists, the loader names the one that had it first.
    """
    sources = real_loader.sources(seen.trace)
    owners = {each.path: each for each in foretold.objects}
    lists = [each for each in foretold.objects if each.elf.rpath or each.elf.runpath]
    only_one = len(lists) + ("LD_LIBRARY_PATH" in environ) == 1
    for each in foretold.objects:
        rule, of, folder = each.found_by.rule, each.found_by.of, os.path.dirname(each.path)
        if rule == Rule.CACHE:
            line = seen.trace.index(f"  trying file={each.path}")
            assert seen.trace[line - 1].startswith(" search cache=")
        if rule in _LISTS and only_one:
            assert sources[folder] == {(_LISTS[rule], of)}, each
        if rule in (Rule.RPATH, Rule.RUNPATH):
            facts = owners[of].elf
            assert bool(facts.runpath) == (rule == Rule.RUNPATH), each
            path = foretold.program.real_path if of == foretold.program.path else of
            origin = os.path.dirname(os.path.join(place.inside, path))
            assert _in_subdirectory_of(folder, facts.runpath or facts.rpath, origin), each
        if rule == Rule.LIBRARY_PATH:
            origin = os.path.dirname(foretold.program.real_path)
            text = environ["LD_LIBRARY_PATH"].replace(";", ":")
            assert _in_subdirectory_of(folder, text, origin), each


def _in_subdirectory_of(folder: str, text: str, origin: str) -> bool:
    for element in text.split(":"):
        listed = re.sub(r"\$(ORIGIN(?![A-Za-z0-9_])|\{ORIGIN\})", lambda _: origin, element)
        listed = re.sub(r"\$(LIB|\{LIB\})", "lib/x86_64-linux-gnu", listed)
        listed = listed.replace("$PLATFORM", "x86_64")
        if not listed or f"{folder}/".startswith(listed.rstrip("/") + "/"):
            return True
    return False


def _l_name(loaded: Loaded, place: Place) -> str:
    return "" if loaded.path == place.program else loaded.path


def _refused(error: NotLoaded) -> str:
    missing = error.missing
    if "RTLD_NOLOAD" in missing.reason:
        return "refused "
    return f"refused {missing.file}: {missing.words}"


def _caller(link_map: LinkMap, number: int) -> Loaded:
    """The object of this number, as driver.c counts them."""
    ours = [
        each
        for each in link_map.objects
        if not each.path.endswith("/libdriver.so") and not each.path.startswith(("/lib", "/usr/"))
    ]
    return ours[number % len(ours)]


def _closure(link_map: LinkMap, loaded: Loaded) -> list[str]:
    """An object and all that it needs, breadth first."""
    found = [loaded]
    for each in found:
        for _, dependency in link_map.dependencies(each):
            assert dependency is not None
            if dependency.path not in [one.path for one in found]:
                found.append(dependency)
    return [each.path for each in found]
