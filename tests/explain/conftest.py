"""Texts as files, explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xdiag.explain.explanation import explain
from xdiag.explain.facts import Explanation

Explain = Callable[..., Explanation]


@pytest.fixture
def explained(tmp_path: Path) -> Explain:
    """Explain texts, each as a file of its own."""

    def run(*texts: str | bytes, handle: int | None = None) -> Explanation:
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / f"text-{number}"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            paths.append(str(path))
        return explain(paths, handle)

    return run
