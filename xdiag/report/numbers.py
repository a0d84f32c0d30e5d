"""Numbers of people and of their groups: what ``id``, /proc and systemd say of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdiag.report.shapes import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

#: From here on accounts are people's (login.defs: UID_MIN); those below tell what a machine is.
_NUMBER = r"[1-9]\d{3,9}"
_ONE = re.compile(
    r"(?i)(?:(?<![A-Za-z])(?:e|f|r|s|a|au|ou|login|fs)?[ug]id\\?[\"']?\s{0,2}[=:]\s{0,2}\\?[\"']?"
    r"|(?<![A-Za-z])(?:loginuid|uid|user id)[\s\"':=]{1,4}"
    rf"|/run/user/|(?<![A-Za-z])user[@-]|krb5cc_|/tmux-)(?P<number>{_NUMBER})(?!\d|\.\d)"
)
_IN = ("uid", "gid", "user id", "/run/user/", "user@", "user-", "krb5cc_", "/tmux-")
#: ``groups=`` of id(1), and the lines of /proc/PID/status (proc(5)).
_LISTS = re.compile(
    r"(?:(?<![A-Za-z])groups=(?P<id>(?:\d{1,10}(?:\([^\s()]{1,64}\))?,?){1,200})"
    r"|(?<![A-Za-z])(?:Uid|Gid|Groups):(?P<status>(?:(?:[ \t]|\\t){1,4}\d{1,10}){1,200}))"
)
_OF_A_LIST = re.compile(rf"(?<![\w(]){_NUMBER}(?!\w)|(?<=\\t){_NUMBER}(?!\w)")
#: Nobody's, and the one that stands for none.
_NOBODYS = ("65534", "4294967295")


def spans(text: str, lower: str) -> Iterator[Span]:
    """Numbers of users and groups in ``text``, which is ``lower`` in lower case."""
    if any(each in lower for each in _IN):
        for match in _ONE.finditer(text):
            yield from _span(match["number"], match.start("number"))
    if "groups" in lower or "id:" in lower:
        for match in _LISTS.finditer(text):
            start, end = match.span("id" if match["id"] else "status")
            for number in _OF_A_LIST.finditer(text, start, end):
                yield from _span(number[0], number.start())


def _span(number: str, start: int) -> Iterator[Span]:
    if number not in _NOBODYS:
        yield Span(start, start + len(number), "uid")
