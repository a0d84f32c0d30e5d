"""``xdiag api``: what each call does with a handle that is no live stream, by version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import choose_target, targets_options
from xdiag.errors import NOTHING_WRONG, CannotRun, Usage, near_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.api.measured_data import Measured
    from xdiag.model import Target
    from xdiag.render.api_table import Sheet

_ENDINGS = {".md": "markdown", ".json": "json", ".csv": "csv"}


@click.command("api")
@click.option(
    "--version", "versions", multiple=True, metavar="VERSION", help="Only these: 5.2, 7.2, ..."
)
@click.option("--call", "-c", "calls", multiple=True, metavar="GLOB", help="Only these calls.")
@click.option(
    "--handle", "handles", multiple=True, metavar="GLOB", help="Only these kinds of handle."
)
@click.option("--changes", metavar="FROM..TO", help="Only what changed between two versions.")
@click.option("--safe", is_flag=True, help="Which calls to ask of an unknown handle, best first.")
@click.option("--measure", "measuring", is_flag=True, help="Measure it here and now.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True,
    help="With --measure: how often each question is asked.",
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
    if runtimes and not measuring:
        raise Usage("--runtime goes with --measure; --version picks among what was measured")
    if changes is not None and safe:
        raise Usage("--changes and --safe cannot both be")
    path = output.destination(path)
    form = "json" if as_json else form or _ENDINGS.get(Path(path or "").suffix.lower(), "table")
    if form == "csv" and (changes is not None or safe):
        raise Usage("csv is for the table itself, not for --changes or --safe")

    from xdiag.api.handles import CONTROL, HANDLES
    from xdiag.api.questions import QUESTIONS
    from xdiag.render.api_table import Sheet

    span = _span(changes) if changes is not None else ()
    wanted = [glob.removeprefix("hip") for glob in calls]
    chosen_calls = _pick([question.call for question in QUESTIONS], wanted, "call")
    chosen_handles = _pick([handle.id for handle in HANDLES], handles, "kind of handle")
    if measuring:
        chosen_handles = list(dict.fromkeys((CONTROL, *chosen_handles)))
        targets = [choose_target(each, agent, kernel_cache) for each in runtimes or (None,)]
        measured = _measured(targets, chosen_calls, chosen_handles, rounds, jobs)
    else:
        measured = _shipped()
    if safe and versions and not measuring:
        measured = _nearest(measured, versions)
    elif span:
        measured = [_of_versions(measured, (each,))[0] for each in span]
    else:
        measured = _of_versions(measured, versions)
    sheet = Sheet(tuple(measured), tuple(chosen_calls), tuple(chosen_handles))
    by = "call" if calls else "handle" if handles else ""
    _print(sheet, form, path, by=by, changes=bool(span), safe=safe)
    return NOTHING_WRONG


def _span(changes: str) -> tuple[str, ...]:
    """The two versions of ``6.4..7.2``; raises Usage for anything else."""
    span = tuple(part.strip() for part in changes.split(".."))
    if len(span) != 2 or not all(span):
        raise Usage(f"--changes takes two versions, as 6.4..7.2, not {changes!r}")
    return span


def _print(
    sheet: Sheet, form: str, path: str | None, *, by: str, changes: bool, safe: bool
) -> None:
    from xdiag.render import api_changes, api_table

    if changes:
        if form == "table":
            output.show(lambda console: api_changes.show_changes(sheet, console), path)
        else:
            output.write(api_changes.render_changes(sheet, form), path)
    elif safe:
        if form == "table":
            output.show(lambda console: api_changes.show_safe(sheet, console), path)
        else:
            output.write(api_changes.render_safe(sheet, form), path)
    elif form == "table":
        output.show(lambda console: api_table.show(sheet, console, by), path)
    else:
        output.write(api_table.render(sheet, form, by), path)


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
    from xdiag.runtimes.copies import copies

    questions = [question for question in QUESTIONS if question.call in calls]
    kinds = [handle for handle in HANDLES if handle.id in handles]
    found = []
    for target in targets:
        click.echo(
            f"xdiag: HIP {target.version}: up to {count(questions, kinds, rounds)} questions,"
            " each in a process of its own",
            err=True,
        )
        found.append(
            measure(
                target, copies(target), questions=questions, handles=kinds, rounds=rounds, jobs=jobs
            )
        )
    return found


def _pick(known: list[str], globs: Sequence[str], kind: str) -> list[str]:
    """Names that match one of the globs (comma-separated lists too), all without globs.

    Raises Usage for a glob that matches nothing.
    """
    from fnmatch import filter as matching

    wanted = [part.strip() for glob in globs for part in glob.split(",") if part.strip()]
    for glob in wanted:
        if not matching(known, glob):
            raise Usage(f"no {kind} matches {glob!r}{near_matches(glob, known)}")
    return [name for name in known if not wanted or any(matching([name], g) for g in wanted)]


def _of_versions(measured: list[Measured], versions: Sequence[str]) -> list[Measured]:
    """Those of these versions: 7.2, 7 or 7.2.53211; all without any.

    Raises Usage for a version that was not measured, CannotRun where nothing was.
    """
    if not measured:
        raise CannotRun("this xdiag was built without its measurements: xdiag api --measure")
    known = [each.label for each in measured]
    for version in versions:
        if not any(_is_version(each, version) for each in measured):
            raise Usage(f"HIP {version!r} was not measured; there is {', '.join(known)}")
    return [
        each
        for each in measured
        if not versions or any(_is_version(each, version) for version in versions)
    ]


def _nearest(measured: list[Measured], versions: Sequence[str]) -> list[Measured]:
    """What to go by for each of these versions; says so where it is another one.

    Raises Usage for what is no version, CannotRun where nothing was measured.
    """
    from xdiag.api.safe import nearest

    found = {}
    for version in versions:
        if not all(part.isdigit() for part in version.split(".")):
            raise Usage(f"{version!r} is no version: 6.4, 7.2, ...")
        chosen = nearest(_of_versions(measured, ()), version)
        if not _is_version(chosen, version):
            which = "the newest before it" if _before(chosen, version) else "the oldest there is"
            click.echo(
                f"xdiag: HIP {version} was not measured; shown is {chosen.label}, {which}", err=True
            )
        found[chosen.label] = chosen
    return list(found.values())


def _before(measured: Measured, version: str) -> bool:
    from xdiag.api.shipped import version_key

    return version_key(measured.label) <= version_key(version)


def _is_version(measured: Measured, version: str) -> bool:
    """Whether it is of this version: HIP's own, or the package's (5.2.3 for HIP 5.2.21153)."""
    package = measured.subject.package.rpartition("_")[2].partition("-")[0]
    return any(
        f"{known}.".startswith(f"{version.strip()}.")
        for known in (measured.subject.version, package)
    )
