"""Small measurements made up by hand."""

from __future__ import annotations

from xdiag.api.measured_data import Entry, Measured, Subject
from xdiag.model import SCHEMA_VERSION


def entry(*answers: str, unasked: str = "", absent: bool = False) -> Entry:
    """An entry in which each of these answers came once."""
    return Entry(answers=dict.fromkeys(answers, 1), unasked=unasked, absent=absent)


def measured(version: str, calls: dict[str, dict[str, Entry]], agent: str = "software") -> Measured:
    """A measurement of these calls."""
    return Measured(
        schema_version=SCHEMA_VERSION,
        xdiag="0.1.0",
        started="2026-01-02T03:04:05+00:00",
        subject=Subject(
            platform="hip", version=version, soname="libamdhip64.so.6", build_id="ab12",
            agent=agent, package="libamdhip64-6_6.3-1",
        ),
        rounds=3,
        patience=2.0,
        calls=calls,
    )  # fmt: skip


OLD = measured(
    "6.4.43484",
    {
        "StreamQuery": {
            "live": entry("0"), "foreign": entry("709"), "destroyed": entry("709"),
            "null": entry("0"),
        },
        "StreamGetFlags": {
            "live": entry("0"), "foreign": entry("709"), "destroyed": entry("709"),
            "null": entry("1"),
        },
        "EventRecord": {
            "live": entry("0"), "foreign": entry("709"), "destroyed": entry("400", "SIGSEGV"),
            "null": entry("0"),
        },
        "StreamGetId": dict.fromkeys(
            ("live", "foreign", "destroyed", "null"), entry(absent=True)
        ),
        "GetStreamDeviceId": {
            "live": entry("0"), "foreign": entry("-1"), "destroyed": entry("-1"),
            "null": entry("SIGSEGV"),
        },
    },
)  # fmt: skip
NEW = measured(
    "7.2.53211",
    {
        "StreamQuery": {
            "live": entry("0"), "foreign": entry("600"), "destroyed": entry("SIGSEGV", "hang"),
            "null": entry("0"),
        },
        "StreamGetFlags": {
            "live": entry("0"), "foreign": entry("0"), "destroyed": entry("exit 1"),
            "null": entry("1"),
        },
        "EventRecord": {
            "live": entry("0"), "foreign": entry("709"), "destroyed": entry("SIGSEGV"),
            "null": entry("0"),
        },
        "StreamGetId": {
            "live": entry("0"), "foreign": entry("400"), "destroyed": entry("400"),
            "null": entry("0"),
        },
        "GetStreamDeviceId": {
            "live": entry("1"), "foreign": entry(unasked="no second copy"),
            "destroyed": entry("-1"), "null": entry("0"),
        },
    },
)  # fmt: skip
