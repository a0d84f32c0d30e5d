"""``xdiag api``: what each call does with a handle that is no live stream, by version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from xdiag.cli import output
from xdiag.cli.options import choose_target, targets_options
from xdiag.errors import NOTHING_WRONG, CannotRun, Usage, near_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.api.measured_data import Measured, Subject
    from xdiag.model import Target
    from xdiag.render.api_table import Sheet

#: Options that only --measure looks at, by their parameters' names.
_OF_MEASURING = {
    "runtimes": "--runtime",
    "rounds": "--rounds",
    "jobs": "--jobs",
    "agent": "--agent",
    "kernel_cache": "--kernel-cache or --no-kernel-cache",
}
_ENDINGS = {".md": "markdown", ".json": "json", ".csv": "csv"}


@click.command("api")
@click.option(
    "--version", "versions", multiple=True, metavar="VERSION",
    help="Only these: 5.2, 7.2, ...; with --measure the same as --runtime.",
)  # fmt: skip
@click.option("--call", "-c", "calls", multiple=True, metavar="GLOB", help="Only these calls.")
@click.option(
    "--handle", "handles", multiple=True, metavar="GLOB", help="Only these kinds of handle."
)
@click.option("--changes", metavar="FROM..TO", help="Only what changed between two versions.")
@click.option("--safe", is_flag=True, help="Which calls to ask of an unknown handle, best first.")
@click.option("--measure", "measuring", is_flag=True, help="Measure it here and now.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=1, show_default=True,
    help="With --measure: how often each question is asked in each circumstance.",
)  # fmt: skip
@click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=lambda: len(os.sched_getaffinity(0)),
    metavar="N", help="With --measure: questions asked at a time.  [default: one per processor]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the same as --format json.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json", "csv"]),
    help="How it is written.  [default: by FILE's ending, else table]",
)
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@targets_options
def command(
    versions: tuple[str, ...],
    calls: tuple[str, ...],
    handles: tuple[str, ...],
    changes: str | None,
    safe: bool,
    measuring: bool,
    rounds: int,
    jobs: int,
    as_json: bool,
    form: str | None,
    path: str | None,
    runtimes: tuple[str, ...],
    agent: str,
    kernel_cache: bool,
) -> int:
    """Show what each HIP call does with a bad stream handle: reports, lies, crashes or hangs.

    What is shown was measured on AMD's runtimes, and comes with xdiag; nothing is run.  With
    --measure the runtimes of this machine are asked instead: each question in a process of its own.
    """
    if as_json and form not in (None, "json"):
        raise Usage(f"--json and --format {form} cannot both be")
    _refuse_what_would_be_ignored(measuring)
    if changes is not None and safe:
        raise Usage("--changes and --safe cannot both be")
    if changes is not None and versions:
        raise Usage("--changes names its two versions itself: leave --version out")
    if safe and (calls or handles):
        raise Usage("--safe weighs every call with every kind of handle: no --call, no --handle")
    if runtimes and versions:
        raise Usage("--measure takes --runtime or --version, not both")
    path = output.destination(path)
    form = "json" if as_json else form or _ENDINGS.get(Path(path or "").suffix.lower(), "table")
    if form == "csv" and (changes is not None or safe):
        raise Usage("csv is for the table itself, not for --changes or --safe")

    from xdiag.api.handles import CONTROL, HANDLES
    from xdiag.api.questions import QUESTIONS
    from xdiag.render.api_table import Sheet

    span = _span(changes) if changes is not None else ()
    chosen_calls = _pick([question.call for question in QUESTIONS], calls, "call", prefix="hip")
    chosen_handles = _pick([handle.id for handle in HANDLES], handles, "kind of handle")
    by_version = None
    if measuring:
        chosen_handles = list(dict.fromkeys((CONTROL, *chosen_handles)))
        wanted = runtimes or tuple(map(_checked_version, versions))
        targets = [choose_target(each, agent, kernel_cache) for each in wanted or (None,)]
        _check_span(span, targets)
        measured = _measured(targets, chosen_calls, chosen_handles, rounds, jobs)
    else:
        measured = _shipped()
    if span:
        measured = [_of_versions(measured, (each,))[0] for each in span]
    elif safe and versions and not measuring:
        by_version = _around(measured, versions)
        used = [each for some in by_version.values() for each in some]
        measured = [each for each in measured if each in used]
    elif not measuring:
        measured = _of_versions(measured, versions)
    sheet = Sheet(tuple(measured), tuple(chosen_calls), tuple(chosen_handles))
    if safe:
        _print_safe(sheet, form, path, by_version)
    else:
        by = "call" if calls else "handle" if handles else ""
        _print(sheet, form, path, by=by, changes=bool(span))
    return NOTHING_WRONG


def _refuse_what_would_be_ignored(measuring: bool) -> None:
    """Raises Usage for an option of --measure that was given without it."""
    if measuring:
        return
    context = click.get_current_context()
    for name, option in _OF_MEASURING.items():
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            instead = "; --version picks among what was measured" if name == "runtimes" else ""
            raise Usage(f"{option} goes with --measure{instead}")


def _span(changes: str) -> tuple[str, ...]:
    """The two versions of ``6.4..7.2``; raises Usage for anything else."""
    span = tuple(part.strip() for part in changes.split(".."))
    if len(span) != 2 or not all(span):
        raise Usage(f"--changes takes two versions, as 6.4..7.2, not {changes!r}")
    return span


def _check_span(span: Sequence[str], targets: Sequence[Target]) -> None:
    """Raises Usage, before anything is asked, for a version that no target is of."""
    from xdiag.api.measure import subject_of

    subjects = [subject_of(target) for target in targets]
    for version in span:
        if not any(_is_version(subject, version) for subject in subjects):
            known = ", ".join(subject.version for subject in subjects)
            raise Usage(f"HIP {version!r} is not to be measured: --runtime gives {known}")


def _print(sheet: Sheet, form: str, path: str | None, *, by: str, changes: bool) -> None:
    from xdiag.render import api_changes, api_table

    if changes:
        if form == "table":
            output.show(lambda console: api_changes.show_changes(sheet, console), path)
        else:
            output.write(api_changes.render_changes(sheet, form), path)
    elif form == "table":
        output.show(lambda console: api_table.show(sheet, console, by), path)
    else:
        output.write(api_table.render(sheet, form, by), path)


def _print_safe(
    sheet: Sheet,
    form: str,
    path: str | None,
    by_version: dict[str, tuple[Measured, ...]] | None,
) -> None:
    from xdiag.render import api_changes

    if form == "table":
        output.show(lambda console: api_changes.show_safe(sheet, console, by_version), path)
    else:
        output.write(api_changes.render_safe(sheet, form, by_version), path)


def _shipped() -> list[Measured]:
    from xdiag.api.shipped import shipped

    return list(shipped())


def _measured(
    targets: Sequence[Target], calls: Sequence[str], handles: Sequence[str], rounds: int, jobs: int
) -> list[Measured]:
    """Measure each of the runtimes."""
    from xdiag.api.handles import HANDLES
    from xdiag.api.measure import count, measure
    from xdiag.api.questions import QUESTIONS
    from xdiag.cli.progress import progress_of
    from xdiag.runtimes.copies import copies

    questions = [question for question in QUESTIONS if question.call in calls]
    kinds = [handle for handle in HANDLES if handle.id in handles]
    found = []
    for target in targets:
        most = count(questions, kinds, rounds, target)
        click.echo(
            f"xdiag: HIP {target.version}: up to {most} questions, each in a process of its own",
            err=True,
        )
        with progress_of(None, most) as tell:
            found.append(
                measure(
                    target, copies(target), questions=questions, handles=kinds, rounds=rounds,
                    jobs=jobs, on_result=tell,
                )
            )  # fmt: skip
    return found


def _pick(known: list[str], globs: Sequence[str], kind: str, prefix: str = "") -> list[str]:
    """Names that match one of the globs (comma-separated lists too), all without globs.

    A name may be given with ``prefix``.  Raises Usage for a glob that matches nothing, and for an
    empty one.
    """
    from fnmatch import filter as matching

    wanted = [part.strip() for glob in globs for part in glob.split(",")]
    for glob in wanted:
        if not glob:
            raise Usage(f"an empty name matches no {kind}")
        if not matching(known, glob.removeprefix(prefix)):
            near = near_matches(glob.removeprefix(prefix), known)
            raise Usage(f"no {kind} matches {glob!r}{near}")
    names = [glob.removeprefix(prefix) for glob in wanted]
    return [name for name in known if not names or any(matching([name], each) for each in names)]


def _of_versions(measured: list[Measured], versions: Sequence[str]) -> list[Measured]:
    """Those of these versions: 7.2, 7 or 7.2.53211; all without any.

    Raises Usage for a version that was not measured, CannotRun where nothing was.
    """
    if not measured:
        raise CannotRun("this xdiag was built without its measurements: xdiag api --measure")
    known = [each.label for each in measured]
    for version in versions:
        if not any(_is_version(each.subject, version) for each in measured):
            raise Usage(f"HIP {version!r} was not measured; there is {', '.join(known)}")
    return [
        each
        for each in measured
        if not versions or any(_is_version(each.subject, version) for version in versions)
    ]


def _around(measured: list[Measured], versions: Sequence[str]) -> dict[str, tuple[Measured, ...]]:
    """What to go by for each of these versions; says so where it is another one, or are two.

    Raises Usage for what is no version, CannotRun where nothing was measured.
    """
    from xdiag.api.safe import around

    found = {}
    for version in map(_checked_version, versions):
        chosen = around(_of_versions(measured, ()), version)
        labels = [each.label for each in chosen]
        if len(chosen) > 1:
            found[version] = chosen
            click.echo(
                f"xdiag: HIP {version} was not measured; shown is what is safe on both"
                f" {' and '.join(labels)}, those around it",
                err=True,
            )
            continue
        if not _is_version(chosen[0].subject, version):
            which = "the newest before it" if _before(chosen[0], version) else "the oldest there is"
            click.echo(
                f"xdiag: HIP {version} was not measured; shown is {labels[0]}, {which}", err=True
            )
        found[labels[0]] = chosen
    return found


def _checked_version(version: str) -> str:
    """Itself; raises Usage for what is no version."""
    if not all(part.isdigit() for part in version.split(".")):
        raise Usage(f"{version!r} is no version: 6.4, 7.2, ...")
    return version


def _before(measured: Measured, version: str) -> bool:
    from xdiag.api.shipped import version_key

    return version_key(measured.label) <= version_key(version)


def _is_version(subject: Subject, version: str) -> bool:
    """Whether it is of this version: HIP's own, or the package's (5.2.3 for HIP 5.2.21153)."""
    package = subject.package.rpartition("_")[2].partition("-")[0]
    return any(
        f"{known}.".startswith(f"{version.strip()}.") for known in (subject.version, package)
    )
