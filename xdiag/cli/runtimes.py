"""``xdiag runtimes``: what is on this machine, which one is used, and how to add one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xdiag import platforms
from xdiag.cli import output
from xdiag.cli.options import platform_option

if TYPE_CHECKING:
    from rich.console import Console

    from xdiag.model import Target
    from xdiag.runtimes.find import Found


@click.group("runtimes", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@platform_option
@click.pass_context
def command(context: click.Context, as_json: bool, platform: str) -> int:
    """List the runtimes found here and say which one the other commands use.

    "xdiag runtimes add" fetches AMD's runtime as Debian packages it, without root.
    """
    from xdiag.errors import COULD_NOT_RUN, NOTHING_WRONG, CannotRun
    from xdiag.runtimes import entries
    from xdiag.runtimes.choose import choose
    from xdiag.runtimes.find import find

    if context.invoked_subcommand is not None:
        return NOTHING_WRONG
    found = find(platform)
    try:
        chosen, why_none = choose(platform=platform), ""
    except CannotRun as error:
        chosen, why_none = None, str(error)
    if as_json:
        output.write(_json(found, chosen, why_none), None)
    else:
        if found.candidates or chosen is not None:
            output.show(lambda console: _show(console, found, chosen), None)
        if platform == "hip" and (entries.every() or entries.refused()):
            output.show(_show_cache, None)
        if why_none:
            click.echo(f"xdiag: {why_none}", err=True)
    return COULD_NOT_RUN if chosen is None else NOTHING_WRONG


@command.command("add", short_help="Fetch HIP runtimes into the per-user cache.")
@click.argument("wanted", nargs=-1, metavar="[VERSION|PACKAGE]...")
@click.option("--again", is_flag=True, help="Fetch it even if it is there.")
def add(wanted: tuple[str, ...], again: bool) -> int:
    """Fetch HIP runtimes from the machine's package archive into the per-user cache.

    VERSION is that of HIP, such as 5.7 or 7.2, or Debian's of the package; PACKAGE is Debian's name
    for it, such as libamdhip64-5.  By default it is the newest that the machine's own sources have.
    Where these do not have what is named, all suites of Debian's archive are looked at, and the
    runtime comes with all it needs, the C library included.

    One that is there is held against the hashes of what was fetched, and fetched again if it
    differs.  Needs apt-get and dpkg-deb, and no root.
    """
    from xdiag.errors import NOTHING_WRONG
    from xdiag.runtimes import fetch

    fetch.add_all(lambda line: click.echo(line, err=True), wanted, again=again)
    return NOTHING_WRONG


@command.command("check", short_help="Hold fetched runtimes against their hashes.")
@click.argument("wanted", nargs=-1, metavar="[VERSION|PACKAGE]...")
def check(wanted: tuple[str, ...]) -> int:
    """Read all files of the fetched runtimes, or of those named, and compare their hashes.

    Exit code 1 says that one differs; it is not used before "xdiag runtimes add" has mended it.
    """
    from xdiag.errors import FAULT_FOUND, NOTHING_WRONG
    from xdiag.runtimes import upkeep

    status = NOTHING_WRONG
    for each in upkeep.check(wanted):
        if each.problem:
            status = FAULT_FOUND
            told = f"{each.problem}; {_mended(each.version)}"
        elif each.files:
            told = f"as fetched ({each.files} files, {each.size / 1e6:.0f} MB)"
        else:
            told = f"not checked: no hashes of its files were kept; {_mended(each.version)} --again"
        click.echo(f"{each.package} {each.version} in {each.path}: {told}")
    return status


@command.command("remove", short_help="Delete fetched runtimes from the per-user cache.")
@click.argument("wanted", nargs=-1, required=True, metavar="VERSION|PACKAGE...")
def remove(wanted: tuple[str, ...]) -> int:
    """Delete fetched runtimes from the per-user cache; the system's are left alone."""
    from xdiag.errors import NOTHING_WRONG
    from xdiag.runtimes import upkeep

    upkeep.remove(wanted, lambda line: click.echo(line, err=True))
    return NOTHING_WRONG


def _mended(version: str) -> str:
    return f"mended by: xdiag runtimes add {version}"


def _show(console: Console, found: Found, chosen: Target | None) -> None:
    from rich.table import Table
    from rich.text import Text

    if found.candidates:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for head in ("", "version", "from", "SONAME", "build id", "file"):
            table.add_column(head, overflow="fold", no_wrap=head != "file")
        for candidate in found.candidates:
            used = chosen is not None and candidate.real_path == chosen.runtime
            file = candidate.path
            if candidate.problem:
                file += f" ({candidate.problem})"
            table.add_row(
                "*" if used else "",
                candidate.version or "?",
                candidate.source,
                candidate.soname,
                candidate.build_id[:12],
                Text(file),
            )
        console.print(table)
    if chosen is not None:
        on, title = chosen.device_name or "a GPU", platforms.get(chosen.platform).title
        if chosen.agent == "software":
            on = "the software agent"
        console.print(Text(f"* used by default: {title} {chosen.version} on {on}"))
        for note in chosen.notes:
            console.print(Text(f"  {note}"))


def _show_cache(console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from xdiag.runtimes import cache, entries

    console.print(Text(f"\nFetched, in {cache.root() / 'runtimes'}:"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("HIP", "package", "from", "on disk", "own C library"):
        table.add_column(head, justify="right" if head == "on disk" else "left")
    for each in entries.every():
        size = f"{each.size / 1e6:.0f} MB" if each.size else "?"
        suite = each.manifest.suite or "this system's sources"
        table.add_row(each.hip, f"{each.package} {each.version}", suite, size, each.libc or "none")
    if table.rows:
        console.print(table)
    for refused in entries.refused():
        mended = entries.mended_by(refused.path)
        told = f"Not used: {refused.path}: {refused.reason}; {mended}"
        console.print(Text(told), soft_wrap=True)


def _json(found: Found, chosen: Target | None, why_none: str) -> str:
    import msgspec

    from xdiag.model import SCHEMA_VERSION
    from xdiag.runtimes import entries

    document = {
        "schema_version": SCHEMA_VERSION,
        "runtimes": found.candidates,
        "looked": found.looked,
        "chosen": chosen,
        "why_none": why_none,
        "fetched": [
            {
                "path": each.path, "hip": each.hip, "package": each.package,
                "version": each.version, "suite": each.manifest.suite, "size": each.size,
                "libc": each.libc, "needs_libc": each.needs_libc, "loader": each.loader,
            }
            for each in entries.every()
        ],
        "refused": entries.refused(),
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
