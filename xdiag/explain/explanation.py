"""``explain``: sources in, an ``Explanation`` out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import __version__
from xdiag.errors import CannotRun
from xdiag.explain import documents, history
from xdiag.explain.evidence import Evidence
from xdiag.explain.facts import Explanation, Source
from xdiag.explain.reading import Reader
from xdiag.explain.stream import Stream
from xdiag.explain.weigh import weigh
from xdiag.model import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable


def explain(paths: Iterable[str], handle: int | None = None) -> Explanation:
    """What sources say together: logs, maps, traces, documents of xdiag's; ``-`` is standard input.

    They are read in the order given, one after the other, each once.  With ``handle``, every line
    with it is told too.  Raises CannotRun for a source that cannot be read, or a record of xdiag's
    among them: what that says, ``xdiag.recording`` tells.
    """
    evidence = Evidence()
    teller = history.Teller(handle) if handle is not None else None
    sources = []
    for path in paths:
        with Stream(path) as stream:
            if documents.take(stream, evidence):
                formats = dict(evidence.formats)
                evidence.formats.clear()
            else:
                reader = Reader(stream, evidence, teller)
                reader.read()
                formats = reader.formats
            if stream.problem and not stream.bytes:
                raise CannotRun(f"{stream.name}: {stream.problem}")
            sources.append(
                Source(
                    path=stream.name,
                    bytes=stream.bytes,
                    lines=stream.lines,
                    formats=tuple(formats),
                    compressed=stream.compressed,
                    problem=stream.problem,
                )
            )
    weighed = weigh(evidence)
    return Explanation(
        schema_version=SCHEMA_VERSION,
        xdiag=__version__,
        sources=tuple(sources),
        fault=weighed.fault,
        failures=weighed.failures,
        causes=weighed.causes,
        not_excluded=weighed.not_excluded,
        loaded=weighed.loaded,
        notes=weighed.notes,
        handle=handle,
        history=tuple(teller.steps) if teller is not None else (),
        more=teller.more if teller is not None else 0,
    )
