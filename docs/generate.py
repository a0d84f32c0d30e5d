"""Write the pages that come from the catalogues; with ``--check``, say which are out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from xdiag.render import catalogue

HERE = Path(__file__).resolve().parent
PAGES = {"patterns.md": catalogue.patterns_page, "fixes.md": catalogue.fixes_page}


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` only compare; 1 where a page was out of date."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
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
