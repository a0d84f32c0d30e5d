"""The software HSA agent: its numbers, its behaviour under load, and a real HIP runtime on it.

What needs AMD's headers or a HIP runtime is skipped, with the reason, where there is none:

    XDIAG_HSA_HEADERS   directory with hsa/hsa.h in it (default: the usual include path)
    XDIAG_TEST_RUNTIME  a libamdhip64 file (default: the one that xdiag would use)
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
AGENT = HERE.parents[1] / "cffi_build" / "agent"
CC = shutil.which("cc") or shutil.which("gcc")

WARNINGS = ["-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
SANITIZERS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}

pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")


def compile_c(output, *arguments):
    command = [CC, *WARNINGS, *map(str, arguments), "-o", str(output), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


def clean_environment(**extra):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDIAG_AGENT_", "LD_"))}
    return {**kept, **extra}


@pytest.fixture(scope="session")
def agent_library(tmp_path_factory):
    """The agent, built as the package builds it, under the name a runtime looks for."""
    output = tmp_path_factory.mktemp("agent") / "libhsa-runtime64.so.1"
    return compile_c(
        output,
        "-O2",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        f"-Wl,--version-script={AGENT / 'exports.map'}",
        "-Wl,-soname,libhsa-runtime64.so.1",
        *sorted(AGENT.glob("*.c")),
    )


@pytest.fixture(scope="session")
def hip_smoke(tmp_path_factory, agent_library, runtime):
    """Runs hip_smoke.c on the runtime over the agent; returns the finished process."""
    program = compile_c(tmp_path_factory.mktemp("smoke") / "hip_smoke", "-O1", HERE / "hip_smoke.c")
    libraries = f"{agent_library.parent}:{runtime.parent}"

    def run(*arguments, **knobs):
        return subprocess.run(
            [program, runtime, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=clean_environment(LD_LIBRARY_PATH=libraries, **knobs),
        )

    return run


# ---------------------------------------------------------------------------------- the agent alone


def find_headers():
    for directory in (os.environ.get("XDIAG_HSA_HEADERS"), "/usr/include", "/opt/rocm/include"):
        if directory and (Path(directory) / "hsa" / "hsa_ext_amd.h").is_file():
            return Path(directory)
    return None


def test_numbers_and_layouts_are_those_of_the_public_headers():
    headers = find_headers()
    if headers is None:
        pytest.skip("no hsa/hsa_ext_amd.h: set XDIAG_HSA_HEADERS")
    newer = "HSA_AMD_AGENT_INFO_MEMORY_PROPERTIES" in (headers / "hsa/hsa_ext_amd.h").read_text()
    compile_c(
        os.devnull,
        "-fsyntax-only",
        f"-I{headers}",
        f"-I{AGENT}",
        *(["-DXDIAG_NEWER_HEADERS"] if newer else []),
        HERE / "abi_check.c",
    )


def test_every_export_is_under_the_version_node(agent_library):
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", agent_library], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines() if " A " not in line]
    assert len(names) >= 95
    assert all(re.fullmatch(r"(hsa_\w+|xdiag_agent_version)@@ROCR_1", name) for name in names)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_hammer(tmp_path, sanitizer):
    flags = SANITIZERS[sanitizer]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    built = subprocess.run([CC, *flags, probe, "-o", tmp_path / "probe"], capture_output=True)
    if built.returncode or subprocess.run([tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip(f"this compiler has no {sanitizer} sanitizer")
    program = compile_c(
        tmp_path / "hammer",
        "-O1",
        *flags,
        f"-I{AGENT}",
        HERE / "hammer.c",
        *sorted(AGENT.glob("*.c")),
    )
    done = subprocess.run(
        [program], capture_output=True, text=True, timeout=300, env=clean_environment()
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------------- a real runtime on the agent


@pytest.mark.parametrize("check", ["all", "namespace", "fork", "close"])
def test_real_runtime(hip_smoke, check):
    done = hip_smoke(check, XDIAG_AGENT_DEVICES="2")
    assert (done.returncode, done.stderr) == (0, "")


def test_two_copies_of_the_runtime_do_not_know_each_others_streams(hip_smoke, runtime, tmp_path):
    if not runtime.resolve().name.startswith(("libamdhip64.so.5", "libamdhip64.so.6")):
        pytest.skip("7.2.4 takes a foreign handle without looking")
    copy = shutil.copy(runtime, tmp_path / "libamdhip64_copy.so")
    done = hip_smoke("twice", copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "foreign stream: 709\n"


def count(done):
    return done.stdout.strip()


@pytest.mark.parametrize("devices", ["1", "3", "8"])
def test_devices(hip_smoke, devices):
    done = hip_smoke("count", XDIAG_AGENT_DEVICES=devices)
    assert count(done) == f"init 0 count 0 devices {devices}"


@pytest.mark.parametrize("isa", ["gfx900:xnack-", "gfx906:sramecc+:xnack-", "gfx1030"])
def test_isa(hip_smoke, isa):
    done = hip_smoke("count", XDIAG_AGENT_ISA=f"amdgcn-amd-amdhsa--{isa}")
    assert count(done) == "init 0 count 0 devices 1"


NAME, DEVICE = "0", "0x11"


@pytest.mark.parametrize("attribute", [NAME, DEVICE])
def test_a_failing_attribute_leaves_no_device(hip_smoke, attribute):
    done = hip_smoke("count", XDIAG_AGENT_FAIL_ATTRIBUTE=attribute)
    assert done.returncode == 0
    assert done.stdout.endswith("count 100 devices 0\n")


def test_a_slow_dispatch_is_not_ready(hip_smoke):
    assert hip_smoke("query", XDIAG_AGENT_DISPATCH_US="300000").stdout == "query 600 then 0\n"


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("XDIAG_AGENT_DEVICES", "0"),
        ("XDIAG_AGENT_DEVICES", "9"),
        ("XDIAG_AGENT_DEVICES", "two"),
        ("XDIAG_AGENT_DISPATCH_US", "-1"),
        ("XDIAG_AGENT_MEMORY_MB", "1e6"),
        ("XDIAG_AGENT_ISA", "gfx90a"),
        ("XDIAG_AGENT_FAIL_ATTRIBUTE", "NAME"),
    ],
)
def test_a_bad_knob_is_one_clear_line(hip_smoke, knob, value):
    done = hip_smoke("count", **{knob: value})
    assert count(done) == "init 101 count 100 devices 0"
    assert re.fullmatch(f"xdiag software agent: {knob}={value}: expected .+\n", done.stderr)
