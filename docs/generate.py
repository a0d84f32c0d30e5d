"""Write the pages that come from the catalogues; with ``--check``, say which are out of date.

``--picture`` draws docs/matrix.svg instead: what ``xdiag matrix`` prints here.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from xdiag.api.shipped import shipped
from xdiag.doctor import examination
from xdiag.doctor.catalogue import CHECKS
from xdiag.render import api_page, catalogue, doctor, explanation, judgement, repairs

HERE = Path(__file__).resolve().parent


def with_snippets(name: str) -> str:
    """A page written by hand, with the marked parts of programs in it as they are in their files.

    A line ``<!-- snippets/FILE: PART -->`` is followed by what stands in that file between
    ``[PART]`` and ``[end]``.
    """

    def shown(match: re.Match[str]) -> str:
        file, part = match[1], match[2]
        text = (HERE / file).read_text()
        found = re.search(rf"^\S+ \[{part}\].*?\n(.*?)^\S+ \[end\]", text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError(f"docs/{name}: there is no [{part}] in docs/{file}")
        language = {".c": "c", ".py": "python"}[Path(file).suffix]
        return f"<!-- {file}: {part} -->\n```{language}\n{found[1].strip()}\n```\n"

    marked = r"^<!-- (\S+): ([\w ]+) -->\n(?:```\w+\n.*?^```\n)?"
    return re.sub(marked, shown, (HERE / name).read_text(), flags=re.MULTILINE | re.DOTALL)


PAGES = {
    "patterns.md": catalogue.patterns_page,
    "fixes.md": catalogue.fixes_page,
    "repairs.md": repairs.page,
    "causes.md": explanation.causes_page,
    "api-by-version.md": api_page.page,
    "checks.md": lambda: doctor.checks_page(examination.catalogue(CHECKS)),
    "hip-tests.md": lambda: judgement.page(shipped()),
    "whose-stream.md": lambda: with_snippets("whose-stream.md"),
}


#: What the picture in README shows, and how wide it is.
SHOWN = ("replay",)
COLUMNS = 136


def draw() -> None:
    """Run the part of the matrix that README shows, and write the picture of it."""
    from msgspec.structs import replace
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console

    from xdiag import session
    from xdiag.consumers import CONSUMERS
    from xdiag.engine.plan import plan
    from xdiag.fixes import FIXES
    from xdiag.patterns import PATTERNS
    from xdiag.render import table
    from xdiag.runtimes.choose import choose

    consumers = [consumer for consumer in CONSUMERS if consumer.id in SHOWN]
    cells = plan(PATTERNS, FIXES, consumers)
    target = choose()
    report = session.run(cells, target, command="xdiag matrix -c replay", jobs=2)
    # The picture is no place for this machine's home directory, nor for every deciding cell.
    home = str(Path.home())
    report = replace(
        report,
        target=replace(target, runtime=target.runtime.replace(home, "~")),
        verdicts=tuple(replace(verdict, evidence=()) for verdict in report.verdicts),
    )
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    table.show(report, console)
    # Fonts from the web are nobody's business when a page is read.
    plain = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(
        str(HERE / "matrix.svg"), title="xdiag matrix --consumer replay", code_format=plain
    )


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` only compare; 1 where a page was out of date."""
    if arguments == ["--picture"]:
        draw()
        return 0
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check | --picture]", file=sys.stderr)
        return 2
    outdated = 0
    for name, page in PAGES.items():
        path, text = HERE / name, page()
        if path.exists() and path.read_text() == text:
            continue
        if arguments:
            outdated = 1
            print(f"docs/{name} is out of date: run make docs", file=sys.stderr)
        else:
            path.write_text(text)
            print(f"wrote docs/{name}")
    return outdated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
