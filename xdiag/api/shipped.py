"""The measurements that xdiag ships: a file a version, as ``xdiag api --measure -o`` wrote it."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from xdiag.api.measured_data import Document, Measured


def version_key(label: str) -> tuple[int, ...]:
    """What versions are sorted by: (5, 2) for ``5.2``; 0 for what is no number."""
    return tuple(int(part) if part.isdigit() else 0 for part in label.split("."))


@cache
def shipped() -> tuple[Measured, ...]:
    """All of them, the oldest version first."""
    decode = msgspec.json.Decoder(Document).decode
    files = resources.files("xdiag.api") / "measured"
    found = [
        measured
        for file in files.iterdir()
        if file.name.endswith(".json")
        for measured in decode(file.read_bytes()).measured
    ]
    return tuple(sorted(found, key=lambda measured: version_key(measured.label)))
