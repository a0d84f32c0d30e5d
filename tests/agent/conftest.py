"""The real runtime that the agent's tests run."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def runtime(real_target):
    """A libamdhip64 file; what it needs lies beside it, or where the loader looks."""
    if real_target.agent != "software":
        pytest.skip("a GPU answers here: the agent has nothing to stand in for")
    return Path(real_target.runtime)
