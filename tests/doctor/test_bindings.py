"""Two bindings of XSched: which of them an import gets, and what that means for the program."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from doctor.scenes import CURRENT_BINDING, OLD_BINDING, SITE, Image
from xdiag.discover import xsched
from xdiag.discover.root import Root
from xdiag.doctor import bindings, examination, forecast
from xdiag.doctor.bindings import CURRENT, OLD, Import
from xdiag.doctor.catalogue import CHECKS
from xdiag.doctor.patient import Patient
from xdiag.findings import Finding, Status

#: What a directory of Python's path may have under the name xsched.
PACKAGES: dict[str, dict[str, str]] = {
    "nothing": {},
    "a module": {"xsched.py": ""},
    "the package": {"xsched/__init__.py": "", "xsched/hip/__init__.py": CURRENT_BINDING},
    "a package without hip": {"xsched/__init__.py": ""},
    "a directory": {"xsched/hip/__init__.py": CURRENT_BINDING},
    "a package beside a module": {
        "xsched.py": "", "xsched/__init__.py": "", "xsched/hip/__init__.py": CURRENT_BINDING,
    },
    "a directory beside a module": {"xsched.py": "", "xsched/hip/__init__.py": CURRENT_BINDING},
}  # fmt: skip
#: What Python itself finds, with each pair of directories on its path; a list of paths or nulls.
ASK = """
import importlib.util, json, sys
def found(name):
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return spec.origin if spec else None
told = []
usual = list(sys.path)
for pair in json.load(sys.stdin):
    sys.path[:] = [*pair, *usual]
    for name in [each for each in sys.modules if each.partition(".")[0] == "xsched"]:
        del sys.modules[name]
    told.append([found("xsched.hip"), found("xsched_hip")])
