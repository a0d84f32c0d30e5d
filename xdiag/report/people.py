"""People and machines by their shape: addresses of mail, homes, accounts, hosts, network cards."""

from __future__ import annotations

import re

from xdiag.report.shapes import Shape, is_uncommon

#: A slash as paths, JSON, URLs and Windows write it.
_SLASH = r"(?:\\{0,4}/|%2[fF]|\\{1,4}u002[fF]|\\{1,4})"
#: A character of a name in a path, also as JSON, URLs, C and the kernel write it.
_LETTER = (
    r"(?:[^\s/\\\"'`<>:;,|&?*(){}\[\]$=@%\0-\x1f]|%(?!2[fF])[0-9a-fA-F]{2}"
    r"|\\u(?!002[fF])[0-9a-fA-F]{4}|\\[0-7]{3}|\\x[0-9a-f]{2})"
)
#: What looks like the end of an address of mail and is that of a unit, a library, a file.
_NO_DOMAIN = r"(?!(?:service|socket|target|mount|slice|scope|timer|path|so|py|git)\b)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HEX = "[0-9A-Fa-f]"

_PEOPLE = (
    Shape(
        "email",
        re.compile(
            rf"(?<![\w.%+@-])(?![nrt]?git@)[\w.%+-]{{1,64}}@(?:{_LABEL}\.){{1,8}}{_NO_DOMAIN}"
            r"[A-Za-z]{2,24}(?![\w@])"
        ),
        ("@",),
        learn=True,
    ),
    # A shell's prompt; places as scp, rsync and git name them.
    Shape(
        "user",
        re.compile(
            r"(?m)(?:(?<=[\s\[(\"'])|^)(?![nrt]?git@)(?P<user>[A-Za-z_][\w.-]{0,63})@"
            r"(?P<host>[A-Za-z0-9][\w-]{0,62}(?:\.[\w-]{1,62}){0,8})"
            r"(?=:[~/\w.$]|[ :][~/]|:\s?[$#%])"
        ),
        ("@",),
        learn=True,
        accepts=is_uncommon,
    ),
    Shape(
        "user",
        re.compile(
            rf"(?:{_SLASH}|^)(?:home\d{{0,3}}|[Hh]omes|[Uu]sers){_SLASH}(?P<user>{_LETTER}{{1,64}})"
        ),
        ("home", "users"),
        learn=True,
    ),
    Shape(
        "user",
        re.compile(
            r"/(?:scratch|lustre|work|data|nfs|mnt|gpfs|beegfs|vast|afs|projects?|storage)"
            r"(?:/[\w.-]{1,40}){0,3}/(?:users?|people|homes?)/"
            rf"(?P<user>{_LETTER}{{1,64}})"
        ),
        ("/user", "/people", "/home"),
        learn=True,
    ),
    Shape(
        "user",
        re.compile(r"(?:(?<=[\s=:\"'(,])|^)~(?P<user>[A-Za-z_][\w.-]{1,63})(?=/)"),
        ("~",),
        learn=True,
        accepts=is_uncommon,
    ),
    # id(1)
    Shape(
        "user",
        re.compile(r"(?i)\b(?:e|f|r|s|au|login)?[ug]id=\d{1,10}\((?P<user>[^\s()]{1,64})\)"),
        ("id=",),
        learn=True,
        accepts=is_uncommon,
    ),
    Shape(
        "user",
        re.compile(r"(?<=[=,])\d{1,10}\((?P<user>[A-Za-z_][\w.-]{1,63})\)(?![\w(])"),
        ("groups=",),
        accepts=is_uncommon,
    ),
    # ~/.ssh/config: an entry's own lines are indented.
    Shape(
        "user",
        re.compile(
            r"(?m)(?:^|\\n)(?:[ \t]|\\t){1,16}User[ \t]{1,8}"
            r"(?P<user>[A-Za-z_][\w.-]{0,63})(?=[ \t]*(?:$|\\[nr]))"
        ),
        ("user",),
        learn=True,
        accepts=is_uncommon,
    ),
    # ls -l
    Shape(
        "user",
        re.compile(
            r"(?m)^.{0,40}?[-dlcbps][-rwxsStT]{9}[.+@]?\s{1,4}\d{1,6}\s{1,8}"
            r"(?P<user>[A-Za-z_][\w.@+-]{0,63})\s{1,12}\S{1,64}\s{1,20}\d"
        ),
        ("rw", "r-"),
        learn=True,
        accepts=is_uncommon,
    ),
)

_MACHINES = (
    # syslog, journalctl
    Shape(
        "host",
        re.compile(
            r"(?m)(?:^|[\"']|\\n)"
            r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.,+Z-]{8,32}) "
            r"(?P<host>[A-Za-z0-9][\w.-]{0,253}) (?:kernel|[\w./-]{1,64}\[\d{1,10}\]):"
        ),
        (":",),
        learn=True,
        accepts=is_uncommon,
    ),
    # uname -a
    Shape(
        "host",
        re.compile(r"\bLinux (?P<host>[A-Za-z0-9][\w.-]{0,253}) \d{1,3}\.\d{1,4}\.\d{1,4}"),
        ("linux ",),
        learn=True,
        accepts=is_uncommon,
    ),
    Shape(
        "host",
        re.compile(
            r"(?<![A-Za-z0-9])ip-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}(?:\.[a-z0-9-]{1,40}){0,3}"
            r"(?![A-Za-z0-9])"
        ),
        ("ip-",),
        learn=True,
    ),
    # Six and more pairs: Ethernet, InfiniBand, EUI-64; with dashes; Cisco's way of writing it.
    Shape(
        "mac",
        re.compile(rf"(?<![0-9A-Za-z:.-]){_HEX}{{2}}(?::{_HEX}{{2}}){{5,19}}(?![\w:]|-\w)"),
        (":",),
        learn=True,
    ),
    Shape(
        "mac", re.compile(rf"(?<![0-9A-Za-z:.-]){_HEX}{{2}}(?:-{_HEX}{{2}}){{5}}(?![\w:-])"), ("-",)
    ),
    Shape(
        "mac",
        re.compile(rf"(?<![0-9A-Za-z:.-]){_HEX}{{4}}(?:\.{_HEX}{{4}}){{2}}(?![\w:.-])"),
        (".",),
    ),
)

SHAPES: tuple[Shape, ...] = (*_PEOPLE, *_MACHINES)
