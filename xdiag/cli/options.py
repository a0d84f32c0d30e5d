"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xdiag import platforms
from xdiag.errors import Usage, near_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xdiag.doctor.check import Check
    from xdiag.engine.messages import XSchedFiles
    from xdiag.model import Consumer, Fix, Pattern, Target

    Entry = TypeVar("Entry", Pattern, Fix, Consumer, Check)

Function = TypeVar("Function", bound="Callable[..., Any]")


def _all(options: Sequence[Callable[[Function], Function]]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> Any:
    del context, parameter
    if value is not None and not 0 < value <= 86400:
        raise click.BadParameter("must be more than 0 and at most 86400 seconds")
    return value


#: Which platform's patterns, runtimes and hypotheses.
platform_option = click.option(
    "--platform",
    type=click.Choice(platforms.names()),
    default="hip",
    show_default=True,
    help="AMD's HIP, or CUDA: NVIDIA's driver API, on a GPU of theirs.",
)

#: What executes below the runtime, whichever it is.
_below_options = [
    click.option(
        "--agent",
        type=click.Choice(["auto", "hardware", "software"]),
        default="auto",
        show_default=True,
        help="What executes below the runtime: a GPU, or the software agent.",
    ),
    click.option(
        "--kernel-cache/--no-kernel-cache",
        default=True,
        help="Compile the runtime's own copy kernels once instead of in every cell"
        " (software agent only).  [default: on]",
    ),
]

#: Which runtime to test and what executes below it.
target_options = _all(
    [
        click.option(
            "--runtime",
            metavar="PATH|VERSION",
            help="The library file to test (libamdhip64.so...), or the version of one that is here"
            " (7.2); default: see xdiag runtimes.",
        ),
        *_below_options,
    ]
)

#: The same for several runtimes.
targets_options = _all(
    [
        click.option(
            "--runtime",
            "runtimes",
            multiple=True,
            metavar="PATH|VERSION",
            help="The library file to test (libamdhip64.so...), or the version of one that is here"
            " (7.2); several times for one matrix over several.  [default: see xdiag runtimes]",
        ),
        *_below_options,
    ]
)

#: XSched's own libraries, for the consumers that call them.
xsched_option = click.option(
    "--xsched",
    metavar="DIR",
    help="Where XSched is installed, built for this platform, for what calls its own libraries."
    "  [default: XSCHED_ROOT, or the usual places]",
)

#: How cells are run.
run_options = _all(
    [
        click.option(
            "--actor",
            type=click.Choice(["python", "native"]),
            default="python",
            show_default=True,
            help="What worker threads are: Python threads or native pthreads.",
        ),
        click.option(
            "--timeout",
            type=float,
            callback=_seconds,
            help="Seconds after which a cell is a hang.  [default: 10, or the pattern's own]",
        ),
    ]
)


def choose_target(
    runtime: str | None, agent: str, kernel_cache: bool, platform: str = "hip"
) -> Target:
    """The target that the options ask for."""
    from xdiag.runtimes.choose import choose

    return choose(runtime, agent, kernel_cache=kernel_cache, platform=platform)


def choose_consumers(
    globs: Sequence[str], xsched: str | None, platform: str
) -> tuple[list[Consumer], XSchedFiles | None]:
    """The consumers that match, and the installation of XSched that theirs call.

    Without globs, those of XSched are among them where their libraries are, and torch where it is
    installed.  An installation that was named and cannot be used is told on stderr; its consumers'
    cells are skipped, with the reason.  Raises Usage.
    """
    from xdiag.consumers import CONSUMERS
    from xdiag.runtimes.torch_here import tellable
    from xdiag.runtimes.xsched import choose, present
    from xdiag.xsched_consumers import XSCHED_CONSUMERS

    if globs:
        chosen = pick((*CONSUMERS, *XSCHED_CONSUMERS), globs, "consumer")
        return chosen, choose_xsched(xsched, platform, chosen)
    files = choose(xsched, platform)
    if files is not None and files.missing:
        click.echo(f"xdiag: {files.missing}; XSched's own libraries are not called", err=True)
    return [
        *tellable(CONSUMERS, platform),
        *(each for each in XSCHED_CONSUMERS if present(files, each.id)),
    ], files


def choose_xsched(
    xsched: str | None, platform: str, consumers: Sequence[Consumer]
) -> XSchedFiles | None:
    """The installation of XSched that these consumers call; None where none of them does.

    Raises Usage where one is named and none of them calls it.
    """
    from xdiag.runtimes.xsched import calls_none, choose

    ids = [each.id for each in consumers]
    if not calls_none(ids):
        return choose(xsched, platform)
    if xsched is not None:
        named = " and ".join(ids) if len(ids) < 4 else "these consumers"
        calls = "calls" if len(ids) == 1 else "call"
        raise Usage(f"--xsched is for hal, xqueue, binding and old-binding: {named} {calls} none of"
                    " XSched's libraries")  # fmt: skip
    return None


def pick_one(entries: Iterable[Entry], id: str, kind: str) -> Entry:
    """The entry called ``id``; raises Usage with near matches if there is none."""
    known = {entry.id: entry for entry in entries}
    if id not in known:
        plural = "fixes" if kind == "fix" else f"{kind}s"
        raise Usage(
            f"no {kind} {id!r}{near_matches(id, list(known))} ({_listing(plural, list(known))})"
        )
    return known[id]


def pick(entries: Iterable[Entry], globs: Sequence[str], kind: str) -> list[Entry]:
    """Entries whose id matches one of the globs (comma-separated lists too), all without globs.

    Raises Usage for a glob that matches nothing: a typing error must not shrink a matrix.
    """
    known = list(entries)
    wanted = [part.strip() for glob in globs for part in glob.split(",") if part.strip()]
    if not wanted:
        return known
    ids = [entry.id for entry in known]
    for glob in wanted:
        if not fnmatch.filter(ids, glob):
            plural = "fixes" if kind == "fix" else f"{kind}s"
            raise Usage(
                f"no {kind} matches {glob!r}{near_matches(glob, ids)} ({_listing(plural, ids)})"
            )
    return [entry for entry in known if any(fnmatch.fnmatchcase(entry.id, glob) for glob in wanted)]


def _listing(plural: str, ids: list[str]) -> str:
    # Consumers have no command that lists them.
    if len(ids) < 4 or plural == "consumers":
        return f"known: {', '.join(ids)}"
    return f"xdiag {'doctor --list-checks' if plural == 'checks' else plural} lists them"
