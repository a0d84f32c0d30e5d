"""Percentiles and intervals against known answers."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdiag.workload import estimates
from xdiag.workload.model import Estimate

_VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=300))
def test_percentiles_are_those_of_the_standard_library(values: list[float]) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")
    for percent in (1, 50, 90, 99):
        found = estimates.percentile(values, percent)
        assert found == pytest.approx(expected[percent - 1], rel=1e-9, abs=1e-6)


@given(_VALUES, st.floats(0, 100), st.floats(0, 100))
def test_percentiles_rise_between_the_extremes(values: list[float], a: float, b: float) -> None:
    low, high = (estimates.percentile(values, each) for each in sorted((a, b)))
    assert min(values) <= low <= high * (1 + 1e-12)
    assert high <= max(values) * (1 + 1e-12)


def test_percentiles_of_nothing_or_beyond_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        estimates.percentile([], 50)
    with pytest.raises(ValueError, match="101"):
        estimates.percentile([1.0], 101)


# From the table in any book: two-sided 95 %.
@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (10, 2.2281),
     (30, 2.0423), (101, 1.9837), (1000, 1.9623)],
)  # fmt: skip
def test_quantiles_are_students(freedom: int, expected: float) -> None:
    assert estimates.quantile(freedom) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("freedom", "expected"), [(1, 63.6567), (4, 4.6041), (10, 3.1693)])
def test_quantiles_of_another_confidence(freedom: int, expected: float) -> None:
    assert estimates.quantile(freedom, 0.99) == pytest.approx(expected, abs=6e-5)


def test_no_freedom_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="0 degrees"):
        estimates.quantile(0)


def test_mean_of_few() -> None:
    assert estimates.mean([]) is None
    assert estimates.mean([3.0]) == Estimate(3.0)
    found = estimates.mean([1.0, 2.0, 3.0])
    assert found is not None and found.low is not None and found.high is not None
    half = 4.3027 / math.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half), abs=1e-4)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    sample = random.Random(5)
    covered = 0
    for _ in range(2000):
        found = estimates.mean([sample.gauss(10, 2) for _ in range(5)])
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= 10 <= found.high
    # 95 % of 2000, give or take four standard deviations.
    assert abs(covered - 1900) < 4 * math.sqrt(2000 * 0.95 * 0.05)


@given(st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(0.01, 1e4)), min_size=2, max_size=20))
def test_a_ratio_turned_round_is_its_inverse(pairs: list[tuple[float, float]]) -> None:
    found, turned = estimates.ratio(pairs), estimates.ratio([(b, a) for a, b in pairs])
    assert found is not None and found.high is not None
    assert turned is not None and turned.low is not None
    assert found.value * turned.value == pytest.approx(1)
    # Logarithms: the bounds of two wild values leave what a float holds.
    if 1e-100 < turned.low < 1e100:
        assert found.high * turned.low == pytest.approx(1)


def test_ratios_of_nothing_and_of_zero() -> None:
    assert estimates.ratio([]) is None
    assert estimates.ratio([(1.0, 0.0)]) is None
    assert estimates.ratio([(6.0, 3.0)]) == Estimate(pytest.approx(2.0))
