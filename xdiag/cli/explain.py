"""``xdiag explain``: what logs, traces and records say, and who owns a handle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from xdiag.cli import output
from xdiag.errors import (
    COULD_NOT_RUN,
    FAULT_FOUND,
    NOTHING_WRONG,
    CannotRun,
    Usage,
    near_matches,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from xdiag.causes import Cause
    from xdiag.explain.stream import Stream
    from xdiag.recording.provenance import Diagnosis, Story
    from xdiag.recording.read import Recording
    from xdiag.recording.report import Report

#: Bytes of a record that is unpacked: eight times what xdiag run makes.
_LARGEST_RECORD = 1 << 30


@click.command("explain")
@click.argument("files", metavar="[FILE | - | CAUSE | 709]...", nargs=-1)
@click.option(
    "--handle",
    "handle",
    metavar="0x...",
    help="Tell the whole history of one handle, whether anything failed or not.",
)
@click.option("--list", "listed", is_flag=True, help="List the causes that are known.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
def command(
    files: tuple[str, ...], handle: str | None, listed: bool, as_json: bool, path: str | None
) -> int:
    """Tell what a log or a record says: what failed, whose the handle was, what may be the cause.

    FILE is what you have: the runtime's log (AMD_LOG_LEVEL=3 or 4), XSched's, a Python traceback,
    LD_DEBUG's output, /proc/PID/maps, gdb's, dmesg, what xdiag itself wrote (records, JSON, the zip
    of xdiag report); compressed or not, several at once.  With - it is read from standard input.
    The name of a cause, or 709, prints what is known of it.  Exits with 1 if something is wrong in
    it.
    """
    value = _handle(handle)
    path = output.destination(path, files)
    if listed:
        if files or handle is not None:
            raise Usage("--list goes with neither files nor --handle")
        return _show_list(as_json, path)
    if not files:
        raise Usage("which file? give one or more, - for standard input, or --list")
    if len(files) == 1 and not os.path.exists(files[0]) and handle is None:
        known = _known(files[0])
        if known is not None:
            return _show_known(known, as_json, path)
    if files.count("-") > 1:
        raise Usage("standard input (-) can be read once")
    return _explain(files, value, as_json, path)


def _explain(files: Sequence[str], handle: int | None, as_json: bool, path: str | None) -> int:
    records = {file: file for file in files if _is_record(file)}
    others = [file for file in files if file not in records]
    if len(files) == 1 and records:
        return _explain_record(files[0], files[0], handle, as_json, path)

    from contextlib import ExitStack

    from xdiag.explain.explanation import explain
    from xdiag.model import SCHEMA_VERSION
    from xdiag.recording.provenance import diagnose, story
    from xdiag.render import explanation as rendering
    from xdiag.render import json_document
    from xdiag.render import recording as record_rendering

    with ExitStack() as stack:
        unpacked = stack.enter_context(_Unpacked())
        explained = explain(others, handle, unpacked.take) if others else None
        alone = explained is not None and not explained.sources and len(unpacked.records) == 1
        if len(files) == 1 and alone:
            ((name, file),) = unpacked.records.items()
            return _explain_record(file, name, handle, as_json, path)
        if explained is not None and not explained.sources:
            explained = None
        told = []
        for name, file in (records | unpacked.records).items():
            recording = stack.enter_context(_read(file, name))
            tale = story(recording, handle) if handle is not None else None
            told.append((name, recording, diagnose(recording), tale))
        if as_json:
            document: Any = explained
            if told:
                reports = [_document(*each) for each in told]
                document = {
                    "schema_version": SCHEMA_VERSION,
                    "records": reports,
                    "explanation": explained,
                }
            output.write(json_document.record(document), path)
        else:

            def draw(console: Console) -> None:
                for file, recording, diagnoses, tale in told:
                    console.print(f"{file}:", markup=False, highlight=False)
                    if tale is not None:
                        record_rendering.show_story(tale, console)
                    else:
                        record_rendering.show_report(recording, diagnoses, console, brief=False)
                if explained is not None:
                    rendering.show(explained, console)

            output.show(draw, path)
    recorded = any(each.fault for _, _, diagnoses, _ in told for each in diagnoses)
    if recorded or (explained is not None and explained.fault):
        return FAULT_FOUND
    # Of what could not be read to its end it cannot be said that nothing is wrong.
    broken = explained is not None and any(source.problem for source in explained.sources)
    return COULD_NOT_RUN if broken else NOTHING_WRONG


class _Unpacked:
    """Records that came compressed, by a pipe or in a report: one is read from all its places.

    Those of a report are kept in memory: nothing that somebody else has packed goes to a disk.
    """

    def __init__(self) -> None:
        self._directory: TemporaryDirectory[str] | None = None
        self._in_memory: list[int] = []
        #: Name of the source -> the file.
        self.records: dict[str, str] = {}

    def __enter__(self) -> _Unpacked:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._directory is not None:
            self._directory.cleanup()
        for file in self._in_memory:
            os.close(file)

    def take(self, stream: Stream) -> None:
        """Write a record to a file; raises CannotRun where it breaks off, or is too large."""
        try:
            file = self._place(in_memory=stream.in_memory)
            with open(file, "wb") as written:
                for window in stream.windows():
                    part = window.data[window.begin : window.end]
                    if stream.bytes > _LARGEST_RECORD:
                        raise CannotRun(f"{stream.name}: larger than any record is")
                    # A record is sparse, and mostly empty.
                    if part.count(0) == len(part):
                        written.seek(len(part), os.SEEK_CUR)
                    else:
                        written.write(part)
                written.truncate()
        except OSError as error:
            raise CannotRun(f"{stream.name}: cannot be unpacked: {error.strerror}") from error
        if stream.problem:
            raise CannotRun(f"{stream.name}: {stream.problem}")
        self.records[stream.name] = file

    def _place(self, *, in_memory: bool) -> str:
        from tempfile import TemporaryDirectory

        if in_memory:
            self._in_memory.append(os.memfd_create("xdiag-record"))
            return f"/proc/self/fd/{self._in_memory[-1]}"
        self._directory = self._directory or TemporaryDirectory(prefix="xdiag-record-")
        return os.path.join(self._directory.name, str(len(self.records)))


def _read(file: str, name: str) -> Recording:
    """The record; raises CannotRun where it is none, with the name of the source."""
    from xdiag.recording.read import BadRecord, read

    try:
        return read(file)
    except BadRecord as error:
        raise CannotRun(str(error).replace(file, name)) from error


def _document(
    name: str, recording: Recording, diagnoses: Sequence[Diagnosis], tale: Story | None
) -> Report:
    """What a record says, under the name that the user gave it, wherever it was unpacked."""
    from msgspec.structs import replace

    from xdiag.render import recording as rendering

    document = rendering.document(recording, diagnoses, tale)
    return replace(document, record=replace(document.record, path=name))


def _explain_record(
    file: str, name: str, handle: int | None, as_json: bool, path: str | None
) -> int:
    from xdiag.recording.provenance import diagnose, story
    from xdiag.render import json_document
    from xdiag.render import recording as rendering

    with _read(file, name) as recording:
        diagnoses = diagnose(recording)
        told = story(recording, handle) if handle is not None else None
        if as_json:
            document = _document(name, recording, diagnoses, told)
            output.write(json_document.record(document), path)
        else:

            def draw(console: Console) -> None:
                if told is not None:
                    rendering.show_story(told, console)
                else:
                    rendering.show_report(recording, diagnoses, console, brief=False)

            output.show(draw, path)
    return FAULT_FOUND if any(each.fault for each in diagnoses) else NOTHING_WRONG


# ---- the knowledge base ------------------------------------------------------------------------


def _known(word: str) -> Cause | int | None:
    """The cause, or the error number, that a word names; None for one that may be a file.

    Raises CannotRun for what is no file and nearly a cause's name.
    """
    from xdiag.causes import CAUSES

    by_id = {cause.id: cause for cause in CAUSES}
    if word in by_id:
        return by_id[word]
    if word.isascii() and word.isdigit() and len(word) <= 4:
        return int(word)
    if word.startswith(("hipError", "cudaErrorContextIsDestroyed")):
        from xdiag.explain.amd_log import codes

        # CUDA has the number of this one, with another meaning, which is told too.
        code = codes().get(word.replace("cuda", "hip", 1))
        if code is not None:
            return code
    near = near_matches(word, list(by_id)) if "/" not in word else ""
    if near:
        raise CannotRun(f"{word}: there is no such file, and no cause of that name{near}")
    return None


def _show_known(known: Cause | int, as_json: bool, path: str | None) -> int:
    from xdiag.causes import CAUSES
    from xdiag.render import explanation as rendering

    if as_json:
        wanted = CAUSES if isinstance(known, int) else (known,)
        output.write(rendering.causes_document(wanted), path)
    elif isinstance(known, int):
        output.show(lambda console: rendering.show_code(known, console), path)
    else:
        output.show(lambda console: rendering.show_cause(known, console), path)
    return NOTHING_WRONG


def _show_list(as_json: bool, path: str | None) -> int:
    from xdiag.causes import CAUSES
    from xdiag.render import explanation as rendering

    if as_json:
        output.write(rendering.causes_document(CAUSES), path)
    else:
        output.show(rendering.show_list, path)
    return NOTHING_WRONG


def _is_record(file: str) -> bool:
    from xdiag.explain.documents import is_record
    from xdiag.explain.stream import HEAD

    try:
        # Of a pipe nothing may be taken away here.
        if not os.path.isfile(file):
            return False
        with open(file, "rb") as stream:
            return is_record(stream.read(HEAD))
    except (OSError, ValueError):
        return False


def _handle(text: str | None) -> int | None:
    """A handle as people copy it: hexadecimal with 0x, or decimal."""
    if text is None:
        return None
    try:
        value = int(text, 16 if text.lower().startswith("0x") else 10) if len(text) <= 20 else -1
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise Usage(f"--handle takes an address such as 0x7f3e12345678, not {text[:40]!r}")
    return value
