"""Which runtime is used, and what executes below it; on fakes, and on the real package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtimes.conftest import FAKE_HIP, HSA_GPU, compile_library, fake_runtime
from xdiag.errors import CannotRun, Usage
from xdiag.platforms import hip
from xdiag.runtimes import agent, choose, fetch, find, probe
from xdiag.runtimes.choose import choose as pick


@pytest.fixture
def kernel_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "KERNEL_DRIVER", tmp_path / "kfd")
    (tmp_path / "kfd").write_text("")


def test_without_a_gpu_the_named_runtime_runs_over_the_software_agent(
    empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path
) -> None:
    runtime = fake_runtime(tmp_path / "lib")
    target = pick(str(runtime), devices=3)
    assert target.agent == "software"
    assert target.runtime == str(runtime)
    assert target.source == "option"
    assert (target.devices, target.device_name) == (3, "a fake")
    assert target.version == "6.3.42133"
    assert target.library_path == (str(fake_agent.parent), str(runtime.parent))
    assert target.environment == {"XDIAG_AGENT_DEVICES": "3"}
    assert target.notes == (f"No GPU: {tmp_path}/kfd is absent.",)
    assert target.soname == "libamdhip64.so.6"
    assert target.build_id


def test_with_a_gpu_the_hardware_is_used(
    empty_machine: Path, fake_agent: Path, kernel_driver: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    runtime = fake_runtime(tmp_path / "rocm" / "lib", HSA_GPU)
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "rocm"))
    target = pick()
    assert (target.agent, target.source, target.devices) == ("hardware", "rocm", 8)
    # It does not load without its own directory in the loader's path.
    assert target.library_path == (str(runtime.parent),)
    assert target.environment == {}
    assert pick(agent="software").agent == "software"


def test_a_runtime_that_finds_its_own_libraries_is_left_alone(
    empty_machine: Path, fake_agent: Path, kernel_driver: None, tmp_path: Path
) -> None:
    folder = tmp_path / "lib"
    runtime = fake_runtime(folder, HSA_GPU, f"-Wl,-rpath,{folder}")
    assert pick(str(runtime)).library_path == ()
    by_origin = fake_runtime(tmp_path / "b", HSA_GPU, "-Wl,-rpath,$ORIGIN")
    assert pick(str(by_origin)).library_path == (str(by_origin.parent),)


def test_a_driver_without_a_gpu_says_so(
    empty_machine: Path, fake_agent: Path, kernel_driver: None, tmp_path: Path
) -> None:
    runtime = str(fake_runtime(tmp_path / "lib"))
    target = pick(runtime)
    assert target.agent == "software"
    assert f"No GPU answered: {runtime}: hipGetDeviceCount returned 100" in target.notes[0]
    with pytest.raises(CannotRun, match=r"No GPU answered: .*`--agent software` needs no GPU"):
        pick(runtime, "hardware")


def test_the_software_agent_is_never_taken_for_hardware(
    empty_machine: Path, fake_agent: Path, kernel_driver: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    runtime = str(fake_runtime(tmp_path / "lib"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_agent.parent))
    with pytest.raises(CannotRun, match="puts the software agent below it"):
        pick(runtime, "hardware")


def test_a_runtime_that_keeps_to_its_own_hsa_gets_the_agent_preloaded(
    empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path
) -> None:
    below = compile_library(tmp_path / "lib" / "libhsa-runtime64.so", HSA_GPU)
    runtime = compile_library(
        tmp_path / "lib" / "libamdhip64.so", FAKE_HIP.replace("AT_INIT", ""), str(below),
        "-Wl,-rpath,$ORIGIN", "-Wl,--disable-new-dtags",
    )  # fmt: skip
    target = pick(str(runtime))
    assert target.environment["LD_PRELOAD"] == str(fake_agent)
    assert target.devices == 2  # the agent's, not the 8 of its own
    assert "preloaded" in target.notes[-1]


def test_the_newest_that_works_is_chosen(
    empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "rocm" / "lib"
    fake_runtime(folder, name="libamdhip64.so.5")
    fake_runtime(folder, name="libamdhip64.so.6")
    fake_runtime(folder, name="libamdhip64.so.7", at_init="abort();")
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "rocm"))
    target = pick()
    assert Path(target.runtime).name == "libamdhip64.so.6"
    assert "Passed over" in target.notes[-1]
    assert "libamdhip64.so.7: hipInit crashed: SIGABRT" in target.notes[-1]


def test_the_kernel_cache_goes_before_the_real_comgr(
    empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path
) -> None:
    runtime = fake_runtime(tmp_path / "lib")
    compiler = agent.compiler_of(str(runtime))
    ours = compile_library(tmp_path / "parts" / "kernel-cache" / compiler, "int a;")
    assert "XDIAG_COMGR_REAL" not in pick(str(runtime)).environment  # no real one
    real = compile_library(tmp_path / "lib" / compiler, "int a;")
    target = pick(str(runtime))
    assert target.library_path == tuple(map(str, (fake_agent.parent, ours.parent, real.parent)))
    assert target.environment["XDIAG_COMGR_REAL"] == str(real)
    assert target.environment["XDIAG_COMGR_CACHE"] == str(empty_machine / "kernels")
    assert "compiled once" in target.notes[-1]
    assert pick(str(runtime), kernel_cache=False).library_path == (
        str(fake_agent.parent), str(real.parent),
    )  # fmt: skip


def test_nothing_at_hand_says_what_to_do(empty_machine: Path, no_gpu: None) -> None:
    with pytest.raises(CannotRun, match=r"`xdiag runtimes add` .*looked at: torch \(not inst"):
        pick()


def test_no_native_parts(
    empty_machine: Path, no_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "NATIVE_PARTS", tmp_path / "none")
    with pytest.raises(CannotRun, match="run `make native`"):
        pick(str(fake_runtime(tmp_path / "lib")))


def test_wrong_wishes(empty_machine: Path, tmp_path: Path) -> None:
    with pytest.raises(Usage, match="did you mean software"):
        pick(agent="softwar")
    with pytest.raises(Usage, match="1 at least"):
        pick(devices=0)
    with pytest.raises(Usage, match="no such file"):
        pick(str(tmp_path / "gone"))


def test_a_directory_that_no_library_path_can_hold(
    empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path
) -> None:
    with pytest.raises(CannotRun, match="it has a colon or semicolon in it"):
        pick(str(fake_runtime(tmp_path / "a:b")))


def test_a_missing_dependency_is_told_in_the_loaders_words(
    empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path
) -> None:
    gone = compile_library(tmp_path / "gone" / "libgone.so.1", "int gone(void) { return 0; }")
    runtime = fake_runtime(tmp_path / "lib", at_init="extern int gone(void); gone();")
    runtime = fake_runtime(
        tmp_path / "lib", "int hsa_devices(void) { return 0; }", str(gone),
        at_init="extern int gone(void); gone();",
    )  # fmt: skip
    gone.unlink()
    with pytest.raises(CannotRun, match=r"does not load: libgone\.so\.1: cannot open shared"):
        pick(str(runtime))


@pytest.mark.parametrize(
    ("at_init", "says"),
    [
        ("*(volatile int *)0 = 0;", "hipInit crashed: SIGSEGV"),
        ("exit(7);", "hipInit ended the process with status 7"),
        ("for (;;) ;", "no answer from hipInit within 1 s"),
        ("return 101;", r"hipInit returned 101 \(hipErrorInvalidDevice\)"),
        ('system("sleep 60 & echo no luck >&2"); abort();', "SIGABRT; it said: no luck"),
    ],
)
def test_a_runtime_may_do_anything_to_the_probe(tmp_path: Path, at_init: str, says: str) -> None:
    runtime = fake_runtime(tmp_path / "lib", at_init=at_init)
    answer = probe.ask(str(runtime), library_path=(str(runtime.parent),), patience=1)
    assert re.search(says, answer.problem)
    assert answer.loaded


def test_versions_are_written_as_people_do() -> None:
    assert hip.written_version(50221153) == "5.2.21153"
    assert hip.written_version(70253211) == "7.2.53211"
    assert hip.written_version(0) == ""


def test_the_real_runtime(fetched_cache: fetch.Added, no_gpu: None) -> None:
    try:
        agent.library()
    except CannotRun as error:
        pytest.skip(str(error))
    target = pick()
    assert target.source == "cache"
    assert target.agent == "software"
    assert target.devices == 2
    assert target.version == find.find().candidates[0].version
    assert "software" in target.device_name
    if agent.kernel_cache(agent.compiler_of(target.runtime)) is not None:
        assert Path(target.environment["XDIAG_COMGR_REAL"]).is_file()
