"""What the doctor says of whole scenes, unpacked as images: split, whole, and in between."""

from __future__ import annotations

import os
import shutil

import pytest
from runtimes.conftest import compile_library

from doctor.scenes import CURRENT_BINDING, OLD_BINDING, SITE, Image
from xdiag.doctor import examination, forecast
from xdiag.doctor.catalogue import CHECKS
from xdiag.doctor.patient import Patient
from xdiag.findings import Finding, Status


def _findings(patient: Patient) -> dict[str, Finding]:
    found = {each.check: each for each in examination.findings(patient, CHECKS, CHECKS)}
    assert not [each for each in found.values() if each.status is Status.ERR]
    return found


def _text(finding: Finding) -> str:
    return "\n".join([finding.summary, *finding.evidence, *finding.remedy])


def test_torch_with_its_own_runtime_beside_xscheds_rocm_is_a_split(image: Image) -> None:
    image.torch()
    image.runtime("opt/rocm/lib/libamdhip64.so.6", marker="rocm")
    (image.folder / "opt/rocm/lib/libamdhip64.so").symlink_to("libamdhip64.so.6")
    image.xsched()
    patient = image.patient(LD_LIBRARY_PATH="/opt/xsched/lib")
    found = _findings(patient)
    told = found["forecast.agreement"]
    assert told.status is Status.FAIL
    text = _text(told)
    assert f"/{SITE}/torch/lib/libamdhip64.so.6" in text
    assert "/opt/rocm/lib/libamdhip64.so" in text
    assert "for torch: libtorch_hip.so asks for libamdhip64.so.6" in text
    assert "for XSched: libhalhip.so asks for /opt/rocm/lib/libamdhip64.so" in text
    assert "RPATH" in text
    # The remedy was tried on the forecast.
    remedy = f"ENV XSCHED_HIP_LIB=/{SITE}/torch/lib/libamdhip64.so.6"
    assert any(each.startswith(remedy) and "1 HIP runtime)" in each for each in told.remedy)
    assert examination.exit_code(found.values()) == 1

    mended = image.patient(
        LD_LIBRARY_PATH="/opt/xsched/lib",
        XSCHED_HIP_LIB=f"/{SITE}/torch/lib/libamdhip64.so.6",
    )
    found = _findings(mended)
    assert found["forecast.agreement"].status is Status.PASS
    assert examination.exit_code(found.values()) == 0


@pytest.mark.parametrize("way", ["symlink", "hardlink", "copy"])
def test_what_makes_two_names_one_runtime(image: Image, way: str) -> None:
    runtime = image.torch()
    rocm = image.folder / "opt/rocm/lib"
    rocm.mkdir(parents=True)
    other = rocm / "libamdhip64.so"
    if way == "symlink":
        other.symlink_to(f"/{runtime.relative_to(image.folder)}")
    elif way == "hardlink":
        os.link(runtime, other)
    else:
        shutil.copy(runtime, other)
    image.xsched()
    found = _findings(image.patient(LD_LIBRARY_PATH="/opt/xsched/lib"))
    split = way == "copy"
    assert found["forecast.agreement"].status is (Status.FAIL if split else Status.PASS)
    assert found["runtimes.same-bytes"].status is (Status.WARN if split else Status.PASS)
    assert found["runtimes.copies"].status is (Status.WARN if split else Status.PASS)


def test_an_unversioned_name_never_matches_a_versioned_soname(image: Image) -> None:
    """The wheels of torch that bundle libamdhip64.so under that SONAME, and a package's .so.6."""
    image.torch(bundled="libamdhip64.so")
    image.runtime("usr/lib64/libamdhip64.so.6", marker="system")
    image.write(f"{SITE}/opener/__init__.py",
                'import ctypes\nhip = ctypes.CDLL("libamdhip64.so.6")\n')  # fmt: skip
    told = _findings(image.patient(LD_LIBRARY_PATH="/usr/lib64"))["forecast.agreement"]
    assert told.status is Status.WARN
    assert "/usr/lib64/libamdhip64.so.6" in _text(told)
    assert "for the package opener" in _text(told)


def test_the_loaded_soname_is_found_again_by_a_bare_name(image: Image) -> None:
    image.torch()
    image.runtime("usr/lib64/libamdhip64.so.6", marker="system")
    image.write(f"{SITE}/opener/__init__.py",
                'import ctypes\nhip = ctypes.CDLL("libamdhip64.so.6")\n')  # fmt: skip
    found = _findings(image.patient(LD_LIBRARY_PATH="/usr/lib64"))
    assert found["forecast.agreement"].status is Status.PASS
    assert "already loaded" in _text(found["forecast.others"])
    assert found["environment.library-path"].status is Status.WARN


