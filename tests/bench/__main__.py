"""Run the benchmarks and print their figures as a table: ``python -m bench [NAME...]``."""

from __future__ import annotations

import argparse
import importlib
import sys

from tabulate import tabulate

from xdiag.runtimes.choose import choose
from xdiag.runtimes.host import host

BENCHMARKS = (
    "cell_cost",
    "startup",
    "matrix_time",
    "versions_time",
    "many_cells",
    "torch_cost",
    "loaded_check",
    "discover_cost",
    "loader_simulation",
    "doctor_cost",
    "inspect_cost",
    "audit_cost",
    "explain_speed",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or BENCHMARKS
    target, machine = choose(), host()
    print(
        f"HIP {target.version} ({target.soname}, build id {target.build_id}), {target.agent} agent;"
        f" {machine.system}, {machine.cpus} processors, Python {machine.python}\n"
    )
    rows = []
    for name in names:
        print(f"running {name} ...", file=sys.stderr, flush=True)
        rows += [f.row() for f in importlib.import_module(f"bench.{name}").run(target)]
    heads = ["figure", "median", "range", "samples", "aim"]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
