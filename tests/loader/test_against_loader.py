"""Thousands of generated trees: what is foretold is what the loader of this machine then does."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from loader import real_loader
from loader.trees import Open, Tree, lay_out, trees
from xdiag.discover.root import Root
from xdiag.loader.link_map import LinkMap, Loaded, NotLoaded, Rule

CASES = 2100

#: Lists as LD_DEBUG calls them.
_LISTS = {
    Rule.RPATH: "RPATH", Rule.RUNPATH: "RUNPATH", Rule.LIBRARY_PATH: "LD_LIBRARY_PATH",
    Rule.DEFAULT: "system search path",
}  # fmt: skip


def compare(tree: Tree, top: Path, driver: str) -> bool:
    """Lay the tree out, foretell, start it, and hold one against the other.

    False where there is nothing to compare: the loader itself crashes over some filtees.
    """
    program = str(lay_out(tree, top, driver))
    environ = {key: value.replace("@", str(top)) for key, value in tree.environ}
    opens = [
        Open(each.name.replace("@", str(top)), each.caller, each.noload) for each in tree.opens
    ]
    requests = "".join(f"{each.caller} {each.noload:d} {each.name}\n" for each in opens)
    seen = real_loader.run([program], {**environ, "XDIAG_OPENS": requests}, str(top))
    root = Root("/")
    if seen.fatal:
        _compare_refusal(seen, program, environ, top, has_filtees=tree.has_filtees)
        return True
    if seen.status and tree.has_filtees:
        return False
    assert seen.status == 0, seen
    foretold = LinkMap.of_program(program, root, environ, cwd=str(top))
    results, closures = [], {}
    for each in opens:
        before = {one.path for one in foretold.objects}
        try:
            loaded = foretold.open(each.name, _caller(foretold, each.caller), noload=each.noload)
        except NotLoaded as error:
            results.append(_refused(error))
        else:
            results.append(f"opened {_l_name(loaded, program)}")
            if loaded.path not in before and not any(one.elf.filtees for one in foretold.objects):
                closures[loaded.path] = _closure(foretold, loaded, program)
    same("searches", [line for line in foretold.trace if line], seen.trace, top)
    same("what dlopen returned", results, seen.opens, top)
    same("warnings", foretold.warnings, seen.warnings, top)
    objects = [_l_name(one, program) for one in foretold.objects]
    same("objects", objects, [name for name in seen.objects if name != real_loader.VDSO], top)
    _compare_rules(foretold, seen, environ, top)
    for path, closure in closures.items():
        same(f"what {path} brings along", closure, seen.closures[path], top)
    return True


def same(what: str, foretold: Iterable[object], seen: Iterable[object], top: Path) -> None:
    """Fail with a readable difference."""
    ours, theirs = (
        [str(line).replace(str(top), "@") for line in each] for each in (foretold, seen)
    )
    if ours != theirs:
        difference = "\n".join(difflib.unified_diff(ours, theirs, "foretold", "seen", lineterm=""))
        pytest.fail(f"{what} differ:\n{difference}", pytrace=False)


def _compare_refusal(
    seen: real_loader.Seen, program: str, environ: dict[str, str], top: Path, *, has_filtees: bool
) -> None:
    with pytest.raises(NotLoaded) as caught:
        LinkMap.of_program(program, Root("/"), environ, cwd=str(top))
    missing = caught.value.missing
    same("refusal", [f"{missing.file}: {missing.words}"], [seen.fatal], top)
    foretold = LinkMap.of_program(program, Root("/"), environ, cwd=str(top), keep_going=True)
    assert foretold.missing[0] == missing
    trace = [line for line in foretold.trace if line]
    same("searches", trace[: len(seen.trace)], seen.trace, top)
    absent = ("cannot open shared object file", "wrong ELF class: ELFCLASS32")
    if all(each.reason in absent for each in foretold.missing) and not has_filtees:
        _compare_listed(foretold, environ, top)


def _compare_listed(foretold: LinkMap, environ: dict[str, str], top: Path) -> None:
    """Hold a map that goes on without what is missing against what ldd says of the program."""
    seen = real_loader.listed(foretold.program.path, environ, str(top))
    objects = [(each.name, each.path) for each in foretold.objects[1:]]
    same("objects of ldd", objects, [each for each in seen if each[1]], top)
    missing = [each.name for each in foretold.missing]
    same("what ldd misses", missing, [name for name, path in seen if not path], top)


def _compare_rules(
    foretold: LinkMap, seen: real_loader.Seen, environ: dict[str, str], top: Path
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
            place = seen.trace.index(f"  trying file={each.path}")
            assert seen.trace[place - 1].startswith(" search cache=")
        if rule in _LISTS and only_one:
            assert sources[folder] == {(_LISTS[rule], of)}, each
        if rule in (Rule.RPATH, Rule.RUNPATH):
            facts = owners[of].elf
            assert bool(facts.runpath) == (rule == Rule.RUNPATH), each
            path = foretold.program.real_path if of == foretold.program.path else of
            origin = os.path.dirname(os.path.join(top, path))
            assert _in_subdirectory_of(folder, facts.runpath or facts.rpath, origin), each
        if rule == Rule.LIBRARY_PATH:
            origin = os.path.dirname(foretold.program.real_path)
            text = environ["LD_LIBRARY_PATH"].replace(";", ":")
            assert _in_subdirectory_of(folder, text, origin), each


def _in_subdirectory_of(folder: str, text: str, origin: str) -> bool:
    for element in text.split(":"):
        place = re.sub(r"\$(ORIGIN(?![A-Za-z0-9_])|\{ORIGIN\})", lambda _: origin, element)
        place = re.sub(r"\$(LIB|\{LIB\})", "lib/x86_64-linux-gnu", place)
        place = place.replace("$PLATFORM", "x86_64")
        if folder == place.rstrip("/") or folder.startswith(place.rstrip("/") + "/"):
            return True
        if not place or (place == "/" and folder == "/"):
            return True
    return False


def _l_name(loaded: Loaded, program: str) -> str:
    return "" if loaded.path == program else loaded.path


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


def _closure(link_map: LinkMap, loaded: Loaded, program: str) -> list[str]:
    """An object and all that it needs, breadth first."""
    found = [loaded]
    for each in found:
        for _, dependency in link_map.dependencies(each):
            assert dependency is not None
            if dependency.path not in [one.path for one in found]:
                found.append(dependency)
    return [each.path for each in found]


def test_two_thousand_trees(tmp_path: Path, driver: str) -> None:
    numbers = itertools.count(1)
    compared = []

    @settings(
        max_examples=CASES, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(trees())
    def every(tree: Tree) -> None:
        top = tmp_path / str(next(numbers))
        top.mkdir()
        try:
            compared.append(compare(tree, top, driver))
        finally:
            shutil.rmtree(top)

    every()
    assert sum(compared) >= 2000
