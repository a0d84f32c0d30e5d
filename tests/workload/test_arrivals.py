"""When requests arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from xdiag.workload.arrivals import schedule
from xdiag.workload.model import Settings


@given(
    rate=st.floats(0.1, 500), seconds=st.floats(0.1, 20), repeat=st.integers(0, 9),
    arrivals=st.sampled_from(["uniform", "poisson"]), seed=st.integers(),
)  # fmt: skip
def test_every_schedule_ascends_within_the_run(
    rate: float, seconds: float, repeat: int, arrivals: str, seed: int
) -> None:
    settings = Settings(
        network=None, rate=rate, arrivals=arrivals, seconds=seconds, repeats=1, batch_high=1,
        batch_low=1, warmup=1, warm_seconds=1, seed=seed, timeout=1,
    )  # fmt: skip
    due = schedule(settings, repeat)
    assert due == sorted(due)
    assert due and due[0] >= 0 and due[-1] < seconds
    assert due == schedule(settings, repeat)


def test_uniform_requests_are_as_many_as_the_rate_says(brief: Settings) -> None:
    due = schedule(replace(brief, rate=20, seconds=10), 0)
    assert len(due) == 200
    assert {round(b - a, 9) for a, b in pairwise(due)} == {0.05}


def test_poisson_requests_have_the_rate_and_its_scatter(brief: Settings) -> None:
    settings = replace(brief, arrivals="poisson", rate=100, seconds=100)
    due = schedule(settings, 0)
    gaps = [b - a for a, b in pairwise(due)]
    assert len(due) == pytest.approx(10_000, abs=500)
    # An exponential distribution's standard deviation is its mean.
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.06)
    assert due != schedule(settings, 1)
    assert due != schedule(replace(settings, seed=1), 0)
