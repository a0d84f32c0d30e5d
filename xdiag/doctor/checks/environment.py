"""Checks of variables that move a program to another library than it would open by itself."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from xdiag.discover import xsched
from xdiag.discover.names import family_of
from xdiag.doctor.check import Check
from xdiag.findings import passed, warned

if TYPE_CHECKING:
    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding

#: Variables by which one package is told where its runtime is, or where to look.
_POINTERS = ("TRITON_LIBHIP_PATH", "ROCM_PATH", "HIP_PATH", xsched.HIP_LIB, "XSCHED_HIP_COMGR_LIB")
#: What else of the environment reaches XSched and AMD's runtimes; told as it is.
_TOLD = re.compile(r"(XSCHED|HSA|ROCR|HIP|AMD|GPU|ROCM|MIOPEN|PYTORCH_ROCM|XLOG)_[A-Z0-9_]+")


def _library_path(patient: Patient) -> Finding:
    value = patient.environ.get("LD_LIBRARY_PATH", "")
    if not value:
        return passed("LD_LIBRARY_PATH is not set")
    risks, evidence = [], [f"LD_LIBRARY_PATH={value}"]
    for entry in re.split("[:;]", value):
        if not entry.startswith("/"):
            risks.append(f"{entry or 'an empty entry'} is relative to the working directory")
            continue
        if not patient.root.is_dir(entry):
            evidence.append(f"{entry}: no such directory")
            continue
        for name in filter(family_of, patient.root.names(entry)):
            path = os.path.join(entry, name)
            displaced = [
                each for each in patient.loader_cache
                if os.path.basename(each) == name and not _same(path, each, patient)
            ]  # fmt: skip
            goes_before = ["every RUNPATH", *displaced]
            risks.append(f"{path} goes before {' and '.join(goes_before)}")
    if risks:
        return warned(
            "LD_LIBRARY_PATH decides which GPU library a bare name finds",
            *evidence,
            *risks,
            "not reached by it: requests by a library that has an RPATH, as those of a framework's"
            " wheel have, and requests by path",
            remedy=(
                "leave it to the forecast whether that splits the program: forecast.agreement",
            ),
        )
    return passed("LD_LIBRARY_PATH has no GPU library in it", *evidence)


def _preload(patient: Patient) -> Finding:
    value = patient.environ.get("LD_PRELOAD", "")
    entries = [each for each in re.split("[: ]", value) if each]
    if not entries:
        return passed("LD_PRELOAD is not set")
    evidence = [f"LD_PRELOAD={value}"]
    missing = [
        each
        for each in entries
        if "/" in each and not patient.root.exists(_absolute(each, patient))
    ]
    loaded = [each for each in entries if family_of(os.path.basename(each))]
    if missing:
        return warned(
            f"LD_PRELOAD names what is not there: {', '.join(missing)} (the loader warns, and goes"
            " on)",
            *evidence,
            remedy=("correct or unset LD_PRELOAD",),
        )
    if loaded:
        return warned(
            f"LD_PRELOAD loads a GPU library before the program: {', '.join(loaded)}",
            *evidence,
            "it is the first copy then; one that a framework brings under another SONAME or path is"
            " a second",
        )
    return passed("LD_PRELOAD loads no GPU library", *evidence)


def _audit(patient: Patient) -> Finding:
    value = patient.environ.get("LD_AUDIT", "")
    if value:
        return warned(
            "LD_AUDIT is set: an audit library may redirect what is opened",
            f"LD_AUDIT={value}",
            "the forecast does not know what it will say",
            remedy=("run xdiag doctor for the program without it, or inspect it when it runs",),
        )
    return passed("LD_AUDIT is not set")


def _pointers(patient: Patient) -> Finding:
    told = {name: patient.environ[name] for name in _POINTERS if patient.environ.get(name)}
    evidence = [f"{name}={value}" for name, value in told.items()]
    missing = [
        name for name, value in told.items() if not patient.root.exists(_absolute(value, patient))
    ]
    if missing:
        return warned(
            f"{' and '.join(missing)} leads nowhere",
            *evidence,
            remedy=tuple(f"correct or unset {name}" for name in missing),
        )
    if told:
        return passed("variables that point at a runtime or at ROCm lead to what is there",
                      *evidence)  # fmt: skip
    return passed("no variable points a package at a runtime")


def _settings(patient: Patient) -> Finding:
    told = sorted(name for name in patient.environ if _TOLD.fullmatch(name))
    evidence = [f"{name}={patient.environ[name]}" for name in told]
    if told:
        return passed(f"{len(told)} variables of XSched and AMD's runtimes are set", *evidence)
    return passed("no variable of XSched or AMD's runtimes is set")


def _same(one: str, other: str, patient: Patient) -> bool:
    try:
        first, second = patient.root.stat(one), patient.root.stat(other)
    except OSError:
        return False
    return os.path.samestat(first, second)


def _absolute(path: str, patient: Patient) -> str:
    return os.path.join(patient.cwd, path)


CHECKS = (
    Check("environment.library-path", "what LD_LIBRARY_PATH displaces", _library_path,
          severity="risk"),
    Check("environment.preload", "what LD_PRELOAD loads first", _preload, severity="risk"),
    Check("environment.audit", "whether LD_AUDIT is at work", _audit, severity="risk"),
    Check("environment.pointers", "variables that point at a runtime", _pointers,
          severity="risk"),
    Check("environment.settings", "variables that XSched and AMD's runtimes read", _settings),
)  # fmt: skip