def test_the_old_binding_cuts_handles_and_says_so(image: Image) -> None:
    image.torch()
    image.xsched()
    shutil.rmtree(image.site / "xsched")
    image.write(f"{SITE}/xsched_hip.py", OLD_BINDING)
    image.library("opt/xsched/lib/libshimhip.so")
    told = _findings(image.patient(LD_LIBRARY_PATH="/opt/xsched/lib"))["xsched.binding"]
    assert told.status is Status.FAIL
    assert f"/{SITE}/xsched_hip.py" in _text(told)
    assert "no argtypes" in _text(told)
    assert "c_void_p" in _text(told)
    # Beside the current one it is a risk: which is imported is the program's business.
    image.write(f"{SITE}/xsched/hip/__init__.py", CURRENT_BINDING)
    told = _findings(image.patient(LD_LIBRARY_PATH="/opt/xsched/lib"))["xsched.binding"]
    assert told.status is Status.WARN
    assert "passes it whole" in told.summary


def test_rocm_wheels_core_and_devel(image: Image) -> None:
    """Two of AMD's wheels with a runtime each: torch preloads core's, a bare name finds devel's."""
    image.torch(bundled="libunrelated.so")
    image.write(
        f"{SITE}/torch/_rocm_init.py",
        "def initialize():\n    import rocm_sdk\n"
        "    rocm_sdk.initialize_process(preload_shortnames=['amdhip64'],"
        " check_version='7.1.0')\n",
    )
    for part in ("core", "devel"):
        image.runtime(f"{SITE}/_rocm_sdk_{part}/lib/libamdhip64.so.7", "libamdhip64.so.7", part)
        image.write(f"{SITE}/rocm_sdk_{part}-7.1.0.dist-info/METADATA", "")
    image.write(f"{SITE}/opener.py", 'import ctypes\nctypes.CDLL("libamdhip64.so")\n')
    devel = image.site / "_rocm_sdk_devel/lib"
    (devel / "libamdhip64.so").symlink_to("libamdhip64.so.7")
    found = _findings(image.patient(LD_LIBRARY_PATH=f"/{SITE}/_rocm_sdk_devel/lib"))
    assert found["python.rocm-wheels"].status is Status.WARN
    told = found["forecast.agreement"]
    assert told.status is Status.WARN
    assert "_rocm_sdk_core/lib/libamdhip64.so.7" in _text(told)
    assert "_rocm_sdk_devel/lib/libamdhip64.so" in _text(told)


@pytest.mark.parametrize(
    ("version", "says"),
    [("cuda = '12.4'\nhip = None\n", "built for CUDA"), ("hip = None\n", "built for the CPU"),
     ("hip = (", "damaged")],
)  # fmt: skip
def test_a_torch_that_makes_no_hip_streams(image: Image, version: str, says: str) -> None:
    image.torch()
    image.write(f"{SITE}/torch/version.py", version)
    told = _findings(image.patient())["python.torch"]
    assert told.status is Status.WARN
    assert says in told.summary


def test_broken_links_and_damaged_files_are_told(image: Image) -> None:
    image.torch()
    rocm = image.folder / "opt/rocm/lib"
    rocm.mkdir(parents=True)
    (rocm / "libamdhip64.so").symlink_to("libamdhip64.so.6")
    (rocm / "libamdhip64.so.5").write_bytes(b"\x7fELF\x02\x01\x01")
    (rocm / "libamdhip64.so.7").write_text("GROUP ( libamdhip64.so.6 )")
    told = _findings(image.patient())["runtimes.usable"]
    assert told.status is Status.WARN
    assert "leads nowhere" in _text(told)
    assert "damaged" in _text(told)
    assert "not an ELF file" in _text(told)


def test_a_missing_library_is_told_with_who_needs_it(image: Image) -> None:
    image.torch()
    (image.site / "torch/lib/libtorch_hip.so").unlink()
    found = _findings(image.patient())
    assert found["forecast.torch"].status is Status.WARN
    assert "libtorch_hip.so" in _text(found["forecast.torch"])


def test_an_xsched_for_another_platform_is_none_for_hip(image: Image) -> None:
    image.library("opt/xsched/lib/libpreempt.so")
    image.library("opt/xsched/lib/libhalcuda.so")
    found = _findings(image.patient())
    told = found["xsched.libraries"]
    assert told.status is Status.WARN and "no libhalhip.so" in told.summary
    assert "/opt/xsched/lib: libpreempt.so, libhalcuda.so" in _text(told)
    # It opens no HIP runtime, so that there is none to be missed.
    assert found["xsched.runtime"].status is Status.SKIP
    image.library("opt/xsched/lib/libhalhip.so")
    assert _findings(image.patient())["xsched.libraries"].status is Status.PASS


