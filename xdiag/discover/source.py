"""Python source as a tree, of files that we did not write; nothing of them is run."""

from __future__ import annotations

import ast
import warnings


def parsed(source: bytes | str) -> ast.Module | None:
    """The module; None for what this Python cannot parse: other versions', damaged, too deep."""
    with warnings.catch_warnings():
        # Of others' escapes and comparisons the user has not asked.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
