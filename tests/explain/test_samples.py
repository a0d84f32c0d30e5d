"""What each text supports, and what must not be said of it."""

from __future__ import annotations

import pytest

from explain import samples
from explain.conftest import Explain
from explain.samples import CUT, ERAS, OTHER, ROCM, SIGNED, STREAM, TORCH, WORKER, Log
from xdiag.causes import CAUSES

REFUSAL = {"two-runtimes", "truncated-handle", "destroyed-stream", "device-reset"}


def causes_of(explanation) -> dict[str, str]:
    return {each.cause: each.likelihood for each in explanation.causes}


# ---- the runtime's log, in every era -------------------------------------------------------------

#: What happened -> the log, and the causes it supports.
STORIES = {
    "destroyed": (
        lambda log: log.start().make().use().destroy().refuse(),
        {"destroyed-stream": "likely"},
    ),
    "reset": (
        lambda log: log.start().make().reset().refuse(),
        {"device-reset": "likely"},
    ),
    "cut": (
        lambda log: log.start().make().use().refuse(CUT),
        {"truncated-handle": "likely"},
    ),
    "cut, sign-extended": (
        lambda log: log.start().make().use().refuse(SIGNED),
        {"truncated-handle": "likely"},
    ),
    "sign-extended, never made": (
        lambda log: log.start().refuse(SIGNED),
        {"truncated-handle": "likely"},
    ),
    "made again": (
        lambda log: log.start().make().destroy().make().use(),
        {},
    ),
    "another one destroyed": (
        lambda log: log.start().make().make(OTHER).destroy(OTHER).use(),
        {},
    ),
    "never made": (lambda log: log.start().refuse(), {"unknown-handle": "possible"}),
    "unexplained": (lambda log: log.start().make().refuse(), {"unknown-handle": "possible"}),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("story", STORIES)
def test_stories_in_every_era(explained: Explain, era: str, story: str) -> None:
    tell, expected = STORIES[story]
    found = explained(tell(Log(era)).text())
    assert causes_of(found) == expected
    assert found.fault == bool(expected)
    assert found.sources[0].formats == ("AMD log",)


@pytest.mark.parametrize("era", ERAS)
def test_hipstreamlegacy_is_explained_where_it_is_not_known(explained: Explain, era: str) -> None:
    found = explained(Log(era).start().refuse(1).text())
    if era in ("5.2", "5.7"):
        assert causes_of(found) == {"legacy-stream": "likely"}
    else:
        assert causes_of(found) == {"unknown-handle": "possible"} and not found.not_excluded
        assert any("known from HIP 6.3 on" in note.sentence for note in found.notes)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("colour", "stray"), [(True, ""), (False, ""), (True, "d"), (False, "d")])
def test_two_copies_in_every_era(explained: Explain, era: str, colour: bool, stray: str) -> None:
    log = Log(era, colour=colour, stray=stray).start().make().use().start()
    found = explained(log.refuse(tid=WORKER).text())
    # Without a pid the two initialisations may be two processes'.
    likelihood = "possible" if era == "6.3" else "likely"
    assert causes_of(found) == {"two-runtimes": likelihood}
    (failure,) = found.failures
    assert (failure.call, failure.code, failure.handle) == ("hipStreamGetFlags", 709, STREAM)
    assert failure.certain == (era != "6.3")
    assert [step.what for step in failure.history] == ["made", "accepted", "given", "refused"]
    lines = {line.number for line in found.causes[0].lines}
    assert {1, 3, failure.line.number} <= lines


def test_accepted_and_refused_without_a_start_in_the_log(explained: Explain) -> None:
    log = Log("5.7").make().use().refuse(tid=WORKER).use()
    assert causes_of(explained(log.text())) == {"two-runtimes": "likely"}


def test_two_copies_and_a_reset_cannot_be_told_apart(explained: Explain) -> None:
    found = explained(Log("5.7").start().make().start().reset().refuse().text())
    assert causes_of(found) == {"two-runtimes": "possible", "device-reset": "possible"}


def test_a_refused_destruction_is_none(explained: Explain) -> None:
    log = Log("5.7").start().make().start()
    log.destroy(error="hipErrorContextIsDestroyed", tid=WORKER).refuse(tid=WORKER)
    found = explained(log.text())
    assert causes_of(found) == {"two-runtimes": "likely"}
    assert [failure.call for failure in found.failures] == ["hipStreamDestroy", "hipStreamGetFlags"]


