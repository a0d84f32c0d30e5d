"""Results on disk as they come: one JSON line each, so that a killed run loses nothing finished.

The first line says what the results were obtained on.  A last line that was cut off in the middle
is left out when the file is read again.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xdiag.errors import CannotRun, Usage
from xdiag.model import SCHEMA_VERSION, Record, Result, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.model import Cell

#: As ``default_path`` names them.
_DEFAULT_NAME = re.compile(r"(xdiag-)?matrix-[0-9]{8}T[0-9]{6}-[0-9]+\.jsonl")


class Header(Record, frozen=True):
    """First line of a journal."""

    schema_version: int
    xdiag: str
    target: Target


def default_path() -> Path:
    """Where a journal goes that nobody named: the user's state directory, else a temporary one."""
    name = f"matrix-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.jsonl"
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification has relative paths ignored.
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    folder = base / "xdiag"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"xdiag-{name}"
    usable = os.access(folder, os.W_OK | os.X_OK)
    return folder / name if usable else Path(tempfile.gettempdir()) / f"xdiag-{name}"


def is_default(path: Path) -> bool:
    """Whether a journal is where ``default_path`` puts those that nobody named, and called so."""
    folders = (default_path().parent, Path(tempfile.gettempdir()))
    here = os.path.realpath(path.parent)
    return _DEFAULT_NAME.fullmatch(path.name) is not None and any(
        here == os.path.realpath(folder) for folder in folders
    )


class Journal:
    """Appends results to a file; a context manager.

    Raises CannotRun if the file cannot be written.
    """

    def __init__(self, path: Path, header: Header, *, resumed: bool = False) -> None:
        self.path = path
        self._encode = msgspec.json.Encoder().encode
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            if resumed:
                _cut_torn_line(path)
            else:
                flags |= os.O_TRUNC
            self._fd = os.open(path, flags, 0o644)
            if not resumed:
                self._write(header)
        except OSError as error:
            raise CannotRun(f"cannot write the journal {path}: {error.strerror}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def add(self, result: Result) -> None:
        """Append one result; it is in the kernel's hands when this returns."""
        try:
            self._write(result)
        except OSError as error:
            raise CannotRun(f"cannot write the journal {self.path}: {error.strerror}") from error

    def _write(self, record: Record) -> None:
        line = self._encode(record) + b"\n"
        while line:
            line = line[os.write(self._fd, line) :]


def _cut_torn_line(path: Path) -> None:
    """Remove an unfinished last line, so that the next one starts on a line of its own."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(path, len(whole))


def read(path: Path) -> tuple[Header, list[Result]]:
    """Header and results of a journal.

    Raises Usage for a file that is none, or that a newer xdiag wrote.
    """
    try:
        if path.exists() and not path.is_file():
            raise Usage(f"cannot read the journal {path}: it is no regular file")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise Usage(f"cannot read the journal {path}: {error.strerror}") from error
    try:
        header = msgspec.json.decode(lines[0], type=Header)
        decode = msgspec.json.Decoder(Result).decode
        results = [decode(line) for line in lines[1:-1]]
    except msgspec.DecodeError as error:
        raise Usage(f"{path} is not a journal of xdiag: {error}") from error
    if header.schema_version > SCHEMA_VERSION:
        raise Usage(
            f"{path} was written by xdiag {header.xdiag}, newer than this one; update xdiag"
        )
    return header, results


def still_valid(
    results: Iterable[Result], cells: Iterable[Cell], header: Header, target: Target
) -> list[Result]:
    """Those results that belong to planned cells and were obtained on the same target.

    Raises Usage if the journal was obtained on another runtime or agent: results of two runtimes in
    one matrix would be a lie.
    """
    for field in ("platform", "runtime", "agent", "version", "build_id"):
        was, now = getattr(header.target, field), getattr(target, field)
        if was != now:
            raise Usage(
                f"the journal was written with {field} {was or '(none)'}, this run has"
                f" {now or '(none)'}; choose the same one with --runtime and --agent, or start anew"
            )
    planned = {cell.id: cell for cell in cells}
    return [result for result in results if planned.get(result.cell.id) == result.cell]
