"""``xdiag patterns``: the catalogue of ownership stories."""

from __future__ import annotations

import click

from xdiag.cli.options import pick_one


@click.command("patterns")
@click.argument("name", required=False, metavar="[PATTERN]")
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
def command(name: str | None, as_json: bool) -> None:
    """List the patterns, or show one with its steps and what each hypothesis predicts."""
    from xdiag.patterns import PATTERNS
    from xdiag.render import catalogue

    chosen = [pick_one(PATTERNS, name, "pattern")] if name else list(PATTERNS)
    click.echo(catalogue.patterns(chosen, as_json=as_json, whole=name is not None), nl=False)
