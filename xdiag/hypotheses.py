"""The catalogue of hypotheses: what people blame for a 709, as data.

What each one expects of a pattern stands with the pattern (``Pattern.predicts``); what it says and
what to do about it stands with the cause (``xdiag.causes``).
"""

from __future__ import annotations

from xdiag import causes
from xdiag.model import Hypothesis


def _of(id: str, *repaired_by: str, repaired_as_one: bool = False) -> Hypothesis:
    """The hypothesis that a cause of the knowledge base is the cause."""
    cause = causes.get(id)
    return Hypothesis(id, cause.statement, repaired_by, cause.remedy, repaired_as_one)


HYPOTHESES: tuple[Hypothesis, ...] = (
    _of("thread-bound", "create-in-worker"),
    _of("context-bound", "primary-context-retain", "set-current-context", "lazy-context"),
    _of("python-threads", "native-thread"),
    _of("unshareable", "create-in-worker"),
    _of(
        "two-runtimes",
        "bind-loaded-runtime",
        "unify",
        "preload",
        "path-order",
        repaired_as_one=True,
    ),
    _of("destroyed-stream", "recreate-stream"),
    _of("device-reset", "recreate-stream"),
    _of("truncated-handle", "full-width-handle"),
    _of("fork"),
)
