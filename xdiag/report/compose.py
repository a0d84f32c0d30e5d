"""Writes down what was gathered: masks the records, renders them, puts them into a bundle.

Records are masked before they are rendered: a renderer folds long lines, and half a name at the end
of a line would not be recognised.  The bundle then masks what was rendered once more.
"""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import __version__
from xdiag.errors import XdiagError
from xdiag.recording.provenance import diagnose
from xdiag.recording.read import read
from xdiag.render import doctor as doctor_text
from xdiag.render import explanation as explanation_text
from xdiag.render import issue_page, render, trace
from xdiag.render import recording as recording_text
from xdiag.render import repairs as repairs_text
from xdiag.render.json_document import record as as_json
from xdiag.render.terminal import printed
from xdiag.report.bundle import PAGE, Bundle
from xdiag.report.logs import renamed
from xdiag.report.masking import Masker
from xdiag.report.page import Explained, Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from xdiag.model import Report
    from xdiag.report.gather import Gathered, Record
    from xdiag.report.logs import Log

#: Columns of texts.
_WIDTH = 120


@dataclass(frozen=True)
class Composed:
    """A report that is ready to be written."""

    bundle: Bundle
    made: str

    def zip(self) -> bytes:
        """All of it."""
        return self.bundle.packed(self.made)

    def page(self) -> bytes:
        """REPORT.md alone."""
        return self.bundle.text(PAGE).encode("utf-8", "surrogateescape")


def compose(seen: Gathered, made: str, *, mask: bool = True, alone: bool = False) -> Composed:
    """A report of what was gathered; the same for the same, whenever it is called.

    ``made`` is the time that it says; ``alone`` leaves out of the page what it says of other files.
    """
    return _Composing(seen, made, mask).composed(alone)