def test_a_handle_of_another_process_of_the_log(explained: Explain) -> None:
    parent, child = Log("5.7", pid=100), Log("5.7", pid=200)
    found = explained(parent.start().make().text() + child.start().refuse().text())
    assert causes_of(found) == {"other-process": "likely"}
    assert "(100)" in found.causes[0].because


def test_processes_of_one_log_are_told_apart(explained: Explain) -> None:
    one, two = Log("5.7", pid=100).start().make(), Log("5.7", pid=200).start().make()
    lines = [*one.lines, *two.lines, *Log("5.7", pid=100).use().destroy().lines]
    lines += Log("5.7", pid=200).use().lines
    assert not explained("\n".join(lines)).fault


@pytest.mark.parametrize(
    ("era", "call", "error", "says"),
    [
        ("5.7", "hipStreamWaitEvent", "hipErrorInvalidHandle", "on HIP 5.7 to 6.4"),
        ("6.3", "hipModuleLaunchKernel", "hipErrorInvalidValue", "on HIP 5.7 to 6.4"),
        ("5.2", "hipEventRecord", "hipErrorInvalidHandle", "on HIP up to 5.5"),
    ],
)
def test_versions_that_say_something_else_than_709(
    explained: Explain, era: str, call: str, error: str, says: str
) -> None:
    log = Log(era).start().make().destroy().use(call=call, error=error)
    found = explained(log.text())
    assert causes_of(found) == {"destroyed-stream": "likely"}
    (failure,) = found.failures
    assert failure.refusal and says in failure.notes[-1] and "709" in failure.notes[-1]


@pytest.mark.parametrize("call", ["hipStreamWaitEvent", "hipModuleLaunchKernel"])
def test_the_same_codes_for_a_live_stream_are_no_refusal(explained: Explain, call: str) -> None:
    error = "hipErrorInvalidHandle" if call == "hipStreamWaitEvent" else "hipErrorInvalidValue"
    found = explained(Log("5.7").start().make().use(call=call, error=error).text())
    assert not found.fault and not found.causes
    assert any(call in note.sentence for note in found.notes)


def test_a_launch_refused_with_709_is_of_hip_7(explained: Explain) -> None:
    log = Log("7.2").start().make().start()
    found = explained(log.refuse(call="hipModuleLaunchKernel", tid=WORKER).text())
    assert causes_of(found) == {"two-runtimes": "likely"}
    assert found.failures[0].handle == STREAM
    assert any("HIP 7's" in note for note in found.failures[0].notes)


def test_severe_errors_are_faults_without_a_cause(explained: Explain) -> None:
    log = Log("5.7").start().make().use(call="hipStreamSynchronize", error="hipErrorIllegalAddress")
    found = explained(log.text())
    assert found.fault and not found.causes and found.failures[0].code == 700


def test_two_library_paths_under_one_pid(explained: Explain) -> None:
    log = Log("7.2").say(f"HIP Library Path: {TORCH}", file="os_posix.cpp").start().make()
    log.say("HIP Library Path: /opt/rocm/lib//libamdhip64.so.7", file="os_posix.cpp").start().use()
    found = explained(log.text())
    assert found.fault and causes_of(found) == {"two-runtimes": "possible"}
    assert [load.path for load in found.loaded] == [TORCH, "/opt/rocm/lib/libamdhip64.so.7"]
    assert {load.pid for load in found.loaded} == {4711}
    assert f"XSCHED_HIP_LIB={TORCH}" in " ".join(found.causes[0].remedy)


def test_two_library_paths_without_a_pid_may_be_two_processes(explained: Explain) -> None:
    log = Log("6.3").say(f"HIP Library Path: {TORCH}").say(f"HIP Library Path: {ROCM}").make().use()
    found = explained(log.text())
    assert not found.fault and causes_of(found) == {"two-runtimes": "possible"}


def test_one_path_named_twice_is_one_copy(explained: Explain) -> None:
    log = Log("7.2").say(f"HIP Library Path: {TORCH}").say(f"HIP Library Path: {TORCH}").make()
    assert not explained(log.text()).causes


# ---- everything else -----------------------------------------------------------------------------

TWO_MAPPED = samples.maps((TORCH, 1181, "08:01"), (ROCM, 2207, "08:01"))
ONE_MAPPED = samples.maps((TORCH, 1181, "08:01"))
ASKED = (TORCH, "/venv/torch/lib/libtorch_hip.so"), (ROCM, "/opt/xsched/lib/libhalhip.so")

