"""The catalogue of hypotheses: what people blame for a 709, as data.

What each one expects of a pattern stands with the pattern (``Pattern.predicts``).
"""

from __future__ import annotations

from xdiag.model import Hypothesis

HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(
        id="thread-bound",
        statement="a stream belongs to the thread that made it",
        repaired_by=("create-in-worker",),
        remedy="make the stream in the thread that uses it",
    ),
    Hypothesis(
        id="context-bound",
        statement="a stream needs the context that was current when it was made",
        repaired_by=("primary-context-retain", "set-current-context", "lazy-context"),
        remedy="make the creator's context current before the stream is used",
    ),
    Hypothesis(
        id="python-threads",
        statement="Python threads or the GIL get in the way",
        repaired_by=("native-thread",),
        remedy="use the stream from a native thread",
    ),
    Hypothesis(
        id="unshareable",
        statement="the runtime cannot share one stream between threads",
        repaired_by=("create-in-worker",),
        remedy="give each thread a stream of its own",
    ),
    Hypothesis(
        id="two-runtimes",
        statement="the stream was made by another loaded copy of the library",
        repaired_by=("bind-loaded-runtime", "unify", "preload", "path-order"),
        remedy="make every party open the copy that is already loaded"
        " (for XSched: XSCHED_HIP_LIB=<that file>; for any program: xdiag run)",
        repaired_as_one=True,
    ),
    Hypothesis(
        id="destroyed-stream",
        statement="the stream was destroyed before it was used",
        repaired_by=("recreate-stream",),
        remedy="keep the stream's owner alive as long as the handle is used",
    ),
    Hypothesis(
        id="device-reset",
        statement="the device was reset after the stream was made",
        repaired_by=("recreate-stream",),
        remedy="make streams after the last reset",
    ),
    Hypothesis(
        id="truncated-handle",
        statement="the handle lost its upper 32 bits on the way",
        repaired_by=("full-width-handle",),
        remedy="declare the binding's argument types (ctypes: argtypes, or pass c_void_p)",
    ),
    Hypothesis(
        id="fork",
        statement="the stream is used in a child forked after the runtime was initialised",
        remedy="start workers with spawn, or initialise the runtime in the child only",
    ),
)
