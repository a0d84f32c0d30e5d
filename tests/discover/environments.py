"""A Python environment of some hundred packages with real files, for tests and figures."""

from __future__ import annotations

import os
from pathlib import Path

#: Lines of a module, as modules go: names, strings, comments.
_LINE = "def function_{number}(handle, stream=None):  # a comment about devices and libraries\n"
_BODY = "    return compute(handle, 'a literal', {{'amd': 1, 'hip': 64}})[{number}]\n\n"


def grow(
    site: Path,
    packages: int = 300,
    modules: int = 45,
    library: Path | None = None,
    libraries: int = 3,
    *,
    link: bool = False,
) -> int:
    """Fill a site directory; returns the number of files.

    Each package has modules of 2 to 30 KB in nested directories, data, a RECORD, and in each third
    package copies of ``library`` under other names.  With ``link`` the files of all packages are
    hard links to those of the first, which are made in no time.
    """
    texts = [
        "".join((_LINE + _BODY).format(number=number) for number in range(20 * (size + 1)))
        for size in range(10)
    ]
    content = library.read_bytes() if library is not None else b""
    count = 0
    for package in range(packages):
        name = f"package_{package}"
        info = site / f"{name}-{package}.0.1.dist-info"
        info.mkdir(parents=True)
        listed = []
        for number in range(modules):
            folder = f"{name}/part_{number // 10}" if number >= 10 else name
            (site / folder).mkdir(parents=True, exist_ok=True)
            for file, text in (
                (f"module_{number}.py", texts[(package + number) % 10]),
                (f"data_{number}.json", "{}"),
            ):
                if link and package:
                    os.link(
                        site / folder.replace(name, "package_0", 1) / file, site / folder / file
                    )
                else:
                    (site / folder / file).write_text(text)
            listed += [f"{folder}/module_{number}.py", f"{folder}/data_{number}.json"]
        (site / name / "__init__.py").write_text("")
        if content and package % 3 == 0:
            for number in range(libraries):
                path = f"{name}/_native_{number}.cpython-311-x86_64-linux-gnu.so"
                (site / path).write_bytes(content)
                listed.append(path)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {package}.0.1\n")
        (info / "RECORD").write_text("".join(f"{each},sha256=x,1\n" for each in listed))
        count += len(listed) + 3
    return count
