"""XSched on disk: bindings by their source, installations, the search for the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doctor.scenes import CURRENT_BINDING, OLD_BINDING, Image
from xdiag.discover import xsched
from xdiag.discover.root import Root


def _binding(tmp_path: Path, source: str) -> xsched.Binding:
    path = tmp_path / "binding.py"
    path.write_text(source)
    return xsched.read_binding(str(path), "old", Root())


def test_the_old_binding_declares_no_types(tmp_path: Path) -> None:
    read = _binding(tmp_path, OLD_BINDING)
    assert read.opens == "libshimhip.so"
    assert OLD_BINDING.splitlines()[read.call_line - 1].strip().startswith("return")
    assert (read.argtypes_line, read.full_width) == (0, False)


def test_the_current_binding_passes_64_bits(tmp_path: Path) -> None:
    read = _binding(tmp_path, CURRENT_BINDING)
    assert (read.opens, read.full_width) == ("libhalhip.so", True)
    assert read.argtypes == "[ctypes.POINTER(ctypes.c_uint64), __stream_type]"


@pytest.mark.parametrize(
    ("kind", "wide"),
    [("c_void_p", True), ("c_uint64", True), ("c_size_t", True), ("c_int", False),
     ("c_uint32", False), ("c_int32", False)],
)  # fmt: skip
def test_a_declared_type_can_still_be_too_narrow(tmp_path: Path, kind: str, wide: bool) -> None:
    declared = f"        dll.HipQueueCreate.argtypes = [ctypes.c_void_p, ctypes.{kind}]\n"
    source = f"import ctypes\ndef f(dll, s):\n    if 1:\n{declared}    dll.HipQueueCreate(0, s)\n"
    assert _binding(tmp_path, source).full_width is wide


@pytest.mark.parametrize("source", ["def f(:", "\0", "(" * 5000, ""])
def test_a_binding_that_is_no_python_is_told_so_or_says_nothing(
    tmp_path: Path, source: str
) -> None:
    read = _binding(tmp_path, source)
    assert bool(read.problem) == (source != "")
    assert not read.call_line


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_without_error(tmp_path: Path, source: str) -> None:
    path = tmp_path / "any.py"
    path.write_text(source, errors="surrogatepass")
    assert xsched.read_binding(str(path), "old", Root()).kind == "old"


def test_only_what_python_would_import_is_a_binding(image: Image) -> None:
    image.write("one/xsched_hip.py", OLD_BINDING)
    image.write("two/xsched_hip.py", CURRENT_BINDING)
    image.write("two/xsched/hip/__init__.py", CURRENT_BINDING)
    found = xsched.bindings(("/one", "/two"), Root(image.folder))
    assert [(each.kind, each.path) for each in found] == [
        ("current", "/two/xsched/hip/__init__.py"),
        ("old", "/one/xsched_hip.py"),
    ]


def test_an_installation_and_its_links_are_found(image: Image) -> None:
    image.xsched()
    shim = image.library("opt/xsched/lib/libshimhip.so")
    (shim.parent / "libamdhip64.so").symlink_to(shim.name)
    (shim.parent / "libamdhip64.so.1").symlink_to("elsewhere")
    (found,) = xsched.installations(Root(image.folder), {})
    assert found.libraries == ("libhalhip.so", "libpreempt.so", "libshimhip.so")
    assert found.shim_links == ("/opt/xsched/lib/libamdhip64.so",)
    assert not found.problems


def test_the_search_for_the_runtime_is_xscheds_own(image: Image) -> None:
    root = Root(image.folder)
    assert xsched.chosen_runtime(root, {}).path == ""
    image.runtime("usr/lib/libamdhip64.so")
    assert xsched.chosen_runtime(root, {}).path == "/usr/lib/libamdhip64.so"
    image.runtime("opt/rocm-6.4/lib/libamdhip64.so.6")
    (image.folder / "opt/rocm-6.4/lib/libamdhip64.so").symlink_to("libamdhip64.so.6")
    (image.folder / "opt/rocm").symlink_to("/opt/rocm-6.4")
    assert xsched.chosen_runtime(root, {}).path == "/opt/rocm/lib/libamdhip64.so"
    named = xsched.chosen_runtime(root, {"XSCHED_HIP_LIB": "/usr/lib/libamdhip64.so"})
    assert (named.path, named.ignored) == ("/usr/lib/libamdhip64.so", "")
    wrong = xsched.chosen_runtime(root, {"XSCHED_HIP_LIB": "/usr/lib/libamdhip64.so.9"})
    assert wrong.path == "/opt/rocm/lib/libamdhip64.so"
    assert "is ignored" in wrong.ignored
