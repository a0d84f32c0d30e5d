"""``xdiag runtimes``: what is on this machine, which one is used, and how to add one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xdiag.cli import output

if TYPE_CHECKING:
    from rich.console import Console

    from xdiag.model import Target
    from xdiag.runtimes.find import Found


@click.group("runtimes", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """List the HIP runtimes found here and say which one the other commands use.

    "xdiag runtimes add" fetches AMD's runtime as Debian packages it, without root.
    """
    from xdiag.errors import COULD_NOT_RUN, NOTHING_WRONG, CannotRun
    from xdiag.runtimes.choose import choose
    from xdiag.runtimes.find import find

    if context.invoked_subcommand is not None:
        return NOTHING_WRONG
    found = find()
    try:
        chosen, why_none = choose(), ""
    except CannotRun as error:
        chosen, why_none = None, str(error)
    if as_json:
        output.write(_json(found, chosen, why_none), None)
    else:
        if found.candidates or chosen is not None:
            output.show(lambda console: _show(console, found, chosen), None)
        if why_none:
            click.echo(f"xdiag: {why_none}", err=True)
    return COULD_NOT_RUN if chosen is None else NOTHING_WRONG


@command.command("add", short_help="Fetch a HIP runtime into the per-user cache.")
@click.argument("package", required=False, metavar="[PACKAGE]")
@click.option("--again", is_flag=True, help="Fetch it even if it is there.")
def add(package: str | None, again: bool) -> int:
    """Fetch a HIP runtime from the machine's package archive into the per-user cache.

    PACKAGE is Debian's name for it, such as libamdhip64-5; the newest known by default.  Needs
    apt-get and dpkg-deb, and no root.
    """
    from xdiag.errors import NOTHING_WRONG
    from xdiag.runtimes import fetch

    fetch.add(lambda line: click.echo(line, err=True), package, again=again)
    return NOTHING_WRONG


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
        on = chosen.device_name or "a GPU"
        if chosen.agent == "software":
            on = "the software agent"
        console.print(Text(f"* used by default: HIP {chosen.version} on {on}"))
        for note in chosen.notes:
            console.print(Text(f"  {note}"))


def _json(found: Found, chosen: Target | None, why_none: str) -> str:
    import msgspec

    from xdiag.model import SCHEMA_VERSION

    document = {
        "schema_version": SCHEMA_VERSION,
        "runtimes": found.candidates,
        "looked": found.looked,
        "chosen": chosen,
        "why_none": why_none,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
