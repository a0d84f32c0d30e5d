"""Bytes of any kind: no crash, no hang, bounded memory, and nothing claimed that is not there."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explain import samples
from explain.samples import CUT, ERAS, SIGNED, STREAM, Log
from explain.test_samples import TABLE
from xdiag.causes import CAUSES
from xdiag.errors import XdiagError
from xdiag.explain.explanation import explain
from xdiag.explain.facts import LONGEST, Explanation
from xdiag.render import explanation as rendering
from xdiag.render import json_document
from xdiag.render.terminal import printed

#: XDIAG_FUZZ=30 multiplies the number of examples.
_EXAMPLES = 150 * int(os.environ.get("XDIAG_FUZZ", "1"))
_FUZZ = settings(
    max_examples=_EXAMPLES, deadline=4000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
IDS = {cause.id for cause in CAUSES}

#: Everything that any parser looks for, to be put together in every way.
WORDS = [
    b"hipErrorContextIsDestroyed", b": Returned ", b"hipStreamGetFlags ( ", b"hipStreamGetFlags",
    b"hipStreamDestroy ( stream:", b"hipDeviceReset (  )", b"hipSetDevice ( 1 )",
    b"hipEventDestroy ( event:", b"hipEventCreate: Returned hipSuccess : ", b"Destroy: Returned ",
    b"hipStreamSynchronize ( ", b"hipSuccess : ", b"fail to get symbol hipInit",
    b"hipStreamCreate: Returned hipSuccess : ",
    b"Initializing HSA stack.", b"[ERRO] ", b"[XSCHED ERRO @ T 1 @ 1:2] ", b"hip error 709: ",
    b"cuda error 709: ", b"HIP error: ", b"CUDA error: ", b"context is destroyed", b"709", b"(709)",
    b"hipError_t(709)", b" @ hip_queue.cpp:67", b"Traceback (most recent call last):",
    b'  File "/x/mori/y.py", line 3, in f', b"Segmentation fault", b"signal SIGSEGV, ",
    b"#0  0x00007f00 in hipEventRecord (stream=0x1234567) from /a/libamdhip64.so.7",
    b"7f0000000000-7f0000001000 r-xp 00000000 08:01 12    /a/libamdhip64.so.6",
    b"7f0000100000-7f0000101000 r-xp 00000000 08:01 13    /b/libamdhip64.so.6",
    b"     12:\tcalling init: /a/libamdhip64.so.6",
    b"     12:\tcalling fini: /b/libamdhip64.so [0]",
    b"HIP Library Path: /a/libamdhip64.so", b"libamdhip64.so", b"GPU reset", b"amdgpu ",
    b"python3[1]: segfault at 12345678 ip 1 sp 2 error 4 in libamdhip64.so.7[1+2]",
    b"registered more than once!", b":3:a.cpp   :1   : 12345 us: ", b"[pid:12 tid:0x7f01] ",
    b"12   : [tid:0x7f01] ", b"stream:0x7f0000001000", b"0x1000", b"0xffffffff00001000",
    b"\x1b[32m", b"\x1b[0m", b"\n", b"\n", b"\n", b"\r\n", b"\0", b" ",
    b"(", b")", b"{", b"}", b",",
    b"\xff\xfe", "ü\u202e".encode(), b"#", b"[", b"]", b"0x", b"9" * 40, b"a" * 300,
]  # fmt: skip


def check(path: Path, data: bytes) -> None:
    """Explain it, show it, and hold what is said against the text."""
    path.write_bytes(data)
    try:
        found = explain([str(path)], STREAM)
    except XdiagError as error:
        said = str(error)
    else:
        said = ""
        hold_against(found, data)
    assert "\n" not in said


def hold_against(found: Explanation, data: bytes) -> None:
    """No cause without a line of the text that may say so; nothing that a terminal obeys."""
    assert {each.cause for each in found.causes} <= IDS
    lines = data.split(b"\n")
    for each in found.causes:
        for line in each.lines:
            assert 1 <= line.number <= len(lines) and len(line.text) <= 4 * LONGEST
    if found.causes and found.sources[0].compressed == "":
        # Without one of these no cause can be named.
        low = data.lower()
        assert any(
            word in low
            for word in (b"709", b"destroyed", b"libamdhip64", b"gpu reset", b"more than once",
                         b"hiperror", b"stream context", b"segfault", b"segmentation",
                         b"get symbol", b": returned", b" ( ", b'"causes"', b'"findings"')
        )  # fmt: skip
    text = printed(lambda console: rendering.show(found, console), 80)
    assert all(character.isprintable() or character == "\n" for character in text)
    json_document.record(found)


@_FUZZ
@given(st.binary(max_size=600))
def test_arbitrary_bytes(tmp_path: Path, data: bytes) -> None:
    check(tmp_path / "any", data)


@_FUZZ
@given(st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=60))
def test_words_in_any_order(tmp_path: Path, words: list[bytes]) -> None:
    check(tmp_path / "words", b"".join(words))


@_FUZZ
@given(st.data())
def test_damaged_samples(tmp_path: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(TABLE)), min_size=1, max_size=3))
    texts = [text if isinstance(text, bytes) else text.encode()
             for name in names for text in TABLE[name][0]]  # fmt: skip
    changed = bytearray(b"".join(texts))
    for _ in range(data.draw(st.integers(0, 6))):
        if not changed:
            break
        place = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                changed[place] = data.draw(st.sampled_from((0, 10, 13, 27, 32, 40, 255)))
            case 1:
                del changed[place : place + data.draw(st.integers(1, 200))]
            case 2:
                changed[place:place] = data.draw(st.sampled_from(WORDS))
            case _:
                end = place + data.draw(st.integers(1, 300))
                changed[place:place] = changed[place:end]
    check(tmp_path / "damaged", bytes(changed))


@_FUZZ
@given(st.data())
def test_random_logs_never_claim_what_did_not_happen(tmp_path: Path, data: st.DataObject) -> None:
    """Programs made at random: what is *likely* did happen."""
    era = data.draw(st.sampled_from(ERAS))
    log = Log(era, colour=data.draw(st.booleans())).start()
    streams = [STREAM, STREAM + 0x1000, STREAM + 0x2000]
    alive: dict[int, str] = {}
    happened = set()
    for _ in range(data.draw(st.integers(1, 12))):
        stream = data.draw(st.sampled_from(streams))
        match data.draw(st.sampled_from(["make", "destroy", "fail", "reset", "use", "cut"])):
            case "fail":
                # What is refused ends nothing.
                if alive.get(stream) == "alive":
                    log.destroy(stream, "hipErrorInvalidHandle")
                log.reset("hipErrorInvalidDevice")
            case "make":
                log.make(stream)
                alive[stream] = "alive"
            case "destroy":
                if alive.get(stream) == "alive":
                    log.destroy(stream)
                    alive[stream] = "destroyed"
            case "reset":
                log.reset()
                alive = {each: "reset" if state == "alive" else state
                         for each, state in alive.items()}  # fmt: skip
            case "use":
                state = alive.get(stream)
                if state == "alive":
                    log.use(stream)
                else:
                    log.refuse(stream)
                    if state is not None:
                        happened.add({"destroyed": "destroyed-stream"}.get(state, "device-reset"))
            case _:
                half = data.draw(st.sampled_from([CUT, SIGNED])) + (stream - STREAM)
                log.refuse(half)
                if stream in alive or half >> 63:
                    happened.add("truncated-handle")
    path = tmp_path / "log"
    path.write_text(log.text())
    found = explain([str(path)])
    likely = {each.cause for each in found.causes if each.likelihood == "likely"}
    assert likely == happened
    assert "two-runtimes" not in {each.cause for each in found.causes}


@settings(max_examples=60, deadline=4000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    st.binary(max_size=200), st.sampled_from([b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x1f\x8b\x08\x00"])
)
def test_archives_that_are_none(tmp_path: Path, data: bytes, magic: bytes) -> None:
    check(tmp_path / "archive", magic + data)


@settings(max_examples=60, deadline=4000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=300))
def test_json_that_is_none(tmp_path: Path, data: bytes) -> None:
    with suppress(XdiagError):
        check(tmp_path / "json", b'{"schema_version": 1, "findings": [' + data)


# ---- large ---------------------------------------------------------------------------------------

#: Not ru_maxrss, which remembers the process that it was before exec: here, the whole test run.
_MEASURED = """
import sys, time
from xdiag.explain.explanation import explain
begun = time.process_time()
found = explain([sys.argv[1]])
print(found.fault, time.process_time() - begun,
      *[int(line.split()[1]) // 1024 for line in open("/proc/self/status") if "VmHWM" in line])
"""


def measured(path: Path) -> tuple[bool, float, int]:
    """Whether a fault was seen, seconds of the processor's time, megabytes of memory at most."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(path)], capture_output=True, text=True, check=True,
        timeout=100,
    )  # fmt: skip
    fault, seconds, memory = done.stdout.split()
    return fault == "True", float(seconds), int(memory)


def floods() -> dict[str, bytes]:
    """Pieces that are written again and again, with how much of them."""
    log = Log("5.7").make().destroy().refuse()
    line = log.text().encode()
    return {
        "one line, nothing in it": b"x" * 1000,
        "one line of errors": b"hipErrorContextIsDestroyed: Returned HIP error 709 ",
        "one line of libraries": b"#0 hipX (a) from /a/libamdhip64.so.7 ",
        "NULs": bytes(1000),
        "short lines of errors": b"Error\n",
        "refusals": line,
        "streams made": Log("5.7").make().text().encode(),
        "maps": samples.maps((samples.TORCH, 1181, "08:01")).encode(),
        "bindings": b"     12:\tbinding file a [0] to /a/libamdhip64.so [0]: normal symbol `x'\n",
        "braces": b"hipStreamDestroy ( " + b"{,(" * 2000 + b"\n",
    }


@pytest.mark.parametrize("name", floods())
def test_floods(tmp_path: Path, name: str) -> None:
    piece = floods()[name]
    megabytes = 100 if name in ("one line, nothing in it", "NULs") else 4
    path = tmp_path / "flood"
    with path.open("wb") as file:
        block = piece * ((1 << 20) // len(piece))
        for _ in range(megabytes):
            file.write(block)
    _, seconds, memory = measured(path)
    # Twice what it takes on a slow machine: 4 MB of nothing but what is looked for.
    assert seconds < 20 and memory < 150


def test_an_archive_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(bytes(1 << 20))
        file.write(b"\n" + samples.XSCHED_OLD.encode())
    fault, seconds, memory = measured(path)
    assert fault and seconds < 20 and memory < 150


def test_streams_without_number_are_forgotten_in_their_order(tmp_path: Path) -> None:
    log = Log("5.7").start()
    for number in range(40_000):
        log.leave("hipStreamCreate", extra=f"stream:{STREAM + number * 0x100:#x}")
    log.destroy(STREAM + 39_999 * 0x100).refuse(STREAM + 39_999 * 0x100).refuse(STREAM)
    path = tmp_path / "log"
    path.write_text(log.text())
    begun = time.process_time()
    found = explain([str(path)])
    assert time.process_time() - begun < 20
    assert {each.cause: each.likelihood for each in found.causes} == {
        "destroyed-stream": "likely", "unknown-handle": "possible",
    }  # fmt: skip
    assert any("more streams were made than are remembered" in n.sentence for n in found.notes)
