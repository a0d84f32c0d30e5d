"""Names of libraries that are loaded before all others: LD_PRELOAD and /etc/ld.so.preload.

Source: handle_preload_list and dl_main, elf/rtld.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdiag.discover.root import Root

#: SECURE_PATH_LIMIT, which holds for all programs, and SECURE_NAME_LIMIT (elf/dl-main.h).
_LONGEST = 4096
_LONGEST_WHEN_SECURE = 255
#: Bytes read of the file.
_MOST = 1 << 20
_SEPARATORS = b": \t\n"


def in_environment(environ: Mapping[str, str], *, secure: bool) -> Iterator[str]:
    """Names in LD_PRELOAD; with AT_SECURE none that has a slash."""
    for name in environ.get("LD_PRELOAD", "").replace(":", " ").split(" "):
        length = len(name.encode(errors="replace"))
        if not 0 < length < _LONGEST:
            continue
        if secure and ("/" in name or length >= _LONGEST_WHEN_SECURE):
            continue
        yield name


def in_file(path: str, root: Root) -> Iterator[str]:
    """Names in the file of preloads, which may have comments; none where there is no file."""
    try:
        text = bytearray(root.read(path, _MOST))
    except (OSError, ValueError):
        return
    # The loader looks for each comment from the start of the file again, but no further than is
    # left after the last one, so that it takes the words of some comments for names.
    left = len(text)
    while left > 0:
        place = text.find(b"#", 0, left)
        if place < 0:
            break
        end = text.find(b"\n", place)
        end = len(text) if end < 0 else end
        left -= place
        end = min(end, place + left)
        text[place:end] = b" " * (end - place)
        left -= end - place
    for separator in _SEPARATORS:
        text = text.replace(bytes([separator]), b"\0")
    yield from (os.fsdecode(bytes(name)) for name in text.split(b"\0") if name)