#: name -> texts, causes, whether there is a fault.
TABLE = {
    "xsched, old": ([samples.XSCHED_OLD],
        {"two-runtimes": "possible", "truncated-handle": "possible"}, True),
    "xsched, new": ([samples.XSCHED_NEW],
        {"two-runtimes": "possible", "truncated-handle": "possible"}, True),
    "xsched and two copies": ([samples.XSCHED_OLD, TWO_MAPPED],
        {"two-runtimes": "likely"}, True),
    "xsched and one copy": ([samples.XSCHED_OLD, ONE_MAPPED],
        {"truncated-handle": "possible"}, True),
    "xsched on cuda": ([samples.XSCHED_CUDA], {"cuda-thread-context": "likely"}, True),
    "xsched on cuda, 709": ([samples.XSCHED_CUDA_709], {"cuda-context": "likely"}, True),
    "xsched without a symbol": (
        [samples.XSCHED_NO_SYMBOL], {"runtime-not-found": "likely"}, True),
    "xsched and the runtime's log": (
        [samples.XSCHED_NEW, Log("5.7").start().make().destroy().refuse().text()],
        {"destroyed-stream": "likely"}, True),
    "torch": ([samples.TORCH_709], {"unknown-handle": "possible"}, True),
    "torch and two copies": ([samples.TORCH_709, TWO_MAPPED], {"two-runtimes": "likely"}, True),
    "torch, another error": ([samples.TORCH_INVALID], {}, True),
    "mori": ([samples.MORI], {"two-runtimes": "possible"}, True),
    "sglang's attention": ([samples.VATTN], {"two-runtimes": "possible"}, True),
    "vllm": ([samples.VLLM], {"unknown-handle": "possible"}, True),
    "miopen": ([samples.MIOPEN], {"destroyed-event": "possible"}, True),
    "cuda by torch": ([samples.CUDA_TORCH], {"cuda-context": "likely"}, True),
    "cuda's driver": ([samples.CUDA_DRIVER], {"cuda-context": "likely"}, True),
    "cuda's runtime": ([samples.CUDA_RUNTIME], {"cuda-context": "likely"}, True),
    "a launch that answers 1": ([samples.LAUNCH_1], {}, True),
    "llvm": ([samples.LLVM], {"duplicate-llvm": "likely"}, True),
    "maps of two": ([TWO_MAPPED], {"two-runtimes": "possible"}, True),
    "maps of one": ([ONE_MAPPED], {}, False),
    "maps of one, twice": ([ONE_MAPPED + ONE_MAPPED], {}, False),
    "maps of one in each of two processes": (
        [ONE_MAPPED + samples.maps((ROCM, 2207, "08:01"), base=0x7F10_0000_0000)], {}, False),
    "maps of one file by two paths": (
        [samples.maps((TORCH, 1181, "08:01")), samples.maps((ROCM, 1181, "08:01"))], {}, False),
    "maps that grep printed": (
        ["".join(f"/proc/{pid}/maps:{line}\n" for pid in (100, 200)
                 for line in ONE_MAPPED.splitlines() if "libamdhip64" in line)], {}, False),
    "LD_DEBUG of two": ([samples.ld_debug(*ASKED)], {"two-runtimes": "possible"}, True),
    "LD_DEBUG of one": ([samples.ld_debug(ASKED[0])], {}, False),
    "LD_DEBUG of two processes": (
        [samples.ld_debug(ASKED[0], pid=1) + samples.ld_debug(ASKED[1], pid=2)], {}, False),
    "LD_DEBUG, one after the other": ([samples.ld_debug(*ASKED, closed=True)], {}, False),
    "the same, and a refusal": (
        [samples.ld_debug(*ASKED, closed=True) + samples.TORCH_709],
        {"unknown-handle": "possible", "unloaded-runtime": "possible"}, True),
    "gdb, HIP 7": ([samples.GDB_7], {"unchecked-handle": "possible"}, True),
    "gdb, a cut handle": ([samples.GDB_CUT],
        {"truncated-handle": "possible", "unchecked-handle": "possible"}, True),
    "gdb, a call that checks": ([samples.GDB_CHECKED], {}, True),
    "gdb's libraries": ([samples.GDB_LIBRARIES], {"two-runtimes": "possible"}, True),
    "two sessions of gdb": (
        [samples.GDB_7 + samples.GDB_CUT],
        {"truncated-handle": "possible", "unchecked-handle": "possible"}, True),
    "dmesg, 32 bits of an address": ([samples.DMESG_CUT],
        {"truncated-handle": "possible", "unchecked-handle": "possible"}, True),
    "dmesg, NULL": ([samples.DMESG_NULL], {}, True),
    "dmesg, a reset": ([samples.DMESG_RESET], {"gpu-reset": "likely"}, True),
    "a segmentation fault of Python's": ([samples.FAULTHANDLER], {}, True),
    "source code": ([samples.SOURCE_CODE], {}, False),
    "another traceback": ([samples.PYTHON_OTHER], {}, False),
    "prose": ([samples.PROSE], {}, False),
    "nothing": ([""], {}, False),
    "a program": ([b"\x7fELF" + bytes(range(256)) * 64], {}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_table(explained: Explain, name: str) -> None:
    texts, expected, fault = TABLE[name]
    found = explained(*texts)
    assert (causes_of(found), found.fault) == (expected, fault)
    for each in found.causes:
        assert each.lines and each.decide and each.remedy and each.because
        for line in each.lines:
            written = texts[int(line.source[-1])]
            text = written.decode(errors="replace") if isinstance(written, bytes) else written
            assert text.splitlines()[line.number - 1][:60] == line.text[:60]


@pytest.mark.parametrize("era", ERAS)
def test_healthy_logs(explained: Explain, era: str) -> None:
    found = explained(samples.healthy(era))
    assert not found.fault and not found.causes and not found.failures
    assert found.sources[0].formats == ("AMD log",)
    (note,) = [note for note in found.notes if "errors" in note.sentence]
    assert "hipPointerGetAttributes" in note.sentence


@pytest.mark.parametrize("name", TABLE)
def test_what_is_blamed_wrongly_is_never_named(explained: Explain, name: str) -> None:
    blamed = {cause.id for cause in CAUSES if cause.blamed}
    found = explained(*TABLE[name][0])
    assert not blamed & ({each.cause for each in found.causes} | set(found.not_excluded))


#: Texts of one file, without those that say in its first bytes what they are.
ALONE = [name for name, (texts, _, _) in TABLE.items()
         if len(texts) == 1 and isinstance(texts[0], str)]  # fmt: skip


@pytest.mark.parametrize("first", ALONE)
def test_a_sample_within_another_log_says_the_same(explained: Explain, first: str) -> None:
    """Texts mixed in one file: a healthy log before and after changes nothing."""
    texts, expected, fault = TABLE[first]
    around = samples.healthy("5.7")
    found = explained(around + texts[0] + around)
    assert (set(causes_of(found)), found.fault) == (set(expected), fault)


def test_the_case_it_started_with(explained: Explain) -> None:
    found = explained(samples.XSCHED_OLD)
    (failure,) = found.failures
    assert (failure.kind, failure.code, failure.call) == ("XSched", 709, "hipStreamGetFlags")
    assert "line 67" in failure.notes[0] and "the file was changed" in failure.notes[0]
    assert found.not_excluded == ("destroyed-stream", "device-reset")
    assert any("no context and no thread" in note.sentence for note in found.notes)
    two, cut = found.causes
    assert "ROCm/mori#402" in two.references and "XSCHED_HIP_LIB" in two.remedy[0]
    assert "argtypes" in cut.remedy[0]
    assert any("xdiag run" in each.command for each in two.decide)


def test_cuda_is_never_explained_by_hip(explained: Explain) -> None:
    found = explained(samples.CUDA_TORCH)
    assert found.failures[0].platform == "cuda" and not found.not_excluded
    assert "on CUDA" in found.causes[0].statement


def test_the_same_words_without_a_platform(explained: Explain) -> None:
    found = explained("it failed: context is destroyed\n")
    assert not found.fault and not found.causes
    assert any("without a word of the platform" in note.sentence for note in found.notes)


def test_a_reset_of_the_gpu_is_no_cause_of_a_709(explained: Explain) -> None:
    alone = explained(samples.DMESG_RESET)
    # The line that says what hung is cited: the one that the reader is told to look for.
    assert [line.number for line in alone.causes[0].lines] == [1, 2, 3]
    found = explained(samples.DMESG_RESET + samples.TORCH_709)
    assert [each.cause for each in found.causes] == ["unknown-handle", "gpu-reset"]
    assert "it is no cause of a 709" in found.causes[1].because


def test_a_map_has_no_stream(explained: Explain) -> None:
    statement = explained(TWO_MAPPED).causes[0].statement
    assert "two copies of the library are loaded" in statement and "was made" not in statement
    assert "was made" in explained(TWO_MAPPED + samples.TORCH_709).causes[0].statement


def test_what_xsched_does_not_find(explained: Explain) -> None:
    found = explained(samples.XSCHED_NO_SYMBOL)
    (failure,) = found.failures
    assert (failure.kind, failure.call) == ("XSched", "hipStreamGetFlags")
    assert "XSCHED_HIP_LIB" in found.causes[0].remedy[0]


@pytest.mark.parametrize(
    "text", ["hipErrorContextIsDestroyed\n", "hipError_t: hipErrorContextIsDestroyed\n"]
)
def test_an_error_name_alone(explained: Explain, text: str) -> None:
    found = explained(text)
    assert found.failures[0].code == 709 and causes_of(found) == {"unknown-handle": "possible"}


def test_what_is_told_of_the_past_is_no_failure(explained: Explain) -> None:
    found = explained("We have had hip error 709 in the past. Fixed since.\n")
    assert not found.fault and not found.causes


def test_hips_word_within_cudas(explained: Explain) -> None:
    found = explained("RuntimeError: CUDA error: HIP error: context is destroyed\n")
    assert found.failures[0].platform == "hip"
    assert causes_of(found) == {"unknown-handle": "possible"}


def test_llvms_word_is_recognised(explained: Explain) -> None:
    assert explained(samples.LLVM).sources[0].formats == ("message",)


def test_who_asked_for_each_copy(explained: Explain) -> None:
    found = explained(samples.ld_debug(*ASKED))
    assert [load.told for load in found.loaded] == [
        "asked for by /venv/torch/lib/libtorch_hip.so",
        "asked for by /opt/xsched/lib/libhalhip.so",
    ]


def test_a_map_of_a_named_process(explained: Explain) -> None:
    found = explained(f"$ cat /proc/4711/maps\n{TWO_MAPPED}")
    assert {load.pid for load in found.loaded} == {4711}
    assert {load.told for load in found.loaded} == {
        "device 8:1 inode 1181", "device 8:1 inode 2207",
    }  # fmt: skip


def test_a_map_of_another_process_is_not_held_against_a_refusal(explained: Explain) -> None:
    log = Log("5.7", pid=99).make().refuse()
    found = explained(log.text(), f"==> /proc/4711/maps <==\n{TWO_MAPPED}")
    assert causes_of(found) == {"two-runtimes": "possible"}
    same = explained(Log("5.7").make().refuse().text(), f"==> /proc/4711/maps <==\n{TWO_MAPPED}")
    assert causes_of(same) == {"two-runtimes": "likely"}


def test_xscheds_shim_is_no_copy(explained: Explain) -> None:
    shim = "/opt/xsched/lib/libamdhip64.so"
    assert not explained(samples.ld_debug(ASKED[0], (shim, "python3"))).fault


def test_failures_are_counted(explained: Explain) -> None:
    found = explained(samples.TORCH_709 * 7)
    assert [failure.count for failure in found.failures] == [7]
    log = Log("5.7").start().make().destroy()
    for _ in range(9):
        log.refuse()
    assert [failure.count for failure in explained(log.text()).failures] == [9]


def test_crlf(explained: Explain) -> None:
    log = Log("5.7").start().make().destroy().refuse().text().replace("\n", "\r\n")
    assert causes_of(explained(log)) == {"destroyed-stream": "likely"}
    windows = (samples.XSCHED_OLD + TWO_MAPPED).replace("\n", "\r\n")
    assert causes_of(explained(windows)) == {"two-runtimes": "likely"}


def test_a_message_that_may_mean_a_refused_handle_says_on_which_versions(
    explained: Explain,
) -> None:
    (failure,) = explained(samples.LAUNCH_1).failures
    assert failure.notes == (
        "this may be a refused handle: on HIP 5.7 to 6.4 hipModuleLaunchKernel answers 1"
        " (hipErrorInvalidValue) to a handle that it does not know, where other calls answer 709",
    )
    (crash,) = explained(samples.GDB_7).failures
    assert (crash.call, crash.signal) == ("hipStreamGetFlags", "SIGSEGV")
    assert "on HIP 7.0 on: what is a 709 elsewhere" in crash.notes[0]
