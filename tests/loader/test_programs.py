"""Every program of this machine: the link map is what the loader lists for it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from loader import real_loader
from loader.trees import INTERPRETER
from xdiag.discover import elf
from xdiag.discover.elf import BadElf
from xdiag.discover.root import Root
from xdiag.loader.link_map import LinkMap, Rule

HERE = Root()
MOST = 200
FOLDERS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")


def _programs() -> list[str]:
    """Dynamically linked programs that this glibc starts, each file once."""
    found: dict[tuple[int, int], str] = {}
    paths = [sys.executable]
    for folder in FOLDERS:
        paths += [f"{folder}/{name}" for name in HERE.names(folder)]
    for path in paths:
        try:
            facts = elf.read(path, HERE)
            special = os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID)
        except (BadElf, OSError):
            continue
        if os.path.realpath(facts.interpreter) == os.path.realpath(INTERPRETER) and not special:
            found.setdefault((facts.device, facts.inode), path)
    return list(found.values())[:MOST]


def test_programs_of_this_machine(driver: str, tmp_path: Path) -> None:
    programs = _programs()
    if len(programs) < 20:
        pytest.skip(f"only {len(programs)} programs of this glibc here")
    # With the driver preloaded, there is a library of every rule but RPATH in most of them.
    environ = {"LD_PRELOAD": driver, "LD_LIBRARY_PATH": str(tmp_path)}
    for program in programs:
        foretold = LinkMap.of_program(program, HERE, environ, keep_going=True)
        seen = real_loader.listed(program, environ, "/")
        assert [(each.name, each.path) for each in foretold.objects[1:]] == [
            each for each in seen if each[1]
        ], program
        assert [each.name for each in foretold.missing] == [
            name for name, path in seen if not path
        ], program
        for each in foretold.objects:
            status = os.stat(each.path)
            assert each.file == (status.st_dev, status.st_ino)
            assert each.real_path == os.path.realpath(each.path)
        assert foretold.objects[1].found_by.preload == "LD_PRELOAD"


def test_this_python_opens_what_is_loaded_already() -> None:
    python = LinkMap.of_program(sys.executable, HERE, dict(os.environ))
    again = python.open("libc.so.6")
    assert again.found_by.rule == Rule.SAME_NAME
    assert again.path in [each.path for each in python.objects]
    assert python.open(again.real_path).found_by.rule.is_loaded
    assert python.open("").path == python.program.path
