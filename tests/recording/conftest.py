"""Synthetic records."""

from __future__ import annotations

from pathlib import Path

import pytest

from recording.writer import Written


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A record without anything in it yet: rings of 8 and 16 calls, 8 threads."""
    return Written(tmp_path / "record")
