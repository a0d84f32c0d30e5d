"""Write docs/case-test5.md anew: the text of template.md, with what its commands print.

From the directory ``tests``: ``python -m case.write_page``.  XDIAG_XSCHED and XDIAG_XSCHED_OLD name
builds of XSched.  In a block of the template, ``> FIRST ~~ LAST`` stands for the lines from the one
that has FIRST in it to the next that has LAST, ``> LINE`` for one line.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from case import page
from case.scene import CaseScene, short_directory

HERE = Path(__file__).parent
TEMPLATE = HERE / "template.md"
PAGE = HERE.parents[1] / "docs/case-test5.md"


def filled(pieces: str, printed: str) -> str:
    """What a command of the template shows, cut from what it printed.

    Raises:
        ValueError: a line that the template wants was not printed.
    """
    lines, at, shown = printed.splitlines(), 0, []
    for wanted in pieces.splitlines():
        if not wanted.startswith("> "):
            shown.append(wanted)
            continue
        first, _, last = wanted[2:].partition(" ~~ ")
        start = _find(lines, first, at)
        at = (_find(lines, last, start) if last else start) + 1
        shown += [line.rstrip() for line in lines[start:at]]
    return "".join(f"{line}\n" for line in shown)


def _find(lines: list[str], text: str, start: int) -> int:
    for number in range(start, len(lines)):
        if text in lines[number]:
            return number
    raise ValueError(f"no line with {text!r} was printed:\n" + "\n".join(lines[start:]))


def written(template: str, scenes: dict[str, Path]) -> str:
    """The page: each block run in its scene."""
    outputs = iter(
        [(block, page.run(block, scenes[block.needs])) for block in page.blocks(template)]
    )

    def fill(match: re.Match[str]) -> str:
        block, printed = next(outputs)
        folder = scenes[block.needs]
        told = [
            f"$ {step.command}\n" + filled(step.body, page.shortened(text, folder))
            for step, text in zip(block.steps, printed, strict=True)
        ]
        return match[0].replace(match[2], "".join(told))

    return page.BLOCK.sub(fill, template)


def main() -> int:
    """Build both scenes, run everything, write the page."""
    from xdiag.runtimes.choose import choose

    real, old = os.environ.get("XDIAG_XSCHED"), os.environ.get("XDIAG_XSCHED_OLD")
    if not real or not old:
        print("XDIAG_XSCHED and XDIAG_XSCHED_OLD name builds of XSched", file=sys.stderr)
        return 2
    target = choose("5.2", "software")
    with short_directory() as folder:
        own, theirs = folder / "a", folder / "b"
        CaseScene(own, target)
        CaseScene(theirs, target, Path(real), Path(old))
        text = written(TEMPLATE.read_text(), {"": own, "real": theirs})
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
