"""docs/case-test5.md is what its commands print, and they print what it concludes from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from case import page
from case.page import Block, Step
from case.scene import CaseScene, short_directory
from case.write_page import PAGE, TEMPLATE, filled

from xdiag.model import Target

BLOCKS = page.blocks(PAGE.read_text())


def _build_of_xsched(*variables: str) -> Path:
    for variable in variables:
        if folder := os.environ.get(variable):
            return Path(folder)
    pytest.skip(f"no build of XSched here: {' or '.join(variables)} names one")


@pytest.fixture(scope="module")
def target(real_target: Target) -> Target:
    """The page is about HIP 5.2 without a GPU: elsewhere other lines are right."""
    if real_target.agent != "software" or ".so.5.2" not in Path(real_target.runtime).resolve().name:
        pytest.skip(f"the page is about 5.2 over the software agent, not {real_target.runtime}")
    return real_target


@pytest.fixture(scope="module")
def own(target: Target) -> Iterator[Path]:
    """The scene with a stand-in for XSched."""
    with short_directory() as folder:
        yield CaseScene(folder, target).folder


@pytest.fixture(scope="module")
def real(target: Target) -> Iterator[Path]:
    """The scene with XSched's own libraries, of both times."""
    builds = _build_of_xsched("XDIAG_XSCHED", "XSCHED_ROOT"), _build_of_xsched("XDIAG_XSCHED_OLD")
    with short_directory() as folder:
        yield CaseScene(folder, target, *builds).folder


@pytest.mark.parametrize(
    "block", BLOCKS, ids=[f"{n}-{block.steps[-1].command[:40]}" for n, block in enumerate(BLOCKS)]
)
def test_the_page_is_what_is_printed(block: Block, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(block.needs or "own")
    for step, printed in zip(block.steps, page.run(block, folder), strict=True):
        gone = page.missing(step, printed, folder)
        assert not gone, f"$ {step.command}\nprinted no\n{gone}\nbut\n{printed}"


def test_the_page_is_its_template_filled_in() -> None:
    template = TEMPLATE.read_text()
    assert page.BLOCK.sub("", PAGE.read_text()) == page.BLOCK.sub("", template)
    typed = [[step.command for step in block.steps] for block in page.blocks(template)]
    assert typed == [[step.command for step in block.steps] for block in BLOCKS]


#: What is to be seen, whatever the page says: typed after env.sh or old.sh, exit status, a sign.
UNIFIED = "export XSCHED_HIP_LIB=$TORCH_LIB/libamdhip64.so.5; "
CELL = "xdiag probe --runtime rocm/lib/libamdhip64.so -c replay -p "
#: Both bindings on Python's path, the new one first, and the new libraries: XSched was updated, and
#: what there was before is still there.
BOTH = (
    "export PYTHONPATH=$PWD/xsched/python:$PWD/old"
    " LD_LIBRARY_PATH=$PWD/xsched/lib:$LD_LIBRARY_PATH; " + UNIFIED
)
FACTS = {
    "two runtimes": ("env", "python case.py", 1, "709"),
    "one runtime": ("env", UNIFIED + "python case.py", 0, ""),
    "cut handle": ("old", UNIFIED + "python old_case.py", 1, "709"),
    "both": ("old", "python old_case.py", 1, "709"),
    "both, one repaired": ("old", "xdiag run --repair unify -- python old_case.py", 1, "709"),
    "both, the other repaired": (
        "old", "xdiag run --repair full-width-handle -- python old_case.py", 1, "709",
    ),
    "both repaired": ("old", "xdiag run -- python old_case.py", 0, ""),
    "both bindings, the old one imported": ("old", BOTH + "python old_case.py", 1, "709"),
    "both bindings, the old one repaired": (
        "old", BOTH + "xdiag run -- python old_case.py", 0, "argument types set for xsched_hip",
    ),
    "both bindings, the new one imported": ("old", BOTH + "python case.py", 0, ""),
    "both bindings, the new one hidden": (
        "old", "export PYTHONPATH=$PWD/old:$PWD/xsched/python; python case.py", 1,
        "No module named 'xsched.hip'",
    ),
    "C++ on the machine's copy": ("env", "./native", 0, ""),
    "C++ on the framework's copy": ("env", "./native-torch", 1, "709"),
    "a thread": ("env", CELL + "cross-thread", 0, "cross-thread/none/replay: ok"),
    "plan 1": ("env", CELL + "second-runtime -f create-in-worker", 1, "replay: 709"),
    "plan 2": ("env", CELL + "second-runtime -f native-thread", 1, "replay: 709"),
    "plan 3": ("env", CELL + "second-runtime -f lazy-context", 1, "replay: 709"),
    "plan 1, cut": ("env", CELL + "truncated-handle -f create-in-worker", 1, "replay: 709"),
    "plan 3, cut": ("env", CELL + "truncated-handle -f lazy-context", 1, "replay: 709"),
}  # fmt: skip


#: A cell replays XSched's calls: its libraries have no part in it.
IN_BOTH = [(name, "real") for name, fact in FACTS.items() if not fact[1].startswith(CELL)]


@pytest.mark.parametrize(("fact", "scene"), [*((name, "own") for name in FACTS), *IN_BOTH])
def test_the_facts_behind_it(fact: str, scene: str, request: pytest.FixtureRequest) -> None:
    shell, command, status, sign = FACTS[fact]
    folder: Path = request.getfixturevalue(scene)
    typed = Step(f'. ./{shell}.sh; {command}; echo "exit $?"', "")
    (printed,) = page.run(Block("", (typed,)), folder)
    assert printed.endswith(f"exit {status}\n"), printed
    assert sign in printed
    if status == 0 and not command.startswith(CELL):
        assert re.search("^HipQueueCreate 0$", printed, re.MULTILINE), printed


def test_a_page_that_says_something_else_is_noticed() -> None:
    told = Step("command", "first 0x12\n...\nsecond line\n")
    folder = Path("/scene")
    assert page.missing(told, "first 0x34\nbetween\nsecond\nline", folder) == ""
    assert page.missing(told, "second line\nfirst 0x34", folder) == "\nsecond line\n"
    assert page.missing(told, "first 0x34\nsecond lines", folder) == "\nsecond line\n"


def test_a_template_that_wants_what_is_not_printed_is_refused() -> None:
    assert filled("...\n> b ~~ d\n> f", "a\nb\nc\nd\ne\nf") == "...\nb\nc\nd\nf\n"
    with pytest.raises(ValueError, match="no line with 'x'"):
        filled("> x", "a\nb")
