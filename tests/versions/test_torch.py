"""Torch's streams on the real HIP 5.2.3, 5.7.1, 6.4.3 and 7.2.4, bundled with a stand-in for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from versions.test_matrix import VERSIONS, target_of
from with_torch.conftest import build

from xdiag import session
from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.fixes import FIXES
from xdiag.model import OutcomeKind
from xdiag.render.labels import label
from xdiag.torch_patterns import TORCH_PATTERNS

if TYPE_CHECKING:
    from pathlib import Path

    from xdiag.model import Result

pytestmark = pytest.mark.versions

#: Whoever works on torch's runtime works; a second copy does not know its streams, which on HIP 7
#: none of the calls of XSched's queue, and no copy, would say.
_REFUSED = {"torch-second-runtime": ("driver", "replay"), "torch-foreign-stream": ("driver",
            "replay", "torch")}  # fmt: skip
_SILENT_ON_7 = {"replay", "torch"}


@pytest.fixture(params=VERSIONS, scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[tuple[str, str], Result]]:
    """A version, and every story without a fix: (pattern, consumer) -> result."""
    version: str = request.param
    target = target_of(version)
    site: Path = tmp_path_factory.mktemp(f"torch-{version}")
    build(site, target.runtime)
    cells = plan(TORCH_PATTERNS, [fix for fix in FIXES if fix.id == "none"], CONSUMERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        report = session.run(cells, target, command="a test", jobs=2)
    return version, {(r.cell.pattern, r.cell.consumer): r for r in report.results}


def test_sound_stories_of_torchs_work(told: tuple[str, dict[tuple[str, str], Result]]) -> None:
    version, results = told
    sound = {pattern.id for pattern in TORCH_PATTERNS if pattern.sound}
    ends = {
        key: (result.outcome.kind, result.outcome.reason)
        for key, result in results.items()
        if key[0] in sound and result.outcome.kind is not OutcomeKind.OK
    }
    if version == "5.2":
        assert ends == {}
    # Under a loader of its own no interpreter can be spawned by its path.
    assert {pattern for pattern, _ in ends} <= {"torch-spawn"}
    assert all(kind is OutcomeKind.SKIPPED and "C library" in why for kind, why in ends.values())


def test_a_second_copy_does_not_know_them(
    told: tuple[str, dict[tuple[str, str], Result]],
) -> None:
    version, results = told
    for pattern, consumers in _REFUSED.items():
        for consumer in consumers:
            silent = version == "7.2" and consumer in _SILENT_ON_7
            assert label(results[pattern, consumer]).text == ("ok" if silent else "709")


def test_a_forked_child_works_with_none(
    told: tuple[str, dict[tuple[str, str], Result]],
) -> None:
    _, results = told
    for pattern in ("torch-fork", "torch-dataloader"):
        assert results[pattern, "driver"].outcome.kind is OutcomeKind.HANG
        assert "forked subprocess" in results[pattern, "torch"].outcome.message
