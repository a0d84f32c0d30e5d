"""The line that XSched prints before it exits."""

from __future__ import annotations

import pytest

from xdiag.xsched_errors import HAL_LINES, call_at, last

_PLACE = "/src/platforms/hip/hal/src/hip_queue.cpp"
_CUDA = "/src/platforms/cuda/hal/src"


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


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("arch/arch.cpp:22", "cuDeviceGetAttribute"),
        ("arch/arch.cpp:67", "cuStreamGetCtx"),
        ("arch/arch.cpp:72", "cuCtxGetDevice"),
        ("level1/cuda_queue.cpp:37", "cuStreamGetFlags"),
        ("level1/cuda_queue.cpp:40", "cuStreamSynchronize"),
        ("level1/cuda_queue.cpp:57", "cuCtxSetCurrent"),
        ("common/event_pool.cpp:14", "cuEventCreate"),
        ("common/cuda_command.cpp:31", "cuEventSynchronize"),
        # Files of this name, with other lines.
        ("level2/cuda_queue.cpp:37", ""),
        ("arch/arch.cpp:1", ""),
    ],
)  # fmt: skip
def test_a_line_of_the_cuda_hal_names_its_call(place: str, call: str) -> None:
    told = last(f"[XSCHED ERRO @ T 1 @ 22:34:58.140774] cuda error 201: x @ {_CUDA}/{place}")
    assert told is not None and (told.platform, told.code, told.call) == ("cuda", 201, call)


def test_lines_of_the_cuda_hal_before_1_2_were_others() -> None:
    told = last(f"[ERRO @ T1 @ 22:34:58.140774] cuda error 201: x @ {_CUDA}/arch/arch.cpp:67")
    assert told is not None and (told.code, told.call) == (201, "")


@pytest.mark.parametrize(
    "said",
    [
        "create CudaQueue failed: current context ((nil)) does not match stream context (0x7f01)",
        "create CudaQueueLv1 failed: current context (0x55) does not match stream context (0x7f01)",
        "create cuda event failed: current context (0x55) mismatch event pool context (0x7f01)",
    ],
)
def test_contexts_that_differ_are_what_the_current_one_is_asked_for(said: str) -> None:
    line = f"[XSCHED ERRO @ T 1 @ 22:34:58.140774] Assertion failed: {said} @ /elsewhere.cpp:7"
    told = last(line, "cuda")
    assert told is not None and (told.code, told.call) == (None, "cuCtxGetCurrent")


def test_a_failed_launch_is_the_call_of_the_platform_whose_hal_it_was() -> None:
    line = (
        "[XSCHED ERRO @ T 1 @ 22:34:58.140774] Assertion failed: failed to launch"
        " HwCallbackCommand (0x5) @ /src/preempt/src/xqueue/launch_worker.cpp:250"
    )
    calls = [told.call for told in (last(line), last(line, "cuda")) if told is not None]
    assert calls == ["hipEventRecord", "cuEventRecord"]


def test_the_whole_name_of_a_file_counts() -> None:
    assert call_at("hip", "hip_queue.cpp", 32) == "hipStreamGetFlags"
    assert call_at("hip", "/src/not_hip_queue.cpp", 32) == ""


def test_output_without_such_a_line_says_nothing() -> None:
    assert last("") is None
    assert last("[XSCHED INFO @ T 1 @ 22:34:58.140774] using app-managed scheduler\n") is None


def test_the_last_line_counts() -> None:
    lines = [f"[ERRO] hip error {code}: x @ {_PLACE}:32" for code in (1, 709)]
    told = last("\n".join(lines))
    assert told is not None and told.code == 709
