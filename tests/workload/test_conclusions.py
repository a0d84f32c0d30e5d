"""What is concluded from runs whose answer is known."""

from __future__ import annotations

from typing import Literal

import pytest

from xdiag.workload import conclusions
from xdiag.workload.model import Estimate, Run, Statement


def _run(arrangement: str, driver: str, repeat: int, milliseconds: float, **more: object) -> Run:
    """A run whose latencies all are one value."""
    return Run(
        arrangement, driver, repeat, "ok", latencies=(milliseconds,) * 20, served_rate=20.0, **more
    )


def _runs(driver: str, *values: float, arrangement: str = "baseline") -> list[Run]:
    return [_run(arrangement, driver, repeat, value) for repeat, value in enumerate(values)]


def _verdicts(runs: list[Run], about: str = "threads") -> dict[str, Statement]:
    found = [each for each in conclusions.statements(runs) if each.about == about]
    return {each.quantity: each for each in found}


def _answer(runs: list[Run], device: Literal["cpu", "gpu"] = "gpu") -> str:
    return conclusions.answer(conclusions.statements(runs), device)


def test_slower_threads_are_told_with_the_ratio() -> None:
    runs = _runs("python-script", 20, 20.5, 21) + _runs("cpp", 10, 10.1, 10.2)
    found = _verdicts(runs)["P99"]
    assert found.verdict == "more"
    assert found.ratio is not None and found.ratio.value == pytest.approx(2.03, abs=0.01)
    assert found.text.startswith("baseline: P99 of python-script against cpp: higher, 2.03 times (")
    answer = _answer(runs)
    assert answer.startswith(
        "Python threads are slower than pthreads in 2 of 2 compared figures: P50 of baseline (2.03"
    )


def test_alike_means_an_interval_within_ten_percent() -> None:
    runs = _runs("python-script", 10.0, 10.2, 10.1) + _runs("cpp", 10.1, 10.1, 10.1)
    assert _verdicts(runs)["P99"].verdict == "alike"
    answer = _answer(runs)
    assert answer == (
        "Python threads are not to blame: less than 10 % from pthreads in all of 2 compared"
        " figures."
    )


def test_a_small_difference_that_is_sure_is_alike_too() -> None:
    runs = _runs("python-script", 10.30, 10.31, 10.30) + _runs("cpp", 10.0, 10.0, 10.0)
    found = _verdicts(runs)["P50"]
    assert found.verdict == "alike"
    assert found.ratio is not None and found.ratio.low is not None and found.ratio.low > 1


def test_overlapping_intervals_tell_nothing() -> None:
    runs = _runs("python-script", 10, 30, 12) + _runs("cpp", 12, 11, 25)
    assert _verdicts(runs)["P99"].verdict == "not-told"
    assert "is not told: a difference was seen in none of 2 compared figures" in _answer(runs)


def test_one_run_tells_nothing() -> None:
    found = _verdicts(_runs("python-script", 40) + _runs("cpp", 10))["P99"]
    assert (found.verdict, found.ratio) == ("not-told", Estimate(pytest.approx(4.0)))
    assert "--repeats" in found.text


def test_requests_left_unserved_tell_nothing() -> None:
    runs = [_run("baseline", "python-script", repeat, 40, unserved=3) for repeat in range(3)]
    found = _verdicts(runs + _runs("cpp", 10, 10, 10))["P99"]
    assert found.verdict == "not-told"
    assert "python-script left requests unserved" in found.text


def _figures(script: tuple[float, ...], alone: tuple[float, ...]) -> list[Run]:
    """Four figures against C++'s 10 ms; the P99 of ``single-high`` is one that tells nothing."""
    late = (0.0, 1000.0, 0.0), (0.0, 0.0, 1000.0)
    found = _runs("python-script", *script) + _runs("cpp", 10, 10, 10)
    for driver, values, more in (("python-script", alone, late[0]), ("cpp", (10,) * 3, late[1])):
        for repeat, (value, last) in enumerate(zip(values, more, strict=True)):
            times = (value,) * 19 + (value + last,)
            found.append(Run("single-high", driver, repeat, "ok", latencies=times))
    return found


