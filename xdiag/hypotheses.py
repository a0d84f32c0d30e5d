"""The catalogue of hypotheses: what people blame for a 709, as data.

What each one expects of a pattern stands with the pattern (``Pattern.predicts``); what it says and
what to do about it stands with the cause (``xdiag.causes``).  A platform on which other things are
blamed has hypotheses and expectations of its own, in its module.
"""

from __future__ import annotations

from xdiag import causes, platforms
from xdiag.model import Hypothesis

#: Ids of those that blame threads, for lists of what is expected.
ABOUT_THREADS = "thread-bound python-threads unshareable"


def of_cause(id: str, *repaired_by: str, repaired_as_one: bool = False) -> Hypothesis:
    """The hypothesis that a cause of the knowledge base is the cause."""
    cause = causes.get(id)
    return Hypothesis(id, cause.statement, repaired_by, cause.remedy, repaired_as_one)


HYPOTHESES: tuple[Hypothesis, ...] = (
    of_cause("thread-bound", "create-in-worker"),
    of_cause("context-bound", "primary-context-retain", "set-current-context", "lazy-context"),
    of_cause("python-threads", "native-thread"),
    of_cause("unshareable", "create-in-worker"),
    of_cause(
        "two-runtimes",
        "bind-loaded-runtime",
        "unify",
        "preload",
        "path-order",
        repaired_as_one=True,
    ),
    of_cause("destroyed-stream", "recreate-stream"),
    of_cause("device-reset", "recreate-stream"),
    of_cause("truncated-handle", "full-width-handle"),
    of_cause("fork"),
)


def of(platform: str) -> tuple[Hypothesis, ...]:
    """The hypotheses that are weighed on a platform."""
    own = platforms.get(platform).hypotheses
    return HYPOTHESES if own is None else own


def every() -> tuple[Hypothesis, ...]:
    """Those of all platforms; one that several have, once."""
    found = {each.id: each for name in platforms.names() for each in of(name)}
    return tuple(found.values())
