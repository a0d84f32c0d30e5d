"""``explain``: sources in, an ``Explanation`` out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import __version__
from xdiag.errors import CannotRun
from xdiag.explain import bundle, documents, history
from xdiag.explain.evidence import Evidence
from xdiag.explain.facts import Explanation, Source
from xdiag.explain.reading import Reader
from xdiag.explain.stream import Stream
from xdiag.explain.weigh import weigh
from xdiag.model import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def explain(
    paths: Iterable[str],
    handle: int | None = None,
    on_record: Callable[[Stream], None] | None = None,
) -> Explanation:
    """What sources say together: logs, maps, traces, documents of xdiag's; ``-`` is standard input.

    They are read in the order given, one after the other, each once; of a report of xdiag's (a zip)
    what was put into it, and what was found.  With ``handle``, every line with it is told too.  A
    record of xdiag's among them is given to ``on_record``, to be read from its windows: what it
    says, ``xdiag.recording`` tells.  Raises CannotRun for a source that cannot be read, or a record
    where nothing takes it.
    """
    evidence = Evidence()
    teller = history.Teller(handle) if handle is not None else None
    sources = []
    for opened in (stream for path in paths for stream in _streams(path)):
        with opened as stream:
            if on_record is not None and documents.is_record(stream.head):
                on_record(stream)
                continue
            if documents.take(stream, evidence):
                formats = dict(evidence.formats)
                evidence.formats.clear()
            else:
                reader = Reader(stream, evidence, teller)
                reader.read()
                formats = reader.formats
                if not formats and stream.looks_binary and not stream.problem:
                    stream.problem = "it is no text, and was not understood"
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


def _streams(path: str) -> Iterator[Stream]:
    if bundle.is_zip(path):
        yield from bundle.streams(path)
    else:
        yield Stream(path)