def test_one_difference_among_several_is_a_hint_and_a_cpu_is_said_in_the_same_sentence() -> None:
    runs = _figures((10, 30, 5), (11.3, 11.3, 11.3))
    told = (
        "Python threads are slower than pthreads in only 1 of 4 compared figures, P50 of"
        " single-high (1.13 times): it stands alone, take it for a hint"
    )
    assert _answer(runs) == f"{told}."
    assert _answer(runs, "cpu") == f"{told}; measured on a CPU, which says nothing about a GPU."


def test_one_that_is_faster_clears_nobody_by_itself() -> None:
    answer = _answer(_figures((10, 30, 5), (8, 8, 8)))
    assert answer.startswith("Python threads are faster than pthreads in only 1 of 4")
    assert "not to blame" not in answer and answer.endswith("take it for a hint.")


def test_faster_in_some_and_alike_in_all_others_is_not_to_blame() -> None:
    runs = _runs("python-script", 8, 8, 8) + _runs("cpp", 10, 10, 10)
    assert _answer(runs).startswith(
        "Python threads are not to blame: nowhere slower, faster in 2 of 2 compared figures, P50"
    )


def test_differences_both_ways_are_both_counted() -> None:
    answer = _answer(_figures((20, 20, 20), (8, 8, 8)))
    assert answer == (
        "Python threads are slower than pthreads in 2 of 4 compared figures, P50 of baseline"
        " (2 times), P99 of baseline (2 times), and faster in 1, P50 of single-high (0.8 times)."
    )


def test_modules_against_cpp_are_said_to_differ_in_more_than_threads() -> None:
    runs = _runs("python", 20, 20, 20) + _runs("cpp", 10, 10, 10)
    assert not _verdicts(runs) and _verdicts(runs, "mixed")["P50"].verdict == "more"
    answer = _answer(runs)
    assert answer.startswith("Python threads with modules are slower than pthreads with TorchScr")
    assert answer.endswith("the executor differs, too, so that nothing is told of threads alone.")


def test_the_same_script_decides_where_it_was_run() -> None:
    runs = (
        _runs("python", 20, 20, 20) + _runs("python-script", 10, 10, 10) + _runs("cpp", 10, 10, 10)
    )
    answer = _answer(runs)
    assert answer.startswith("Python threads are not to blame")
    assert _verdicts(runs, "executor")["P50"].verdict == "more"


def test_runs_of_one_repeat_are_compared_with_each_other() -> None:
    # A machine that doubles its time in every round: the ratio is steady, the means are not.
    runs = _runs("python-script", 15, 30, 60) + _runs("cpp", 10, 20, 40)
    found = _verdicts(runs)["P50"]
    assert found.verdict == "more"
    assert found.ratio == Estimate(*(pytest.approx(1.5),) * 3)


def test_sharing_is_told_of_each_driver() -> None:
    runs = _runs("cpp", 30, 31, 32) + _runs("cpp", 10, 10, 10, arrangement="single-high")
    found = _verdicts(runs, "sharing")["P99"]
    assert (found.arrangement, found.a, found.b) == ("cpp", "baseline", "single-high")
    assert found.verdict == "more"
    assert _answer(runs) == ""


def test_summaries_count_what_failed_and_use_what_was_measured() -> None:
    said = "[ERRO] hip error 709"
    runs = [
        *_runs("python", 10, 12),
        Run("baseline", "python", 2, "exit", status=1, said=said),
        Run("baseline", "python", 3, "exit", status=1, said=said),
        _run("baseline", "python", 4, 14),
    ]
    (found,) = conclusions.summaries(runs)
    assert (found.measured, found.runs) == (3, 5)
    assert found.failures == {f"exit status 1: {said}": 2}
    assert found.p99 is not None and found.p99.value == pytest.approx(12)


def test_a_crash_after_the_measurement_is_told_and_counts() -> None:
    run = Run("single-low", "cpp", 0, "crash", status=11, batch_rate=7.0)
    (found,) = conclusions.summaries([run])
    assert found.failures == {"killed by signal 11 after its measurement": 1}
    assert found.batch_rate == Estimate(7.0)
