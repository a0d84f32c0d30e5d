"""Reproducers as their readers use them: built, run, and read line by line."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag.engine.environment import start_environment
from xdiag.model import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from xdiag.engine.messages import Paths
    from xdiag.model import Result, Target

STRICT = ("-Wall", "-Wextra", "-Werror")
#: Seconds after which a program that is not known to hang does.
PATIENCE = 30.0

_LINE = re.compile(r" *(\d+)  (\w+): (.*?)((?: -> [^\n]*)?)\n")
_WORDS = {"not in this runtime": "unsupported", "not asked: it was refused": "skipped"}


@dataclass(frozen=True)
class Told:
    """What a program told: what each step came to, and how it ended."""

    #: step -> codes, or words where there is no code; none for a step that did not return.
    steps: dict[int, Counter[int | str]]
    #: The last step that was begun.
    last: int | None
    end: str
    text: str


def without_head(text: str) -> str:
    """The program without its first comment: cells that differ in it only are one program."""
    return text[text.index("*/") :]


def build(text: str, folder: Path, *options: str, compiler: str = "cc") -> Path:
    """Build a C program as its head says; the same text is built once."""
    name = hashlib.sha256(without_head(text).encode()).hexdigest()[:16]
    program = folder / name
    if not program.exists():
        source = folder / f"{name}.c"
        source.write_text(text)
        command = [compiler, *STRICT, *options, str(source), "-o", str(program)]
        done = subprocess.run(
            [*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stderr[:2000]}\n{text}"
    return program


def usage(text: str) -> list[str]:
    """The program's arguments by the names that its usage line has for them."""
    match = re.search(r"usage: \S+ ([A-Z ]+)", text)
    assert match is not None
    return match[1].split()


def run(
    command: list[str],
    environment: Mapping[str, str],
    *,
    patience: float = PATIENCE,
) -> Told:
    """Run a program and read what it told; its whole process group is gone afterwards."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(environment), start_new_session=True, text=True, errors="replace",
        preexec_fn=_no_core,
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=patience)
        end = _end(process.returncode)
    except subprocess.TimeoutExpired:
        end = "hang"
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
    if "the process exits here" in text:
        end = "exit"
    return Told(*_read(text), end=end, text=text)


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def _read(text: str) -> tuple[dict[int, Counter[int | str]], int | None]:
    steps: dict[int, Counter[int | str]] = {}
    last = None
    for number, _, _, results in _LINE.findall(text + "\n"):
        last = int(number)
        told = [_result(result) for result in results.split(" -> ")[1:]]
        if told:
            steps[last] = _once(Counter(told))
    return steps, last


def _result(text: str) -> int | str:
    word = text.strip()
    match = re.match(r"-?\d+", word)
    return int(match[0]) if match else _WORDS.get(word, word)


def seen(result: Result) -> dict[int, Counter[int | str]]:
    """What a cell's steps came to, in the same words."""
    steps: dict[int, Counter[int | str]] = {}
    for record in result.outcome.trace:
        if record.state in ("unreached", "unfinished"):
            continue
        told: int | str = record.state
        if record.code is not None:
            told = record.code
        steps.setdefault(record.step, Counter())[told] += 1
    return {step: _once(told) for step, told in steps.items()}


def _once(told: Counter[int | str]) -> Counter[int | str]:
    """What is said in words is said once for all actors: nobody made the call."""
    return Counter({what: 1 if isinstance(what, str) else n for what, n in told.items()})


def expected_end(result: Result) -> str:
    """How a program ends that does as the cell did."""
    outcome = result.outcome
    if outcome.kind is OutcomeKind.CRASH:
        return outcome.signal
    return {
        OutcomeKind.OK: "status 0",
        OutcomeKind.ERROR: "status 1",
        OutcomeKind.EXIT: "exit",
        OutcomeKind.HANG: "hang",
        OutcomeKind.SKIPPED: "status 3",
        OutcomeKind.UNSUPPORTED: "status 3",
    }[outcome.kind]


def arguments(text: str, paths: Paths) -> list[str]:
    """The program's arguments: the files that the engine used."""
    return [str(getattr(paths, name.lower())) for name in usage(text)]


def build_all(texts: Iterable[str], folder: Path) -> dict[str, Path]:
    """Build C programs, two at a time; by their text without the head."""
    different = {without_head(text): text for text in texts}
    with ThreadPoolExecutor(2) as pool:
        built = pool.map(lambda text: build(text, folder, "-O0"), different.values())
        return dict(zip(different, built, strict=True))


def run_all(
    commands: Mapping[str, list[str]], results: Mapping[str, Result], target: Target, paths: Paths
) -> dict[str, Told]:
    """Run the programs of cells, each in the environment that its cell had.

    One that is expected to hang is waited for as long as its cell was, and somewhat longer.
    """

    def told(id: str) -> Told:
        cell = results[id].cell
        hangs = results[id].outcome.kind is OutcomeKind.HANG
        environment = start_environment(cell.environment, target, paths).variables
        return run(commands[id], environment, patience=cell.timeout + 1 if hangs else PATIENCE)

    # Those that hang only sleep.
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(commands, pool.map(told, commands), strict=True))


#: Calls of HIP 5 that read what may have been freed: they answer as what lies there.
_READS_FREED = ("EventRecord", "EventSynchronize", "EventDestroy")
_FREED = ("destroyed-stream", "device-reset", "event-destroyed-twice")


def differences(result: Result, told: Told) -> list[str]:
    """What a program told otherwise than its cell; empty where they agree.

    A cell that was killed in a question that stands for itself was asked the rest in another
    process; a program ends there.
    """
    cell, outcome, expected = result.cell, result.outcome, seen(result)
    end, last = expected_end(result), outcome.died_at
    found = []
    known = set(expected)
    if last is not None:
        known = {step for step in known if step < last}
    freed = {
        n
        for n, step in enumerate(cell.steps)
        if cell.pattern in _FREED and step.phase == "use" and step.verb in _READS_FREED
    }
    if told.last in freed or last in freed:
        # Either of them may have lived longer.
        known = {step for step in known if told.last is None or step < told.last} - freed
    elif (told.end, told.last if last is not None else None) != (end, last):
        found.append(f"ended with {told.end} at {told.last}, not with {end} at {last}")
    compared = sorted(known | (set(told.steps) & set(expected)) - freed)
    return found + [
        f"step {step}: {told.steps.get(step)}, not {expected[step]}"
        for step in compared
        if told.steps.get(step) != expected[step]
    ]