json.dump(told, sys.stdout)
"""


def _write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    folder.mkdir(exist_ok=True)
    return str(folder)


def test_an_import_gets_what_python_says(tmp_path: Path) -> None:
    folders = [
        _write(tmp_path / str(number), {**PACKAGES[name], **old})
        for number, (name, old) in enumerate(
            itertools.product(PACKAGES, ({}, {"xsched_hip.py": OLD_BINDING}))
        )
    ]
    pairs = [*itertools.permutations(folders, 2)]
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(pairs), capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    hidden = 0
    for pair, (current, old) in zip(pairs, json.loads(done.stdout), strict=True):
        found = {each.kind: each for each in xsched.bindings(pair, Root())}
        told = {kind: each.path for kind, each in found.items() if not each.hidden_by}
        expected = {"current": current, "old": old}
        assert told == {kind: path for kind, path in expected.items() if path}, pair
        hidden += any(each.hidden_by for each in found.values())
    assert hidden > 20, "the case is not the case"


@pytest.fixture
def both(image: Image) -> Image:
    """XSched with its current binding, and the old one besides."""
    image.xsched()
    image.library("opt/xsched/lib/libshimhip.so")
    image.write(f"{SITE}/xsched_hip.py", OLD_BINDING)
    return image


def _patient(image: Image, source: str | None = None, **environ: str) -> Patient:
    patient = image.patient(LD_LIBRARY_PATH="/opt/xsched/lib", **environ)
    if source is not None:
        image.write("srv/serve.py", source)
        patient.script = "/srv/serve.py"
    return patient


def _finding(patient: Patient) -> Finding:
    (found,) = (
        each
        for each in examination.findings(patient, CHECKS, CHECKS)
        if each.check == "xsched.binding"
    )
    return found


NEW_IMPORTS = ["from xsched.hip import XSchedHip", "import xsched.hip as h",
               "from xsched import hip"]  # fmt: skip
OLD_IMPORTS = ["from xsched_hip import *", "import os, xsched_hip",
               "import importlib\nimportlib.import_module('xsched_hip')"]  # fmt: skip


@pytest.mark.parametrize("source", OLD_IMPORTS)
def test_a_program_that_imports_the_old_one_fails_though_the_new_one_is_here(
    both: Image, source: str
) -> None:
    told = _finding(_patient(both, f"\n{source}\n"))
    assert told.status is Status.FAIL
    assert told.summary.startswith("the program imports xsched_hip, which passes")
    line = source.count("\n") + 2
    assert f"/srv/serve.py, line {line}, imports xsched_hip" in told.evidence
    old = f"import xsched_hip gets /{SITE}/xsched_hip.py (old binding)"
    new = f"import xsched.hip gets /{SITE}/xsched/hip/__init__.py (current binding)"
    assert any(
        each.startswith(old) and each.endswith("cuts a handle to 32 bits") for each in told.evidence
    )
    assert any(
        each.startswith(new) and each.endswith("passes a handle whole") for each in told.evidence
    )
    assert told.remedy[0] == "import xsched.hip in the place of xsched_hip"


@pytest.mark.parametrize("source", NEW_IMPORTS)
def test_a_program_that_imports_the_new_one_is_warned_of_the_old(both: Image, source: str) -> None:
    told = _finding(_patient(both, source))
    assert told.status is Status.WARN
    assert told.summary.endswith("no file of the program's own imports it")
    assert "/srv/serve.py, line 1, imports xsched.hip" in told.evidence


def test_a_program_that_imports_both_is_warned(both: Image) -> None:
    told = _finding(_patient(both, f"{NEW_IMPORTS[0]}\n{OLD_IMPORTS[0]}\n"))
    assert told.status is Status.WARN and "the program imports both" in told.summary


def test_without_a_program_what_is_imported_decides(both: Image) -> None:
    told = _finding(_patient(both))
    assert told.status is Status.WARN
    assert told.summary == (
        "xsched_hip passes a stream's handle cut to 32 bits, and xsched.hip passes it whole: what"
        " is imported decides"
    )


def test_the_old_one_alone_is_a_fault_where_it_may_be_imported(both: Image) -> None:
    (both.site / "xsched/hip/__init__.py").unlink()
    assert _finding(_patient(both)).status is Status.FAIL
    assert _finding(_patient(both, OLD_IMPORTS[0])).status is Status.FAIL
    told = _finding(_patient(both, "import torch"))
    assert told.status is Status.WARN
    assert "or use the binding of June 2026 or later (xsched.hip)" in told.remedy


def test_the_old_ones_module_xsched_hides_the_new_one(both: Image) -> None:
    """Old files in front: `import xsched.hip` finds nothing, though it is installed."""
    both.write("old/xsched.py", "")
    both.write("old/xsched_hip.py", OLD_BINDING)
    patient = _patient(both, NEW_IMPORTS[0], PYTHONPATH="/old")
    told = _finding(patient)
    assert told.status is Status.WARN
    assert (
        told.summary == "the program imports xsched.hip, and no module of that name would be found"
    )
    hides = "import xsched.hip finds no module: xsched is /old/xsched.py, which comes before"
    assert any(each.startswith(hides) for each in told.evidence)
    assert told.remedy[0].startswith("remove /old/xsched.py, or")
    # Where the program then falls back to the old one, that is what it gets.
    fallback = "try:\n    import xsched.hip\nexcept ImportError:\n    import xsched_hip\n"
    assert _finding(_patient(both, fallback, PYTHONPATH="/old")).status is Status.FAIL
    # What is not imported opens nothing.
    (party,) = (each for each in forecast.forecast(patient).parties if each.name == "XSched")
    assert not [each for each in party.problems if "libhalhip" in each]


def test_a_module_that_is_not_here_is_named(image: Image) -> None:
    image.xsched()
    told = _finding(_patient(image, OLD_IMPORTS[0]))
    assert told.status is Status.WARN
    assert (
        told.summary == "the program imports xsched_hip, and no module of that name would be found"
    )
    assert told.remedy == ("put its directory on PYTHONPATH", "or import xsched.hip, which is here")


def test_modules_beside_the_script_are_followed_and_no_others(both: Image) -> None:
    both.write("srv/other.py", "import xsched_hip")
    assert bindings.imports(_patient(both, "import os\nimport sys\n")) == ()
    both.write("srv/first/__init__.py", "from . import second\n")
    both.write("srv/first/second.py", "from ..third import work\nfrom .fourth import x\n")
    both.write("srv/first/fourth.py", "import first\n\nimport xsched_hip\n")
    assert bindings.imports(_patient(both, "import first.second\nimport xsched.hip\n")) == (
        Import(CURRENT, "/srv/serve.py", 2),
        Import(OLD, "/srv/first/fourth.py", 3),
    )
    assert bindings.imports(_patient(both)) is None


@pytest.mark.parametrize("source", ["import (", "\0", "import xsched_hip\n" * 50_000 + "(", ""])
def test_a_script_that_cannot_be_read_imports_nothing(both: Image, source: str) -> None:
    assert bindings.imports(_patient(both, source)) == ()


def test_a_script_with_very_many_imports_is_bounded(both: Image) -> None:
    for number in range(300):
        both.write(f"srv/m{number}.py", f"import m{number + 1}\nimport xsched_hip\n")
    found = bindings.imports(_patient(both, "import m0\n"))
    assert found is not None and len(found) == 64
