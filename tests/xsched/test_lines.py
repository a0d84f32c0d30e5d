"""The line that XSched prints before it exits."""

from __future__ import annotations

import pytest

from xdiag.xsched_errors import HAL_LINES, last

_PLACE = "/src/platforms/hip/hal/src/hip_queue.cpp"


@pytest.mark.parametrize(
    "begin",
    ["[XSCHED ERRO @ T 15467 @ 22:34:58.140774] ", "[ERRO @ T3239 @ 03:15:40.687172] ", "[ERRO] ",
     "\x1b[31m[XSCHED ERRO @ T 15467 @ 22:34:58.140774] "],
    ids=["new", "before-1.2", "bare", "coloured"],
)  # fmt: skip
def test_every_form_of_the_line_is_read(begin: str) -> None:
    told = last(f"something\n{begin}hip error 709: context is destroyed @ {_PLACE}:32\nlater\n")
    assert told is not None
    assert (told.platform, told.code, told.file, told.line) == ("hip", 709, "hip_queue.cpp", 32)
    assert told.call == "hipStreamGetFlags"
    assert told.text == f"hip error 709: context is destroyed @ {_PLACE}:32"


@pytest.mark.parametrize(("line", "call"), HAL_LINES.items())
def test_a_line_of_the_constructor_names_its_call(line: int, call: str) -> None:
    told = last(f"[XSCHED ERRO @ T 1 @ 22:34:58.140774] hip error 400: x @ {_PLACE}:{line}")
    assert told is not None and (told.call, told.code) == (call, 400)


@pytest.mark.parametrize(
    ("place", "call"),
    [
        (f"{_PLACE}:46", "hipCtxSetCurrent"),
        (f"{_PLACE}:41", "hipStreamSynchronize"),
        ("/src/platforms/hip/hal/src/hip_command.cpp:24", "hipEventSynchronize"),
        ("/src/platforms/hip/hal/include/event_pool.h:30", "hipEventCreateWithFlags"),
        ("/elsewhere/of_somebody_else.cpp:32", ""),
    ],
)  # fmt: skip
def test_the_queue_s_own_thread_has_lines_of_its_own(place: str, call: str) -> None:
    told = last(f"[XSCHED ERRO @ T 1 @ 22:34:58.140774] hip error 1: x @ {place}")
    assert told is not None and told.call == call


def test_709_of_a_changed_file_is_the_first_call_that_takes_the_stream() -> None:
    refused = last(f"[ERRO] hip error 709: context is destroyed @ {_PLACE}:67")
    other = last(f"[ERRO] hip error 1: invalid argument @ {_PLACE}:67")
    assert refused is not None and refused.call == "hipStreamGetFlags"
    assert other is not None and other.call == ""


def test_an_error_without_a_number_and_one_of_cuda() -> None:
    plain = last("[XSCHED ERRO @ T 1 @ 22:34:58.140774] fail to get symbol hipInit @ /s/symbol.h:9")
    cuda = last(f"[XSCHED ERRO @ T 1 @ 22:34:58.140774] cuda error 709: x @ {_PLACE}:32")
    assert plain is not None and (plain.code, plain.call) == (None, "")
    assert cuda is not None and (cuda.platform, cuda.code, cuda.call) == ("cuda", 709, "")


def test_output_without_such_a_line_says_nothing() -> None:
    assert last("") is None
    assert last("[XSCHED INFO @ T 1 @ 22:34:58.140774] using app-managed scheduler\n") is None


def test_the_last_line_counts() -> None:
    lines = [f"[ERRO] hip error {code}: x @ {_PLACE}:32" for code in (1, 709)]
    told = last("\n".join(lines))
    assert told is not None and told.code == 709