class _Composing:
    def __init__(self, seen: Gathered, made: str, mask: bool) -> None:
        self._raw = seen
        self._made = made
        self._masker = Masker(seen.private if mask else (), on=mask)
        self._learn()
        self._bundle = Bundle(self._masker)
        self._explained: list[Explained] = []

    def _learn(self) -> None:
        """Go through everything once: what is told last is to be masked in what comes first."""
        raw, masker = self._raw, self._masker
        for part in (
            raw.examination, raw.versions, raw.variables, raw.found, raw.target, raw.trials,
            raw.probes, raw.matrix, raw.problems,
        ):  # fmt: skip
            masker.learn_from(part)
        masker.learn(raw.command)
        for one in raw.records:
            for text in (one.path, *one.texts):
                masker.learn(text)
        for log in raw.logs:
            masker.learn(log.path)
            masker.learn(log.excerpt.text)
            masker.learn_from(log.explained)

    def composed(self, alone: bool) -> Composed:
        raw = self._raw
        for problem in raw.problems:
            self._bundle.leave_out(problem.part, problem.because)
        self._doctor()
        self._runtimes()
        self._cells()
        self._repairs()
        self._facts()
        for one in raw.records:
            self._try(f"records/{os.path.basename(one.path)}", functools.partial(self._record, one))
        for log in raw.logs:
            self._try(f"explanation of {log.path}", functools.partial(self._log, log))
        if raw.reproducer:
            told = f"a program in C that shows {raw.reproduces}; it needs no xdiag"
            self._bundle.add("reproducer.c", told, raw.reproducer)
        self._page(alone)
        return Composed(self._bundle, self._made)

    # ---- parts ----

    def _add(self, name: str, what: str, text: Callable[[], str]) -> None:
        """Render a part and put it in; where that fails, note why."""
        self._try(name, lambda: self._bundle.add(name, what, text()))

    def _try(self, part: str, write: Callable[[], object]) -> None:
        """One part's failure, whatever it is, is noted and costs no other."""
        try:
            write()
        except Exception as error:
            self._bundle.leave_out(part, _told(error))

    def _shown(self, name: str, what: str, draw: Callable[[Console], None]) -> None:
        self._add(name, what, lambda: printed(draw, _WIDTH))

    def _doctor(self) -> None:
        examination = self._masker.data(self._raw.examination)
        if examination is None:
            return
        self._add("doctor.json", "xdiag doctor: findings, libraries on disk, the forecast",
                  lambda: doctor_text.document(examination))  # fmt: skip
        self._shown(
            "doctor.txt",
            "the same as text",
            lambda console: doctor_text.show(examination, console, verbose=True),
        )

    def _runtimes(self) -> None:
        found = self._masker.data(self._raw.found)
        if found is None:
            return
        chosen = self._masker.data(self._raw.target)
        document = {"runtimes": found.candidates, "looked": found.looked, "chosen": chosen}
        self._add("runtimes.json", "xdiag runtimes: runtimes on disk, and the one that was used",
                  lambda: as_json(document))  # fmt: skip

    def _cells(self) -> None:
        raw = self._raw
        if raw.probes is not None:
            probes = self._masker.data(raw.probes)
            self._add("probes.json", "the cells that were run, with every step, and the verdicts",
                      lambda: render(probes, "json"))  # fmt: skip
            self._add("probes.txt", "the same as text: who called what on which copy",
                      lambda: _traces(probes))  # fmt: skip
        if raw.matrix is not None:
            matrix = self._masker.data(raw.matrix)
            self._add("matrix.json", "patterns under fixes, and the verdicts",
                      lambda: render(matrix, "json"))  # fmt: skip
            self._add("matrix.html", "the same as a page", lambda: render(matrix, "html"))

    def _repairs(self) -> None:
        trials = self._masker.data(self._raw.trials)
        if trials is None:
            return
        self._add("repairs.json", "xdiag fix: each repair on the failing cells",
                  lambda: repairs_text.document(trials))  # fmt: skip
        self._shown("repairs.txt", "the same as text",
                    lambda console: repairs_text.show(trials, console))  # fmt: skip

    def _facts(self) -> None:
        variables = self._masker.data(self._raw.variables)
        if variables is not None:
            told = "variables that matter, with their values, and the names of all others"
            self._add("environment.json", told, lambda: as_json(variables))
        versions = self._masker.data(self._raw.versions)
        if versions is not None:
            self._add("versions.json", "versions of what takes part", lambda: as_json(versions))

    def _record(self, one: Record) -> None:
        told = "a record (xdiag run --record), its texts masked; xdiag explain reads it"
        name = self._bundle.add_record(f"records/{os.path.basename(one.path)}", told, one.path)
        with tempfile.TemporaryDirectory(prefix="xdiag-report-") as folder:
            # What is explained is the masked record: nothing else of it gets any further.
            masked = os.path.join(folder, "record")
            with open(masked, "wb") as file:
                file.write(self._bundle.data(name))
            with read(masked) as recording:
                diagnoses = diagnose(recording)
                text = printed(
                    lambda console: recording_text.show_report(
                        recording, diagnoses, console, brief=False
                    ),
                    _WIDTH,
                )
                document = as_json(recording_text.document(recording, diagnoses))
        document = document.replace(masked, name)
        self._bundle.add(f"{name}.txt", "xdiag explain of it", text)
        self._bundle.add(f"{name}.json", "the same for programs", document)
        self._explained.append(
            Explained(
                name,
                text,
                any(each.fault for each in diagnoses),
                tuple(f"{each.cause}: {each.sentence}" for each in diagnoses if each.fault),
            )
        )

    def _log(self, log: Log) -> None:
        base = f"logs/{os.path.basename(log.path)}"
        what = f"a log of {log.excerpt.size} bytes and {log.excerpt.lines} lines"
        note = f"; {log.excerpt.note}" if log.excerpt.note else ""
        name = self._bundle.add(base, f"{what}{note}", log.excerpt.text)
        if log.explained is None:
            return
        explained = self._masker.data(renamed(log.explained, log.path, name))
        text = printed(lambda console: explanation_text.show(explained, console), _WIDTH)
        self._bundle.add(f"{name}.txt", "xdiag explain of it", text)
        self._add(
            f"{name}.json", "the same for programs", lambda: explanation_text.document(explained)
        )
        causes = tuple(
            f"{each.likelihood}: {each.statement} ({each.because})" for each in explained.causes
        )
        self._explained.append(Explained(name, text, explained.fault, causes))

    # ---- the page ----

    def _page(self, alone: bool) -> None:
        raw, masker = self._raw, self._masker
        page = Page(
            xdiag=__version__,
            made=self._made,
            masked=masker.on,
            fault=raw.fault,
            command=masker.text(raw.command),
            examination=masker.data(raw.examination),
            versions=masker.data(raw.versions),
            variables=masker.data(raw.variables),
            found=masker.data(raw.found),
            target=masker.data(raw.target),
            report=masker.data(raw.matrix or raw.probes),
            trials=masker.data(raw.trials),
            explained=tuple(self._explained),
            reproducer=masker.text(raw.reproducer),
            reproduces=raw.reproduces,
            files=self._bundle.members,
            missing=self._bundle.missing,
            alone=alone,
        )
        # What is masked only once it is rendered may be longer than it was.
        most = issue_page.MOST
        for _ in range(8):
            text = masker.text(issue_page.render(page, most))
            if len(text) < issue_page.GITHUB_TAKES:
                break
            most = most * 3 // 4
        self._bundle.add(PAGE, "this report on one page, fit for an issue", text)


def _traces(report: Report) -> str:
    return "\n\n".join(trace.plain(result, report.target) for result in report.results)


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    if isinstance(error, XdiagError):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}"
