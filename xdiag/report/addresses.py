"""Addresses of the Internet Protocol, told from versions and from C++ names."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from xdiag.report.shapes import Span

if TYPE_CHECKING:
    from collections.abc import Iterator


def spans(text: str) -> Iterator[Span]:
    """Addresses in ``text``; the machine's own (127.0.0.1, ::1) are nobody's."""
    yield from _four(text)
    if ":" in text:
        yield from _six(text)


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_QUAD = re.compile(
    rf"(?<![\d.])(?<!\.so\.)({_OCTET})\.({_OCTET})\.({_OCTET})\.({_OCTET})(?!\d)(?!\.\d)"
)
#: What comes before a version.
_VERSION_BEFORE = re.compile(
    r"(?i)(?:[=<>~!]=|\bversions?\b[\"']?|\bver\b|\brelease\b|\bv|\.so\."
    r"|\b(?:rocm|hip|cuda|cudnn|nccl|rccl|driver|firmware)[-_/]?)[\s:=(\"'>-]{0,6}$"
)
_PACKAGE_BEFORE = re.compile(r"[A-Za-z][\w.]*[-_+~]$")
_ADDRESS_BEFORE = re.compile(
    r"(?i)(?:://|@|\b(?:ip|ipv4|ipaddr|addr|address|inet|host|hostname|peer|server|client|node"
    r"|endpoint|listen\w*|bind\w*|connect\w*(?: to| from)?|connection (?:to|from)|remote|gateway"
    r"|dns|nameserver|src|dst|via|route|ping|ssh|subnet|netmask|master_addr|rdzv_endpoint)"
    r"[\"']?[\s:=(\[\"']{1,4})$"
)
_ADDRESS_AFTER = re.compile(r"(?::\d{1,5}(?!\d)(?!\.\d)|/\d{1,2}(?!\w)(?!\.\d))")
#: Below this, a first number is as often a version's as an address's.
_VERSIONS_UP_TO = 29


def _four(text: str) -> Iterator[Span]:
    """IPv4 addresses, and not versions of four parts such as 6.4.3.0.

    A version is small at its front, or stands where versions do; an address has a large first
    number, or a port, or stands where addresses do.
    """
    for match in _QUAD.finditer(text):
        first = int(match[1])
        if first in (0, 127) or match[0] == "255.255.255.255":
            continue
        before = text[max(0, match.start() - 40) : match.start()]
        as_version = _VERSION_BEFORE.search(before) is not None
        if first <= _VERSIONS_UP_TO:
            as_address = (
                _ADDRESS_BEFORE.search(before) is not None
                or _ADDRESS_AFTER.match(text, match.end()) is not None
            )
            is_private = first == 10
            if as_version or (not as_address and not is_private):
                continue
            if is_private and not as_address and _PACKAGE_BEFORE.search(before):
                continue
        # What is an address by its place only may be a version elsewhere.
        yield Span(match.start(), match.end(), "ip", learn=first > _VERSIONS_UP_TO)


_SIX = re.compile(
    r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:){1,7}(?::|(?::?[0-9a-fA-F]{1,4}){1,7}|[0-9a-fA-F]{1,4})?"
    rf"(?:(?<=:){_OCTET}(?:\.{_OCTET}){{3}})?(?:%[\w.-]{{1,15}})?(?![\w:])"
    rf"|(?<![\w:.])::(?:ffff:)?{_OCTET}(?:\.{_OCTET}){{3}}(?![\w:])"
)
#: Addresses that are given out: global, unique local, link-local, multicast, NAT64.  With a
#: shortened middle, any other beginning is as likely a C++ name (dead::beef).
_SIX_STARTS = re.compile(r"(?i)(?:[23][0-9a-f]{3}|f[c-f][0-9a-f]{2}|64:ff9b|::ffff|::\d)")


def _six(text: str) -> Iterator[Span]:
    for match in _SIX.finditer(text):
        value = match[0]
        if value.count(":") < 2:
            continue
        address = value.partition("%")[0]
        try:
            parsed = ipaddress.IPv6Address(address)
        except ValueError:
            continue
        if parsed.is_loopback or parsed.is_unspecified:
            continue
        if "::" in address and not _SIX_STARTS.match(address):
            continue
        yield Span(match.start(), match.end(), "ip", learn=True)
