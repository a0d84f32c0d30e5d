"""Dynamic string tokens: $ORIGIN, $LIB and $PLATFORM in search paths and names.

Source: glibc, elf/dl-load.c (is_dst, _dl_dst_substitute).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_WORDS = "ORIGIN|PLATFORM|LIB"
_TOKEN = re.compile(rf"\$(?:\{{({_WORDS})\}}|({_WORDS})(?![A-Za-z0-9_]))")
#: Up to glibc 2.27 a token without braces ends a part of the path.
_TOKEN_BEFORE_2_28 = re.compile(rf"\$(?:\{{({_WORDS})\}}|({_WORDS})(?=/|$))")


@dataclass(frozen=True)
class Tokens:
    """What the tokens stand for in one process, $ORIGIN aside, which is each object's own."""

    lib: str
    #: None where the loader knows no platform.
    platform: str | None
    version: tuple[int, int]
    system_dirs: tuple[str, ...]
    #: A program that runs with another user's or group's rights: AT_SECURE.
    secure: bool = False

    def holds_one(self, text: str) -> bool:
        """Whether any token is in ``text``."""
        return "$" in text and self._pattern.search(text) is not None

    def expand(self, text: str, origin: str, *, of_program: bool = False) -> str:
        """``text`` with its tokens replaced; empty where one cannot be, or must not be.

        With AT_SECURE, $ORIGIN may only begin a path, and in the program's own has to lead into
        a system directory.
        """
        values = {"ORIGIN": origin, "PLATFORM": self.platform, "LIB": self.lib}
        result = []
        end = 0
        uses_origin = False
        for match in self._pattern.finditer(text):
            word = match[1] or match[2]
            value = values[word]
            if word == "ORIGIN":
                uses_origin = True
                alone = match.start() == 0 and text[match.end() : match.end() + 1] in ("", "/")
                if self.secure and not alone:
                    return ""
            if not value:
                return ""
            result += [text[end : match.start()], value]
            end = match.end()
        expanded = "".join(result) + text[end:]
        if uses_origin and self.secure and of_program and not self._is_trusted(expanded):
            return ""
        return expanded

    def _is_trusted(self, path: str) -> bool:
        return f"{os.path.normpath(path)}/".startswith(self.system_dirs)

    @property
    def _pattern(self) -> re.Pattern[str]:
        return _TOKEN if self.version >= (2, 28) else _TOKEN_BEFORE_2_28
