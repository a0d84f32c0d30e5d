"""The catalogue of repairs, the least intrusive first.  To add one, add an entry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.discover.names import HIP
from xdiag.discover.xsched import HIP_LIB
from xdiag.doctor import forecast as telling
from xdiag.errors import CannotRun
from xdiag.launch import audit_library
from xdiag.launch.reach import audit_variable
from xdiag.model import NotApplicable
from xdiag.repair import full_width_handle
from xdiag.repair.repair import Change, Repair

if TYPE_CHECKING:
    from xdiag.repair.repair import Situation

#: The variable by which Triton is told the runtime (triton: third_party/amd/backend/driver.py).
TRITON_LIB = "TRITON_LIBHIP_PATH"

_ONE_COPY = NotApplicable(reason="no second runtime is foretold")
_NO_COPY = NotApplicable(reason="which runtime to keep is not known before the program has started")


def _xsched_hip_lib(situation: Situation) -> Change | NotApplicable:
    if not situation.patient.xsched.present:
        return NotApplicable(reason="XSched is not here")
    if not situation.keep:
        return _NO_COPY
    if not situation.opens_another(telling.XSCHED):
        return NotApplicable(reason="XSched opens no other copy than the one to keep")
    return Change(set={HIP_LIB: situation.keep})


def _triton_libhip(situation: Situation) -> Change | NotApplicable:
    if not situation.opens_another("triton"):
        return NotApplicable(reason="no Triton that opens another copy is here")
    return Change(set={TRITON_LIB: situation.keep})


def _path_order(situation: Situation) -> Change | NotApplicable:
    if len(situation.copies) < 2:
        return _ONE_COPY
    return Change(in_front={"LD_LIBRARY_PATH": os.path.dirname(situation.keep)})


def _preload(situation: Situation) -> Change | NotApplicable:
    if len(situation.copies) < 2:
        return _ONE_COPY
    return Change(in_front={"LD_PRELOAD": situation.keep})


def _unify(situation: Situation) -> Change | NotApplicable:
    reach = situation.reach
    if not reach.works:
        return NotApplicable(reason=reach.because)
    sonames = {opening.soname for opening in situation.copies}
    if len(sonames) > 1:
        return NotApplicable(
            reason=f"the copies are of different major versions: {', '.join(sorted(sonames))};"
            " a program made for one cannot be given the other"
        )
    try:
        audit = audit_variable(audit_library.path(), "")
    except CannotRun as error:
        return NotApplicable(reason=str(error))
    variables = {**reach.settings, "XDIAG_UNIFY": HIP}
    if situation.frameworks_copy:
        # Whoever asks first gets the copy that the framework will ask for.
        variables["XDIAG_KEEP"] = situation.frameworks_copy
    return Change(set=variables, in_front={"LD_AUDIT": audit})


def _full_width_handle(situation: Situation) -> Change | NotApplicable:
    if situation.old_binding is None:
        return NotApplicable(reason="no binding that cuts handles is imported here")
    if situation.old_binding.argtypes_line:
        return NotApplicable(
            reason=f"{situation.old_binding.path} declares a type itself, which is too narrow:"
            " xdiag fix --patch argtypes changes it"
        )
    obstacles = full_width_handle.obstacles(situation.patient)
    if obstacles:
        return NotApplicable(reason="; ".join(obstacles))
    return Change(in_front={"PYTHONPATH": full_width_handle.hook_folder()})


REPAIRS: tuple[Repair, ...] = (
    Repair(
        id="xsched-hip-lib",
        title="tell XSched which runtime to open",
        cause="two-runtimes",
        needs="XSched, and that the framework's runtime is known beforehand",
        changes=f"sets {HIP_LIB}, which only XSched reads, to the copy that the framework loads",
        risks="none known; the path has to be changed when the framework is updated",
        fix="bind-loaded-runtime",
        change=_xsched_hip_lib,
        reader=telling.XSCHED,
    ),
    Repair(
        id="triton-libhip",
        title="tell Triton which runtime to open",
        cause="two-runtimes",
        needs="Triton, and that the framework's runtime is known beforehand",
        changes=f"sets {TRITON_LIB}, which only Triton reads, to the copy that the framework loads",
        risks="none known; the path has to be changed when the framework is updated",
        fix="bind-loaded-runtime",
        change=_triton_libhip,
        reader="Triton",
    ),
    Repair(
        id="path-order",
        title="put the framework's directory first",
        cause="two-runtimes",
        needs="that the second copy is asked for by a bare name",
        changes="puts the directory of the framework's runtime in front of LD_LIBRARY_PATH",
        risks="every program started below looks there first, for all libraries that lie there;"
        " does nothing against an absolute path or an RPATH",
        fix="path-order",
        change=_path_order,
    ),
    Repair(
        id="preload",
        title="load the framework's runtime first",
        cause="two-runtimes",
        needs="that the second copy is asked for by a name that is the loaded copy's SONAME",
        changes="puts the framework's runtime in front of LD_PRELOAD",
        risks="every program started below loads the runtime, and its symbols come before all"
        " others; does nothing against an absolute path",
        fix="preload",
        change=_preload,
    ),
    Repair(
        id="unify",
        title="have the loader answer with the copy that is loaded",
        cause="two-runtimes",
        needs="glibc's dynamic loader, a program that is neither static nor set-user-id, copies of"
        " one major version",
        changes="sets LD_AUDIT to xdiag's audit library, which answers every request for a second"
        " libamdhip64 with the first, whoever asks and by whatever name",
        risks="a party that was tested with its own copy now runs with another build of it;"
        " RTLD_DEEPBIND has no effect on what is answered so; namespaces (dlmopen) are not reached",
        fix="unify",
        change=_unify,
    ),
    Repair(
        id=full_width_handle.REPAIR,
        title="declare the argument types of XSched's old binding",
        cause="truncated-handle",
        needs="Python, with the module xsched_hip as it was before June 2026",
        changes="puts a directory with an import hook in front of PYTHONPATH; nothing is written"
        " into the installed package",
        risks="programs that ignore PYTHONPATH (python -I, -E) are not reached",
        fix="full-width-handle",
        change=_full_width_handle,
    ),
)
