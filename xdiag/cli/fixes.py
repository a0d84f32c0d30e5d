"""``xdiag fixes``: the catalogue of fixes."""

from __future__ import annotations

import click

from xdiag.cli.options import pick_one


@click.command("fixes")
@click.argument("name", required=False, metavar="[FIX]")
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
def command(name: str | None, as_json: bool) -> None:
    """List the fixes, or show one with the patterns that it applies to."""
    from xdiag.fixes import FIXES
    from xdiag.render import catalogue

    chosen = [pick_one(FIXES, name, "fix")] if name else list(FIXES)
    click.echo(catalogue.fixes(chosen, as_json=as_json, whole=name is not None), nl=False)