@pytest.mark.parametrize("newer", ["libhalhip.so", "libpreempt.so"])
def test_libraries_of_two_versions_of_xsched_are_one_fault(image: Image, newer: str) -> None:
    for name in ("libhalhip.so", "libpreempt.so"):
        line = "[XSCHED %s @ T" if name == newer else "[%s @ T"
        source = f'const char *line(void) {{ return "{line} %d] text"; }}'
        compile_library(image.folder / "opt/xsched/lib" / name, source)
    told = _findings(image.patient())["xsched.libraries"]
    assert told.status is Status.FAIL and told.summary.endswith("are of two versions")
    assert f"{newer} of 1.2.0 or later" in _text(told)


def test_an_xsched_root_that_leads_nowhere_is_told(image: Image) -> None:
    image.xsched()
    told = _findings(image.patient(XSCHED_ROOT="/nowhere"))["xsched.libraries"]
    assert told.status is Status.WARN and "XSCHED_ROOT=/nowhere" in told.evidence
    told = _findings(image.patient(XSCHED_ROOT="/opt/xsched"))["xsched.libraries"]
    assert told.status is Status.PASS


@pytest.mark.parametrize("prefix", ["srv/xs/lib", "srv/xs"])
def test_an_xsched_root_may_have_the_libraries_directly(image: Image, prefix: str) -> None:
    image.library(f"{prefix}/libpreempt.so")
    image.library(f"{prefix}/libhalhip.so")
    told = _findings(image.patient(XSCHED_ROOT=f"/{prefix}"))["xsched.libraries"]
    assert told.status is Status.PASS
    assert told.evidence == (f"/{prefix}: libhalhip.so, libpreempt.so",)


def test_a_mixed_pair_directly_in_the_root_is_the_same_fault(image: Image) -> None:
    for name, line in (("libhalhip.so", "[XSCHED %s @ T"), ("libpreempt.so", "[%s @ T")):
        source = f'const char *line(void) {{ return "{line} %d] text"; }}'
        compile_library(image.folder / "srv/xs" / name, source)
    told = _findings(image.patient(XSCHED_ROOT="/srv/xs"))["xsched.libraries"]
    assert told.status is Status.FAIL and told.summary.endswith("are of two versions")


def test_a_root_without_any_of_its_libraries_is_told(image: Image) -> None:
    image.write("srv/xs/lib/other.so", "")
    told = _findings(image.patient(XSCHED_ROOT="/srv/xs"))["xsched.libraries"]
    assert told.status is Status.WARN
    assert "none of its libraries is in /srv/xs/lib or /srv/xs" in told.evidence


def test_a_hal_without_the_library_that_it_needs_is_a_fault(image: Image) -> None:
    image.library("srv/xs/lib/libhalhip.so")
    told = _findings(image.patient(XSCHED_ROOT="/srv/xs"))["xsched.libraries"]
    assert told.status is Status.FAIL
    assert "needs libpreempt.so, which is not to be found" in told.summary
    image.library("elsewhere/libpreempt.so")
    told = _findings(image.patient(XSCHED_ROOT="/srv/xs", LD_LIBRARY_PATH="/elsewhere"))
    assert told["xsched.libraries"].status is Status.WARN
    assert "; /elsewhere has one, which may be of another" in _text(told["xsched.libraries"])


@pytest.mark.parametrize("name", ["libpreempt.so", "libshimhip.so"])
def test_an_installation_without_its_hal_is_not_whole(image: Image, name: str) -> None:
    image.library(f"opt/xsched/lib/{name}")
    told = _findings(image.patient())["xsched.libraries"]
    assert told.status is Status.WARN and "there is no libhalhip.so" in told.summary


def test_an_image_without_anything(image: Image) -> None:
    found = _findings(image.patient())
    assert found["runtimes.found"].status is Status.WARN
    assert found["forecast.agreement"].status is Status.PASS
    assert examination.exit_code(found.values()) == 0


@pytest.mark.parametrize(
    ("folder", "is_one"), [("build", False), ("dist", False), ("tests", False), ("opener", True)]
)
def test_what_lies_beside_a_projects_packages_is_no_package(
    image: Image, folder: str, is_one: bool
) -> None:
    image.runtime("usr/lib64/libamdhip64.so.6")
    image.write(f"{SITE}/{folder}/lib/opener.py", 'ctypes.CDLL("libamdhip64.so.6")\n')
    told = forecast.forecast(image.patient(LD_LIBRARY_PATH="/usr/lib64"))
    assert bool(told.party(f"the package {folder}")) is is_one
